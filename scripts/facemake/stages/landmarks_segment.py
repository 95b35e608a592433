"""Landmarks and crops of a segment of a long recording, whose faces are in tracks already."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from facemake.media import Frame, Media, open_media
from facemake.provenance import Recipe
from facemake.rows import numbers
from facemake.samples import Sample, read_shard
from facemake.segments import Segment
from facemake.shards import ShardRun, decodable_samples
from facemake.stages.crops import CropWriter
from facemake.stages.landmarks import Marker, rows_by_frame
from facemake.status import SampleStatus
from facemake.tables import TableReader


def landmarks_segment(
    plan: Path,
    probe: Path,
    detections: Path,
    output: Path,
    faces: Path,
    recipe: Recipe,
    segment: Segment,
) -> None:
    """Write the landmarks and crops of a segment: the rows that the whole sample has in its range.

    Where frames and rows do not agree, or the recording is not whole, there are no rows, and
    `landmarks` goes over all of it.

    Args:
        plan: the plan file of the sample's shard.
        probe: its probe table.
        detections: its detections table.
        output: `landmarks/.segments/{sample}.{number}.parquet`.
        faces: `faces/.segments/{sample}.{number}.h5`.
        recipe: of the stage `landmarks_segment`.
        segment: which part of which sample.
    """
    outputs = {"landmarks": output, "faces": faces}
    with (
        ShardRun(recipe, plan, [detections], outputs, segment=segment) as run,
        TableReader(detections) as reader,
        Marker(recipe) as marker,
    ):
        row = decodable_samples(probe).get(segment.sample)
        if row is not None:
            run.progress.expect(segment.frames(segment.whole(read_shard(plan)), row))
        for sample, part in run.pending():
            writer, crops = part.table("landmarks"), CropWriter(part.h5("faces"))
            if row is None or row["status"] != SampleStatus.OK:
                continue
            try:
                with open_media(sample) as media:
                    pairs = _with_rows(media, reader, sample)
                    marker.mark(row, pairs, writer, crops, run.progress)
                    if not media.undamaged:
                        raise _DoubtError
                crops.finish()
            except _DoubtError:
                part.close()
                part.table("landmarks")
                CropWriter(part.h5("faces"))


class _DoubtError(Exception):
    """The segment is not certain to be what one pass over the whole gives."""


def _with_rows(
    media: Media, reader: TableReader, sample: Sample
) -> Iterator[tuple[Frame, list[dict[str, Any]]]]:
    rows = rows_by_frame(_in_range(reader, sample))
    for frame, here in zip_longest(media, rows):
        if frame is None or here is None or here[0]["time"] != frame.time or frame.error:
            raise _DoubtError
        yield frame, here


def _in_range(reader: TableReader, sample: Sample) -> Iterator[pa.Table]:
    start = -np.inf if sample.start is None else sample.start
    end = np.inf if sample.end is None else sample.end
    for table in reader.groups(sample.sample):
        times = numbers(table, "time").astype(np.float64)  # without a stamp: NaN, in no range
        inside = (times >= start) & (times < end)
        if inside.any():
            yield table.filter(pa.array(inside))
