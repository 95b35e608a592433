"""HDF5 files that are byte-identical when written again, and carry what made them.

Those that are not finished, on a disk that takes no more, are abandoned.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from facemake.errors import ForeignFileError, TableError

METADATA_ATTRIBUTE = "facemake"


def create(path: Path) -> h5py.File:
    """A new file without time stamps, in a version of the format that HDF5 1.10 reads."""
    return h5py.File(path, "w", libver=("v110", "v110"), track_order=False)


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
    file = create(path)
    try:
        yield file
        file.flush()  # where this fails, the file is still one that can be abandoned
    except BaseException:
        abandon(file)
        raise
    file.close()


def write_metadata(file: h5py.File, metadata: Mapping[str, Any]) -> None:
    """Put what made the file into an attribute of its root."""
    file.attrs[METADATA_ATTRIBUTE] = json.dumps(metadata, sort_keys=True, ensure_ascii=False)


def opened(path: Path) -> h5py.File:
    """A file, open for reading.

    Raises:
        TableError: it is damaged, or not there.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise TableError(
            f"{path} cannot be read as HDF5 ({error}); if it is one of a run's results, delete "
            f"{path.resolve()} and run again"
        ) from None


def read_metadata(path: Path) -> dict[str, Any]:
    """What made an HDF5 file.

    Raises:
        TableError: the file is damaged or was not written by facemake.
    """
    with opened(path) as file:
        try:
            document: dict[str, Any] = json.loads(file.attrs[METADATA_ATTRIBUTE])
            return document
        except KeyError:
            raise ForeignFileError(f"{path} was not written by facemake") from None
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise TableError(
                f"{path} is damaged: what made it cannot be read ({error}); if it is one of a "
                f"run's results, delete {path.resolve()} and run again"
            ) from None


def merge_groups(
    parts: Sequence[Path], names: Sequence[str], output: Path, metadata: Mapping[str, Any]
) -> None:
    """One file with a group a sample, named as the sample, from one file a sample."""
    with whole(output) as merged:
        write_metadata(merged, metadata)
        for path, name in zip(parts, names, strict=True):
            with h5py.File(path, "r") as part:
                part.copy(part, merged, name)
