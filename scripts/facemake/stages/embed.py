"""Identity embeddings of the best frames of each track."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from facemake.backends.embed import EMBEDDERS, Embedder
from facemake.bestframes import choose_frames
from facemake.media import read_frames
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.rows import Source, equals, lists, numbers, side_by_side
from facemake.samples import Sample
from facemake.schemes import N_POINTS, ibug, subset
from facemake.shards import ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import TableReader, TableWriter

FULL_SIZE = 150.0
"""px: a face box of this side has all the detail that an embedding's chip can show."""

_LOOKS = {
    "detections": ("time", "w", "h", "score", "status"),
    "landmarks": ("confidence", "status"),
    "fit": ("rx", "ry", "rz", "status"),
}


def embed(
    plan: Path,
    probe: Path,
    detections: Path,
    landmarks: Path,
    fit: Path,
    output: Path,
    recipe: Recipe,
) -> None:
    """Write the embeddings table of a shard: rows for the chosen frames of each track only.

    A picture that stands alone is chosen from by itself: each of its good faces has a row.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        detections: its detections table.
        landmarks: its landmarks table.
        fit: its fit table.
        output: `embeddings/{shard}.parquet`.
        recipe: of the stage `embed`.

    Raises:
        ModelError: a model is missing or not the registered one.
    """
    most = recipe.settings["frames_per_track"]
    spacing = recipe.settings["min_spacing"]
    embedder: Embedder = EMBEDDERS[str(recipe.backend)].load().create()
    inputs = dict(zip(_LOOKS, (detections, landmarks, fit), strict=True))
    with ShardRun(recipe, plan, [probe, *inputs.values()], {"embeddings": output}) as run:
        tables = {name: TableReader(path) for name, path in inputs.items()}
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            writer = part.table("embeddings")
            if sample.sample not in known:
                continue
            alone = stand_alone(known[sample.sample], run.metadata)
            chosen = choose(tables, sample.sample, None if alone else most, spacing)
            if chosen:
                _embed_sample(sample, chosen, tables["landmarks"], embedder, writer)
            run.progress.frame(known[sample.sample]["n_frames"])
        for table in tables.values():
            table.close()


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


def _embed_sample(
    sample: Sample,
    chosen: Sequence[Choice],
    landmarks: TableReader,
    embedder: Embedder,
    writer: TableWriter,
) -> None:
    points = _points(landmarks, sample.sample, chosen)
    by_frame: dict[int, list[Choice]] = defaultdict(list)
    for choice in chosen:
        by_frame[choice.frame].append(choice)
    stamps = [faces[0].time for faces in by_frame.values()]
    times = None if np.isnan(stamps).any() else stamps
    for frame in read_frames(sample, list(by_frame), times):
        for choice in by_frame[frame.index]:
            writer.append(
                sample=sample.sample,
                frame=choice.frame,
                track=choice.track,
                embedding=embedder(frame.rgb, points[choice.frame, choice.track]),
                quality=choice.quality,
            )


def _points(
    reader: TableReader, sample: str, chosen: Sequence[Choice]
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """(frame, track) -> (68, 2) px of the chosen faces, or (51, 2) where the jaw is not known."""
    wanted = pa.array([choice.frame for choice in chosen], pa.int32())
    found: dict[tuple[int, int], NDArray[np.float32]] = {}
    for table in _rows_of(reader, sample, wanted):
        scheme = table["scheme"][0].as_py()
        points = lists(table, "points", 2 * N_POINTS[scheme]).reshape(len(table), -1, 2)
        keys: list[Any] = [table[name].to_pylist() for name in ("frame", "track")]
        for key, face in zip(zip(*keys, strict=True), points, strict=True):
            found[key] = face[subset(scheme, ibug(scheme))]
    return found


def _rows_of(reader: TableReader, sample: str, frames: pa.Array) -> Iterator[pa.Table]:
    for table in reader.groups(sample, ["frame", "track", "scheme", "points"]):
        rows = table.filter(pc.is_in(table["frame"], frames))
        if len(rows):
            yield rows
