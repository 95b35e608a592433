"""The faces that get an embedding: the best frames of each track, and where the face is there."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from facemake.backends.embed import Face
from facemake.bestframes import choose_frames
from facemake.detections import landmark_box
from facemake.rows import Source, equals, lists, numbers, side_by_side
from facemake.schemes import N_POINTS, ibug, subset
from facemake.status import FrameStatus
from facemake.tables import TableReader

FULL_SIZE = 150.0
"""px: a face box of this side has all the detail that an embedding's chip can show."""

_LOOKS = {
    "detections": ("time", "w", "h", "score", "status"),
    "landmarks": ("confidence", "status"),
    "fit": ("rx", "ry", "rz", "status"),
}


class FaceTables:
    """The tables that faces are chosen from.

    Args:
        detections, landmarks, fit: of a shard.
    """

    def __init__(self, detections: Path, landmarks: Path, fit: Path) -> None:
        self.paths = (detections, landmarks, fit)
        self._tables: dict[str, TableReader] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for name, path in zip(_LOOKS, self.paths, strict=True):
                self._tables[name] = stack.enter_context(TableReader(path))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def choose(self, sample: str, most: int | None, spacing: float) -> list[Choice]:
        """The chosen faces of a sample; see `choose`."""
        return choose(self._tables, sample, most, spacing)

    def faces(
        self,
        sample: str,
        chosen: Sequence[Choice],
        face_box: tuple[float, float, float] | list[float],
    ) -> dict[tuple[int, int], Face]:
        """(frame, track) -> where each chosen face is.

        Args:
            sample: its name.
            chosen: of its faces.
            face_box: of the detector (`facemake.detections.landmark_box`).
        """
        points = _points(self._tables["landmarks"], sample, chosen)
        boxes = _boxes(self._tables["detections"], sample, chosen)
        return {
            key: Face(landmark_box(box, face_box), points[key], box) for key, box in boxes.items()
        }


def face_quality(
    score: NDArray[np.float32],
    confidence: NDArray[np.float32],
    angles: NDArray[np.float32],
    box: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How much a frame can say about who it is, 0-1.

    The geometric mean of four parts, each in 0-1: the detector's score; the landmark network's
    confidence; frontalness, the cosine of the angle between the direction of the face and the
    camera's axis, `R[2, 2] = cos(pitch) cos(yaw)`, 0 for a face turned away (roll does not count:
    the chip undoes it); and size, the side of a square of the box's area as a share of 150 px, at
    most 1.

    Args:
        score: (n,) 0-1, the detector's; NaN where it gives none (3DI), which counts for nothing.
        confidence: (n,) 0-1, the landmark network's; likewise.
        angles: (n, 3) rad: pitch, yaw, roll of `Rz(roll) Ry(yaw) Rx(pitch)`.
        box: (n, 2) px: width and height.

    Returns:
        (n,) float32; 0 where a part is not known.
    """
    turned = angles[:, :2].astype(np.float64).tolist()
    parts = [
        np.nan_to_num(score.astype(np.float64), nan=1.0),
        np.nan_to_num(confidence.astype(np.float64), nan=1.0),
        # by the C library: the same bits wherever the arrays lie
        np.array([math.cos(pitch) * math.cos(yaw) for pitch, yaw in turned]),
        np.sqrt(np.maximum(box[:, 0].astype(np.float64) * box[:, 1], 0.0)) / FULL_SIZE,
    ]
    product = np.ones(len(turned))
    for part in parts:
        product *= np.clip(np.nan_to_num(part, nan=0.0), 0.0, 1.0)
    out: NDArray[np.float32] = np.sqrt(np.sqrt(product)).astype(np.float32)
    return out


@dataclass
class _Looks:
    """The usable frames of a track, packed: 16 bytes each."""

    frames: array[int] = field(default_factory=lambda: array("i"))
    times: array[float] = field(default_factory=lambda: array("d"))
    quality: array[float] = field(default_factory=lambda: array("f"))


@dataclass(frozen=True)
class Choice:
    """One chosen face."""

    frame: int
    track: int
    time: float
    quality: float


def choose(
    tables: Mapping[str, TableReader], sample: str, most: int | None, spacing: float
) -> list[Choice]:
    """The chosen faces of a sample, by frame and track.

    Only frames in which detection, landmarks and fit are all `ok` are chosen from: a track with
    fewer gives fewer, and none gives none. With `most` None all of them are chosen.
    """
    looks: dict[int, _Looks] = defaultdict(_Looks)
    sources = {name: Source(tables[name], _LOOKS[name]) for name in _LOOKS}
    for table in side_by_side(sources, sample):
        usable = np.logical_and.reduce(
            [equals(table[name], "status", FrameStatus.OK) for name in _LOOKS]
        )
        rows = np.flatnonzero(usable)
        if not len(rows):
            continue
        found = table["detections"].take(rows)
        fitted = table["fit"].take(rows)
        quality = face_quality(
            numbers(found, "score"),
            numbers(table["landmarks"].take(rows), "confidence"),
            np.stack([numbers(fitted, name) for name in ("rx", "ry", "rz")], axis=1),
            np.stack([numbers(found, name) for name in "wh"], axis=1),
        )
        frames, tracks = numbers(found, "frame"), numbers(found, "track")
        times = numbers(found, "time")
        for track in np.unique(tracks).tolist():
            here = tracks == track
            looks[track].frames.frombytes(frames[here].astype(np.int32).tobytes())
            looks[track].times.frombytes(times[here].astype(np.float64).tobytes())
            looks[track].quality.frombytes(quality[here].tobytes())
    chosen: list[Choice] = []
    for track, seen in looks.items():
        best: Iterable[int] = range(len(seen.frames))
        if most is not None:
            best = choose_frames(
                np.frombuffer(seen.frames, np.int32),
                np.frombuffer(seen.times, np.float64),
                np.frombuffer(seen.quality, np.float32),
                most,
                spacing,
            ).tolist()
        chosen += [
            Choice(seen.frames[row], track, seen.times[row], seen.quality[row]) for row in best
        ]
    return sorted(chosen, key=lambda choice: (choice.frame, choice.track))


def _boxes(
    reader: TableReader, sample: str, chosen: Sequence[Choice]
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """(frame, track) -> (4,) x, y, w, h px of the chosen faces."""
    found: dict[tuple[int, int], NDArray[np.float32]] = {}
    for table in _rows_of(reader, sample, _frames(chosen), "xywh"):
        boxes = np.stack([numbers(table, name) for name in "xywh"], axis=1).astype(np.float32)
        found.update(zip(_keys(table), boxes, strict=True))
    return {key: found[key] for key in _wanted(chosen)}


def _points(
    reader: TableReader, sample: str, chosen: Sequence[Choice]
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """(frame, track) -> (68, 2) px of the chosen faces, or (51, 2) where the jaw is not known."""
    found: dict[tuple[int, int], NDArray[np.float32]] = {}
    for table in _rows_of(reader, sample, _frames(chosen), ("scheme", "points")):
        scheme = table["scheme"][0].as_py()
        points = lists(table, "points", 2 * N_POINTS[scheme]).reshape(len(table), -1, 2)
        for key, face in zip(_keys(table), points, strict=True):
            found[key] = face[subset(scheme, ibug(scheme))]
    return found


def _wanted(chosen: Sequence[Choice]) -> list[tuple[int, int]]:
    return [(choice.frame, choice.track) for choice in chosen]


def _frames(chosen: Sequence[Choice]) -> pa.Array:
    return pa.array([choice.frame for choice in chosen], pa.int32())


def _keys(table: pa.Table) -> list[tuple[int, int]]:
    frames, tracks = (table[name].to_pylist() for name in ("frame", "track"))
    return list(zip(frames, tracks, strict=True))


def _rows_of(
    reader: TableReader, sample: str, frames: pa.Array, columns: Sequence[str]
) -> Iterator[pa.Table]:
    for table in reader.groups(sample, ["frame", "track", *columns]):
        rows = table.filter(pc.is_in(table["frame"], frames))
        if len(rows):
            yield rows
