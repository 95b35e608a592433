"""Training sets as files: facemake's own, and those that pyfaceau wrote, as far as they go.

A file is read in pieces of a few megabytes, whatever its length and its chunks. What is kept for
each example is its key alone.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemake.dataset.layout import AU_NAMES, FIELDS, UNKNOWN_PDM, Field, as_text
from facemake.errors import FacemakeError, TableError
from facemake.h5 import METADATA_ATTRIBUTE
from facemake.runtime.contexts import Closing

PYFACEAU: frozenset[str] = frozenset(
    {
        *("images", "hog_features", "landmarks", "global_params", "local_params"),
        *("au_intensities", "bboxes", "metadata/frame_indices", "metadata/quality_scores"),
        "metadata/video_names",
    }
)
"""The fields that pyfaceau's files have; facemake's have them all."""

BY_NAME: Mapping[str, Field] = {field.name: field for field in FIELDS}
Rows = dict[str, NDArray[Any]]
Tell = Callable[[str, int, int], None]
"""Is told what is read, how many examples are done, and of how many."""

KEY = ("metadata/video_names", "metadata/frame_indices", "metadata/track")
"""The fields that say which face an example shows."""

_BYTES_AT_ONCE = 8 << 20
_BYTES_OF_A_CHUNK = 64 << 20
_BYTES_OF_A_CACHE = 1 << 20
"""HDF5's own, of a data set."""


@dataclass(frozen=True)
class Keys:
    """Which face each of n examples shows.

    Attributes:
        names: of the recordings.
        video: (n,) int32, number in `names`.
        frame: (n,) int32.
        track: (n,) int16; 0 in a file without tracks.
        known: whether the file says recording and frame; where it does not, nobody can tell which
            examples show the same face.
    """

    names: tuple[str, ...]
    video: NDArray[np.int32]
    frame: NDArray[np.int32]
    track: NDArray[np.int16]
    known: bool = True

    def __len__(self) -> int:
        return len(self.frame)

    def words(self, row: int) -> str:
        """An example by its name, for people."""
        if not self.known:
            return f"example {row}"
        track = f" track {self.track[row]}" if self.track[row] else ""
        return f"{self.names[self.video[row]] or '(no name)'} frame {self.frame[row]}{track}"

    def order(self) -> NDArray[np.int64]:
        """(n,) the examples by recording (as its number is), frame and track; equal ones in the
        order of the file.
        """
        order: NDArray[np.int64] = np.lexsort((self.track, self.frame, self.video))
        return order

    def repeated(self) -> NDArray[np.bool_]:
        """(n,) True for each example whose face an earlier one shows."""
        out = np.zeros(len(self), np.bool_)
        if self.known and len(self) > 1:
            order = self.order()
            now, before = order[1:], order[:-1]
            same = np.ones(len(now), np.bool_)
            for column in (self.video, self.frame, self.track):
                same &= column[now] == column[before]
            out[now[same]] = True
        return out


class SetFile(Closing):
    """A training set, open for reading.

    Attributes:
        path: of the file.
        file: it, open.
        fields: the fields that it has as the layout says, by name.
        faults: what is not as the layout says, in words; empty for a whole file.
        foreign: facemake did not write it.
        metadata: what made it; empty where it does not say.

    Args:
        path: of the file.
        tell: of the progress of long reads.

    Raises:
        TableError: the file is damaged, or no training set at all.
        FacemakeError: it is not there.
    """

    def __init__(self, path: str | Path, tell: Tell | None = None) -> None:
        self.path = Path(path)
        self._tell = tell
        if not self.path.is_file():
            what = "is a folder; name a file in it" if self.path.is_dir() else "is not there"
            if self.path.is_symlink():
                what = f"is a link to {self.path.readlink()}, which is not there: run again"
            raise FacemakeError(f"{self.path} {what}")
        self.file = _opened(self.path)
        try:
            self.fields: dict[str, Field] = {}
            self.faults: list[str] = []
            self.metadata = self._read_metadata()
            self.foreign = not self.metadata
            self._length = self._look()
        except BaseException:
            self.file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __len__(self) -> int:
        """How many examples there are."""
        return self._length

    @property
    def pdm(self) -> str:
        """Along which modes the local parameters are."""
        return str(self._attribute("pdm", UNKNOWN_PDM))

    @property
    def au_names(self) -> list[str] | None:
        """The columns of `au_intensities`; None where the file does not say."""
        found = self._attribute("au_names", None)
        if found is None:
            return None
        return [as_text(name) for name in found]

    def words_of(self, name: str) -> str | None:
        """An attribute as text, to be compared; None where there is none."""
        value = self._attribute(name, None)
        return None if value is None else str(np.asarray(value).tolist())

    def sources(self) -> list[dict[str, Any]]:
        """What made the examples, for the metadata of a file that is made from this one."""
        whole = {**self.metadata, "examples": len(self)}
        return [
            {
                "recipe": one.get("recipe"),
                "lineage": one.get("lineage"),
                "upstream": one.get("upstream") or {},
                "examples": int(one.get("examples", 0)),
            }
            for one in self.metadata.get("sources") or [whole]
        ]

    def must_be_whole(self, fields: Sequence[Field] = FIELDS) -> None:
        """Refuse a file that lacks a field, or has one of another type or shape.

        Raises:
            TableError: the first thing that is wrong.
        """
        missing = [field.name for field in fields if field.name not in self.fields]
        said = [*self.faults, *(f"it has no {name}" for name in missing)]
        if said:
            raise TableError(f"{self.path} has another layout: {said[0]}")
        if self.au_names not in (None, list(AU_NAMES)):
            raise TableError(
                f"{self.path} has other action units: {', '.join(self.au_names or ())}"
            )

    def rows(self, names: Sequence[str]) -> Iterator[tuple[int, Rows]]:
        """All examples, in pieces: the first one's row, and the fields by name.

        Texts are arrays of str.

        Args:
            names: of fields that the file has.
        """
        step = self._step(names)
        for start in range(0, len(self), step):
            here = slice(start, min(start + step, len(self)))
            yield start, {name: self.read(name, here) for name in names}

    def read(self, name: str, rows: slice) -> NDArray[Any]:
        """Some rows of a field.

        Raises:
            TableError: the file is damaged there.
        """
        try:
            values: NDArray[Any] = self.file[name][rows]
        except (OSError, RuntimeError, ValueError) as error:
            raise TableError(
                f"{self.path} is damaged: {name} cannot be read in rows {rows.start} to "
                f"{rows.stop - 1} ({error})"
            ) from None
        return _texts(values) if BY_NAME[name].kind == "text" else values

    def pick(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of a field by their numbers, in any order, some twice."""
        if not len(rows):
            return self.read(name, slice(0, 0))
        found, where = np.unique(rows, return_inverse=True)
        breaks = np.flatnonzero(np.diff(found) != 1) + 1
        parts = [
            self.read(name, slice(int(run[0]), int(run[-1]) + 1)) for run in np.split(found, breaks)
        ]
        values: NDArray[Any] = np.concatenate(parts)[where]
        return values

    def keys(self) -> Keys:
        """Which face each example shows; about 10 bytes an example."""
        known: dict[str, int] = {}
        video = np.zeros(len(self), np.int32)
        frame, track = np.zeros(len(self), np.int32), np.zeros(len(self), np.int16)
        names = [n for n in KEY if n in self.fields]
        for start, rows in self.rows(names) if names else ():
            here = slice(start, start + len(rows[names[0]]))
            if (texts := rows.get("metadata/video_names")) is not None:
                video[here] = [known.setdefault(text, len(known)) for text in texts]
            frame[here] = rows.get("metadata/frame_indices", 0)
            track[here] = rows.get("metadata/track", 0)
        says = {"metadata/video_names", "metadata/frame_indices"} <= self.fields.keys()
        return Keys(tuple(known) or ("",), video, frame, track, says)

    def numbers_of(self, name: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """The different texts of a field, and which one each example has."""
        known: dict[str, int] = {}
        out = np.zeros(len(self), np.int32)
        for start, rows in self.rows([name]):
            found = [known.setdefault(text, len(known)) for text in rows[name]]
            out[start : start + len(found)] = found
        return tuple(known), out

    def tell(self, done: int) -> None:
        """Say how many examples are done."""
        if self._tell is not None:
            self._tell(self.path.name, done, len(self))

    def _step(self, names: Sequence[str]) -> int:
        """Rows of a piece: whole chunks, where these are not very large."""
        size, chunk = 1, 1
        for name in names:
            dataset = self.file[name]
            row = max(1, int(np.prod(dataset.shape[1:], dtype=np.int64)) * dataset.dtype.itemsize)
            size = max(size, row)
            if dataset.chunks and dataset.chunks[0] * row <= _BYTES_OF_A_CHUNK:
                chunk = max(chunk, dataset.chunks[0])
        return max(1, _BYTES_AT_ONCE // size // chunk) * chunk

    def _attribute(self, name: str, missing: Any) -> Any:
        try:
            value = self.file.attrs.get(name, missing)
        except (OSError, RuntimeError) as error:
            raise TableError(f"{self.path} is damaged: the attribute {name} ({error})") from None
        return as_text(value) if isinstance(value, bytes) else value

    def _read_metadata(self) -> dict[str, Any]:
        text = self._attribute(METADATA_ATTRIBUTE, None)
        if text is None:
            return {}
        try:
            document = json.loads(text)
            return document if isinstance(document, dict) else {}
        except (TypeError, ValueError):
            self.faults.append(f"the attribute {METADATA_ATTRIBUTE} is no JSON")
            return {}

    def _look(self) -> int:
        """Take the fields that are as the layout says; the number of examples."""
        lengths: dict[str, int] = {}
        for field in FIELDS:
            try:
                dataset = self.file.get(field.name)
            except (OSError, RuntimeError) as error:
                raise TableError(f"{self.path} is damaged: {field.name} ({error})") from None
            if dataset is None:
                continue
            if not isinstance(dataset, h5py.Dataset) or not dataset.shape:
                self.faults.append(f"{field.name} is no array with a row an example")
            elif dataset.file != self.file or dataset.external or dataset.is_virtual:
                self.faults.append(f"{field.name} lies in another file, which is not followed")
            elif dataset.shape[1:] != field.shape or not _fits(dataset.dtype, field):
                self.faults.append(
                    f"{field.name} is of type {dataset.dtype} and shape {dataset.shape}, not "
                    f"{field.type_name} {('n', *field.shape)}"
                )
            else:
                self.fields[field.name] = field
                lengths[field.name] = dataset.shape[0]
        if not lengths:
            raise TableError(
                f"{self.path} is no training set: it has no {FIELDS[0].name}, and nothing else of "
                "the layout either" + (f" ({self.faults[0]})" if self.faults else "")
            )
        first = next(iter(lengths))
        for name, length in lengths.items():
            if length != lengths[first]:
                self.faults.append(f"{name} has {length} rows, and {first} {lengths[first]}")
                del self.fields[name]
        count = self._attribute("num_samples", None)
        if count is not None and count != lengths[first]:
            self.faults.append(f"num_samples is {count}, and there are {lengths[first]} examples")
        return lengths[first]


def _opened(path: Path) -> h5py.File:
    """The file, with memory for one chunk of each data set: else a large one that is compressed, as
    pyfaceau's are, would be unpacked again for every few rows.
    """
    try:
        file = h5py.File(path, "r")
        try:
            most = max((_chunk_bytes(file.get(f.name)) for f in FIELDS if f.large), default=0)
        except (OSError, RuntimeError):  # damaged: whoever reads that says so
            return file
        if not _BYTES_OF_A_CACHE < most <= _BYTES_OF_A_CHUNK:
            return file
        file.close()
        return h5py.File(path, "r", rdcc_nbytes=most)
    except PermissionError:
        raise FacemakeError(f"{path} may not be read: look at its permissions") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise FacemakeError(
                f"{path} cannot be opened: too many files are open already (`ulimit -n`)"
            ) from None
        raise TableError(
            f"{path} cannot be read as HDF5: it is damaged, cut short, still being written, or "
            f"another kind of file ({error})"
        ) from None


def _chunk_bytes(dataset: object) -> int:
    if not isinstance(dataset, h5py.Dataset) or not dataset.chunks:
        return 0
    return int(np.prod(dataset.chunks, dtype=np.int64)) * int(dataset.dtype.itemsize)


def _fits(dtype: np.dtype[Any], field: Field) -> bool:
    """Whether a type is the field's; texts may be of a fixed length."""
    if field.kind == "text":
        return h5py.check_string_dtype(dtype) is not None
    return bool(dtype == np.dtype(field.kind))


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    return np.array(
        [v.decode("utf-8", "surrogateescape") if isinstance(v, bytes) else str(v) for v in values],
        object,
    )
