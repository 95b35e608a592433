"""Files of the user's that are in no registry: trusted when first seen, refused when they change.

The SHA-256 of `FILE` is pinned beside it in `FILE.sha256`, as sha256sum writes it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from facemake.errors import ModelError
from facemake.provenance import file_sha256
from facemake.runtime.atomic import write_text


def pin_of(path: Path) -> Path:
    """Where the SHA-256 of a file is pinned."""
    return path.with_name(f"{path.name}.sha256")


def pin(path: Path, where: Path | None = None) -> str:
    """Pin a file's SHA-256, whatever was pinned before; returns it.

    Args:
        path: of the file.
        where: to pin it; None: beside it.

    Raises:
        OSError: it cannot be written.
    """
    sha256 = file_sha256(path)
    write_text(where or pin_of(path), f"{sha256}  {path.name}\n")
    return sha256


def again(path: Path) -> str:
    """What to do about a file that is cut off, or of another kind: in words, behind a comma."""
    where = pin_of(path)
    return "get it again" + (f", and delete {where}, which pins it as it is" * where.is_file())


def verify_pin(path: Path, where: Path | None = None) -> str:
    """The file's SHA-256, which is the pinned one; a file that has no pin gets one.

    Args:
        path: of the file.
        where: its pin is; None: beside it.

    Raises:
        ModelError: it has another SHA-256, or cannot be read, or no pin can be written.
    """
    where = where or pin_of(path)
    if not where.is_file():
        try:
            with _first(path):
                if not where.is_file():
                    return pin(path, where)
        except OSError as error:
            if error.filename == str(path):
                raise ModelError(f"{path} cannot be read ({error.strerror or error})") from None
            raise ModelError(
                f"the SHA-256 of {path} cannot be pinned in {where} ({error}): run `sha256sum "
                f"{path.name} > {where.name}` there as somebody who may write"
            ) from None
    try:
        pinned = where.read_text(encoding="utf-8").lower().split()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{where}, which pins the SHA-256 of {path.name}, cannot be read ({error}): mend it, "
            "or delete it if the file is what it should be"
        ) from None
    try:
        stat = path.stat()
        found = _sha256(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror or error})") from None
    if pinned[:1] != [found]:
        raise ModelError(
            f"{path} has changed: its SHA-256 is {found}, pinned in {where} is "
            f"{(pinned or ['nothing'])[0]}; put back what it was (a built model: build it again), "
            "or delete the pin if the change was meant"
        )
    return found


@contextmanager
def _first(path: Path) -> Iterator[None]:
    """One process at a time, where the file's disk knows locks."""
    with path.open("rb") as handle:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@cache
def _sha256(path: Path, size: int, mtime_ns: int, inode: int) -> str:
    """Hash a file once a process, as long as it stays what it is."""
    return file_sha256(path)
