"""Find the landmarks of every tracked face, and cut out its aligned crop in the same pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
from numpy.typing import NDArray

from facemake.alignment import align
from facemake.backends.landmarks import LANDMARKERS, Finder
from facemake.errors import FacemakeError
from facemake.media import open_media
from facemake.provenance import Recipe
from facemake.samples import Sample
from facemake.schemes import IBUG51, convert
from facemake.shards import Part, ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import TableReader
from facemake.template import CROP_SIZE, crop_affine

CONTACT_FRAMES = 12
CONTACT_SIDE = 320
_CONTACT_QUALITY = 85
_CROPS_AT_ONCE = 64


def landmarks(
    plan: Path,
    probe: Path,
    detections: Path,
    output: Path,
    faces: Path,
    recipe: Recipe,
    given: Sequence[Path] = (),
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
    """
    cv2.setNumThreads(1)
    row = LANDMARKERS[str(recipe.backend)]
    source = row.source(given)
    least = recipe.settings["min_confidence"]
    outputs = {"landmarks": output, "faces": faces}
    with (
        ShardRun(recipe, plan, [detections, *given], outputs) as run,
        TableReader(detections) as reader,
    ):
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            n_frames = known[sample.sample]["n_frames"] if sample.sample in known else 0
            find = source.sample(known[sample.sample], recipe.settings) if n_frames else None
            _landmark_sample(sample, part, reader, source.scheme, find, least, run, n_frames)
    source.close()


def _landmark_sample(
    sample: Sample,
    part: Part,
    reader: TableReader,
    scheme: str,
    find: Finder | None,
    least: float,
    run: ShardRun,
    n_frames: int,
) -> None:
    writer = part.table("landmarks")
    crops = _CropWriter(part.h5("faces"))
    wanted = contact_frames(n_frames)
    if find is not None:
        with open_media(sample) as media:
            for frame, rows in zip_longest(media, _rows_by_frame(reader, sample.sample)):
                if frame is None or rows is None or rows[0]["frame"] != frame.index:
                    raise FacemakeError(
                        f"{sample.path} has other frames than when its faces were detected: it was "
                        "replaced while the run was going on; start it again"
                    )
                run.progress.frame()
                usable = frame.status is FrameStatus.OK
                if usable and frame.index in wanted:
                    crops.add_contact(frame.index, frame.rgb)
                for row in rows:
                    base = {key: row[key] for key in ("sample", "frame", "track", "time")}
                    if row["status"] != FrameStatus.OK:
                        writer.append(**base, scheme=scheme, status=row["status"])
                        continue
                    box = np.array([row[k] for k in "xywh"], np.float32)
                    points5 = np.array(row["keypoints5"], np.float32).reshape(5, 2)
                    found = find(frame, box, points5)
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
                    crops.add(align(frame.rgb, affine), affine, row["frame"], row["track"])
    crops.finish()


def contact_frames(n_frames: int) -> frozenset[int]:
    """The frames that go onto a contact sheet: evenly spread, the middle of each part."""
    count = min(n_frames, CONTACT_FRAMES)
    return frozenset(int((i + 0.5) * n_frames / count) for i in range(count))


def _rows_by_frame(reader: TableReader, sample: str) -> Iterator[list[dict[str, Any]]]:
    rows = (row for table in reader.groups(sample) for row in table.to_pylist())
    for _, group in groupby(rows, key=lambda row: row["frame"]):
        yield list(group)


class _CropWriter:
    """Streams crops into a sample's HDF5 file, a few at a time."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        side = (CROP_SIZE, CROP_SIZE, 3)
        self._crops = file.create_dataset(
            "crops", (0, *side), "u1", maxshape=(None, *side), chunks=(4, *side)
        )
        self._affine = file.create_dataset(
            "affine", (0, 2, 3), "f4", maxshape=(None, 2, 3), chunks=(1024, 2, 3)
        )
        self._frame = file.create_dataset("frame", (0,), "i4", maxshape=(None,), chunks=(4096,))
        self._track = file.create_dataset("track", (0,), "i2", maxshape=(None,), chunks=(4096,))
        self._held: list[tuple[NDArray[np.uint8], NDArray[np.float64], int, int]] = []
        self._contact = file.create_group("contact")

    def add(
        self, crop: NDArray[np.uint8], affine: NDArray[np.float64], frame: int, track: int
    ) -> None:
        self._held.append((crop, affine, frame, track))
        if len(self._held) >= _CROPS_AT_ONCE:
            self.finish()

    def add_contact(self, frame: int, rgb: NDArray[np.uint8]) -> None:
        scale = min(1.0, CONTACT_SIDE / max(rgb.shape[:2]))
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _CONTACT_QUALITY]
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
        self._contact.create_dataset(f"{frame:08d}", data=jpeg.ravel()).attrs["scale"] = scale

    def finish(self) -> None:
        """Write what is held."""
        if not self._held:
            return
        start, end = len(self._frame), len(self._frame) + len(self._held)
        for index, dataset in enumerate((self._crops, self._affine, self._frame, self._track)):
            dataset.resize(end, axis=0)
            dataset[start:end] = np.array([one[index] for one in self._held], dataset.dtype)
        self._held.clear()
