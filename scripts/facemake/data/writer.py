"""A training set written example by example: the layout of the workflow's, whole or not at all.

Pictures and FHOG go straight into the HDF5 file, a chunk an example, one after the other. What is
small waits in a file beside it, since there one array without gaps is wanted whose length nobody
knows before the end: so memory does not grow with the set.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemake import h5
from facemake.data.arguments import ARGUMENTS, checked
from facemake.dataset import layout
from facemake.dataset.files import SetFile
from facemake.dataset.layout import FIELDS, Field
from facemake.dataset.origins import Origins
from facemake.errors import BusyError, FacemakeError, TableError
from facemake.fingerprints import code_fingerprint
from facemake.h5 import abandon, reason
from facemake.provenance import Recipe
from facemake.runtime.contexts import Committing

logger = logging.getLogger(__name__)

STAGE = "training_data_writer"
"""What the metadata name as what made a file that was written from Python."""

_BYTES_OF_AN_EXAMPLE = 57_000  # FACTS: a crop of 37,632 bytes, FHOG of 17,856, and what is small
_HELD = 64
"""Examples held in memory before they are written: a few megabytes."""
_ROWS_AT_ONCE = 4096
_STILL = "what was there before is there still"
_LARGE = tuple(field for field in FIELDS if field.large)
_SMALL = tuple(field for field in FIELDS if not field.large)
_TEXTS = tuple(field for field in FIELDS if field.kind == "text")
_RECORD = np.dtype(
    [(f.name, *(("<i4",) if f.kind == "text" else (f.kind, f.shape))) for f in _SMALL]
)
"""Of an example what is small; texts as numbers of the list of their words."""


class TrainingDataWriter(Committing):
    """Writes the HDF5 training set, example by example.

    The file appears under its name when all of it is on the disk: at the end of the `with` block,
    or by `close()`. Where the block ends by an error, or the process dies, what was there before is
    there still. To keep what there is after an error, catch it inside the block.

    What an example does not say is written as missing: NaN (`affine`, `frame/landmarks`,
    `frame/global_params`, `metadata/times`, `metadata/confidence`), an empty text
    (`metadata/subjects`, `metadata/split`), track 0.

    Args:
        path: of the file.
        expected_samples: about how many examples there will be: a warning is logged where the disk
            has no room for them. Nothing is reserved, and there may be more.
        append: keep the examples of the file that is there, which must be of this layout; they are
            copied, so that the old file stays whole until the end.
        pdm: along which modes `local_params` are (the attribute `pdm` of the file;
            `TrainingDataGenerator.pdm`); None: of the examples that are appended to, or unknown.

    Raises:
        BusyError: another process writes this file.
        TableError: append: the file is damaged or of another layout, or its PDM is another.
        FacemakeError: the folder cannot be written to.
    """

    def __init__(
        self,
        path: str | Path,
        expected_samples: int | None = None,
        *,
        append: bool = False,
        pdm: str | None = None,
    ) -> None:
        if expected_samples is not None and (
            isinstance(expected_samples, bool)
            or not isinstance(expected_samples, int | np.integer)
            or expected_samples < 0
        ):
            raise ValueError(f"expected_samples is {expected_samples!r}; it is a number, 0 or more")
        self.path = Path(path).expanduser().absolute()
        self._pdm = pdm
        self._count = self._stored = 0
        self._words: dict[str, dict[str, int]] = {field.name: {} for field in _TEXTS}
        self._origins = Origins()
        self._content = hashlib.sha256()
        self._buffers = {f.name: np.empty((_HELD, *f.shape), np.dtype(f.kind)) for f in _LARGE}
        self._records = np.zeros(_HELD, _RECORD)
        self._held = 0
        self._file: h5py.File | None = None
        if self.path.is_dir():
            raise FacemakeError(f"{self.path} is a folder: name the file, training_data.h5 say")
        self._beside = self.path.with_name(f".{self.path.name}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._spool = _locked(self.path.with_name(f".{self.path.name}.small"))
        except OSError as error:
            raise FacemakeError(
                f"{self.path} cannot be written ({error.strerror}): give another folder"
            ) from None
        try:
            self._file = h5.create(self._beside)
            self._made = {field.name: _growing(self._file, field) for field in _LARGE}
            if append and self.path.exists():
                with SetFile(self.path) as old:
                    self.add_file(old)
            self._warn_of_a_full_disk(int(expected_samples or 0))
        except BaseException:
            self.discard()
            raise

    def __len__(self) -> int:
        """Examples so far."""
        return self._count

    def add_sample(
        self,
        image: NDArray[np.uint8],
        hog_features: NDArray[Any],
        landmarks: NDArray[Any],
        global_params: NDArray[Any],
        local_params: NDArray[Any],
        au_intensities: NDArray[Any],
        bbox: NDArray[Any],
        video_name: str = "",
        frame_index: int = 0,
        quality_score: float = 1.0,
        *,
        affine: NDArray[Any] | None = None,
        frame_landmarks: NDArray[Any] | None = None,
        frame_global_params: NDArray[Any] | None = None,
        time: float | None = None,
        track: int = 0,
        confidence: float | None = None,
        subject: str = "",
        split: str = "",
    ) -> None:
        """Add an example.

        Args:
            image: (112, 112, 3) uint8, the aligned crop, RGB.
            hog_features: (4464,) or (12, 12, 31), FHOG of the crop.
            landmarks: (68, 2) x y, iBUG-68, pixels of the crop.
            global_params: (6,) scale (px/mm), rx ry rz (rad), tx ty (px), of the crop.
            local_params: (34,) mm along the modes of the point distribution model.
            au_intensities: (17,) 0-5 in the order of `facemake.data.AU_NAMES`; NaN: not known.
            bbox: (4,) x1 y1 x2 y2, pixels of the frame.
            video_name: the recording.
            frame_index: of the frame, from 0.
            quality_score: 0-1.
            affine: (2, 3), takes pixels of the frame to those of the crop.
            frame_landmarks: (68, 2) x y, pixels of the frame.
            frame_global_params: (6,) as `global_params`, of the frame.
            time: s, of the frame.
            track: which face of the recording; 0 is the main one.
            confidence: 0-1, the landmark network's.
            subject: who it is; nobody should be in two splits.
            split: `train`, `val`, `test`, or another word.

        Raises:
            ValueError, TypeError: an argument is not that; the message names it. The example is
                not added.
        """
        given = locals()
        row: dict[str, Any] = {}
        for name, argument in ARGUMENTS.items():
            value = given[name]
            if argument.field.kind == "text":
                row[argument.field.name] = self._number(argument.field, name, value)
            else:
                row[argument.field.name] = (
                    argument.missing if value is None else checked(name, value, argument, ())
                )
        file, at = self._writable(), self._held
        for field in _LARGE:
            self._buffers[field.name][at] = row[field.name]
        record = self._records[at]
        for field in _SMALL:
            record[field.name] = row[field.name]
        self._held += 1
        self._count += 1
        if self._held == len(self._records):
            self._flush(file)

    def add_batch(
        self,
        images: NDArray[np.uint8],
        hog_features: NDArray[Any],
        landmarks: NDArray[Any],
        global_params: NDArray[Any],
        local_params: NDArray[Any],
        au_intensities: NDArray[Any],
        bboxes: NDArray[Any],
        video_names: Sequence[str] | None = None,
        frame_indices: Sequence[int] | NDArray[Any] | None = None,
        quality_scores: Sequence[float] | NDArray[Any] | None = None,
        *,
        affines: NDArray[Any] | None = None,
        frame_landmarks: NDArray[Any] | None = None,
        frame_global_params: NDArray[Any] | None = None,
        times: Sequence[float] | NDArray[Any] | None = None,
        tracks: Sequence[int] | NDArray[Any] | None = None,
        confidences: Sequence[float] | NDArray[Any] | None = None,
        subjects: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
    ) -> None:
        """Add n examples: of each argument of `add_sample` n, along the first axis.

        Raises:
            ValueError, TypeError: an argument is not what it must be; none is added.
        """
        given = locals()
        n = len(images)
        batch: dict[str, NDArray[Any]] = {}
        for argument in ARGUMENTS.values():
            field, name = argument.field, argument.many
            value = given[name]
            if field.kind == "text":
                words = [argument.missing] * n if value is None else list(value)
                if len(words) != n:
                    raise ValueError(f"{name} has {len(words)} rows, and images {n}")
                numbers = [self._number(field, name, word) for word in words]
                batch[field.name] = np.array(numbers, np.int32)
            elif value is None:
                batch[field.name] = np.full((n, *field.shape), argument.missing, field.kind)
            else:
                batch[field.name] = checked(name, value, argument, (n,))
        self._add(batch, n)

    def add_file(self, other: SetFile) -> int:
        """Add all examples of another file of this layout; returns how many.

        Args:
            other: an open one.

        Raises:
            TableError: it is of another layout, its local parameters are along the modes of
                another PDM, or its action units are others.
        """
        other.must_be_whole()
        if len(other):
            self.take_pdm(other.pdm, str(other.path))
        for start, rows in other.rows([field.name for field in FIELDS]):
            n = len(rows["images"])
            for field in _TEXTS:
                words = [self._number(field, field.name, word) for word in rows[field.name]]
                rows[field.name] = np.array(words, np.int32)
            self._add(rows, n)
            other.tell(start + n)
        self.note_sources(other.sources())
        return len(other)

    def close(self) -> Path:
        """Finish the file, and put it under its name; the path.

        Raises:
            FacemakeError: the disk is full, say; what was there before is there still.
        """
        if self._file is None:
            return self.path
        try:
            self._flush(self._file)
            self._unspool(self._file)
            layout.describe(
                self._file, self._count, self._metadata(), pdm=self._pdm or layout.UNKNOWN_PDM
            )
            self._file.flush()
            self._file.close()
            with self._beside.open("rb") as handle:
                os.fsync(handle.fileno())
            self._beside.replace(self.path)
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError | RuntimeError):
                raise FacemakeError(
                    f"{self.path} cannot be written ({reason(error)}); {_STILL}"
                ) from error
            raise
        self._file = None
        self._release()
        return self.path

    def discard(self) -> None:
        """Forget the examples; what is under the file's name stays as it was."""
        if self._file is not None:
            abandon(self._file)
            self._file = None
        self._beside.unlink(missing_ok=True)
        self._release()

    def take_pdm(self, pdm: str, whose: str) -> None:
        """Hold the PDM of examples that are to be added against that of those that are there.

        Args:
            pdm: along which modes their `local_params` are.
            whose: they are, in words.

        Raises:
            TableError: they differ.
        """
        if self._pdm is None and not self._count:
            self._pdm = pdm
        mine = self._pdm or layout.UNKNOWN_PDM
        if mine != pdm:
            raise TableError(
                f"local_params of {whose} are along the modes of another PDM ({pdm}) than those of "
                f"{self.path} ({mine}): make both with one face model"
            )

    def note_sources(self, sources: Iterable[Mapping[str, Any]]) -> None:
        """Remember what made examples that were added, for the metadata (`SetFile.sources`)."""
        self._origins.add(sources)

    def _writable(self) -> h5py.File:
        if self._file is None:
            raise FacemakeError(f"{self.path} is finished: open it again with append=True")
        return self._file

    def _number(self, field: Field, name: str, value: Any) -> int:
        """Of a word in the list of its field."""
        words = self._words[field.name]
        if isinstance(value, Path):
            value = str(value)
        if not isinstance(value, str):
            raise TypeError(f"{name} is {type(value).__name__}; it must be a str")
        if "\0" in value:
            raise ValueError(f"{name} holds a zero character, which HDF5's text cannot")
        return words.setdefault(value, len(words))

    def _add(self, batch: Mapping[str, NDArray[Any]], n: int) -> None:
        file, start = self._writable(), 0
        while start < n:
            take = min(n - start, len(self._records) - self._held)
            here = slice(self._held, self._held + take)
            there = slice(start, start + take)
            for field in _LARGE:
                self._buffers[field.name][here] = batch[field.name][there]
            for field in _SMALL:
                self._records[field.name][here] = batch[field.name][there]
            self._held += take
            self._count += take
            start += take
            if self._held == len(self._records):
                self._flush(file)

    def _flush(self, file: h5py.File) -> None:
        """Write what is held in memory."""
        try:
            for field in _LARGE:
                dataset, rows = self._made[field.name], self._buffers[field.name]
                dataset.resize(self._stored + self._held, axis=0)
                rest = (0,) * len(field.shape)
                for i in range(self._held):
                    self._content.update(rows[i])
                    dataset.id.write_direct_chunk((self._stored + i, *rest), rows[i])
            self._spool.write(self._records[: self._held].tobytes())
        except (OSError, RuntimeError) as error:
            self.discard()
            raise FacemakeError(
                f"{self.path} cannot be written ({reason(error)}); {_STILL}"
            ) from error
        self._stored += self._held
        self._held = 0

    def _unspool(self, file: h5py.File) -> None:
        """Write what is small, each field as one array."""
        self._spool.flush()
        made = layout.create(file, self._count, _SMALL)
        self._made |= made  # held until the file is: see `h5.whole`
        words = {
            name: np.array([*known], object) if known else np.zeros(0, object)
            for name, known in self._words.items()
        }
        self._spool.seek(0)
        for start in range(0, self._count, _ROWS_AT_ONCE):
            n = min(_ROWS_AT_ONCE, self._count - start)
            rows = np.frombuffer(self._spool.read(n * _RECORD.itemsize), _RECORD)
            for field in _SMALL:
                values = rows[field.name]
                if field.kind == "text":
                    values = words[field.name][values]
                    self._content.update("\0".join(values).encode("utf-8", "surrogateescape"))
                else:
                    self._content.update(values.tobytes())
                made[field.name][start : start + n] = values

    def _metadata(self) -> dict[str, Any]:
        """What made the file. Its lineage is of what is in it: nobody knows it before."""
        recipe = Recipe(
            stage=STAGE,
            backend=None,
            settings={},
            models=(),
            code=code_fingerprint(__name__),
        )
        return self._origins.metadata(recipe, self._content.hexdigest(), self._count)

    def _warn_of_a_full_disk(self, expected: int) -> None:
        free, wanted = shutil.disk_usage(self.path.parent).free, expected * _BYTES_OF_AN_EXAMPLE
        if wanted > free:
            logger.warning(
                "%d examples are about %.1f GB, and %s has %.1f GB left",
                *(expected, wanted / 1e9, self.path.parent, free / 1e9),
            )

    def _release(self) -> None:
        if not self._spool.closed:
            Path(self._spool.name).unlink(missing_ok=True)
            self._spool.close()


def _growing(file: h5py.File, field: Field) -> h5py.Dataset:
    """A data set of one chunk an example that grows; chunks lie in the order of their writing."""
    return file.create_dataset(
        field.name,
        (0, *field.shape),
        field.dtype,
        maxshape=(None, *field.shape),
        chunks=(1, *field.shape),
        fill_time="never",
    )


def _locked(path: Path) -> IO[bytes]:
    """A file of ours alone, empty; the kernel drops the lock with the process.

    Raises:
        BusyError: another one has it.
    """
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BusyError(
                f"another process or writer is at work on {path.name[1:].removesuffix('.small')} "
                f"in {path.parent}: wait for it, or write to another file"
            ) from None
        except OSError:
            pass  # a file system without locks: nobody is kept out
        # who finished meanwhile has removed the name that this one was opened by
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                file.truncate(0)
                return file
        file.close()
