"""The examples of a shard: the faces that are good enough, each with its crop and its labels."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake import h5
from facemake.archives import Archive
from facemake.counting import counted
from facemake.dataset import layout, quality
from facemake.dataset.crop import global_params_in_crop, landmarks_in_crop
from facemake.dataset.fhog import fhog
from facemake.dataset.layout import AU_NAMES, NUMBERS
from facemake.dataset.motion import Motion
from facemake.dataset.splits import split_of, subject_of
from facemake.errors import TableError
from facemake.exclusions import Exclusion, Exclusions, excludes
from facemake.pictures import stand_alone
from facemake.provenance import Recipe, digest
from facemake.rows import Source, equals, lists, numbers, side_by_side
from facemake.samples import Sample
from facemake.schemes import IBUG51, IBUG68, N_POINTS, as_ibug68, ibug, subset
from facemake.shards import Part, ShardRun
from facemake.status import DECODABLE, ENGINE_FAILED, FAILED, FrameStatus, SampleStatus
from facemake.tables import REJECTIONS, TableReader

logger = logging.getLogger(__name__)

_CROPS_AT_ONCE = 64
_EVIDENCE = {
    "detections": ("w", "status"),
    "landmarks": ("scheme", "points", "confidence", "status"),
    "fit": ("rx", "ry", "rz", "status"),
    "aus": AU_NAMES,
}
_CONTENT = {
    "detections": ("time", "x", "y", "w", "h", "status"),
    "landmarks": ("scheme", "points", "confidence"),
    "fit": ("global_params", "local_params"),
    "aus": AU_NAMES,
}


@dataclass(frozen=True)
class Settings:
    """The `dataset` section of the config, as far as it decides what is an example."""

    frame_step: int
    max_per_track: int | None
    min_quality: float
    splits: Mapping[str, float]


def dataset(
    plan: Path,
    probe: Path,
    detections: Path,
    landmarks: Path,
    faces: Path,
    fit: Path,
    aus: Path,
    output: Path,
    counts: Path,
    recipe: Recipe,
    raw: Sequence[Path] = (),
    excluded: Exclusions | None = None,
) -> None:
    """Write the examples of a shard, and what became of each of its samples.

    Args:
        plan: the shard's plan file; its subjects and splits go into the examples.
        probe: its probe table.
        detections: its detections table.
        landmarks: its landmarks table.
        faces: its aligned crops.
        fit: its fit table.
        aus: its table of action units.
        output: `dataset/{shard}.h5` (`facemake.dataset.layout`), by sample, frame and track.
        counts: `counts/{shard}.parquet`, a row a sample, those that gave nothing included.
        recipe: of the stage `dataset`.
        raw: archives of 3DI's steps, which say what failed.
        excluded: samples, or frames of them, that a person leaves out.

    Raises:
        TableError: the inputs do not belong together.
    """
    settings = Settings(**recipe.settings)
    outputs = {"examples": output, "counts": counts}
    inputs = [probe, detections, landmarks, faces, fit, aus, *raw]
    left_out = excluded or Exclusions()

    def assemble(
        parts: Sequence[Path], names: Sequence[str], beside: Path, metadata: Mapping[str, Any]
    ) -> None:
        members = {sample.sample: sample for sample in run.samples}
        _assemble(parts, [members[name] for name in names], beside, metadata, settings)

    with ExitStack() as stack:
        run = stack.enter_context(
            ShardRun(
                recipe,
                plan,
                inputs,
                outputs,
                merge_h5=assemble,
                also=left_out.digest if left_out else "",
            )
        )
        tables = {
            name: stack.enter_context(TableReader(path))
            for name, path in zip(_EVIDENCE, (detections, landmarks, fit, aus), strict=True)
        }
        crops = stack.enter_context(h5.opened(faces))
        probes, failed = _probe_rows(probe), _failures(raw)
        run.progress.expect(sum(row["n_frames"] or 0 for row in probes.values()))
        for sample, part in run.pending():
            row = {**probes[sample.sample], "failed": failed.get(sample.sample, "")}
            _do_sample(sample, part, row, tables, crops, settings, run, left_out.of(sample.sample))


def _probe_rows(probe: Path) -> dict[str, dict[str, Any]]:
    with TableReader(probe) as reader:
        return {name: reader.read(name).to_pylist()[0] for name in reader.samples}


def _failures(raw: Sequence[Path]) -> dict[str, str]:
    """Sample -> what 3DI said where a program of it failed, in a line."""
    found: dict[str, str] = {}
    for path in raw:
        with Archive(path) as archive:
            for name in archive.names:
                sample, mark, _ = name.rpartition(f"_{FAILED}")
                if mark and name.endswith(".txt"):
                    said = archive.read(name).decode("utf-8", "replace")
                    what = f"{ENGINE_FAILED}: {said.splitlines()[0]} (3di/{sample}/{name})"
                    found.setdefault(sample, what)
    return found


def _do_sample(
    sample: Sample,
    part: Part,
    probe: Mapping[str, Any],
    tables: Mapping[str, TableReader],
    crops: h5py.File,
    settings: Settings,
    run: ShardRun,
    excluded: Sequence[Exclusion],
) -> None:
    census = Census(excluded)
    file = part.h5("examples")
    if probe["status"] in DECODABLE:
        alone = stand_alone(probe, run.metadata)
        _judge_sample(sample.sample, census, tables, not alone, settings)
        # of a picture that stands alone each face is a track of its own, with one example
        census.close(None if alone else settings.max_per_track)
        _write_examples(sample.sample, census, tables, crops, file)
        run.progress.frame(probe["n_frames"] or 0)
    part.table("counts").append(**census.row(probe))


@dataclass
class Census:
    """The faces of a sample that were considered: 11 bytes each, whatever the video's length.

    Attributes:
        excluded: what of the sample a person leaves out.
    """

    excluded: Sequence[Exclusion] = ()
    frames: array[int] = field(default_factory=lambda: array("i"))
    tracks: array[int] = field(default_factory=lambda: array("h"))
    scores: array[float] = field(default_factory=lambda: array("f"))
    judged: array[int] = field(default_factory=lambda: array("B"))
    main_faces: int = 0
    fitted: int = 0
    all_tracks: set[int] = field(default_factory=set)
    verdicts: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8))

    def add(
        self,
        frames: NDArray[np.int32],
        tracks: NDArray[np.int16],
        verdicts: NDArray[np.uint8],
        scores: NDArray[np.float32],
    ) -> None:
        """Take the next faces, in the order of the tables."""
        self.frames.frombytes(frames.astype(np.int32).tobytes())
        self.tracks.frombytes(tracks.astype(np.int16).tobytes())
        out = excludes(self.excluded, frames)
        self.judged.frombytes(
            np.where(out, np.uint8(quality.CODES["excluded"]), verdicts).astype(np.uint8).tobytes()
        )
        self.scores.frombytes(scores.astype(np.float32).tobytes())

    def close(self, most: int | None) -> None:
        """Thin out the tracks once all faces are known."""
        self.verdicts = quality.spread_evenly(
            np.frombuffer(self.judged, np.uint8), np.frombuffer(self.tracks, np.int16), most
        )

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n,) which of the considered faces become examples."""
        mask: NDArray[np.bool_] = self.verdicts == quality.KEPT
        return mask

    def row(self, probe: Mapping[str, Any]) -> dict[str, Any]:
        """The sample's row of the table `counts`."""
        status, reason = probe["status"], probe["reason"]
        n_frames = probe["n_frames"] or 0
        if probe.get("failed"):
            reason = f"{reason}; {probe['failed']}" if reason else probe["failed"]
        elif status in DECODABLE and not self.all_tracks:
            # a file that was cut short stays `truncated`: its face may be in what is missing
            status = SampleStatus.NO_FACE if status == SampleStatus.OK else status
            seen = f"no face was found in {counted(n_frames, 'frame')}"
            reason = f"{reason}; {seen}" if reason else seen
        elif status in DECODABLE and not self.main_faces:
            status = SampleStatus.NO_FACE if status == SampleStatus.OK else status
            seen = f"nobody looks like track.reference; others were seen: {len(self.all_tracks)}"
            reason = f"{reason}; {seen}" if reason else seen
        if any(row.whole for row in self.excluded):
            status = SampleStatus.EXCLUDED
            reason = "; ".join(row.words for row in self.excluded if row.whole)
        elif self.excluded:
            said = "; ".join(row.words for row in self.excluded)
            reason = f"{reason}; {said}" if reason else said
            _warn_of_frames_beyond(self.excluded, n_frames)
        rejected = np.bincount(self.verdicts, minlength=len(quality.CODES) + 1)
        return {
            "sample": probe["sample"],
            "kind": probe["kind"],
            "n_frames": n_frames,
            "n_face": self.main_faces,
            "n_tracks": len(self.all_tracks),
            "n_fitted": self.fitted,
            "n_considered": len(self.verdicts),
            "n_kept": int(rejected[quality.KEPT]),
            **{f"rejected_{name}": int(rejected[quality.CODES[name]]) for name in REJECTIONS},
            "status": status,
            "reason": reason,
        }


def _warn_of_frames_beyond(excluded: Sequence[Exclusion], n_frames: int) -> None:
    for row in excluded:
        if (row.first or 0) >= n_frames or (row.last or 0) >= n_frames:
            logger.warning("%s: %s, and the sample has %d frames", row.sample, row.words, n_frames)


def _judge_sample(
    sample: str,
    census: Census,
    tables: Mapping[str, TableReader],
    in_time: bool,
    settings: Settings,
) -> None:
    motion = Motion()
    for table in _side_by_side(tables, _EVIDENCE, sample):
        found, marked, fitted = table["detections"], table["landmarks"], table["fit"]
        frames, tracks = numbers(found, "frame"), numbers(found, "track")
        seen = equals(found, "status", FrameStatus.OK)
        converged = equals(fitted, "status", FrameStatus.OK)
        census.main_faces += int((seen & (tracks == 0)).sum())
        census.all_tracks.update(np.unique(tracks[seen]).tolist())
        census.fitted += int((seen & converged).sum())
        points = _points(marked)
        moved = motion(frames, tracks, points) if in_time else np.full(len(frames), np.nan)
        rows = np.flatnonzero(seen & (frames % settings.frame_step == 0))
        if not len(rows):
            continue
        angles = np.stack([numbers(fitted, name)[rows] for name in ("rx", "ry", "rz")], axis=1)
        evidence = quality.Evidence(
            sure=equals(marked, "status", FrameStatus.OK)[rows],
            confidence=numbers(marked, "confidence")[rows],
            fitted=converged[rows],
            angles=angles,
            labelled=np.isfinite(_intensities(table["aus"])[rows]).any(axis=1),
            width=numbers(found, "w")[rows],
            points=points[rows],
            motion=moved[rows],
        )
        verdicts, scores = quality.judge(evidence, settings.min_quality)
        census.add(frames[rows], tracks[rows], verdicts, scores)


def _side_by_side(
    tables: Mapping[str, TableReader], columns: Mapping[str, Sequence[str]], sample: str
) -> Iterator[dict[str, pa.Table]]:
    return side_by_side({name: Source(tables[name], columns[name]) for name in tables}, sample)


def _points(table: pa.Table) -> NDArray[np.float32]:
    """(n, K, 2) frame pixels of iBUG-68, or of iBUG-51; NaN where there are no landmarks."""
    scheme = table["scheme"][0].as_py()
    points = lists(table, "points", 2 * N_POINTS[scheme]).reshape(len(table), -1, 2)
    return points[:, subset(scheme, ibug(scheme))]


def _write_examples(
    sample: str,
    census: Census,
    tables: Mapping[str, TableReader],
    crops: h5py.File,
    file: h5py.File,
) -> None:
    """Write the kept faces of a sample; a sample without any has no data sets."""
    kept = census.kept
    total = int(kept.sum())
    if not total:
        return
    made = layout.create(file, total, NUMBERS)
    store = _Crops(crops[sample], sample, crops.filename)
    scores_kept = np.frombuffer(census.scores, np.float32)[kept]
    frames_kept = np.frombuffer(census.frames, np.int32)[kept]
    tracks_kept = np.frombuffer(census.tracks, np.int16)[kept]
    key_kept = _key(frames_kept, tracks_kept)
    start = 0
    for table in _side_by_side(tables, _CONTENT, sample):
        keys = _key(numbers(table["detections"], "frame"), numbers(table["detections"], "track"))
        rows = np.flatnonzero(np.isin(keys, key_kept[start : start + len(keys)]))
        if not len(rows):
            continue
        end = start + len(rows)
        where = store.find(keys[rows])
        affine = store.affine(where)
        content = _content(table, rows, affine)
        content["metadata/frame_indices"] = frames_kept[start:end]
        content["metadata/track"] = tracks_kept[start:end]
        content["metadata/quality_scores"] = scores_kept[start:end]
        for name, values in content.items():
            made[name][start:end] = values
        for piece in range(0, len(rows), _CROPS_AT_ONCE):
            images = store.images(where[piece : piece + _CROPS_AT_ONCE])
            features = np.empty((len(images), *made["hog_features"].shape[1:]), np.float32)
            fhog(images, features)
            first = start + piece
            made["images"][first : first + len(images)] = images
            made["hog_features"][first : first + len(images)] = features
        start = end
    file.flush()  # while its data sets are held: see `h5.whole`


def _content(
    table: Mapping[str, pa.Table], rows: NDArray[np.int64], affine: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    """The small data sets of the examples in n rows of the tables, with their n affines."""
    found, marked, fitted = table["detections"], table["landmarks"], table["fit"]
    x, y, w, h = (numbers(found, name)[rows] for name in "xywh")
    points = _points(marked)[rows]
    points = as_ibug68(points, IBUG68 if points.shape[1] == N_POINTS[IBUG68] else IBUG51)
    params = lists(fitted, "global_params", 6)[rows]
    return {
        "landmarks": landmarks_in_crop(affine, points),
        "global_params": global_params_in_crop(affine, params),
        "local_params": lists(fitted, "local_params", 34)[rows],
        "au_intensities": _intensities(table["aus"])[rows],
        "bboxes": np.stack([x, y, x + w, y + h], axis=1),
        "affine": affine,
        "frame/landmarks": points,
        "frame/global_params": params,
        "metadata/times": numbers(found, "time")[rows],
        "metadata/confidence": numbers(marked, "confidence")[rows],
    }


def _intensities(table: pa.Table) -> NDArray[np.float32]:
    """(n, 17); NaN where an action unit was not estimated."""
    return np.stack([numbers(table, name) for name in AU_NAMES], axis=1)


def _key(frames: NDArray[np.int32], tracks: NDArray[np.int16]) -> NDArray[np.int64]:
    return frames.astype(np.int64) << 16 | tracks


class _Crops:
    """The aligned crops of a sample, found by frame and track."""

    def __init__(self, group: h5py.Group, sample: str, name: str) -> None:
        self._group = group
        self._what = f"{name} of sample {sample}"
        self._keys = _key(group["frame"][:], group["track"][:])

    def find(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of these faces, rising.

        Raises:
            TableError: a face has no crop.
        """
        rows = np.searchsorted(self._keys, keys)
        if len(rows) and (rows[-1] >= len(self._keys) or (self._keys[rows] != keys).any()):
            raise TableError(
                f"{self._what} does not have the crops of its landmarks: one of them is of another "
                "run; delete both and run again"
            )
        return rows

    def affine(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, 2, 3) of these rows."""
        return self._read("affine", rows)

    def images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """(n, 112, 112, 3) of these rows."""
        return self._read("crops", rows)

    def _read(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        dataset = self._group[name]
        first, last = int(rows[0]), int(rows[-1])
        if last - first + 1 == len(rows):
            values: NDArray[Any] = dataset[first : last + 1]
            return values
        if last - first < 2 * len(rows) + 16:
            # one read of a little more is faster than a selection of scattered rows
            values = dataset[first : last + 1][rows - first]
            return values
        return np.stack([dataset[int(row)] for row in rows])


def _assemble(
    parts: Sequence[Path],
    samples: Sequence[Sample],
    output: Path,
    metadata: Mapping[str, Any],
    settings: Settings,
) -> None:
    """One file from one part a sample.

    Who is in a sample, and in which split, is written here and not in the parts: the sheet may
    have changed while a killed shard waited.
    """
    people = digest([[s.sample, s.subject, s.split] for s in samples])
    metadata = {**metadata, "lineage": digest([metadata["lineage"], people])}
    lengths = []
    for path in parts:
        with h5.opened(path) as part:
            lengths.append(len(part["images"]) if "images" in part else 0)
    total = sum(lengths)
    with h5.whole(output) as file:
        made = layout.create(file, total)
        start = 0
        for path, sample, count in zip(parts, samples, lengths, strict=True):
            if not count:
                continue
            with h5.opened(path) as part:
                for one in NUMBERS:
                    layout.copy(part[one.name], made[one.name], start, one)
                tracks = part["metadata/track"][:]
            names = {int(track): subject_of(sample, int(track)) for track in np.unique(tracks)}
            subjects = np.array([names[track] for track in tracks.tolist()], object)
            end = start + count
            made["metadata/video_names"][start:end] = sample.sample
            made["metadata/subjects"][start:end] = subjects
            made["metadata/split"][start:end] = split_of(sample, settings.splits)
            start = end
        layout.describe(file, total, metadata)
