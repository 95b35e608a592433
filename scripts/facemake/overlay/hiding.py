"""Where faces are hidden, in every frame of their track, and what is put in their place.

A face is hidden wherever its track goes: where it is lost from sight for a while, its box goes on
from where it was to where it comes back; and for half a second before and after, since a face is
seen by people before a detector is sure of it. What no detector found is not hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.overlay.rows import Array, Face
from facemake.rows import numbers
from facemake.tables import TableReader

Pixels = NDArray[np.uint8]

CELLS: Mapping[str, float] = MappingProxyType({"pixelate": 6.0, "blur": 3.0})
"""Colours across a face that are left of it, by the way of hiding.

Hidden so, 28 faces that are aligned by their true landmarks are no more often nearest to the right
person, for dlib's network, than a grey square (0, 3 and 2 of 28), and none is alike enough to be
known. With 16 squares 22 are known, with a blur of 8 colours 7 (`python -m benchmarks hiding`).
"""

BEFORE_AND_AFTER = 0.5
"""Seconds for which a face is hidden before its track begins and after it ends."""

_SIDES, _ABOVE, _BELOW = 0.25, 0.4, 0.2
"""Of the size of box and landmarks that are hidden around them: ears, hair, chin."""

_UNSEEN = 1.25
"""Times as large a region where the face was not seen: it is somewhere there."""

_GREY = 128


class Course:
    """The boxes of a sample's tracks through time: 22 bytes a face and frame.

    Args:
        reader: of the detections.
        sample: its name.
        in_time: whether frames follow each other.
        around: frames that a face is hidden before its track and after it.
        spare: tracks that are not hidden.
    """

    def __init__(
        self,
        reader: TableReader,
        sample: str,
        *,
        in_time: bool,
        around: int,
        spare: frozenset[int],
    ) -> None:
        self._in_time = in_time
        self._around = around
        pieces: dict[int, list[tuple[NDArray[np.int32], NDArray[np.float32]]]] = {}
        cuts: list[int] = []
        shot: int | None = None
        for table in reader.groups(sample, ["frame", "track", "x", "y", "w", "h", "shot"]):
            frames = table["frame"].to_numpy()
            tracks = table["track"].to_numpy()
            boxes = np.stack([numbers(table, name) for name in "xywh"], axis=1)
            seen = np.isfinite(boxes).all(axis=1)
            for track in np.unique(tracks[seen]).tolist():
                if track not in spare:
                    mine = seen & (tracks == track)
                    pieces.setdefault(track, []).append(
                        (frames[mine].astype(np.int32), boxes[mine].astype(np.float32))
                    )
            main = tracks == 0
            for frame, value in zip(
                frames[main].tolist(), table["shot"].filter(main).to_pylist(), strict=True
            ):
                if value is not None and shot is not None and value != shot:
                    cuts.append(frame)
                shot = value if value is not None else shot
        self._cuts = np.array(cuts, np.int32)
        self._tracks = {
            track: (
                np.concatenate([frames for frames, _ in parts]),
                np.concatenate([boxes for _, boxes in parts]),
            )
            for track, parts in sorted(pieces.items())
        }
        ends = [(frames[0], frames[-1]) for frames, _ in self._tracks.values()]
        self._numbers = list(self._tracks)
        self._ends = np.array(ends, np.int64).reshape(-1, 2)

    def regions(self, frame: int, faces: Sequence[Face]) -> Iterator[Array]:
        """What is hidden in a frame: (4,) x y w h px each, wider than the face.

        Args:
            frame: its index.
            faces: its rows; landmarks widen a region.
        """
        points = {face.track: face.points for face in faces if face.points is not None}
        near = self._around if self._in_time else 0
        first, last = self._ends.T
        for i in np.flatnonzero((first - near <= frame) & (frame <= last + near)).tolist():
            track = self._numbers[i]
            box, grown = self._box(*self._tracks[track], frame)
            if box is not None:
                yield widened(box, points.get(track), grown)

    def _box(
        self, frames: NDArray[np.int32], boxes: NDArray[np.float32], frame: int
    ) -> tuple[Array | None, float]:
        """The box in a frame, and by how much it is to be larger since it is not certain."""
        at = int(np.searchsorted(frames, frame))
        if at < len(frames) and frames[at] == frame:
            return boxes[at].astype(np.float64), 1.0
        if not self._in_time:
            return None, 1.0
        before = at - 1 if at > 0 and self._one_shot(int(frames[at - 1]), frame) else None
        after = at if at < len(frames) and self._one_shot(frame, int(frames[at])) else None
        if before is not None and after is not None:
            first, last = int(frames[before]), int(frames[after])
            share = (frame - first) / (last - first)
            return (1 - share) * boxes[before] + share * boxes[after], _UNSEEN
        # within a track whose other part is in another shot, for as long as this one goes on
        inside = 0 < at < len(frames)
        for side in (before, after):
            if side is not None and (inside or abs(int(frames[side]) - frame) <= self._around):
                return boxes[side].astype(np.float64), _UNSEEN
        return None, 1.0

    def _one_shot(self, first: int, last: int) -> bool:
        return bool(
            np.searchsorted(self._cuts, first, "right")
            == np.searchsorted(self._cuts, last, "right")
        )


def widened(box: Array, points: Array | None, grown: float = 1.0) -> Array:
    """(4,) x y w h px of what is hidden of a face.

    Args:
        box: (4,) x y w h.
        points: (K, 2) its landmarks; None: not known.
        grown: by so much larger, where it is not certain that the face is there.
    """
    left, top, width, height = box
    right, bottom = left + width, top + height
    if points is not None:
        low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
        left, top = min(left, low[0]), min(top, low[1])
        right, bottom = max(right, high[0]), max(bottom, high[1])
    width, height = right - left, bottom - top
    more_x, more_y = (grown - 1) / 2 * width, (grown - 1) / 2 * height
    return np.array(
        [
            left - _SIDES * width - more_x,
            top - _ABOVE * height - more_y,
            (1 + 2 * _SIDES) * width + 2 * more_x,
            (1 + _ABOVE + _BELOW) * height + 2 * more_y,
        ]
    )


def hide(rgb: Pixels, region: Array, how: str, cells: float | None = None) -> None:
    """Put something else in the place of a region, in the picture itself.

    Args:
        rgb: (H, W, 3); changed.
        region: x y w h, px; what of it is outside of the picture is left out.
        how: of `facemake.overlay.options.HIDINGS`.
        cells: colours across the face; None: those of `CELLS`.
    """
    height, width = rgb.shape[:2]
    x0, y0 = (max(0, int(np.floor(v))) for v in region[:2])
    x1 = min(width, int(np.ceil(region[0] + region[2])) + 1)
    y1 = min(height, int(np.ceil(region[1] + region[3])) + 1)
    if x1 <= x0 or y1 <= y0:
        return
    part = rgb[y0:y1, x0:x1]
    if how in ("fill", "mesh"):
        part[:] = _GREY
        return
    cell = max(1.0, region[2] / (1 + 2 * _SIDES) / (cells or CELLS[how]))
    small = cv2.resize(
        np.ascontiguousarray(part),
        (max(1, round((x1 - x0) / cell)), max(1, round((y1 - y0) / cell))),
        interpolation=cv2.INTER_AREA,
    )
    way = cv2.INTER_NEAREST if how == "pixelate" else cv2.INTER_CUBIC
    part[:] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=way)
