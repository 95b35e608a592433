"""HDF5 files that are byte-identical when written again, and carry what made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py

from facemake.errors import ForeignFileError, TableError

METADATA_ATTRIBUTE = "facemake"


def create(path: Path) -> h5py.File:
    """A new file without time stamps, in a version of the format that HDF5 1.10 reads."""
    return h5py.File(path, "w", libver=("v110", "v110"), track_order=False)


def write_metadata(file: h5py.File, metadata: Mapping[str, Any]) -> None:
    """Put what made the file into an attribute of its root."""
    file.attrs[METADATA_ATTRIBUTE] = json.dumps(metadata, sort_keys=True, ensure_ascii=False)


def read_metadata(path: Path) -> dict[str, Any]:
    """What made an HDF5 file.

    Raises:
        TableError: the file is damaged or was not written by facemake.
    """
    try:
        with h5py.File(path, "r") as file:
            document: dict[str, Any] = json.loads(file.attrs[METADATA_ATTRIBUTE])
            return document
    except OSError as error:
        raise TableError(
            f"{path} cannot be read as HDF5 ({error}); if it is one of a run's results, delete "
            f"{path.resolve()} and run again"
        ) from None
    except KeyError:
        raise ForeignFileError(f"{path} was not written by facemake") from None


def merge_groups(
    parts: Sequence[Path], names: Sequence[str], output: Path, metadata: Mapping[str, Any]
) -> None:
    """One file with a group a sample, named as the sample, from one file a sample."""
    with create(output) as merged:
        write_metadata(merged, metadata)
        for path, name in zip(parts, names, strict=True):
            with h5py.File(path, "r") as part:
                part.copy(part, merged, name)
