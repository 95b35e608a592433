"""The lock of a shard: one process at a time works on a stage of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from facemake.errors import BusyError, FacemakeError
from facemake.runtime import runs

logger = logging.getLogger(__name__)

_TRIES_AT_FIRST = 5
_SECONDS_BETWEEN_FIRST_TRIES = 0.1
"""Who only asks whether a lock is held (`facemake.runtime.heartbeat`) holds it for that moment."""

_SECONDS_BETWEEN_TRIES = 1.0
_SECONDS_BETWEEN_LINES = 60.0

_SECONDS_TO_SETTLE = 10.0
"""After a job that gave up its lock: its Snakemake still removes what it takes for damaged."""

_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL})


class ShardLock:
    """A lock file; the kernel drops the lock with its process, however that ends.

    Args:
        path: of the file.
        what: is worked on, in words.
        work: folder of the run.

    Raises:
        BusyError: another process has the lock, and this one is no job of a run, which would wait
            for it; or it is a job of a run that was replaced meanwhile.
        FacemakeError: the file system has no locks.
    """

    def __init__(self, path: Path, what: str, work: Path) -> None:
        self._path = path
        self._what = what
        self._work = work

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+", encoding="utf-8")
        try:
            self._take()
            self._file.truncate(0)
            job = os.environ.get("SLURM_JOB_ID")
            job = f", SLURM job {job}" if job else ""
            self._file.write(f"process {os.getpid()} on {socket.gethostname()}{job}")
            self._file.flush()
        except BaseException:
            with contextlib.suppress(OSError):  # what was not written is tried once more
                self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _take(self) -> None:
        for _ in range(_TRIES_AT_FIRST):
            if self._try():
                return
            time.sleep(_SECONDS_BETWEEN_FIRST_TRIES)
        if not runs.mine():
            raise BusyError(
                f"another process is at work on {self._what}; wait for it, or end it (its lock is "
                f"{self._path}: {self._holder()})"
            )
        said = -_SECONDS_BETWEEN_LINES
        began = time.monotonic()
        while not self._try():
            hand_over(self._what, self._work)
            now = time.monotonic()
            if now - said >= _SECONDS_BETWEEN_LINES:
                said = now
                logger.info(
                    "%s: waiting for another job at work on it (%s), %.0f s so far",
                    *(self._what, self._holder(), now - began),
                )
            time.sleep(_SECONDS_BETWEEN_TRIES)
        time.sleep(_SECONDS_TO_SETTLE)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise FacemakeError(
                f"the file system of {self._path} has no locks ({error.strerror}), so two jobs "
                "might write one file: work in a folder on another one (Lustre: mounted with flock)"
            ) from None
        return True

    def _holder(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8") or "it does not say who"
        except OSError:
            return "it does not say who"


@contextlib.contextmanager
def shared_hold(path: Path) -> Iterator[None]:
    """Hold a lock file together with others, while the block lasts."""
    with path.open("a+", encoding="utf-8") as file:
        with contextlib.suppress(OSError):  # a file system without locks: `ShardLock` says so
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def sign_of_life(path: Path) -> Iterator[None]:
    """Hold a lock file while the block lasts, if nobody has it: others see that this one lives."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = held.enter_context(path.open("a+", encoding="utf-8"))
            for _ in range(_TRIES_AT_FIRST):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_SECONDS_BETWEEN_FIRST_TRIES)
        yield


def wait_for_holders(path: Path) -> None:
    """Wait until nobody holds a lock file any more (`shared_hold`): processes that are ending."""
    with path.open("a+", encoding="utf-8") as file, contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def hand_over(what: str, work: Path) -> None:
    """End a job of a run that was replaced, where that costs nothing.

    Raises:
        BusyError: another run has begun in this folder.
    """
    if runs.is_stale(work):
        raise BusyError(
            f"another run was started in this folder: its job goes on with {what}, from what is "
            "done so far"
        )
