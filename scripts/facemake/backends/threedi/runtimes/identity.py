"""What names the content of an install."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from facemake.backends.threedi import Engine
from facemake.backends.threedi.programs import PROGRAMS
from facemake.backends.threedi.runtimes import RunError
from facemake.provenance import digest, file_sha256

# Text tables of a face model are hundreds of megabytes: these are known by name and size.
_HASHED = 16 << 20
_FOLDERS = ("configs", "models", "scripts", "checkpoints", "utils")


def folder_identity(root: Path, engine: Engine) -> str:
    """SHA-256 over the names and hashes of an install's programs, configurations and models.

    Files above 16 MiB count by name and size. Compiled Python and what lies elsewhere in the
    folder does not count; what links lead to does (models are large, and lie on other disks).

    Raises:
        RunError: a file cannot be read.
    """
    files = {root / p.executable for p in PROGRAMS[engine]} | set(root.glob("*.py"))
    been: set[str] = set()
    listed = []
    try:
        for name in _FOLDERS:
            files |= set(_files(root / name, been))
        for path in sorted(files):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".mat":
                size = path.stat().st_size
                word = file_sha256(path) if size <= _HASHED else f"{size} bytes"
                listed.append([path.relative_to(root).as_posix(), word])
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {error.strerror}") from None
    return digest(listed)


def _files(folder: Path, been: set[str]) -> Iterator[Path]:
    """All files below a folder; each folder is entered once, however many links lead to it."""
    if not folder.is_dir():
        return
    for here, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        folders.sort()
        real = os.path.realpath(here)
        if real in been:
            folders.clear()
            continue
        been.add(real)
        yield from (Path(here, name) for name in names)


def _raise(error: OSError) -> None:
    raise error
