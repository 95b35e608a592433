"""The results that link into a store, and the file that each results folder has there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from facemake.errors import FacemakeError
from facemake.provenance import digest
from facemake.runtime.atomic import write_text

ENTRY = re.compile(r"(?P<key>[0-9a-f]{64})(_\w+)?(?P<suffix>\.\w+)?")
"""A file's name in a store of Snakemake's: the key, the output's name, its suffix."""
_DIRECTORIES = ".directories"
_LOOKS_LIKE_RESULTS = ("probe", "dataset")
_NO_LINKS = ("report", "logs", "benchmarks")


class State(StrEnum):
    """Where a registered folder is."""

    HERE = "here"
    GONE = "gone"
    """The file system that it was on is there, and it is not."""
    ELSEWHERE = "out of reach"
    """Of another machine, on a file system that is not mounted, or not ours to read: what it linked
    to is spared."""


class Link(NamedTuple):
    """A result that is a link into a store.

    Attributes:
        path: of the link.
        target: the entry's file, there or not.
        mtime_ns: of the link itself: when the result was made or taken from the store.
    """

    path: Path
    target: Path
    mtime_ns: int


@dataclass
class Record:
    """What is written down of a results folder.

    Attributes:
        directory, results: paths, resolved.
        host: that its last run was on.
        mount: mount point of its file system there.
        last: when a run last began or ended (s since 1970).
        links: keys that its results link to, at the end of its last run.
        used: key -> when it was linked to, at the ends of all its runs.
    """

    directory: str = ""
    results: str = ""
    host: str = ""
    mount: str = "/"
    last: float = 0.0
    links: list[str] = field(default_factory=list)
    used: dict[str, float] = field(default_factory=dict)


def links(folder: Path, store: Path | None = None) -> Iterator[Link]:
    """The links below `folder` that lead to entries of `store` (None: of any store)."""
    wanted = store.resolve() if store else None
    inside: dict[str, bool] = {}
    pending = [os.fspath(folder)]
    while pending:
        try:
            found = sorted(os.scandir(pending.pop()), key=lambda one: one.name)
        except OSError:  # it went, or may not be read
            continue
        for one in found:
            if one.is_dir(follow_symlinks=False):
                pending.append(one.path)
                continue
            if not one.is_symlink():
                continue
            try:
                target = Path(one.path).parent / Path(one.path).readlink()
                mtime_ns = one.stat(follow_symlinks=False).st_mtime_ns
            except OSError:
                continue
            if not ENTRY.fullmatch(target.name):
                continue
            parent = os.fspath(target.parent)
            if wanted is not None and parent not in inside:
                inside[parent] = target.parent.resolve() == wanted
            if wanted is None or inside[parent]:
                yield Link(Path(one.path), target, mtime_ns)


def register(store: Path, directory: Path, results: Path) -> None:
    """Write down that a run in `directory` keeps its results as links into the store.

    Each results folder has a file of its own, so runs do not wait for each other.
    """
    directory, results = directory.resolve(), (directory / results).resolve()
    path = _record_path(store, results)
    known = read(path) or Record()
    write(
        path,
        Record(
            directory=os.fspath(directory),
            results=os.fspath(results),
            host=socket.gethostname(),
            mount=os.fspath(_mount(directory)),
            last=time.time(),
            links=known.links,
            used=known.used,
        ),
    )


def note_again(store: Path, directory: Path) -> None:
    """Look again at what the registered results of a working directory link to."""
    for record in records(store).values():
        if record.directory == os.fspath(directory.resolve()):
            note_links(store, directory, Path(record.results))


def note_links(store: Path, directory: Path, results: Path) -> None:
    """Write down what the results of a run that ends link to, and that they were used today."""
    register(store, directory, results)
    path = _record_path(store, (directory / results).resolve())
    record = read(path)
    if record is None:
        return
    found = linked(Path(record.directory), Path(record.results), store)
    record.links = sorted(found)
    record.used |= dict.fromkeys(found, int(record.last))
    write(path, record)


def linked(directory: Path, results: Path, store: Path) -> dict[str, float]:
    """Key -> when its link was made, of all results in a working directory.

    Also of folders beside, which look like results that somebody gave another name.
    """
    folders = [results]
    with contextlib.suppress(OSError):
        for one in sorted(directory.iterdir()):
            if one != results and any((one / name).is_dir() for name in _LOOKS_LIKE_RESULTS):
                folders.append(one)
    found: dict[str, float] = {}
    for folder in folders:
        for part in _with_links(folder):
            for link in links(part, store):
                match = ENTRY.fullmatch(link.target.name)
                assert match is not None
                found[match["key"]] = max(found.get(match["key"], 0.0), link.mtime_ns / 1e9)
    return found


def _with_links(results: Path) -> Iterator[Path]:
    """The folders of the results that may hold links; others have files by the sample."""
    with contextlib.suppress(OSError):
        for part in sorted(results.iterdir()):
            if part.name == "3di":
                yield from sorted(part.glob(".*"))
            elif part.name == "export":
                yield from sorted(part.glob("*/.packs"))
            elif part.name not in _NO_LINKS:
                yield part


def records(store: Path) -> dict[Path, Record]:
    """All records of a store, by their files.

    Raises:
        FacemakeError: one is damaged.
    """
    found = {}
    for path in sorted((store / _DIRECTORIES).glob("[!.]*.json")):
        record = read(path)
        if record is None:
            raise FacemakeError(
                f"{path} is damaged, and says which results use the cache: start the workflow "
                "again in each of your working directories, then delete it"
            )
        found[path] = record
    return found


def _mount(path: Path) -> Path:
    while not path.is_mount() and path != path.parent:
        path = path.parent
    return path


def state(record: Record) -> State:
    """Where the working directory of a record is."""
    try:
        if stat.S_ISDIR(Path(record.directory).stat().st_mode):
            hidden = any(
                Path(folder).exists() and not os.access(folder, os.R_OK | os.X_OK)
                for folder in (record.directory, record.results)
            )
            return State.ELSEWHERE if hidden else State.HERE
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError:
        return State.ELSEWHERE
    if record.host == socket.gethostname() and Path(record.mount).is_mount():
        return State.GONE
    return State.ELSEWHERE


def _record_path(store: Path, results: Path) -> Path:
    return store / _DIRECTORIES / f"{digest(os.fspath(results))[:32]}.json"


def read(path: Path) -> Record | None:
    """None where there is none, or one that cannot be read: then it is written anew."""
    try:
        return Record(**json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        return None


def write(path: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    if not path.parent.is_dir():
        path.parent.mkdir(exist_ok=True)
        shutil.copymode(path.parent.parent, path.parent)  # a store may be a group's
    write_text(path, json.dumps(vars(record), indent=0))
