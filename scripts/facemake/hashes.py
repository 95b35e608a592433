"""SHA-256 of recordings, each file read once: remembered by path, size, mtime and inode."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from facemake.provenance import file_sha256

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0


def private_folder(path: Path) -> Path:
    """Make a folder of mode 0700: what is cached of faces is its user's alone.

    Raises:
        OSError: it cannot be made.
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        path.chmod(0o700)
    return path


class HashMemo:
    """The memo, a SQLite file.

    Args:
        path: the database; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=60)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER,"
            " mtime_ns INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"
        )

    def sha256(self, paths: Sequence[Path], threads: int = 2) -> list[str | None]:
        """The hash of each file, None for one that cannot be read.

        Hashing is said on the log while it goes on, and remembered file by file, so that an
        interrupted planning goes on where it stopped.
        """
        stats = [_stat(path) for path in paths]
        known = [self._known(path, stat) for path, stat in zip(paths, stats, strict=True)]
        missing = [
            i
            for i, (sha, stat) in enumerate(zip(known, stats, strict=True))
            if sha is None and stat is not None
        ]
        total = sum(stat.st_size for i in missing if (stat := stats[i]) is not None)
        done, said = 0, time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            for i, sha in zip(
                missing, pool.map(_readable_sha256, [paths[i] for i in missing]), strict=True
            ):
                stat = stats[i]
                assert stat is not None
                known[i] = sha
                done += stat.st_size
                if sha is not None:
                    self._db.execute(
                        "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                        (_key(paths[i]), stat.st_size, stat.st_mtime_ns, stat.st_ino, sha),
                    )
                if time.monotonic() - said > _SECONDS_BETWEEN_LINES:
                    said = time.monotonic()
                    self._db.commit()
                    logger.info("hashing recordings: %.1f of %.1f GB", done / 1e9, total / 1e9)
        self._db.commit()
        return known

    def _known(self, path: Path, stat: os.stat_result | None) -> str | None:
        if stat is None:
            return None
        row = self._db.execute(
            "SELECT size, mtime_ns, inode, sha256 FROM files WHERE path = ?", (_key(path),)
        ).fetchone()
        if row and row[:3] == (stat.st_size, stat.st_mtime_ns, stat.st_ino):
            # a remembered hash does not make a file readable that is not any more
            return row[3] if os.access(path, os.R_OK) else None
        return None

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def _key(path: Path) -> bytes:
    return os.fsencode(path)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _readable_sha256(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None


def open_memo(folder: Path) -> closing[HashMemo]:
    """The memo of a private folder, as a context manager."""
    return closing(HashMemo(private_folder(folder) / "hashes.sqlite"))
