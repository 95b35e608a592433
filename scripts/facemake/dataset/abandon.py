"""HDF5 files that are not finished, on a disk that takes no more."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import h5py

from facemake import h5


def abandon(file: h5py.File) -> None:
    """Close a file that nobody wants any more, whatever its disk says to that.

    HDF5 writes what it still holds when a file is closed, and where that fails, the process may
    crash when it ends. So what it still writes goes nowhere.

    Args:
        file: open for writing.
    """
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        sink = _nowhere()
        try:
            os.dup2(sink, file.id.get_vfd_handle())
        finally:
            os.close(sink)
    with contextlib.suppress(OSError, RuntimeError):
        file.close()


def reason(error: OSError | RuntimeError) -> str:
    """Why HDF5 could not write, in a line: its own words are many."""
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"errno = (\d+)", str(error))):
        number = int(found[1])
    return os.strerror(number) if number else str(error).splitlines()[0]


def _nowhere() -> int:
    """A descriptor of a file without a name: in memory, where the system has that."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("facemake")
    return os.open(os.devnull, os.O_RDWR)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file that is on its way to the disk when the block ends well.

    Data sets that were written must be held until then: one that is let go before writes what it
    still holds, and an error of that is not raised.

    Raises:
        OSError, RuntimeError: the disk is full, say (`reason`).
    """
    file = h5.create(path)
    try:
        yield file
        file.flush()  # where this fails, the file is still one that can be abandoned
    except BaseException:
        abandon(file)
        raise
    file.close()
