"""Small faces in large pictures: any detector before overlapping parts of a picture, tile by tile.

Networks look at a picture made as small as their input, and a face of a crowd is then a few pixels.
Here a picture that is larger than a tile is halved until it is not, and each size of it is looked
at in tiles that overlap by a quarter: a face is whole in a tile of the size that suits a detector
which sees faces of a tenth of a tile. A face that a tile's side cuts, or nearly, is another tile's,
or one of the next size; of what several tiles see of one face the surest stays.

A detector sees no more than a tile at once, so its memory does not grow with the picture. A picture
that is no larger than a tile is looked at as it is, with the same result as without tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Detector, Picture
from facemake.detections import Detections

_OVERLAP = 4
"""A tile's side over what it has in common with the next one."""
_MARGIN = 0.1
"""Sides of a face (of the square with its box's area) within which a tile's side may cut it."""
_SAME = 0.4
"""Intersection over union from which boxes of two tiles are one face."""
_WITHIN = 0.8
"""Part of the smaller of two boxes that is in the larger, from which they are one face: a tile
that has only a part of a large face may take it for a smaller one."""


@dataclass(frozen=True)
class _Tile:
    """A part of one size of a picture.

    Attributes:
        picture: which one.
        rgb: (h, w, 3) uint8 RGB, C-contiguous.
        left, top: px of that size of the picture.
        scale: that size's pixels a pixel of the picture, across and down.
        inside: whether its left, top, right and bottom side are inside of the picture.
    """

    picture: int
    rgb: Picture
    left: int
    top: int
    scale: tuple[float, float]
    inside: tuple[bool, bool, bool, bool]


class Tiled:
    """A detector that looks at large pictures in tiles; see above.

    Args:
        detector: it is closed with this.
        side: px, of a tile, which is a square; at least 4.
    """

    def __init__(self, detector: Detector, side: int) -> None:
        self._detector = detector
        self._side = side
        self.batch_size = detector.batch_size

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures; tiles of all of them fill a batch."""
        found: list[list[Detections]] = [[] for _ in pictures]
        tiles = (t for k, rgb in enumerate(pictures) for t in _tiles(k, rgb, self._side))
        while some := list(islice(tiles, self.batch_size)):
            for tile, faces in zip(some, self._detector([t.rgb for t in some]), strict=True):
                found[tile.picture].append(_in_picture(faces, tile))
        return [_merged(parts) for parts in found]

    def close(self) -> None:
        """Free the model."""
        self._detector.close()


def _tiles(picture: int, rgb: Picture, side: int) -> Iterator[_Tile]:
    """The tiles of a picture, the largest size first, each from top to bottom."""
    sized = rgb
    while True:
        height, width = sized.shape[:2]
        scale = (width / rgb.shape[1], height / rgb.shape[0])
        for top in _starts(height, side):
            for left in _starts(width, side):
                part = np.ascontiguousarray(sized[top : top + side, left : left + side])
                inside = (left > 0, top > 0, left + side < width, top + side < height)
                yield _Tile(picture, part, left, top, scale, inside)
        if max(height, width) <= side:
            return
        half = ((width + 1) // 2, (height + 1) // 2)
        sized = cv2.resize(sized, half, interpolation=cv2.INTER_AREA)


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin along a side of the picture: as few as overlap enough, evenly spread."""
    if length <= side:
        return [0]
    common = side // _OVERLAP
    steps = -(-(length - side) // (side - common))
    return [step * (length - side) // steps for step in range(steps + 1)]


def _in_picture(faces: Detections, tile: _Tile) -> Detections:
    """The faces that the tile has whole, in pixels of the picture."""
    if not any(tile.inside) and tile.scale == (1.0, 1.0):
        return faces  # it is the picture
    corner = faces.bbox[:, :2].astype(np.float64) + 0.5
    sides = faces.bbox[:, 2:].astype(np.float64)
    margin = _MARGIN * np.sqrt(np.prod(sides, axis=1, keepdims=True))
    height, width = tile.rgb.shape[:2]
    room = np.concatenate([corner, (width, height) - corner - sides], axis=1)
    whole = ((room >= margin) | ~np.array(tile.inside)).all(axis=1)
    # both counted from the corner of the first pixel
    at = np.array((tile.left, tile.top), np.float64)
    moved = (corner + at) / tile.scale - 0.5
    points = (faces.keypoints5 + 0.5 + at) / tile.scale - 0.5
    boxes = np.concatenate([moved, sides / tile.scale], axis=1)
    return Detections(
        boxes[whole].astype(np.float32), faces.score[whole], points[whole].astype(np.float32)
    )


def _merged(parts: Sequence[Detections]) -> Detections:
    """Of what tiles see of one face the surest; those of one tile are told apart already."""
    if len(parts) == 1:
        return parts[0]
    tile = np.repeat(np.arange(len(parts)), [len(part.score) for part in parts])
    boxes, score, points = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("bbox", "score", "keypoints5")
    )
    order = np.argsort(-score, kind="stable")
    kept = order[_distinct(boxes[order].astype(np.float64), tile[order])]
    return Detections(boxes[kept], score[kept], points[kept])


def _distinct(boxes: NDArray[np.float64], tile: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which of (n, 4) boxes x, y, w, h by falling score are a face of their own, rising."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    area = np.prod(boxes[:, 2:], axis=1)
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        rest = slice(i + 1, None)
        shared = np.minimum(high[i], high[rest]) - np.maximum(low[i], low[rest])
        common = np.prod(np.maximum(shared, 0), axis=1)
        same = (common > _SAME * (area[i] + area[rest] - common)) | (
            common > _WITHIN * np.minimum(area[i], area[rest])
        )
        alive[rest] &= ~(same & (tile[rest] != tile[i]))
    return np.flatnonzero(alive)
