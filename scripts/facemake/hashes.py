"""SHA-256 of recordings, each file read once: remembered by path, size, mtime and inode.

Beside it, by that hash, what a header says of a recording's length; and what was found in the
library's own files.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from facemake.provenance import file_sha256

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_TO_SETTLE = 2.0
_ROWS_A_QUERY = 900  # below SQLite's least limit of variables


def private_folder(path: Path) -> Path:
    """Make a folder of mode 0700: what is cached of faces is its user's alone.

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        path.chmod(0o700)
    return path


class FileState(NamedTuple):
    """What tells that a file is still the one that was hashed.

    The mode is in it because a file that became unreadable must not keep its hash.
    """

    size: int
    mtime_ns: int
    inode: int
    mode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> FileState:
        """From what the system says of the file."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_mode)

    @classmethod
    def at(cls, path: str | Path) -> FileState | None:
        """Of the file at a path; None where there is none that this user may look at."""
        try:
            return cls.of(os.stat(path))  # noqa: PTH116
        except OSError:
            return None


class HashMemo:
    """The memo, a SQLite file.

    Args:
        path: the database; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=60)
        self._fresh: dict[bytes, tuple[object, ...]] = {}
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER,"
            " mtime_ns INTEGER, inode INTEGER, mode INTEGER, sha256 TEXT) WITHOUT ROWID"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS spans (sha256 TEXT PRIMARY KEY, first REAL, last REAL)"
            " WITHOUT ROWID"
        )
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS found (path BLOB PRIMARY KEY, size INTEGER,"
            " mtime_ns INTEGER, inode INTEGER, mode INTEGER, reader TEXT, text TEXT) WITHOUT ROWID"
        )

    def sha256(
        self, paths: Sequence[str], states: Sequence[FileState | None], threads: int = 2
    ) -> list[str | None]:
        """The hash of each file, None for one that cannot be read (state None: not looked at).

        Hashing is said on the log while it goes on, and remembered file by file, so that an
        interrupted planning goes on where it stopped.
        """
        hashes = self._known(paths, states)
        missing = [i for i, state in enumerate(states) if state and hashes[i] is None]
        total = sum(state.size for i in missing if (state := states[i]))
        done, said = 0, time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            found = (
                sha
                # a future a file would hold 300,000 of them
                for start in range(0, len(missing), _ROWS_A_QUERY)
                for sha in pool.map(
                    _readable_sha256, [paths[i] for i in missing[start : start + _ROWS_A_QUERY]]
                )
            )
            for i, sha in zip(missing, found, strict=True):
                state = states[i]
                assert state is not None
                hashes[i] = sha
                done += state.size
                if sha is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                        (os.fsencode(paths[i]), *state, sha),
                    )
                if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
                    said = time.monotonic()
                    self._db.commit()
                    logger.info("hashing recordings: %.1f of %.1f GB", done / 1e9, total / 1e9)
        self._db.commit()
        return hashes

    def _known(self, paths: Sequence[str], states: Sequence[FileState | None]) -> list[str | None]:
        hashes: list[str | None] = []
        for start in range(0, len(paths), _ROWS_A_QUERY):
            keys = [os.fsencode(path) for path in paths[start : start + _ROWS_A_QUERY]]
            marks = ",".join("?" * len(keys))
            rows = self._db.execute(f"SELECT * FROM files WHERE path IN ({marks})", keys)  # noqa: S608
            known = {row[0]: row[1:] for row in rows}
            for key, state in zip(keys, states[start : start + _ROWS_A_QUERY], strict=True):
                row = known.get(key)
                hashes.append(row[-1] if row and row[:-1] == state else None)
        return hashes

    def spans(
        self, files: Sequence[tuple[str, str]], read: Callable[[str], tuple[float, float]]
    ) -> list[tuple[float, float]]:
        """When each recording begins and ends by its header, looked at once a content.

        Args:
            files: (path, SHA-256) of each.
            read: path -> first and last second.
        """
        found = []
        for path, sha in files:
            row = self._db.execute("SELECT first, last FROM spans WHERE sha256 = ?", (sha,))
            span = row.fetchone()
            if span is None:
                span = read(path)
                self._db.execute("INSERT OR REPLACE INTO spans VALUES (?, ?, ?)", (sha, *span))
            found.append((float(span[0]), float(span[1])))
        self._db.commit()
        return found

    def found_in(self, path: Path, reader: str, read: Callable[[Path], str]) -> str:
        """What is found in a file, looked at once as long as it stays the same.

        Args:
            path: the file.
            reader: what `read` is; another one looks again.
            read: path -> what is to be remembered.
        """
        key, stat = os.fsencode(path.absolute()), path.stat()
        state = FileState.of(stat)
        row = self._fresh.get(key)
        if row is None:
            row = self._db.execute("SELECT * FROM found WHERE path = ?", (key,)).fetchone()
        if row and row[1:-1] == (*state, reader):
            return str(row[-1])
        text = read(path)
        # the next change may come in the same tick of the file system's clock
        if max(stat.st_mtime, stat.st_ctime) < time.time() - _SECONDS_TO_SETTLE:
            # written at the end: who writes keeps others out until all is written, and the engine's
            # install is hashed in between by a memo of its own
            self._fresh[key] = (key, *state, reader, text)
        return text

    def close(self) -> None:
        """Close the database."""
        self._db.executemany(
            "INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?, ?, ?, ?)", self._fresh.values()
        )
        self._db.commit()
        self._db.close()


def _readable_sha256(path: str) -> str | None:
    try:
        return file_sha256(Path(path))
    except OSError:
        return None


def open_memo(folder: Path) -> closing[HashMemo]:
    """The memo of a private folder, as a context manager."""
    return closing(HashMemo(private_folder(folder) / "hashes-1.sqlite"))
