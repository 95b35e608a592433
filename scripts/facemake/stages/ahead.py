"""Work that runs ahead of who needs it: the next frames are decoded while a model computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")

_BYTES = 256 << 20
"""That may wait; one item always may."""
_SECONDS_BETWEEN_LOOKS = 0.1


class _End:
    """Comes after the last item."""


def ahead(
    items: Generator[T, None, None], most: int, nbytes: Callable[[T], int]
) -> Generator[T, None, None]:
    """The items, made by a thread of its own, which is ahead of who takes them.

    Args:
        items: closed by that thread, also where whoever takes them stops early.
        most: so many may wait.
        nbytes: how much memory an item keeps, for a bound on all that wait; called in that thread,
            so it may do the work that makes the item large.

    Raises:
        Whatever making the items raises, where the item would have come.
    """
    made: queue.Queue[tuple[T, int] | BaseException | _End] = queue.Queue(most)
    stop = threading.Event()
    room = threading.Condition()
    kept = 0

    def has_room() -> bool:
        return stop.is_set() or not kept or kept < _BYTES

    def put(what: tuple[T, int] | BaseException | _End) -> bool:
        while not stop.is_set():
            try:
                made.put(what, timeout=_SECONDS_BETWEEN_LOOKS)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        nonlocal kept
        try:
            for item in items:
                size = nbytes(item)
                with room:
                    room.wait_for(has_room)
                    kept += size
                if not put((item, size)):
                    return
            put(_End())
        except BaseException as error:  # raised where the items are taken
            put(error)
        finally:
            items.close()

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(what := made.get(), _End):
            if isinstance(what, BaseException):
                raise what
            with room:
                kept -= what[1]
                room.notify()
            yield what[0]
    finally:
        stop.set()
        with room:
            room.notify()
        thread.join()
