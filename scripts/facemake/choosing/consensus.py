"""Faces that several detectors agree on, and how each detector stands to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.4
"""Intersection over union of two boxes of one face: of different detectors, brought to squares of
one kind (`facemake.detections.landmark_box`), those of one face overlap by more, of two faces side
by side by less."""

AGREEING = 3
"""So many detectors other than the one that is judged make a face; of fewer than four, all."""


@dataclass(frozen=True)
class Face:
    """One place in a picture where at least one detector sees a face.

    Attributes:
        bbox: (4,) x, y, w, h px, the median of the squares.
        found: detector -> which of its detections.
    """

    bbox: NDArray[np.float32]
    found: Mapping[str, int]


@dataclass(frozen=True)
class Standing:
    """How a detector stands to the others.

    Attributes:
        agreed: faces that at least `AGREEING` others found.
        found: those of them that it found too.
        alone: its detections that no other confirms.
        total: its detections.
    """

    agreed: int
    found: int
    alone: int
    total: int

    @property
    def recall(self) -> float:
        """Of the faces that others agree on, the part that it found; NaN where there is none."""
        return self.found / self.agreed if self.agreed else float("nan")


def faces_of(squares: Mapping[str, NDArray[np.float32]]) -> list[Face]:
    """The faces of a picture.

    Detections are joined greedily, the best overlap first, each detector at most once a face.

    Args:
        squares: detector -> (n, 4) x, y, w, h px, brought to one kind.
    """
    flat = [(name, i) for name, boxes in squares.items() for i in range(len(boxes))]
    if not flat:
        return []
    boxes = np.concatenate([boxes for boxes in squares.values() if len(boxes)]).astype(np.float64)
    overlaps = overlap(boxes, boxes)
    rows, columns = np.triu_indices(len(flat), 1)
    pairs = overlaps[rows, columns]
    group = list(range(len(flat)))
    for pair in np.argsort(-pairs, kind="stable"):
        if pairs[pair] < OVERLAP:
            break
        a, b = group[rows[pair]], group[columns[pair]]
        if a == b:
            continue
        one, other = ([i for i, g in enumerate(group) if g == which] for which in (a, b))
        if {flat[i][0] for i in one} & {flat[i][0] for i in other}:
            continue
        for i in other:
            group[i] = a
    faces = []
    for which in sorted(set(group)):
        members = [i for i, g in enumerate(group) if g == which]
        middle = np.median(boxes[members], axis=0).astype(np.float32)
        faces.append(Face(middle, {flat[i][0]: flat[i][1] for i in members}))
    return faces


def standings(pictures: Sequence[Sequence[Face]], detectors: Sequence[str]) -> dict[str, Standing]:
    """How each detector stands to the others, over all pictures.

    Args:
        pictures: the faces of each.
        detectors: all that looked at every picture.
    """
    least = min(AGREEING, len(detectors) - 1)
    result = {}
    for name in detectors:
        agreed = found = alone = total = 0
        for face in (face for faces in pictures for face in faces):
            others = len(face.found) - (name in face.found)
            if least and others >= least:
                agreed += 1
                found += name in face.found
            if name in face.found:
                total += 1
                alone += others == 0
        result[name] = Standing(agreed, found, alone, total)
    return result


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, m) intersection over union of boxes x, y, w, h."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    area_a, area_b = np.prod(a[:, 2:], axis=1), np.prod(b[:, 2:], axis=1)
    return np.asarray(common / np.maximum(area_a[:, None] + area_b[None] - common, 1e-9))
