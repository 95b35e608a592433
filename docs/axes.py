"""The picture of the axes, axes.svg: the built-in model's mean face, turned as the angles say.

    python docs/axes.py

draws it again; a test holds it against the code.
"""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.fit.builtin import load_builtin
from facemake.geometry import rotation_from_euler

Array = NDArray[np.float64]

OPEN = ((0, 17), (17, 22), (22, 27), (27, 31), (31, 36))
"""Lines of iBUG-68 from a point to before another: outline, brows, bridge and wings of the nose."""
CLOSED = ((36, 42), (42, 48), (48, 60), (60, 68))
"""Eyes and lips."""
HEADS = (
    ("at rest", "z points away from the camera", (0, 0, 0)),
    ("pitch: rx > 0", "nose down", (25, 0, 0)),
    ("yaw: ry > 0", "nose to the picture's left", (0, 30, 0)),
    ("roll: rz > 0", "clockwise in the picture", (0, 0, 25)),
)
"""Title, what it is in words, (pitch, yaw, roll) in degrees."""
COLOURS = {"x": "#c1272d", "y": "#00733e", "z": "#0072b2"}
_WIDE, _HIGH, _GAP, _TOP = 212, 210, 24, 26
_DISTANCE = 700.0  # mm from the camera
_SCALE = 0.95 * _DISTANCE  # px a mm at that distance


def axes() -> str:
    """The picture."""
    mean = load_builtin().mean
    face = mean - mean.mean(axis=0)
    width = len(HEADS) * (_WIDE + _GAP) + _GAP
    panels = [
        _panel(face, _GAP + place * (_WIDE + _GAP), *head) for place, head in enumerate(HEADS)
    ]
    markers = [
        f'<marker id="{name}" viewBox="0 0 8 8" refX="4" refY="4" markerWidth="4" '
        f'markerHeight="4" orient="auto"><path d="M0 0 8 4 0 8z" fill="{colour}"/></marker>'
        for name, colour in COLOURS.items()
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 296" role="img" '
            'font-family="system-ui, sans-serif" font-size="14" fill="none">',
            "<title>A head at rest, and turned by a positive pitch, yaw and roll; the camera's "
            "axes: x right, y down, z away from the camera</title>",
            f'<rect width="{width}" height="296" rx="8" fill="#fff"/>',
            *markers,
            *panels,
            _camera(),
            "</svg>\n",
        ]
    )


def _panel(
    face: Array, left: float, title: str, words: str, degrees: tuple[float, float, float]
) -> str:
    """A head in a picture, with the head at rest behind it and an arrow."""
    middle = left + _WIDE / 2
    turn = rotation_from_euler(np.radians(degrees))
    tip, end = _seen(face[30] + np.array([[0, 0, 0], [0, 0, -55.0]]), turn, middle)
    arrow = f"M{tip}L{end}"
    if degrees[2]:  # around the nose, as the hands of a clock go
        x, y = map(float, tip.split(","))
        arrow = f"M{x - 62:.1f},{y - 62:.1f}A88 88 0 0 1 {x + 62:.1f},{y - 62:.1f}"
    parts = [f'<rect x="{left}" y="{_TOP}" width="{_WIDE}" height="{_HIGH}" stroke="#999"/>']
    if any(degrees):
        rest = _lines(_seen(face, np.eye(3), middle))
        parts.append(f'<path d="{rest}" stroke="#bbb"/>')
    parts.append(
        f'<path d="{_lines(_seen(face, turn, middle))}" stroke="#222" stroke-width="1.6"/>'
    )
    if any(degrees):
        parts.append(
            f'<path d="{arrow}" stroke="{COLOURS["z"]}" stroke-width="3.5" marker-end="url(#z)"/>'
        )
    parts += [
        f'<text x="{middle}" y="258" text-anchor="middle" font-weight="600" fill="#111">'
        f"{html.escape(title, quote=False)}</text>",
        f'<text x="{middle}" y="278" text-anchor="middle" fill="#333">{words}</text>',
    ]
    return "\n".join(parts)


def _seen(points: Array, turn: Array, middle: float) -> list[str]:
    """Where (n, 3) points of the head are in the picture, as a camera sees them."""
    x, y, z = np.moveaxis(points @ turn.T, -1, 0)
    scale = _SCALE / (z + _DISTANCE)
    return [
        f"{middle + right:.1f},{_TOP + _HIGH / 2 + down:.1f}"
        for right, down in zip(x * scale, y * scale, strict=True)
    ]


def _lines(points: list[str]) -> str:
    """The path of a face."""
    drawn = [f"M{'L'.join(points[slice(*ends)])}" for ends in OPEN]
    return "".join(drawn + [f"M{'L'.join(points[slice(*ends)])}z" for ends in CLOSED])


def _camera() -> str:
    """The camera's axes, at the top left of the first picture."""
    x, y, z = COLOURS.values()
    return "\n".join(
        [
            f'<path d="M{_GAP} {_TOP}h56" stroke="{x}" stroke-width="3" marker-end="url(#x)"/>',
            f'<path d="M{_GAP} {_TOP}v56" stroke="{y}" stroke-width="3" marker-end="url(#y)"/>',
            f'<circle cx="{_GAP}" cy="{_TOP}" r="7" fill="#fff" stroke="{z}" stroke-width="2"/>',
            f'<path d="M{_GAP - 5} {_TOP - 5}l10 10m0-10l-10 10" stroke="{z}" stroke-width="2"/>',
            f'<text x="{_GAP + 64}" y="{_TOP + 17}" fill="{x}">x</text>',
            f'<text x="{_GAP + 6}" y="{_TOP + 72}" fill="{y}">y</text>',
            f'<text x="{_GAP + 9}" y="{_TOP + 20}" fill="{z}">z</text>',
        ]
    )


if __name__ == "__main__":
    (Path(__file__).parent / "axes.svg").write_text(axes(), encoding="utf-8")
