"""Who may take entries of a store now, and who may remove them."""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from facemake.errors import FacemakeError

logger = logging.getLogger(__name__)

_LOCK = ".lock"

_held: dict[Path, IO[bytes]] = {}


def hold(store: Path) -> None:
    """Keep every entry of the store where it is until this process ends.

    Waits while entries are being removed. Does nothing where the file system has no locks.
    """
    store = store.resolve()
    if store in _held:
        return
    with contextlib.suppress(OSError):
        handle = _open(store)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for facemake cache prune in %s", store)
            fcntl.flock(handle, fcntl.LOCK_SH)
        _held[store] = handle


@contextlib.contextmanager
def alone(store: Path, trust: bool = False) -> Iterator[None]:
    """Have no process that may link to an entry while the block lasts.

    Args:
        store: its folder.
        trust: believe that there is none where the file system has no locks.

    Raises:
        FacemakeError: there is one, or nobody can tell.
    """
    with _open(store) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FacemakeError(
                f"a run uses {store}: wait for it, or end it; `--dry-run` looks without waiting"
            ) from None
        except OSError as error:
            if not trust:
                raise FacemakeError(
                    f"the file system of {store} has no locks ({error.strerror}), so nobody can "
                    "tell whether a run uses it; --force says that none does"
                ) from None
        yield


def _open(store: Path) -> IO[bytes]:
    """The lock's file, which may be written to by whoever may write to the folder.

    Who may only read locks it too, though not alone on every file system.
    """
    path = store / _LOCK
    try:
        handle = path.open("xb")
    except FileExistsError:
        try:
            return path.open("ab")
        except OSError:  # another one's, or on a file system that is read-only here
            return path.open("rb")
    path.chmod(0o666)
    return handle
