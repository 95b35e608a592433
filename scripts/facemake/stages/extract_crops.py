"""The faces of a shard as picture files: aligned crops by a named template, in an archive."""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.errors import TableError
from facemake.extraction.cutting import Cutter, crop_columns
from facemake.extraction.encoding import encoded
from facemake.extraction.inputs import numbered
from facemake.extraction.settings import CropSettings
from facemake.media import Kind, read_frames
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.schemes import IBUG51, convert, five_points
from facemake.shards import ShardRun, decodable_samples
from facemake.stages.landmarks import rows_by_frame
from facemake.status import FrameStatus
from facemake.tables import TableReader, TableWriter

Row = dict[str, Any]
Seen = list[tuple[Row, NDArray[np.float32] | None]]
"""The faces of a frame: rows of the detections table, each with its landmarks, (51, 2) px."""


def extract_crops(
    plan: Path,
    probe: Path,
    detections: Path,
    output: Path,
    crops: Path,
    recipe: Recipe,
    landmarks: Path | None = None,
) -> None:
    """Write the crops of a shard and the table of them, which has a row a crop.

    The archive (ZIP, not compressed again) has `SAMPLE_FRAME.jpg` of track 0 and
    `SAMPLE_FRAME_TRACK.jpg` of others, the frame with six digits or more.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        detections: its detections table: every detected face of its tracks is cut.
        output: `extract/{shard}.parquet`.
        crops: `crops/{shard}.zip`.
        recipe: of the stage `extract_crops`.
        landmarks: its landmarks table, where the template lies on landmarks.

    Raises:
        ModelError: a model is missing or not the registered one.
    """
    cv2.setNumThreads(1)
    options = dict(recipe.settings)
    face_box, step = options.pop("face_box"), options.pop("frame_step")
    del options["landmarks"]  # which are given
    settings = CropSettings(**options)
    tables = [detections] if landmarks is None else [detections, landmarks]
    outputs = {"extract": output, "crops": crops}
    with (
        closing(Cutter(settings, face_box, str(recipe.backend or ""))) as cutter,
        ShardRun(recipe, plan, [probe, *tables], outputs, stored=frozenset({"crops"})) as run,
        ExitStack() as opened,
    ):
        readers = [opened.enter_context(TableReader(path)) for path in tables]
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            writer = part.table("extract")
            scratch = run.part_path(sample, "crops").with_suffix(".files")
            shutil.rmtree(scratch, ignore_errors=True)
            row = known.get(sample.sample)
            if row is not None:
                scratch.mkdir(parents=True)
                every = step if row["kind"] == Kind.VIDEO else 1
                _cut_sample(sample, readers, every, cutter, settings, writer, scratch)
                run.progress.frame(row["n_frames"])
            files: Mapping[str, Path | bytes] = {
                path.name: path for path in sorted(scratch.glob("*"))
            }
            part.archive("crops", files)
            shutil.rmtree(scratch, ignore_errors=True)


def _cut_sample(
    sample: Sample,
    readers: list[TableReader],
    step: int,
    cutter: Cutter,
    settings: CropSettings,
    writer: TableWriter,
    scratch: Path,
) -> None:
    frames, times = array("q"), array("d")
    for index, time, _ in _faces(sample.sample, readers[:1], step):
        frames.append(index)
        times.append(np.nan if time is None else time)
    # without stamps (pictures, bare streams) all is decoded up to the last one
    stamps = None if np.isnan(np.asarray(times)).any() else list(times)
    pictures = read_frames(sample, list(frames), stamps)
    for frame, (index, _, seen) in zip(pictures, _faces(sample.sample, readers, step), strict=True):
        for row, ibug51 in seen:
            box = np.array([row[k] for k in "xywh"], np.float32)
            points = np.array(row["keypoints5"], np.float32).reshape(5, 2)
            derived = settings.rule.needs == "eyes" and not np.isfinite(points[:2]).all()
            if derived and ibug51 is not None:
                points = five_points(ibug51)
            cut = cutter(frame.rgb, box, points, ibug51)
            if derived and ibug51 is not None and cut.aligned_by:
                cut = replace(cut, aligned_by="landmarks")
            name = None
            if cut.crop is not None:
                stem = numbered(f"{sample.sample}_{index:06d}", row["track"])
                name = f"{stem}.{settings.format}"
                data = encoded(cut.crop.pixels, settings.format, settings.quality)
                (scratch / name).write_bytes(data)
            writer.append(
                **{k: row[k] for k in ("sample", "frame", "track", "time")},
                output=name,
                **crop_columns(box, row["score"], cut),
            )


def _faces(
    sample: str, readers: list[TableReader], step: int
) -> Iterator[tuple[int, float | None, Seen]]:
    """The frames of a sample in which a face was detected, every `step`-th one looked at.

    Args:
        sample: its name.
        readers: of the detections, and of the landmarks where these are wanted.
        step: from the first frame on.

    Yields:
        Index, time and faces of a frame.
    """
    detections = rows_by_frame(readers[0].groups(sample))
    marked: Iterator[list[Row]] | None = None
    if len(readers) > 1:
        columns = ["frame", "track", "scheme", "points", "status"]
        marked = rows_by_frame(readers[1].groups(sample, columns))
    for rows in detections:
        landmarks = [None] * len(rows) if marked is None else _of_rows(rows, next(marked, []))
        if rows[0]["frame"] % step:
            continue
        seen = [
            (row, points)
            for row, points in zip(rows, landmarks, strict=True)
            if row["status"] == FrameStatus.OK
        ]
        if seen:
            yield rows[0]["frame"], rows[0]["time"], seen


def _of_rows(rows: list[Row], marked: list[Row]) -> list[NDArray[np.float32] | None]:
    found: list[NDArray[np.float32] | None] = []
    for row, other in zip_longest(rows, marked):
        if row is None or other is None or any(row[k] != other[k] for k in ("frame", "track")):
            raise TableError(
                "the landmarks do not have the rows of the detections: one of these tables is of "
                "another run; delete both and run again"
            )
        if other["status"] != FrameStatus.OK:
            found.append(None)
            continue
        points = np.array(other["points"], np.float32).reshape(-1, 2)
        found.append(convert(points, other["scheme"], IBUG51))
    return found
