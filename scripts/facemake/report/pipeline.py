"""The stages of a run as a picture: boxes and arrows, along the page or down it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

_CHAIN = (
    *("probe", "3di", "detect", "landmarks", "fit"),
    *("smooth", "expressions", "aus", "dataset"),
)
"""Each reads what the one before it wrote; dataset reads landmarks and fit besides."""

_BRANCH = ("embed", "people")
"""Beside the chain, from the fit on."""

_JOINT = "fit"
_PROGRAMS = "threedi_"


@dataclass(frozen=True)
class Box:
    """A stage in the picture.

    Attributes:
        stage: its name; the first one of a box of several.
        x, y, width, height: px.
        lines: title, backend and time, as far as there are.
    """

    stage: str
    x: float
    y: float
    width: float
    height: float
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """The picture: its size in px, its boxes, and the paths of its arrows."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    down: bool


def drawing(
    stages: Sequence[str],
    titles: Mapping[str, str],
    backends: Mapping[str, str],
    times: Mapping[str, str],
    *,
    down: bool = False,
) -> Drawing:
    """Of the stages that ran.

    Args:
        stages: their names, in order; the programs of 3DI become one box.
        titles: of stages.
        backends: of those that have any.
        times: of those whose logs are there.
        down: levels go down the page, for a narrow screen, and not along it.
    """
    programs = [stage for stage in stages if stage.startswith(_PROGRAMS)]
    first = {"3di": programs[0]} if programs else {}
    names = {*stages, *first}
    chain = [name for name in _CHAIN if name in names]
    branch = [name for name in _BRANCH if name in names]
    joint = chain.index(_JOINT) + 1 if _JOINT in chain else len(chain)
    places = {name: (level, 0) for level, name in enumerate(chain)}
    places |= {name: (joint + level, 1) for level, name in enumerate(branch)}
    width, height, gap_x, gap_y = (150.0, 52.0, 14.0, 24.0) if down else (116.0, 56.0, 24.0, 22.0)
    corners = {}
    for name, (level, lane) in places.items():
        column, row = (lane, level) if down else (level, lane)
        corners[name] = (1 + column * (width + gap_x), 1 + row * (height + gap_y))
    boxes = tuple(
        Box(
            stage=first.get(name, name),
            x=x,
            y=y,
            width=width,
            height=height,
            lines=tuple(
                filter(
                    None,
                    (
                        "3DI’s programs" if name == "3di" else titles.get(name, name),
                        backends.get(name, ""),
                        times.get(name, ""),
                    ),
                )
            ),
        )
        for name, (x, y) in corners.items()
    )
    joined = [*pairwise(chain), *pairwise([*chain[joint - 1 : joint], *branch])]
    arrows = tuple(_arrow(corners[a], corners[b], width, height, down=down) for a, b in joined)
    right = max((box.x for box in boxes), default=0.0) + width + 1
    bottom = max((box.y for box in boxes), default=0.0) + height + 1
    return Drawing(right, bottom, boxes, arrows, down)


def _arrow(
    start: tuple[float, float],
    end: tuple[float, float],
    width: float,
    height: float,
    *,
    down: bool,
) -> str:
    (x1, y1), (x2, y2) = start, end
    if down:
        x1, y1, x2, y2 = x1 + width / 2, y1 + height, x2 + width / 2, y2 - 5
        middle = (y1 + y2) / 2
        return f"M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
    x1, y1, x2, y2 = x1 + width, y1 + height / 2, x2 - 5, y2 + height / 2
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
