"""Recordings to examples from Python, by the stages of the workflow."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import numpy as np

from facemake import recipes as planning
from facemake.data.writer import TrainingDataWriter
from facemake.dataset import layout
from facemake.dataset.files import SetFile
from facemake.models import models_dir_first
from facemake.processors import job
from facemake.processors.base import InputError
from facemake.processors.native import FaceProcessor
from facemake.status import DECODABLE, SampleStatus
from facemake.tables import REJECTIONS, TableReader

logger = logging.getLogger(__name__)

_STAGES = ("probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus", "dataset")
_KEYS = {
    "image": "images",
    "hog": "hog_features",
    "landmarks": "landmarks",
    "global_params": "global_params",
    "local_params": "local_params",
    "au_intensities": "au_intensities",
    "bbox": "bboxes",
    "frame_idx": "metadata/frame_indices",
    "quality_score": "metadata/quality_scores",
    "time": "metadata/times",
    "track": "metadata/track",
    "confidence": "metadata/confidence",
    "affine": "affine",
    "frame_landmarks": "frame/landmarks",
    "frame_global_params": "frame/global_params",
}
"""Key of a yielded example -> its field."""

Counts = dict[str, Any]


class TrainingDataGenerator:
    """Makes examples of recordings, as the workflow makes its training set.

    The stages run in a process and a folder of their own. Labels are of this pipeline: landmarks
    and pose of its networks and its fit, action units by its estimator.

    Args:
        config: what differs from the workflow's default configuration, as in config.yaml:
            {"dataset": {"frame_step": 5}}.
        work_dir: a folder in which what the stages give is kept and used again, also by and from
            `FaceProcessor` where it is its output folder; None: a temporary one, of mode 0700, that
            is removed at the end.
        verbose: print what runs and how long it took.
        debug: also log what the stages say, such as every ten seconds how far they are.

    Raises:
        ValueError: the configuration is refused. All errors are also
            `facemake.errors.FacemakeError`.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        work_dir: str | Path | None = None,
        verbose: bool = True,
        debug: bool = False,
    ) -> None:
        self._engine = _Examples(config=config, verbose=verbose, debug=debug)
        self._work_dir = work_dir
        self._verbose = verbose

    @property
    def pdm(self) -> str:
        """Along which modes `local_params` are: what a `TrainingDataWriter` takes as `pdm`."""
        return self._engine.pdm

    @overload
    def process_video(self, video_path: str | Path) -> Iterator[dict[str, Any]]: ...

    @overload
    def process_video(self, video_path: str | Path, output_path: str | Path) -> Counts: ...

    def process_video(
        self, video_path: str | Path, output_path: str | Path | None = None
    ) -> Iterator[dict[str, Any]] | Counts:
        """The examples of a recording: one by one, or written to a file.

        Args:
            video_path: a video, a picture, or a folder of pictures.
            output_path: of the HDF5 file; None: yield the examples.

        Returns:
            Without `output_path` an iterator of dictionaries, by frame and track: `image`
            (112, 112, 3) uint8 RGB, `hog` (4464,), `landmarks` (68, 2) and `global_params` (6,) of
            the crop, `local_params` (34,), `au_intensities` (17,), `bbox` (4,) x1 y1 x2 y2 of the
            frame, `frame_idx`; besides `quality_score`, `time` (s), `track`, `confidence`, `affine`
            (2, 3), `frame_landmarks` and `frame_global_params`, as `TrainingDataWriter.add_sample`
            takes them.
            With it the counts: `total_frames`, `processed_frames` (with an example),
            `filtered_frames` (with faces, none of them good enough or looked at), `failed_frames`
            (without a face), `examples`, `rejected_REASON` (faces), `status` and `reason`.

        Raises:
            ValueError: the recording cannot be read.
        """
        if output_path is None:
            return self._yielded(Path(video_path))
        with TrainingDataWriter(output_path) as writer:
            return self.process_video_to_writer(video_path, writer)

    def process_video_to_writer(
        self,
        video_path: str | Path,
        writer: TrainingDataWriter,
        *,
        subject: str | None = None,
        split: str = "",
    ) -> Counts:
        """Add the examples of a recording to a file that is being written.

        Args:
            video_path: a video, a picture, or a folder of pictures.
            writer: of the file.
            subject: who its main face is; None: the recording's own name. Any other face is
                somebody else, `NAME#TRACK`.
            split: of the recording.

        Returns:
            The counts, as `process_video` has them.

        Raises:
            ValueError: the recording cannot be read.
        """
        path = Path(video_path)
        with self._made(path) as (examples, counts):
            self._add(examples, writer, path.name, subject or path.name, split)
            return counts

    def process_multiple_videos(
        self,
        video_paths: Iterable[str | Path],
        output_path: str | Path,
        *,
        subjects: Mapping[str, str] | None = None,
        splits: Mapping[str, str] | None = None,
    ) -> dict[str, Counts]:
        """The examples of several recordings in one file.

        A recording that cannot be read has counts of 0 with status and reason, and a warning is
        logged; the others are finished.

        Args:
            video_paths: of different names.
            output_path: of the HDF5 file.
            subjects: name of a recording -> who its main face is; otherwise its own name.
            splits: name of a recording -> its split.

        Returns:
            Name of a recording (its file name) -> counts, as `process_video` has them.

        Raises:
            ValueError: two recordings have one name.
        """
        paths = [Path(path) for path in video_paths]
        names = [path.name for path in paths]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"two recordings are called {repeated[0]}: examples know theirs by its name, so "
                "give one another name"
            )
        found: dict[str, Counts] = {}
        with TrainingDataWriter(output_path) as writer:
            for number, path in enumerate(paths, start=1):
                if self._verbose:
                    print(f"[{number}/{len(paths)}] {path.name}", flush=True)
                try:
                    found[path.name] = self.process_video_to_writer(
                        path,
                        writer,
                        subject=(subjects or {}).get(path.name),
                        split=(splits or {}).get(path.name, ""),
                    )
                except InputError as error:
                    logger.warning("%s gave no example: %s", path.name, error)
                    found[path.name] = _no_counts(str(error))
        return found

    def _yielded(self, path: Path) -> Iterator[dict[str, Any]]:
        with self._made(path) as (examples, _):
            for _, rows in examples.rows(list(_KEYS.values())):
                for i in range(len(rows["images"])):
                    yield {key: _own(rows[name][i]) for key, name in _KEYS.items()}

    @staticmethod
    def _add(
        examples: SetFile, writer: TrainingDataWriter, name: str, subject: str, split: str
    ) -> None:
        if not len(examples):
            return
        writer.take_pdm(examples.pdm, name)
        for _, rows in examples.rows([field.name for field in layout.NUMBERS]):
            tracks = rows["metadata/track"].tolist()
            n = len(tracks)
            writer.add_batch(
                images=rows["images"],
                hog_features=rows["hog_features"],
                landmarks=rows["landmarks"],
                global_params=rows["global_params"],
                local_params=rows["local_params"],
                au_intensities=rows["au_intensities"],
                bboxes=rows["bboxes"],
                video_names=[name] * n,
                frame_indices=rows["metadata/frame_indices"],
                quality_scores=rows["metadata/quality_scores"],
                affines=rows["affine"],
                frame_landmarks=rows["frame/landmarks"],
                frame_global_params=rows["frame/global_params"],
                times=rows["metadata/times"],
                tracks=tracks,
                confidences=rows["metadata/confidence"],
                subjects=[subject if track == 0 else f"{name}#{track}" for track in tracks],
                splits=[split] * n,
            )
        writer.note_sources(examples.sources())

    @contextmanager
    def _made(self, path: Path) -> Iterator[tuple[SetFile, Counts]]:
        """The examples of a recording, open, and its counts."""
        with self._folder() as folder:
            self._engine.io(path, folder)
            examples, row = self._engine.examples()
            with examples:
                yield examples, _counts(row, examples)

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        if self._work_dir is not None:
            yield Path(self._work_dir)
            return
        with TemporaryDirectory(prefix="facemake-") as name:
            yield Path(name)


class _Examples(FaceProcessor):
    """The stages up to the training set, in the folder of a recording."""

    def examples(self) -> tuple[SetFile, dict[str, Any]]:
        """The file of examples, open, and the row that counts them.

        Who works on another recording of this name meanwhile puts a file of its own in its place.

        Raises:
            InputError: the recording cannot be read.
        """
        with self._at_work():
            with self._running(f"{self.engine} on {self._input.path.name}"):
                self._run_stages(_EXAMPLES)
            with TableReader(job.counts(self._folder)) as reader:
                row: dict[str, Any] = reader.read(job.SHARD).to_pylist()[0]
            if row["status"] not in DECODABLE:
                raise InputError(f"{self._input.path} cannot be used: {row['reason']}")
            return SetFile(job.table(self._folder, "dataset")), row

    @property
    def pdm(self) -> str:
        """Of the face model."""
        models = self._all_recipes()["fit"]["models"]
        return layout.pdm_of(models)

    def _stages(self, method: str) -> list[str]:
        if method != _EXAMPLES:
            return super()._stages(method)
        return [s for s in _STAGES if planning.enabled(s, self._config)]

    def _all_recipes(self) -> dict[str, Any]:
        if self._recipes is None:
            with models_dir_first(self._config["models_dir"]):
                self._recipes = {
                    stage: planning.recipe(stage, self._config).to_dict()
                    for stage in self._stages(_EXAMPLES)
                }
        return self._recipes


_EXAMPLES = "examples"


def _own(value: Any) -> Any:
    """A row that does not keep the piece alive which it is of; a number as Python has it."""
    return value.copy() if isinstance(value, np.ndarray) else value.item()


def _counts(row: Mapping[str, Any], examples: SetFile) -> Counts:
    frames = 0
    if len(examples):
        frames = len(np.unique(examples.read("metadata/frame_indices", slice(0, len(examples)))))
    seen = row["n_face"]
    return {
        "total_frames": row["n_frames"],
        "processed_frames": frames,
        "filtered_frames": max(0, seen - frames),
        "failed_frames": row["n_frames"] - max(seen, frames),
        "examples": row["n_kept"],
        **{f"rejected_{name}": row[f"rejected_{name}"] for name in REJECTIONS},
        "status": str(row["status"]),
        "reason": row["reason"] or "",
    }


def _no_counts(reason: str) -> Counts:
    names = ("total_frames", "processed_frames", "filtered_frames", "failed_frames", "examples")
    return {
        **dict.fromkeys(names, 0),
        **dict.fromkeys((f"rejected_{name}" for name in REJECTIONS), 0),
        "status": str(SampleStatus.UNREADABLE),
        "reason": reason,
    }
