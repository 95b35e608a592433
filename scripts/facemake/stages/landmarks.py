"""Find the landmarks of every tracked face, and cut out its aligned crop in the same pass."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow as pa

from facemake.alignment import align
from facemake.backends.landmarks import LANDMARKERS, Face, Finder
from facemake.detections import landmark_box
from facemake.errors import FacemakeError
from facemake.media import Frame, Media, open_media
from facemake.models import planned
from facemake.provenance import Recipe
from facemake.runtime.contexts import Closing
from facemake.runtime.progress import Progress
from facemake.samples import Sample
from facemake.schemes import IBUG51, convert
from facemake.segments import say_if_in_doubt
from facemake.shards import ShardRun, decodable_samples
from facemake.stages.ahead import ahead
from facemake.stages.batches import batches
from facemake.stages.crops import CropWriter
from facemake.status import FrameStatus
from facemake.tables import TableReader, TableWriter, regrouped
from facemake.template import crop_affine

CONTACT_FRAMES = 12

Pair = tuple[Frame, list[dict[str, Any]]]
"""A frame, and its rows of the detections table."""

_Seen = tuple[dict[str, Any], Face | None]
"""A row of the detections table, and its face where one was seen."""


def landmarks(
    plan: Path,
    probe: Path,
    detections: Path,
    output: Path,
    faces: Path,
    recipe: Recipe,
    given: Sequence[Path] = (),
    segments: Mapping[str, Sequence[tuple[Path, Path]]] | None = None,
) -> None:
    """Write the landmarks table and the crops of a shard.

    The crops file has a group a sample: `crops` (n, 112, 112, 3) uint8 RGB, `affine` (n, 2, 3)
    float32 from frame pixels to crop pixels, `frame` (n,) int32, `track` (n,) int16, and
    `contact/FRAME`, small JPEG pictures with the attribute `scale` (contact pixels a frame pixel).

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        detections: its detections table; the landmarks have the same rows.
        output: `landmarks/{shard}.parquet`.
        faces: `faces/{shard}.h5`.
        recipe: of the stage `landmarks`.
        given: what the engine has found already: archives that its backend reads (3DI).
        segments: sample -> table and crops of each of its segments (`landmarks_segment`), in the
            order of time; the files are the same with and without.
    """
    outputs = {"landmarks": output, "faces": faces}
    with (
        ShardRun(recipe, plan, [detections, *given], outputs) as run,
        TableReader(detections) as reader,
        Marker(recipe, given) as marker,
    ):
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            writer, crops = part.table("landmarks"), CropWriter(part.h5("faces"))
            row = known.get(sample.sample)
            if row is None:
                continue
            parts = (segments or {}).get(sample.sample, ())
            if _are_whole(parts, sample.sample, reader):
                _join(parts, sample.sample, writer, crops)
                run.progress.frame(row["n_frames"])
                continue
            say_if_in_doubt(sample.sample, len(parts))
            with open_media(sample) as media:
                pairs = _with_rows(media, reader, sample)
                marker.mark(row, pairs, writer, crops, run.progress)
            crops.finish()


class Marker(Closing):
    """Finds the landmarks of frames, and writes them and their crops.

    Args:
        recipe: of the stage.
        given: see `landmarks`.
    """

    def __init__(self, recipe: Recipe, given: Sequence[Path] = ()) -> None:
        cv2.setNumThreads(1)
        self._settings = recipe.settings
        row = LANDMARKERS[str(recipe.backend)]
        own = planned(recipe).name if row.own_model else None
        self._source = row.source(given, recipe.settings.get("device", "cpu"), own)

    def close(self) -> None:
        """Free the network."""
        self._source.close()

    def mark(
        self,
        probe: Mapping[str, Any],
        pairs: Iterable[Pair],
        writer: TableWriter,
        crops: CropWriter,
        progress: Progress,
    ) -> None:
        """Write the rows and crops of frames.

        Args:
            probe: the sample's row of the probe table.
            pairs: the frames, each with its rows of the detections table.
            writer: of the landmarks table.
            crops: of the sample.
            progress: counts the frames.
        """
        find = self._source.sample(probe, self._settings)
        wanted = contact_frames(probe["n_frames"])
        size = self._source.batch_size

        def faces(stream: Iterable[Pair]) -> Iterator[_Seen]:
            for frame, rows in stream:
                progress.frame()
                index = rows[0]["frame"]  # `frame.index` is that of a segment
                if frame.status is FrameStatus.OK and index in wanted:
                    crops.add_contact(index, frame.rgb)
                for row in rows:
                    seen = row["status"] == FrameStatus.OK
                    yield row, self._face(frame, row) if seen else None

        with closing(_one_by_one(pairs) if size == 1 else _ahead(pairs, 2 * size)) as stream:
            for batch in batches(faces(stream), size, _pixels):
                self._write(batch, find, writer, crops)

    def _face(self, frame: Frame, row: Mapping[str, Any]) -> Face:
        box = np.array([row[k] for k in "xywh"], np.float32)
        if drawn := self._settings.get("face_box"):
            box = landmark_box(box, drawn)
        return Face(frame, box, np.array(row["keypoints5"], np.float32).reshape(5, 2))

    def _write(
        self, batch: Sequence[_Seen], find: Finder, writer: TableWriter, crops: CropWriter
    ) -> None:
        scheme, least = self._source.scheme, self._settings["min_confidence"]
        faces = [face for _, face in batch if face is not None]
        answers = iter(find(faces) if faces else ())
        for row, face in batch:
            base = {key: row[key] for key in ("sample", "frame", "track", "time")}
            if face is None:
                writer.append(**base, scheme=scheme, status=row["status"])
                continue
            found = next(answers)
            if isinstance(found, FrameStatus):
                writer.append(**base, scheme=scheme, status=found)
                continue
            sure = found.confidence is None or found.confidence >= least
            writer.append(
                **base,
                scheme=scheme,
                points=found.points.ravel(),
                depth=found.depth,
                confidence=found.confidence,
                status=FrameStatus.OK if sure else FrameStatus.LOW_CONFIDENCE,
            )
            affine = crop_affine(convert(found.points, scheme, IBUG51))
            crops.add(align(face.frame.rgb, affine), affine, row["frame"], row["track"])


def _pixels(one: _Seen) -> int:
    return 0 if one[1] is None else one[1].frame.rgb.nbytes


def _one_by_one(pairs: Iterable[Pair]) -> Generator[Pair, None, None]:
    yield from pairs


def _ahead(pairs: Iterable[Pair], most: int) -> Generator[Pair, None, None]:
    def pixels(pair: Pair) -> int:
        return pair[0].rgb.nbytes if pair[0].status is FrameStatus.OK else 0

    return ahead(_one_by_one(pairs), most, pixels)


def _with_rows(media: Media, reader: TableReader, sample: Sample) -> Iterator[Pair]:
    """Each frame with its rows of the detections table.

    Raises:
        FacemakeError: the frames are not those of the table.
    """
    tables = reader.groups(sample.sample)
    for frame, rows in zip_longest(media, rows_by_frame(tables)):
        if frame is None or rows is None or rows[0]["frame"] != frame.index:
            raise FacemakeError(
                f"{sample.path} has other frames than when its faces were detected: it was "
                "replaced while the run was going on; start it again"
            )
        yield frame, rows


def _are_whole(segments: Sequence[tuple[Path, Path]], sample: str, reader: TableReader) -> bool:
    """Whether the segments have all rows of a sample: one that is in doubt has none."""
    count = 0
    for path, _ in segments:
        with TableReader(path) as table:
            count += table.count(sample)
    return bool(segments) and count == reader.count(sample)


def _join(
    segments: Sequence[tuple[Path, Path]], sample: str, writer: TableWriter, crops: CropWriter
) -> None:
    def rows() -> Iterator[pa.Table]:
        for path, _ in segments:
            with TableReader(path) as reader:
                yield from reader.groups(sample)

    for table in regrouped(rows()):
        writer.write_table(table)
    for _, path in segments:
        with h5py.File(path, "r") as file:
            crops.append(file[sample])
    crops.finish()


def contact_frames(n_frames: int) -> frozenset[int]:
    """The frames that go onto a contact sheet: evenly spread, the middle of each part."""
    count = min(n_frames, CONTACT_FRAMES)
    return frozenset(int((i + 0.5) * n_frames / count) for i in range(count))


def rows_by_frame(tables: Iterable[pa.Table]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each frame, from tables in key order."""
    rows = (row for table in tables for row in table.to_pylist())
    for _, group in groupby(rows, key=lambda row: row["frame"]):
        yield list(group)
