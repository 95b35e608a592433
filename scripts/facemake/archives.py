"""Files of many samples in one: what a stage made of a shard as files of others' formats.

A shard's raw files are one ZIP archive, so that a shard has one file a stage that Snakemake can
cache and rename whole; `MEMBER` in it says what made it, as the metadata of a table does. Members
have plain names and are sorted by them.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facemake.errors import ForeignFileError, TableError
from facemake.runtime.contexts import Closing
from facemake.zips import ZipError, write_zip

MEMBER = ".facemake.json"
"""The member that says what made the archive; no sample's name begins with a dot."""

_CHUNK = 1 << 20
_DAMAGE = (
    *(KeyError, ValueError, EOFError, RuntimeError, RecursionError, struct.error, zlib.error),
    *(NotImplementedError, zipfile.BadZipFile),
)
"""What is raised of damaged archives."""


def write(
    path: Path,
    files: Mapping[str, Path | bytes],
    metadata: Mapping[str, Any],
    *,
    stored: bool = False,
) -> None:
    """Write an archive of files by their names in it.

    Args:
        path: the archive.
        files: name -> file or content.
        metadata: what made it (`facemake.shards.metadata`).
        stored: not compressed (videos).
    """
    if MEMBER in files:
        raise ZipError(f"{MEMBER} in {path} would be taken for what says who made it")
    word = json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode()
    write_zip(path, {**files, MEMBER: word}, stored=stored)


class Archive(Closing):
    """An archive that a stage of facemake wrote, open for reading.

    Raises:
        TableError: it is damaged or was not written by facemake.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, *_DAMAGE) as error:
            raise self._unreadable(error) from None
        try:
            self._names = _plain_names(self._zip, path)
            if MEMBER not in self._names:
                raise ForeignFileError(f"{path} was not written by facemake")
            word = json.loads(self._zip.read(MEMBER))
            if not isinstance(word, dict):
                raise TableError(f"{path} does not say what made it")
        except (OSError, *_DAMAGE) as error:
            self._zip.close()
            raise self._unreadable(error) from None
        except TableError:
            self._zip.close()
            raise
        self.metadata: dict[str, Any] = word

    def _unreadable(self, error: Exception) -> TableError:
        return TableError(
            f"{self.path} cannot be read as an archive ({error}); if it is one of a run's results, "
            f"delete {self.path.resolve()} and run again"
        )

    def __contains__(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._names

    @property
    def names(self) -> list[str]:
        """The members in order, without the word of what made it."""
        return [name for name in self._names if name != MEMBER]

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, *_DAMAGE) as error:
            raise TableError(f"{name} in {self.path} cannot be read ({error})") from None

    def read(self, name: str) -> bytes:
        """What a member holds.

        Raises:
            TableError: there is none of that name, or it is damaged.
        """
        with self._reading(name):
            return self._zip.read(name)

    def lines(self, name: str) -> Iterator[str]:
        """The lines of a text member, one after the other.

        Raises:
            TableError: there is none of that name, or it is damaged.
        """
        with self._member(name) as member:
            lines = io.TextIOWrapper(member, encoding="ascii", errors="replace")
            while True:
                with self._reading(name):
                    line = lines.readline()
                if not line:
                    return
                yield line

    def sha256(self, name: str) -> str:
        """SHA-256 of what a member holds, as lower-case hexadecimal.

        Raises:
            TableError: there is none of that name, or it is damaged.
        """
        known = hashlib.sha256()
        for data in self._pieces(name):
            known.update(data)
        return known.hexdigest()

    def copy(self, name: str, target: Path) -> None:
        """Write a member to a file; there is none where it fails.

        Raises:
            TableError: it is not there, or is damaged.
            OSError: the file cannot be written.
        """
        try:
            with target.open("wb") as handle:
                for data in self._pieces(name):
                    handle.write(data)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def extract(self, names: Iterable[str], folder: Path) -> list[Path]:
        """Write members into a folder, under their names.

        Raises:
            TableError: one is not there, or is damaged.
            OSError: the folder cannot be written.
        """
        made = []
        for name in names:
            self.copy(name, folder / name)
            made.append(folder / name)
        return made

    @contextmanager
    def _member(self, name: str) -> Iterator[Any]:
        with self._reading(name):
            member = self._zip.open(name)
        with member:
            yield member

    def _pieces(self, name: str) -> Iterator[bytes]:
        with self._member(name) as member:
            while True:
                with self._reading(name):
                    data: bytes = member.read(_CHUNK)
                if not data:
                    return
                yield data

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


def _plain_names(archive: zipfile.ZipFile, path: Path) -> dict[str, None]:
    """The members in order, each once.

    Raises:
        TableError: one could lie elsewhere than in the folder that it is put into, or two are one.
    """
    for name, count in Counter(archive.namelist()).items():
        if name in (".", "..") or Path(name).name != name:
            raise TableError(f"{path} holds {name!r}, which is no plain file name")
        if count > 1:
            raise TableError(f"{path} holds {name!r} twice")
    return dict.fromkeys(archive.namelist())


def read_metadata(path: Path) -> dict[str, Any]:
    """What made an archive."""
    with Archive(path) as archive:
        return archive.metadata


def merge(parts: Sequence[Path], output: Path, scratch: Path, *, stored: bool = False) -> None:
    """One archive of several with the same word of what made them.

    Args:
        parts: archives with members of different names.
        output: the archive of all of them.
        scratch: a folder that may hold all that is in them for a while.
        stored: not compressed.

    Raises:
        TableError: a part is damaged, or was made by something else than the first.
        ZipError: a name is in two of them.
    """
    files: dict[str, Path | bytes] = {}
    metadata: Mapping[str, Any] = {}
    for number, path in enumerate(parts):
        folder = scratch / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        with Archive(path) as part:
            if number and part.metadata != metadata:
                raise TableError(f"{path} was made by something else than {parts[0]}")
            metadata = part.metadata
            for file in part.extract(part.names, folder):
                if file.name in files:
                    raise ZipError(f"{file.name} is in two parts of {output}")
                files[file.name] = file
    write(output, files, metadata, stored=stored)
    shutil.rmtree(scratch, ignore_errors=True)
