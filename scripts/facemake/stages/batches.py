"""What goes before a model together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_BYTES = 256 << 20
"""Of pixels that wait for others: larger pictures go before the model at once."""
_ITEMS = 4096
"""That wait behind one that has pixels, when none of them has."""


def batches(items: Iterable[T], size: int, nbytes: Callable[[T], int]) -> Iterator[list[T]]:
    """The items in their order, in lists that end where a model has enough to look at.

    Nothing waits that need not, and no list grows with what has no pixels: for models whose results
    hang on no batch, a list may be short. A list is emptied when the next one is asked for, so that
    its pixels are freed.

    Args:
        items: with pixels for the model, or without.
        size: how many pictures it wants at once.
        nbytes: of an item's pixels; 0 where it has none.
    """
    waiting: list[T] = []
    count = kept = 0
    for item in items:
        waiting.append(item)
        pixels = nbytes(item)
        count += pixels > 0
        kept += pixels
        if not count or count == size or kept > _BYTES or len(waiting) > _ITEMS:
            yield waiting
            waiting.clear()
            count = kept = 0
    if waiting:
        yield waiting
