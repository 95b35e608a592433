"""Detect faces in every frame of a shard and join them to tracks."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from math import isnan
from pathlib import Path

import numpy as np

from facemake.backends.detect import DETECTORS, Detector
from facemake.media import open_media
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.shards import ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import TableWriter
from facemake.tracking import (
    DetectionList,
    Track,
    TrackRules,
    tracks_of_pictures,
    tracks_of_video,
)


def detect(plan: Path, probe: Path, output: Path, recipe: Recipe) -> None:
    """Write the detections table of a shard.

    Each decoded frame has one row with track 0, and a row for every further track between that
    track's first and last frame. Of pictures that stand alone, each has a row for each of its
    faces, and one with track 0 where it has none.

    Args:
        plan: the shard's plan file.
        probe: its probe table; a sample that cannot be decoded gets no rows.
        output: `detections/{shard}.parquet`.
        recipe: of the stage `detect`.

    Raises:
        ModelError: the detector's model is missing or not the registered one.
    """
    row = DETECTORS[str(recipe.backend)]
    track = recipe.settings["track"]
    rules = TrackRules(
        max_gap=track["max_gap"],
        min_frames=track["min_frames"],
        main=track["main"],
        min_score=recipe.settings["min_score"],
        start_score=recipe.settings["start_score"],
    )
    detector: Detector = row.load().create(row.models[0], rules.min_score)
    with ShardRun(recipe, plan, [probe], {"detections": output}) as run:
        kinds = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in kinds.values()))
        for sample, part in run.pending():
            writer = part.table("detections")
            if sample.sample in kinds:
                alone = stand_alone(kinds[sample.sample], run.metadata)
                _detect_sample(sample, writer, detector, rules, alone, run)
    detector.close()


def _detect_sample(
    sample: Sample,
    writer: TableWriter,
    detector: Detector,
    rules: TrackRules,
    alone: bool,
    run: ShardRun,
) -> None:
    found = DetectionList()
    times, widths, heights = array("d"), array("i"), array("i")
    broken: set[int] = set()
    with open_media(sample) as media:
        for frame in media:
            times.append(float("nan") if frame.time is None else frame.time)
            if frame.status is FrameStatus.OK:
                widths.append(frame.width)
                heights.append(frame.height)
                found.append(frame.index, detector(frame.rgb))
            else:
                broken.add(frame.index)
                widths.append(0)
                heights.append(0)
            run.progress.frame()
    n_frames = len(times)
    if alone:
        tracks = tracks_of_pictures(
            found, rules, np.frombuffer(widths, np.int32), np.frombuffer(heights, np.int32)
        )
    else:
        tracks = tracks_of_video(
            found, rules, n_frames, max(widths, default=0), max(heights, default=0)
        )
    for row in _rows(found, tracks, times, broken, alone):
        writer.append(sample=sample.sample, **row)


def _rows(
    found: DetectionList,
    tracks: list[Track],
    times: array[float],
    broken: set[int],
    alone: bool,
) -> Iterator[dict[str, object]]:
    """The rows of a sample by frame, then track.

    Between two pictures that stand alone no face is lost: it was never to be expected.
    """
    frames, values, faces = found.frames, found.values, found.faces
    at = [{int(frames[i]): i for i in track.detections} for track in tracks]
    ends = [(min(where), max(where)) for where in at]
    for frame, time in enumerate(times):
        clock = None if isnan(time) else time  # a picture has none
        for number in range(max(1, len(tracks))):
            inside = number < len(tracks) and (
                frame in at[number] if alone else ends[number][0] <= frame <= ends[number][1]
            )
            if number and not inside:
                continue
            row: dict[str, object] = {"frame": frame, "track": number, "time": clock}
            index = at[number].get(frame) if inside else None
            if frame in broken:
                yield {**row, "status": FrameStatus.DECODE_ERROR}
            elif index is None:
                yield {**row, "status": FrameStatus.LOST if inside else FrameStatus.NO_FACE}
            else:
                x, y, w, h, score = values[index, :5].tolist()
                yield {
                    **row,
                    "face": int(faces[index]),
                    "x": x,
                    "y": y,
                    "w": w,
                    "h": h,
                    "score": score,
                    "keypoints5": values[index, 5:],
                    "status": FrameStatus.OK,
                }
