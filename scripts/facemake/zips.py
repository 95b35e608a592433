"""Archives of flat files, written the same every time and read with distrust.

A member is a file with a plain name: no folder, no link. An archive that is anything else, or that
unpacks to more than the reader allows, is refused as a whole, and nothing of it is left behind.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from facemake.errors import FacemakeError
from facemake.runtime.atomic import replacing

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can say
_CHUNK = 1 << 20
_LONGEST_NAME = 255  # bytes, what file systems take
_DIRECTORY_ENTRY = 46 + _LONGEST_NAME + 256  # bytes: fixed part, name, extra fields
_SMALL = 1 << 20  # bytes: a ratio says nothing of less
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_DOS_FOLDER = 0x10
# control, format (they turn text around), surrogate, line and paragraph separators
_UNSEEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


class ZipError(FacemakeError):
    """An archive is refused: damaged, unsafe, or larger than allowed; the message names which."""


def write_zip(path: Path, files: Mapping[str, Path | bytes], *, stored: bool = False) -> None:
    """Write an archive; the same files give the same bytes (with the same zlib).

    Members are sorted by name, dated 1980-01-01 and of mode 0600, whatever the files are.

    Args:
        path: the archive; written beside and renamed.
        files: member's name -> a file, or what is to be in it.
        stored: do not compress (videos, which are compressed already).

    Raises:
        ZipError: a name is not a plain file name, or two differ in case only.
        OSError: a file cannot be read, or the archive not written.
    """
    seen: set[str] = set()
    for name in files:
        _check_name(path.name, name, seen)
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name in sorted(files):
            source = files[name]
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, on every system: the mode is read as such
            entry.external_attr = (stat.S_IFREG | 0o600) << 16
            entry.compress_type = method
            if isinstance(source, bytes):
                archive.writestr(entry, source)
                continue
            with source.open("rb") as handle:
                entry.file_size = os.fstat(handle.fileno()).st_size
                with archive.open(entry, "w") as member:
                    shutil.copyfileobj(handle, member, _CHUNK)


def read_zip(
    source: Path | bytes,
    folder: Path,
    *,
    max_files: int,
    max_bytes: int,
    max_ratio: float = 200.0,
    names: Callable[[str], str | None] | None = None,
) -> list[Path]:
    """Unpack an archive into a folder: all of it, or nothing.

    Members are unpacked beside, in a folder with a dotted name, and renamed when all are there and
    whole; a file of the same name is replaced then.

    Args:
        source: the archive, a file or its bytes.
        folder: where the files go; made if it is not there.
        max_files: how many members it may have.
        max_bytes: how much they may be, in all, unpacked; counted while they are unpacked.
        max_ratio: how many times the archive's size they may be, once they are more than 1 MB.
            Deflate reaches 1032 at most: more means that members share their data.
        names: gives the file name for a member's name; None from it refuses the archive.

    Returns:
        The files, in the archive's order.

    Raises:
        ZipError: the archive is refused; nothing was written.
        OSError: the folder cannot be written.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=".unzip-", dir=folder))
    try:
        with _opened(source, max_files) as (archive, what, size):
            new: list[str] = []
            seen: set[str] = set()
            left = max_bytes
            most = max(_SMALL, int(size * max_ratio))
            for entry in archive.infolist():
                name = entry.orig_filename if names is None else names(entry.orig_filename)
                if name is None:
                    raise ZipError(
                        f"{what} holds a file that does not belong there: {entry.orig_filename!r}"
                    )
                _check_name(what, name, seen)
                new.append(name)
                for data in _pieces(archive, entry, what):
                    left -= len(data)
                    if left < 0:
                        raise ZipError(f"{what} unpacks to more than the {max_bytes} bytes allowed")
                    if max_bytes - left > most:
                        raise ZipError(
                            f"{what} unpacks to more than {max_ratio:g} times its size: an archive "
                            "that is made to fill disks"
                        )
                    with (beside / name).open("ab") as handle:
                        handle.write(data)
        for name in new:
            (beside / name).replace(folder / name)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        if made:
            folder.rmdir()
        raise
    beside.rmdir()
    return [folder / name for name in new]


def members(path: Path, *, max_files: int = 10_000) -> dict[str, int]:
    """The names of an archive's members and the bytes that each says it has, in its order.

    Raises:
        ZipError: it is damaged or not one that `read_zip` would take.
        OSError: it cannot be read.
    """
    with _opened(path, max_files) as (archive, _, _):
        return {entry.orig_filename: entry.file_size for entry in archive.infolist()}


@contextmanager
def _opened(source: Path | bytes, max_files: int) -> Iterator[tuple[zipfile.ZipFile, str, int]]:
    """The archive, what to call it and its size; every member's header has been checked."""
    what = source.name if isinstance(source, Path) else "the archive"
    handle: IO[bytes] = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    with handle:
        size = handle.seek(0, os.SEEK_END)
        _check_directory(handle, size, what, max_files)
        try:
            archive = zipfile.ZipFile(handle)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise ZipError(f"{what} is no whole ZIP archive: {error}") from None
        with archive:
            if len(archive.infolist()) > max_files:
                raise ZipError(f"{what} holds more than the {max_files} files allowed")
            seen: set[str] = set()
            for entry in archive.infolist():
                _check_name(what, entry.orig_filename, seen)
                _check_entry(what, entry)
            yield archive, what, size


def _check_directory(handle: IO[bytes], size: int, what: str, max_files: int) -> None:
    """Refuse a directory that would fill the memory before `zipfile` reads it.

    Its end stands at the end of the file, without a comment, and the directory right before it, as
    all but self-extracting archives have it: then two readers cannot see two archives in one file.
    """
    damaged = ZipError(f"{what} is no whole ZIP archive")
    if size < 22:
        raise damaged
    handle.seek(size - 22)
    end = struct.unpack("<4s4H2LH", handle.read(22))
    length, offset, stop = end[5], end[6], size - 22
    if end[0] != b"PK\5\6" or end[7] != 0:
        raise damaged
    if size >= 98:
        handle.seek(size - 98)
        end64 = struct.unpack("<4sQ2H2L4Q", handle.read(56))
        if handle.read(4) == b"PK\6\7":  # the locator of the record for large archives
            if end64[0] != b"PK\6\6":
                raise damaged
            length, offset, stop = end64[8], end64[9], size - 98
    if offset + length != stop:
        raise damaged
    if length > max_files * _DIRECTORY_ENTRY:
        raise ZipError(f"{what} holds more than the {max_files} files allowed")


def _check_entry(what: str, entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or entry.external_attr & _DOS_FOLDER:
        raise ZipError(f"{name!r} in {what} is no file but a link, a folder or a device")
    if entry.flag_bits & _ENCRYPTED:
        raise ZipError(f"{name!r} in {what} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ZipError(f"{name!r} in {what} is compressed in a way that is not read here")


def _check_name(what: str, name: str, seen: set[str]) -> None:
    """Refuse what is not the plain name of a file; `seen` has those before, case folded."""
    if (
        not name
        or name in (".", "..")
        or any(character in "/\\:" for character in name)
        or any(unicodedata.category(character) in _UNSEEN for character in name)
        or len(name.encode("utf-8")) > _LONGEST_NAME
    ):
        raise ZipError(f"{what} holds {name[:80]!r}, which is not the plain name of a file")
    # one file on systems that do not tell case or composition apart
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    if folded in seen:
        raise ZipError(f"{what} holds {name!r} twice")
    seen.add(folded)


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str) -> Iterator[bytes]:
    """What a member holds, piece by piece, the last one maybe empty; its checksum is checked."""
    try:
        with archive.open(entry) as member:
            count = 0
            while data := member.read(_CHUNK):
                count += len(data)
                yield data
            if count != entry.file_size:
                raise zipfile.BadZipFile(f"{count} bytes, not {entry.file_size}")
            yield b""
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ) as error:
        raise ZipError(f"{entry.orig_filename} in {what} is damaged: {error}") from None
