"""One at a time works on a recording's files: a thread of one process, with whatever it nests."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO
from weakref import WeakValueDictionary


class _Held:
    """What this process knows of a lock: all `Lock`s of one file share it."""

    def __init__(self) -> None:
        self.free()

    def free(self) -> None:
        """As nobody has it."""
        self.thread = threading.RLock()
        self.depth = 0
        self.file: IO[str] | None = None


_known: WeakValueDictionary[str, _Held] = WeakValueDictionary()
_looking = threading.Lock()


class Lock:
    """One process at a time works on a recording's files, and one thread of it.

    Who has it may lock again, through another processor too: a kernel's lock of its own would wait
    for the first one for ever.

    Args:
        path: of the file that is locked; made where it is not there.
        say: told that another one has it, before it is waited for.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        with _looking:
            self._held = _known.setdefault(os.path.realpath(path), _Held())

    def __enter__(self) -> None:
        """Wait until it is ours."""
        held = self._held
        if not held.thread.acquire(blocking=False):
            self._say(f"Another thread is at work on {self._path.parent}: waiting for it")
            held.thread.acquire()
        try:
            if not held.depth:
                held.file = self._locked()
            held.depth += 1
        except BaseException:
            held.thread.release()
            raise

    def __exit__(self, *_: object) -> None:
        """Let others have it."""
        held = self._held
        held.depth -= 1
        if not held.depth and held.file is not None:
            held.file.close()
            held.file = None
        held.thread.release()

    def _locked(self) -> IO[str]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w")
        try:
            # the kernel drops the lock with its process, however that ends
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._say(f"Another process is at work on {self._path.parent}: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
        except BaseException:
            file.close()
            raise
        return file


def _forget() -> None:
    """In a process that was forked: what threads of the other one have is not ours."""
    global _looking
    _looking = threading.Lock()
    for held in list(_known.values()):
        held.free()


os.register_at_fork(after_in_child=_forget)
