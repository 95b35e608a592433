"""The rectangles of 3DI and 3DI-lite as the detections of every backend: a row a frame.

An engine follows one face, which is track 0. Frames without one have their status: `no_face`
outside of the track, `lost` within it, `not_converged` of a recording that it could not be given.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake.archives import Archive
from facemake.backends.threedi import Engine, convert
from facemake.backends.threedi.convert import View, view_of
from facemake.backends.threedi.streams import Stream
from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.media import open_media
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.shards import ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import TableWriter, list_array

Array = NDArray[np.float64]


def threedi_detections(
    plan: Path, probe: Path, video: Path, rects: Path, output: Path, recipe: Recipe
) -> None:
    """Write the detections table of a shard from 3DI's rectangles, which have no score.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        video: what the engine was given.
        rects: the raw files of its detection.
        output: `detections/{shard}.parquet`.
        recipe: of the stage `detect`.
    """
    engine = Engine(str(recipe.backend))
    inputs = [probe, video, rects]
    with (
        ShardRun(recipe, plan, inputs, {"detections": output}) as run,
        Archive(video) as videos,
        Archive(rects) as raw,
    ):
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            table = part.table("detections")
            row = known.get(sample.sample)
            if row is None:
                continue
            times, broken = _clock(sample, row["n_frames"])
            view = view_of(recipe.settings, row, videos, sample.sample)
            stream = Stream(raw, sample.sample, "rects", engine)
            _write_detections(table, sample.sample, times, broken, stream, view)
            run.progress.frame(len(times))


def _clock(sample: Sample, n_frames: int) -> tuple[Array, NDArray[np.bool_]]:
    """(n,) the frames' times in seconds, NaN where there is none, and which cannot be decoded."""
    times, broken = [], []
    with open_media(sample) as media:
        for frame in media:
            times.append(np.nan if frame.time is None else frame.time)
            broken.append(frame.status is not FrameStatus.OK)
    if len(times) != n_frames:
        raise FacemakeError(
            f"{sample.path} has {counted(len(times), 'frame')} and had {n_frames} when the run "
            "began: leave recordings as they are while they are worked on, and run again"
        )
    return np.array(times, np.float64), np.array(broken, bool)


def _write_detections(
    table: TableWriter,
    sample: str,
    times: Array,
    broken: NDArray[np.bool_],
    stream: Stream,
    view: View | None,
) -> None:
    n = len(times)
    rects = np.nan_to_num(stream.take(n), nan=0.0)
    found = convert.there(rects) & ~broken
    boxes = rects if view is None else view.boxes(rects)
    found &= np.isfinite(boxes).all(axis=1)  # the lens may show nothing of it
    at = np.flatnonzero(found)
    frame = np.arange(n)
    inside = (frame > at[0]) & (frame < at[-1]) if len(at) else np.zeros(n, bool)
    nothing = FrameStatus.NO_FACE if stream.there else FrameStatus.NOT_CONVERGED
    status = np.where(inside, str(FrameStatus.LOST), str(nothing)).astype(object)
    status[found] = str(FrameStatus.OK)
    status[broken] = str(FrameStatus.DECODE_ERROR)
    values = boxes.astype(np.float32)
    table.append_columns(
        sample,
        {
            "frame": frame.astype(np.int32),
            "track": np.zeros(n, np.int16),
            "time": pa.array(times, mask=np.isnan(times)),
            "face": pa.array(np.zeros(n, np.int16), mask=~found),
            **{name: pa.array(values[:, k], mask=~found) for k, name in enumerate("xywh")},
            "keypoints5": list_array(np.full((n, 10), np.nan), found),
            "status": status.tolist(),
        },
    )
