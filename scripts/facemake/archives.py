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
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from facemake.errors import TableError
from facemake.zips import ZipError, write_zip

MEMBER = "facemake.json"
"""The member that says what made the archive."""

_CHUNK = 1 << 20


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
    word = json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode()
    write_zip(path, {**files, MEMBER: word}, stored=stored)


class Archive:
    """An archive that a stage of facemake wrote, open for reading.

    Raises:
        TableError: it is damaged or was not written by facemake.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            self.metadata: dict[str, Any] = json.loads(self._zip.read(MEMBER))
        except KeyError:
            raise TableError(f"{path} was not written by facemake") from None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise TableError(
                f"{path} cannot be read as an archive ({error}); if it is one of a run's results, "
                f"delete {path.resolve()} and run again"
            ) from None
        self._names = frozenset(self._zip.namelist())

    def __contains__(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._names

    @property
    def names(self) -> list[str]:
        """The members in order, without the word of what made it."""
        return [name for name in self._zip.namelist() if name != MEMBER]

    def read(self, name: str) -> bytes:
        """What a member holds.

        Raises:
            TableError: there is none of that name, or it is damaged.
        """
        try:
            return self._zip.read(name)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise TableError(f"{name} in {self.path} cannot be read ({error})") from None

    def lines(self, name: str) -> Iterator[str]:
        """The lines of a text member, one after the other.

        Raises:
            TableError: there is none of that name, or it is damaged.
        """
        with self._member(name) as member:
            yield from io.TextIOWrapper(member, encoding="ascii", errors="replace")

    def sha256(self, name: str) -> str:
        """SHA-256 of what a member holds, as lower-case hexadecimal.

        Raises:
            TableError: there is none of that name, or it is damaged.
        """
        with self._member(name) as member:
            return hashlib.file_digest(member, "sha256").hexdigest()

    def extract(self, names: Iterable[str], folder: Path) -> list[Path]:
        """Write members into a folder, under their names.

        Raises:
            TableError: one is not there, or is damaged.
        """
        made = []
        for name in names:
            if Path(name).name != name:
                raise TableError(f"{self.path} holds {name!r}, which is no plain file name")
            made.append(folder / name)
            self.copy(name, made[-1])
        return made

    def copy(self, name: str, target: Path) -> None:
        """Write a member to a file.

        Raises:
            TableError: it is not there, or is damaged.
        """
        with self._member(name) as member, target.open("wb") as handle:
            shutil.copyfileobj(member, handle, _CHUNK)

    @contextmanager
    def _member(self, name: str) -> Iterator[Any]:
        try:
            with self._zip.open(name) as member:
                yield member
        except (KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise TableError(f"{name} in {self.path} cannot be read ({error})") from None

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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
    """
    files: dict[str, Path | bytes] = {}
    metadata: Mapping[str, Any] = {}
    for number, path in enumerate(parts):
        folder = scratch / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        with Archive(path) as part:
            metadata = part.metadata
            for file in part.extract(part.names, folder):
                if file.name in files:
                    raise ZipError(f"{file.name} is in two parts of {output}")
                files[file.name] = file
    write(output, files, metadata, stored=stored)
    shutil.rmtree(scratch, ignore_errors=True)
