"""Whole files only: write beside, flush, rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facemake.runtime import disks


@contextmanager
def replacing(path: Path, *, flush: bool = True, private: bool = False) -> Iterator[Path]:
    """Yield a dotted name beside `path`; rename it to `path` when the block ends well.

    The name is the same for every try, so what a killed try left is overwritten by the next one.
    Two writers of one path are kept apart by the lock of their shard.

    Args:
        path: of the file.
        flush: on the disk before it is renamed; False where who reads it looks whether it is whole
            (a power cut may leave an empty file).
        private: of mode 0600 from the start; who writes opens the file that is there.

    Raises:
        OSError: what writing raised (a full disk, say); `path` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        if private:
            beside.unlink(missing_ok=True)
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield beside
        if flush:
            with beside.open("rb") as handle:
                os.fsync(handle.fileno())
        beside.replace(path)
    except BaseException as error:
        disks.blame(error, path)
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder of a dotted name beside `path`; rename it to `path` at a good end.

    What was there, a folder, a file or a link, is gone then. As with `replacing`, what a killed try
    left is overwritten by the next one; one that is killed while it renames leaves what was there
    as `.NAME.earlier`.

    Args:
        path: of the folder.

    Raises:
        OSError: what writing raised; `path` is then as it was.
    """
    beside, earlier = (path.with_name(f".{path.name}.{word}") for word in ("part", "earlier"))
    _remove(beside)
    beside.mkdir(parents=True)
    try:
        yield beside
        if os.path.lexists(path):
            _remove(earlier)
            path.replace(earlier)
        beside.replace(path)
    except BaseException as error:
        disks.blame(error, path)
        _remove(beside)
        if os.path.lexists(earlier) and not os.path.lexists(path):
            earlier.replace(path)
        raise
    _remove(earlier)


def _remove(path: Path) -> None:
    """Have nothing there; of a link, what it points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> bool:
    """Write `text` unless `path` holds it already; True where something was written."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        if path.read_bytes() == data:
            return False
    except FileNotFoundError:
        pass
    with replacing(path) as beside:
        beside.write_bytes(data)
    return True
