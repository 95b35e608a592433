"""Detect faces in every frame of a segment of a long recording; tracks come when all are there."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from facemake.provenance import Recipe
from facemake.samples import read_shard
from facemake.segments import Segment
from facemake.shards import ShardRun, decodable_samples
from facemake.stages.detect import detector_of
from facemake.stages.looking import looked_at
from facemake.status import SampleStatus


def detect_segment(plan: Path, probe: Path, output: Path, recipe: Recipe, segment: Segment) -> None:
    """Write what the detector finds in a segment: a row a frame, from 0 in the segment.

    Of a recording that is not whole there are no rows: `detect` then goes over all of it, since
    what is decoded of damage depends on where one begins.

    Args:
        plan: the plan file of the sample's shard.
        probe: its probe table.
        output: `detections/.segments/{sample}.{number}.parquet`.
        recipe: of the stage `detect_segment`.
        segment: which part of which sample.

    Raises:
        ModelError: the detector's model is missing or not the registered one.
    """
    with (
        ShardRun(recipe, plan, [probe], {"detect_segment": output}, segment=segment) as run,
        closing(detector_of(recipe)) as detector,
    ):
        row = decodable_samples(probe).get(segment.sample)
        if row is not None:
            run.progress.expect(segment.frames(segment.whole(read_shard(plan)), row))
        for sample, part in run.pending():
            writer = part.table("detect_segment")
            if row is None or row["status"] != SampleStatus.OK:
                continue
            raw = next(looked_at([sample], detector, run.progress.frame, for_table=True))
            if raw.undamaged and not raw.broken:
                raw.write(writer, segment.sample)
