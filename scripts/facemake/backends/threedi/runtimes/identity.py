"""What names the content of an install."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from facemake.backends.threedi import Engine
from facemake.backends.threedi.programs import PROGRAMS
from facemake.backends.threedi.runtimes import RunError
from facemake.hashes import FileState, open_memo
from facemake.provenance import digest, file_sha256
from facemake.samples import WORK

logger = logging.getLogger(__name__)

_CODE = (".py", ".so")
_WRITTEN = (".pyc", ".pyo", ".log")
_NO_CONTENT = frozenset({"cache", "log", "logs", "tmp"})
"""Folders in the install folder that programs write into; hidden ones are such, too."""
_RAW = (("models", "raw"), ("data", "raw"))
"""What the face model was made from: no program reads it."""

_AT_ONCE = 16 << 20
"""Bytes that are hashed as soon as they are asked for: an install of fewer needs no memo."""
_SECONDS_TO_SETTLE = 3.0
"""A file that has just changed may change again within one tick of the clock of its folder."""


def folder_identity(root: Path, engine: Engine) -> str:
    """SHA-256 over the names and hashes of an install's programs, configurations and models.

    All files in the folder's folders count, and the programs beside these; what links lead to, too
    (models are large, and lie on other disks). Caches, logs and compiled Python do not, nor does
    what the face model was made from. Each file is read once: hashes are remembered, in the run's
    own folder or in the user's cache.

    Raises:
        RunError: a file cannot be read.
    """
    try:
        files, states = [], []
        for path in sorted(_content(root, engine)):
            try:
                found = path.stat()
            except FileNotFoundError:  # a link to nothing
                continue
            if stat.S_ISREG(found.st_mode):
                files.append(path)
                states.append(found)
        hashes = _hashes(files, states)
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read: {error.strerror}") from None
    names = (path.relative_to(root).as_posix() for path in files)
    return digest([list(pair) for pair in zip(names, hashes, strict=True)])


def file_identity(path: Path) -> str:
    """SHA-256 of an image file, read once as long as it stays the same: it has gigabytes.

    Raises:
        RunError: it cannot be read.
    """
    try:
        path = path.resolve(strict=True)
        return _hashes([path], [path.stat()])[0]
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None


def _content(root: Path, engine: Engine) -> set[Path]:
    programs = {root / p.executable for p in PROGRAMS[engine]}
    files = set(programs)
    been: set[str] = set()
    for path in sorted(root.iterdir()):  # which of two names a folder has must not be chance
        if path.name.startswith(".") or path.name in _NO_CONTENT:
            continue
        if path.is_dir():
            files |= set(_files(path, been))
        elif path.suffix in _CODE or ".so." in path.name or os.access(path, os.X_OK):
            files.add(path)
    raw = tuple(root.joinpath(*parts) for parts in _RAW)
    return {
        path
        for path in files
        if path in programs
        or not (
            path.suffix in _WRITTEN
            or "__pycache__" in path.relative_to(root).parts
            or any(path.is_relative_to(folder) for folder in raw)
        )
    }


def _hashes(files: Sequence[Path], states: Sequence[os.stat_result]) -> list[str]:
    """SHA-256 of each file."""
    known: list[str | None] = [None] * len(files)
    if sum(state.st_size for state in states) > _AT_ONCE:
        recent = time.time() - _SECONDS_TO_SETTLE
        settled = [
            FileState.of(one) if max(one.st_mtime, one.st_ctime) < recent else None
            for one in states
        ]
        try:
            with open_memo(_memo_folder()) as memo:
                known = memo.sha256([str(path) for path in files], settled)
        except (OSError, sqlite3.Error) as error:  # a home that is read-only, say
            logger.debug("no hash is remembered: %s", error)
    return [one or file_sha256(path) for path, one in zip(files, known, strict=True)]


def _memo_folder() -> Path:
    """The run's own folder where we are in one's, else the user's cache."""
    return WORK if WORK.is_dir() else Path("~/.cache/facemake").expanduser()


def _files(folder: Path, been: set[str]) -> Iterator[Path]:
    """All files below a folder; each folder is entered once, however many links lead to it."""
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
