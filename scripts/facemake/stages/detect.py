"""Detect faces in every frame of a shard and join them to tracks."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import cv2
import numpy as np

from facemake.backends.detect import DETECTORS, Detector
from facemake.models import planned
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.segments import say_if_in_doubt
from facemake.shards import ShardRun, decodable_samples
from facemake.stages.looking import looked_at
from facemake.stages.raw_detections import RawDetections, joined
from facemake.stages.tracked import Tracked
from facemake.tables import TableWriter
from facemake.tracking import (
    TrackRules,
    tracks_of_pictures,
    tracks_of_video,
)

logger = logging.getLogger(__name__)


def detect(
    plan: Path,
    probe: Path,
    output: Path,
    recipe: Recipe,
    segments: Mapping[str, Sequence[Path]] | None = None,
) -> None:
    """Write the detections table of a shard.

    Each decoded frame has one row with track 0, and a row for every further track between that
    track's first and last frame. Of pictures that stand alone, each has a row for each of its
    faces, and one with track 0 where it has none.

    Args:
        plan: the shard's plan file.
        probe: its probe table; a sample that cannot be decoded gets no rows.
        output: `detections/{shard}.parquet`.
        recipe: of the stage `detect`.
        segments: sample -> what `detect_segment` found in its segments, in the order of time; the
            table is the same with and without.

    Raises:
        ModelError: the detector's model is missing or not the registered one.
    """
    track = recipe.settings["track"]
    rules = TrackRules(
        max_gap=track["max_gap"],
        min_frames=track["min_frames"],
        main=track["main"],
        min_score=recipe.settings["min_score"],
        start_score=recipe.settings["start_score"],
    )
    with (
        ShardRun(recipe, plan, [probe], {"detections": output}) as run,
        closing(detector_of(recipe)) as detector,
        ExitStack() as opened,
    ):
        kinds = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in kinds.values()))
        cut = segments or {}
        whole = [s for s in run.unfinished() if s.sample in kinds and s.sample not in cut]
        found = opened.enter_context(closing(looked_at(whole, detector, run.progress.frame)))
        for sample, part in run.pending():
            writer = part.table("detections")
            if sample.sample not in kinds:
                continue
            row = kinds[sample.sample]
            if sample.sample in cut:
                raw = _joined(sample, cut[sample.sample], row["n_frames"], detector, run)
            else:
                raw = next(found)
            alone = stand_alone(row, run.metadata)
            cuts = raw.shots.cuts() if track["cuts"] and not alone else None
            _write(sample, writer, raw, rules, cuts, alone)


def detector_of(recipe: Recipe) -> Detector:
    """The detector that a recipe names.

    Raises:
        ModelError: its model is missing or not the recipe's, or its device is not there.
    """
    cv2.setNumThreads(1)
    row = DETECTORS[str(recipe.backend)]
    settings = recipe.settings
    return row.create(
        planned(recipe).name,
        settings["min_score"],
        settings.get("device", "cpu"),
        settings.get("tile"),
    )


def _joined(
    sample: Sample, parts: Sequence[Path], n_frames: int, detector: Detector, run: ShardRun
) -> RawDetections:
    """A long recording, from its segments if they are certain."""
    raw = joined(parts, sample.sample, n_frames)
    if raw is None:
        say_if_in_doubt(sample.sample, len(parts))
        return next(looked_at([sample], detector, run.progress.frame))
    run.progress.frame(len(raw.times))
    return raw


def _write(
    sample: Sample,
    writer: TableWriter,
    raw: RawDetections,
    rules: TrackRules,
    cuts: Sequence[int] | None,
    alone: bool,
) -> None:
    if alone:
        tracks = tracks_of_pictures(
            raw.found,
            rules,
            np.frombuffer(raw.widths, np.int32),
            np.frombuffer(raw.heights, np.int32),
        )
    else:
        tracks = tracks_of_video(
            raw.found,
            rules,
            len(raw.times),
            max(raw.widths, default=0),
            max(raw.heights, default=0),
            cuts or (),
        )
    if cuts:
        logger.info(
            "%s: %d cuts to another shot, the first at frame %d: tracks end there",
            sample.sample,
            len(cuts),
            cuts[0],
        )
    tracked = Tracked(raw.found, tracks, raw.times, raw.broken, cuts, alone)
    tracked.write(writer, sample.sample)
