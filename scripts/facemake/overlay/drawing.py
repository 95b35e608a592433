"""Layers drawn on a frame, in its own pixels.

A pixel's centre is at whole numbers, in OpenCV as in the tables. Widths follow the frame's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from facemake.geometry import rotation_from_euler
from facemake.overlay.fixed import SHIFT, fixed
from facemake.overlay.rows import Array, Face
from facemake.overlay.surface import Pixels, Surface
from facemake.overlay.view import View
from facemake.schemes import IBUG51, IBUG51_GROUPS, MEDIAPIPE478, convert
from facemake.status import FrameStatus

Colour = tuple[int, int, int]

AXIS_MM = 70.0
"""Length of a drawn head axis: about half a head."""

GAZE_MM = 70.0
"""Length of a drawn gaze."""

AU_FULL = 5.0
"""The intensity that fills a bar."""

_MOST_PANELS = 4  # more would hide the picture
_LINES_WIDE = 7.8  # a panel, in heights of its lines
_BAR = (240, 228, 66)
_NO_BAR = (150, 150, 150)

# Okabe and Ito's colours, apart for the colour-blind.
TRACKS: Sequence[Colour] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
AXES: Sequence[Colour] = ((235, 64, 52), (60, 200, 80), (70, 120, 255))
"""x, y and z."""
GAZE: Colour = (255, 0, 220)
_WHITE: Colour = (255, 255, 255)
_BLACK: Colour = (0, 0, 0)
_POINT: Colour = (255, 255, 255)

_IRISES = (468, 473)
"""FaceMesh's middles of the irises, the image-left eye first."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT = 22.0  # px of a capital at scale 1, about


class Pen:
    """Draws the faces of frames.

    Args:
        layers: of `facemake.overlay.options.LAYERS`.
        aus: names of the action units' columns.
        surface: for the layer `mesh`.
        barred: tracks that have bars, the first four of them.
        left: whether bars are at the left; None: by where the faces of a frame are.
    """

    def __init__(
        self,
        layers: frozenset[str],
        aus: Sequence[str],
        surface: Surface | None = None,
        barred: Iterable[int] = (0,),
        left: bool | None = None,
    ) -> None:
        self._left = left
        self._layers = layers
        self._barred = frozenset(sorted(barred)[:_MOST_PANELS])
        self._aus = tuple(name.removesuffix("_r") for name in aus)
        self._surface = surface

    def draw(
        self,
        rgb: Pixels,
        faces: Sequence[Face],
        view: View,
        frame: int = 0,
        time: float | None = None,
    ) -> None:
        """Draw all layers on a frame.

        Args:
            rgb: (H, W, 3); changed.
            faces: its tracks, those that are to be drawn.
            view: how the fit projected into it.
            frame: its index.
            time: s.
        """
        unit = max(1.0, min(rgb.shape[:2]) / 360)
        for face in faces:
            self._face(rgb, face, view, unit)
        if "aus" in self._layers and self._aus:
            self._panels(rgb, faces)
        if "frame" in self._layers:
            clock = "" if time is None else f"  {time:.3f} s"
            _text(rgb, f"{frame}{clock}", (4 * unit, rgb.shape[0] - 5 * unit), unit, _WHITE)

    def _face(self, rgb: Pixels, face: Face, view: View, unit: float) -> None:
        colour = TRACKS[face.track % len(TRACKS)]
        layers = self._layers
        if "mesh" in layers and self._surface is not None and self._surface.knows(face.track):
            self._surface.lines(rgb, face, view, colour)
        if "boxes" in layers and face.box is not None:
            x, y, w, h = face.box
            corners = fixed(np.array([[x, y], [x + w, y + h]]))
            cv2.rectangle(
                rgb, corners[0], corners[1], colour, max(1, round(1.5 * unit)), cv2.LINE_AA, SHIFT
            )
        if "landmarks" in layers and face.points is not None:
            _dots(rgb, face.points, face.box, _POINT)
        if "axes" in layers and face.pose is not None:
            ends = axes(face, view)
            if ends is not None:
                for end, hue in zip(ends[1:], AXES, strict=True):
                    _line(rgb, ends[0], end, hue, 2 * unit)
        if "gaze" in layers and face.gaze is not None and face.points is not None:
            for start, end in gaze(face, view):
                _line(rgb, start, end, GAZE, 2 * unit)
        if "ids" in layers and face.box is not None:
            anchor = face.box[:2]
            said = "" if face.status == FrameStatus.OK else f" {face.status}"
            _text(rgb, f"{face.track}{said}", (anchor[0], anchor[1] - 4 * unit), unit, colour)

    def _panels(self, rgb: Pixels, faces: Sequence[Face]) -> None:
        """Bars in panels side by side, on the side where the faces are not."""
        shown = [face for face in faces if face.aus is not None and face.track in self._barred]
        middles = [face.box[0] + face.box[2] / 2 for face in shown if face.box is not None]
        left = self._left
        if left is None:
            left = bool(middles) and float(np.mean(middles)) > rgb.shape[1] / 2
        edge = 0
        for face in shown:
            colour = TRACKS[face.track % len(TRACKS)]
            panel = _panel(self._aus, rgb.shape[1::-1], colour, face.track)
            width = panel.picture.shape[1]
            at = edge if left else rgb.shape[1] - edge - width
            edge += width + 2
            if at >= 0 and at + width <= rgb.shape[1]:
                self._bars(rgb[: panel.picture.shape[0], at : at + width], face, panel)

    def _bars(self, ground: Pixels, face: Face, panel: _Panel) -> None:
        """A panel with the bars of a face, over a piece of the picture."""
        picture = panel.picture.copy()
        for value, (x, y) in zip(
            face.aus if face.aus is not None else (), panel.bars, strict=False
        ):
            if np.isfinite(value):
                full = round(float(np.clip(value / AU_FULL, 0, 1)) * panel.length)
                picture[y : y + panel.thick, x : x + full] = _BAR
            else:
                picture[y + panel.thick // 2, x : x + panel.length : 4] = _NO_BAR
        ground[:] = cv2.addWeighted(ground, 0.35, picture[: len(ground)], 0.65, 0)


def axes(face: Face, view: View) -> Array | None:
    """(4, 2) px: the head's origin, and the ends of x, y and z; z goes backwards, as a nose points.

    None where that is not known.
    """
    assert face.pose is not None
    turn = rotation_from_euler(face.pose[:3])
    ends = AXIS_MM * (turn * np.array([1.0, 1.0, -1.0])).T
    return view.place(np.vstack([np.zeros(3), ends]), face)


def gaze(face: Face, view: View) -> list[tuple[Array, Array]]:
    """Start and end (2,) px of each eye's direction that is known, from the middle of the eye."""
    assert face.gaze is not None and face.points is not None
    if face.scheme == MEDIAPIPE478:
        starts = [face.points[i] for i in _IRISES]
    else:
        points = convert(face.points, face.scheme, IBUG51)
        starts = [points[IBUG51_GROUPS[eye]].mean(axis=0) for eye in ("le", "re")]
    found = []
    for start, direction in zip(starts, face.gaze, strict=True):
        if view.lens is not None and face.pose is not None and np.isfinite(face.pose[5]):
            end = view.project(view.lift(start, face.pose[5])[None] + GAZE_MM * direction)[0]
        elif face.weak is not None:
            end = start + face.weak[0] * GAZE_MM * direction[:2]
        else:
            continue
        if np.isfinite(end).all() and np.isfinite(start).all():
            found.append((start, end))
    return found


@dataclass(frozen=True)
class _Panel:
    """A panel of bars without its bars."""

    picture: Pixels
    bars: tuple[tuple[int, int], ...]
    """Where each begins, px."""
    length: int
    thick: int


@lru_cache(maxsize=64)
def _panel(aus: tuple[str, ...], size: tuple[int, int], colour: Colour, track: int) -> _Panel:
    """For a frame of this width and height: it takes a quarter of the width, if it can be read."""
    width, height = size
    tallest = min(height / (len(aus) + 3), height / 22 if height > 400 else 16.0)
    line = max(8, int(min(tallest, width / 4 / _LINES_WIDE)))
    scale = 0.62 * line / _FONT_HEIGHT
    label = cv2.getTextSize("AU00", _FONT, scale, 1)[0][0]
    length, edge = int(4.5 * line), max(2, line // 4)
    picture = np.zeros((line * (len(aus) + 1) + 2 * edge, label + length + 4 * edge, 3), np.uint8)
    cv2.rectangle(picture, (0, 0), (edge, picture.shape[0]), colour, -1)
    pen = max(1, round(line / 20))
    _put(picture, str(track), (2 * edge, edge + line - edge // 2 - 1), scale, colour, pen)
    bars = []
    for i, name in enumerate(aus):
        top = edge + (i + 1) * line
        _put(picture, name, (2 * edge, top + line - max(2, line // 5)), scale, _WHITE, pen)
        x, thick = 3 * edge + label, max(2, line - 2 * max(1, line // 6))
        y = top + max(1, line // 6)
        picture[y : y + thick, x : x + length] = (70, 70, 70)
        bars.append((x, y))
    return _Panel(picture, tuple(bars), length, max(2, line - 2 * max(1, line // 6)))


def _dots(rgb: Pixels, points: Array, box: Array | None, colour: Colour) -> None:
    """A dot a landmark, about a 150th of the face wide."""
    finite = points[np.isfinite(points).all(axis=1)]
    if not len(finite):
        return
    size = box[2] if box is not None else np.ptp(finite[:, 0])
    radius = 0.5 if len(finite) > 100 else 1.2
    radius = max(radius, size * (0.003 if len(finite) > 100 else 0.008))
    if radius > 1:
        for x, y in fixed(finite):
            cv2.circle(rgb, (x, y), round(radius * 2**SHIFT), colour, -1, cv2.LINE_AA, SHIFT)
        return
    x, y = np.round(finite).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < rgb.shape[1]) & (y < rgb.shape[0])
    rgb[y[inside], x[inside]] = colour


def _line(rgb: Pixels, start: Array, end: Array, colour: Colour, width: float) -> None:
    a, b = fixed(np.stack([start, end]))
    cv2.line(rgb, a, b, colour, max(1, round(width)), cv2.LINE_AA, SHIFT)


def _text(rgb: Pixels, text: str, at: tuple[float, float], unit: float, colour: Colour) -> None:
    """Words with a dark rim, pushed into the picture."""
    scale = 0.45 * unit
    (wide, high), _ = cv2.getTextSize(text, _FONT, scale, 1)
    x = int(np.clip(at[0], 1, max(1, rgb.shape[1] - wide - 1)))
    y = int(np.clip(at[1], high + 1, max(high + 1, rgb.shape[0] - 2)))
    cv2.putText(rgb, text, (x, y), _FONT, scale, _BLACK, 1 + max(1, round(2 * unit)), cv2.LINE_AA)
    _put(rgb, text, (x, y), scale, colour, max(1, round(unit)))


def _put(
    rgb: Pixels, text: str, at: tuple[int, int], scale: float, colour: Colour, width: int = 1
) -> None:
    cv2.putText(rgb, text, at, _FONT, scale, colour, width, cv2.LINE_AA)
