"""A store looked at: entries by stage and by user, which of them may go, and their removal."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facemake.errors import FacemakeError, ForeignFileError
from facemake.store import users
from facemake.store.users import ENTRY, State

_UNFINISHED = re.compile(r"tmp\w{8}")
"""A folder in which Snakemake puts a file before it is whole."""


@dataclass(frozen=True)
class Entry:
    """What one job gave.

    Attributes:
        key: Snakemake's, 64 hexadecimal digits.
        files: its files in the store.
        bytes: of all of them.
        used: when it was last stored, linked or seen to be linked (s since 1970).
        stage: that made it; None where facemake did not, or where it cannot be read.
        fault: what is wrong with it, None where nothing is known to be.
    """

    key: str
    files: tuple[Path, ...]
    bytes: int
    used: float
    stage: str | None
    fault: str | None = None


@dataclass(frozen=True)
class Directory:
    """A results folder that uses the store.

    Attributes:
        directory: the working directory of its runs.
        results: the folder itself.
        state: where it is.
        links: keys of the entries that it links to; as last recorded where it is out of reach.
        bytes: of those entries.
        last: when a run last began or ended there (s since 1970).
        record: the file that says so.
    """

    directory: Path
    results: Path
    state: State
    links: frozenset[str]
    bytes: int
    last: float
    record: Path


@dataclass(frozen=True)
class Survey:
    """A store as it was found.

    Attributes:
        store: its folder.
        entries: by key.
        directories: that use it or did.
        unfinished: folders of processes that died while they stored a file.
        foreign: how many files are no entries of facemake's; they are left alone.
    """

    store: Path
    entries: Mapping[str, Entry]
    directories: Sequence[Directory]
    unfinished: Sequence[Path] = ()
    foreign: int = 0

    @property
    def linked(self) -> frozenset[str]:
        """Keys of the entries that results link to."""
        return frozenset().union(*(d.links for d in self.directories)) & self.entries.keys()

    @property
    def unused(self) -> list[Entry]:
        """The entries that no results link to."""
        linked = self.linked
        return [entry for key, entry in self.entries.items() if key not in linked]


def survey(store: Path, thorough: bool = False) -> Survey:
    """Look at a store and at the folders that use it.

    Args:
        store: its folder.
        thorough: read every file to its end, to find damage.

    Raises:
        FacemakeError: there is no such folder.
    """
    if not store.is_dir():
        raise FacemakeError(f"there is no cache in {store}: no run has used it yet")
    files: dict[str, list[Path]] = {}
    unfinished, foreign = [], 0
    for one in sorted(store.iterdir()):
        match = ENTRY.fullmatch(one.name)
        if match and one.is_file():
            files.setdefault(match["key"], []).append(one)
        elif _UNFINISHED.fullmatch(one.name) and one.is_dir():
            unfinished.append(one)
        elif not one.name.startswith("."):
            foreign += 1
    records = users.records(store)
    states = {path: users.state(record) for path, record in records.items()}
    linked: dict[Path, dict[str, float]] = {}
    used: dict[str, float] = {}
    for path, record in records.items():
        now: dict[str, float] = {}
        if states[path] is State.HERE:
            now = users.linked(Path(record.directory), Path(record.results), store)
        # of another machine's folder with the same path nobody can tell that it is this one
        if states[path] is State.ELSEWHERE or record.host != socket.gethostname():
            now = {**dict.fromkeys(record.links, record.last), **now}
        linked[path] = now
        for key, when in (*record.used.items(), *now.items()):
            used[key] = max(used.get(key, 0.0), when)
    entries: dict[str, Entry] = {}
    for key, paths in files.items():
        entry = _entry(key, paths, used.get(key, 0.0), thorough)
        if entry is None:
            foreign += len(paths)
        else:
            entries[key] = entry
    directories = [
        Directory(
            directory=Path(record.directory),
            results=Path(record.results),
            state=states[path],
            links=frozenset(linked[path]),
            bytes=sum(entries[key].bytes for key in linked[path] if key in entries),
            last=record.last,
            record=path,
        )
        for path, record in records.items()
    ]
    directories.sort(key=lambda one: os.fspath(one.results))
    return Survey(store, entries, directories, unfinished, foreign)


def choose(
    found: Survey,
    *,
    unused: bool = False,
    older_than: float | None = None,
    keep: int | None = None,
    stages: Sequence[str] | None = None,
    force: bool = False,
) -> list[Entry]:
    """The entries that may go, the longest unused first; what is asked for must hold together.

    Args:
        found: by `survey`.
        unused: only what no results link to.
        older_than: only what nobody used for so many seconds.
        keep: no more than what leaves so many bytes in the store.
        stages: only what these made.
        force: also what results link to, which the next run there makes again.
    """
    linked = found.linked
    now, left = time.time(), sum(entry.bytes for entry in found.entries.values())
    chosen = []
    for entry in sorted(found.entries.values(), key=lambda e: (e.used, e.key)):
        if keep is not None and left <= keep:
            break
        if entry.key in linked and (unused or not force):
            continue
        if stages is not None and entry.stage not in stages:
            continue
        if older_than is not None and now - entry.used < older_than:
            continue
        chosen.append(entry)
        left -= entry.bytes
    return chosen


def still_damaged(found: Survey, damaged: Sequence[Entry]) -> list[Entry]:
    """Those entries of an earlier survey that are damaged now; others were made again meanwhile.

    Args:
        found: by a survey inside of `alone`.
        damaged: of the earlier one.
    """
    again = (found.entries[one.key] for one in damaged if one.key in found.entries)
    looked_at = (_entry(one.key, one.files, one.used, thorough=True) for one in again)
    return [one for one in looked_at if one is not None and one.fault]


def remove(found: Survey, entries: Sequence[Entry]) -> None:
    """Remove entries, what dead processes left, and records of folders that are no more.

    To be called inside of `alone`.
    """
    for entry in entries:
        for path in entry.files:
            path.unlink(missing_ok=True)
    for folder in found.unfinished:
        shutil.rmtree(folder, ignore_errors=True)
    gone = {entry.key for entry in entries}
    left = found.entries.keys() - gone
    for directory in found.directories:
        record = users.read(directory.record)
        if record is None:
            continue
        record.used = {key: when for key, when in record.used.items() if key in left}
        record.links = [key for key in record.links if key in left]
        # as long as its entries are there, it says when they were used
        with contextlib.suppress(OSError):  # another user's, in a store that is a group's
            if directory.state is State.GONE and not record.used:
                directory.record.unlink(missing_ok=True)
            else:
                users.write(directory.record, record)


def without(found: Survey, folders: Sequence[Path]) -> Survey:
    """The survey as it is when nothing is known of working directories that are not coming back.

    Raises:
        FacemakeError: one is there, or is not known.
    """
    wanted = {os.path.abspath(folder) for folder in folders}  # noqa: PTH100 (it need not be there)
    for folder in sorted(wanted):
        known = [d for d in found.directories if os.fspath(d.directory) == folder]
        if not known:
            raise FacemakeError(
                f"no run in {folder} has used {found.store}: `facemake cache info` lists them"
            )
        if known[0].state is State.HERE:
            raise FacemakeError(f"{folder} is there: what its results link to is looked at")
    left = [d for d in found.directories if os.fspath(d.directory) not in wanted]
    return replace(found, directories=left)


def forget(store: Path, folder: Path) -> None:
    """Drop what is known of a working directory."""
    wanted = os.path.abspath(folder)  # noqa: PTH100
    for path, record in users.records(store).items():
        if record.directory == wanted:
            path.unlink(missing_ok=True)


def _entry(key: str, paths: Sequence[Path], used: float, thorough: bool) -> Entry | None:
    """None for what other workflows put into a store that is shared with them."""
    stage, fault, size = None, None, 0
    for path in paths:
        try:
            stat = path.stat()
        except OSError:  # it went meanwhile
            continue
        size += stat.st_size
        used = max(used, stat.st_mtime)
        try:
            with path.open("rb"):  # libraries say less of why they cannot
                stage = _stage(path) or stage
            if thorough:
                _read_through(path)
        except ForeignFileError:
            return None
        except (MemoryError, FileNotFoundError, PermissionError):
            continue  # no fault of the file: it went meanwhile, or is another user's
        except Exception as error:
            fault = f"{path.name} is damaged ({error})"
    return Entry(key, tuple(paths), size, used, stage, fault)


def _stage(path: Path) -> str:
    """The stage that wrote a file, by its footer or attribute alone."""
    from facemake.shards import read_metadata

    if path.suffix == ".npz":
        return "threedi_model"
    if path.suffix not in (".parquet", ".h5", ".zip"):
        raise ForeignFileError(f"{path} was not written by facemake")
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    try:
        return str(read_metadata(path)["recipe"]["stage"])
    except ForeignFileError:
        raise
    except FacemakeError:
        raise ValueError("it cannot be read") from None


def _read_through(path: Path) -> None:
    import zipfile

    import h5py
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as table:
            for _ in table.iter_batches(use_threads=False):
                pass
    elif path.suffix == ".h5":
        with h5py.File(path, "r") as file:

            def read(name: str, node: object) -> None:
                if isinstance(node, h5py.Dataset):
                    step = node.chunks[0] if node.chunks else max(1, len(node) if node.shape else 1)
                    for start in range(0, len(node) if node.shape else 0, step):
                        node[start : start + step]

            file.visititems(read)
    else:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken:
            raise ValueError(f"{broken} in it has another checksum than when it was written")
