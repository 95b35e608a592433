"""Rows of an HDF5 file in any order, as fast as the disk gives them.

A data set that lies in the file as it is (one chunk an example and no filter, or one contiguous
array: `facemake.dataset.layout`) is read at its places, without HDF5's selections; any other one,
as pyfaceau's own compressed ones, through h5py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemake.errors import TableError

Rows = NDArray[np.int64]


def open_file(path: Path) -> h5py.File:
    """A training set, to be read.

    Raises:
        TableError: it is not there, or cannot be read as HDF5.
    """
    if path.is_dir():
        raise TableError(f"{path} is a folder, and no training set: its file is an HDF5 file")
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise TableError(f"there is no training set {path}") from None
    except OSError as error:
        raise TableError(
            f"{path} cannot be read as HDF5: it is damaged, was cut short, or is no HDF5 file "
            f"({error})"
        ) from None


class Column:
    """Rows of one data set, in any order."""

    def __init__(self, dataset: h5py.Dataset, file: int) -> None:
        self._dataset = dataset
        self._file = file
        self._shape = dataset.shape[1:]
        self._bytes = int(np.prod(self._shape, dtype=np.int64)) * dataset.dtype.itemsize
        self._places: Rows | None = None
        properties = dataset.id.get_create_plist()
        if properties.get_layout() == h5py.h5d.CONTIGUOUS and not properties.get_external_count():
            start = dataset.id.get_offset()
            if start is not None:
                self._places = start + self._bytes * np.arange(len(dataset), dtype=np.int64)
        elif properties.get_layout() == h5py.h5d.CHUNKED:
            whole = (1, *self._shape)
            if dataset.chunks == whole and not properties.get_nfilters():
                self._places = _places(dataset, self._bytes)

    def read(self, rows: Rows) -> NDArray[Any]:
        """(n, ...) of n rows.

        Raises:
            OSError: the file is damaged.
        """
        out = np.empty((len(rows), *self._shape), self._dataset.dtype)
        if self._places is not None:
            for row, place, into in zip(
                rows.tolist(), self._places[rows].tolist(), out, strict=True
            ):
                self._one(row, place, into)
            return out
        # HDF5 wants rows that rise, each once
        rising, where = np.unique(rows, return_inverse=True)
        self._dataset.read_direct(out[: len(rising)], rising)
        return out[where]

    def _one(self, row: int, place: int, into: NDArray[Any]) -> None:
        if place < 0:  # never written
            into[...] = self._dataset[row]
        elif os.preadv(self._file, [into.data.cast("B")], place) != self._bytes:
            raise OSError(f"row {row} of {self._dataset.name} is cut short")


def _places(dataset: h5py.Dataset, size: int) -> Rows:
    """(n,) where each row's chunk lies in the file; -1 where it was never written.

    HDF5 walks through all chunks to find one, so they are found once, unless they lie one after the
    other, as those of a data set do whose size was fixed and whose place was taken at once.

    Args:
        dataset: of one chunk a row.
        size: bytes of a row.
    """
    n = len(dataset)
    early = dataset.id.get_create_plist().get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
    if n and early and dataset.maxshape == dataset.shape:
        first, last = (int(dataset.id.get_chunk_info(i).byte_offset) for i in (0, n - 1))
        if last - first == size * (n - 1):
            return first + size * np.arange(n, dtype=np.int64)
    places = np.full(n, -1, np.int64)

    def found(chunk: Any) -> None:
        if chunk.byte_offset is not None:
            places[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(found)
    return places


class Handle:
    """An open file of one process."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.process = os.getpid()
        self.file = open_file(path)
        self._descriptor = os.open(path, os.O_RDONLY)
        self.columns = {name: Column(self.file[name], self._descriptor) for name in names}

    def close(self) -> None:
        """Give the file back. A handle of the parent process is the parent's."""
        if self.process == os.getpid():
            self.file.close()
            os.close(self._descriptor)
