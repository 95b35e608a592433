"""Faces put together to people by what they look like: average linkage, exact, of any number.

Two groups are as alike as their faces are on average, each of the one with each of the other; the
two most alike become one until none are as alike as the threshold. So one bad picture neither
chains two people together, as the nearest pair would, nor keeps one person apart, as the farthest
would. Two faces that were seen in one frame are never put together, nor are groups that have such.

Of unit vectors that mean is the product of the groups' mean vectors, so groups need no table of
pairs: memory is that of the vectors, and the time is that of matrix products. Groups that are each
other's nearest are joined many at a time: joining others cannot bring a third group nearer than its
nearest was (average linkage is reducible), so this gives what joining one pair at a time gives,
but for ties in the last bits of a float32.
"""

from __future__ import annotations

import logging
import time

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed.vectors import unit

logger = logging.getLogger(__name__)

_ROWS, _COLUMNS = 1024, 8192
"""Of the piece of the table of pairs that is in memory: 34 MB."""
_SECONDS_BETWEEN_LINES = 10.0


def group(
    vectors: NDArray[np.float32], threshold: float, apart: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Which person each face is.

    Args:
        vectors: (n, D) of L2 norm 1.
        threshold: cosine similarity from which two groups are one person.
        apart: (k, 2) pairs of faces of two people for sure.

    Returns:
        (n,) from 0, numbered in the order of each person's first face.
    """
    groups = _Groups(vectors, apart)
    while groups.join(threshold):
        pass
    person: NDArray[np.int32] = np.unique(groups.first, return_inverse=True)[1].astype(np.int32)
    return person


def similarity_to_person(
    vectors: NDArray[np.float32], person: NDArray[np.int32]
) -> NDArray[np.float32]:
    """(n,) cosine similarity of each face to the mean vector of its person, itself among them."""
    if not len(person):
        return np.zeros(0, np.float32)
    order = np.argsort(person, kind="stable")
    starts = np.flatnonzero(np.diff(person[order], prepend=-1))
    sums = np.add.reduceat(vectors[order].astype(np.float64), starts, axis=0)
    means = unit(sums)
    return np.asarray(np.einsum("nd,nd->n", vectors, means[person], dtype=np.float64), np.float32)


class _Groups:
    """The groups that may still grow.

    Attributes:
        first: (n,) the first face of the group of each face; it names the group.
    """

    def __init__(self, vectors: NDArray[np.float32], apart: NDArray[np.int64]) -> None:
        count = len(vectors)
        self.first = np.arange(count)
        self._names = np.arange(count)  # of the m groups that may grow, rising
        self._means = np.array(vectors, np.float32, order="C")
        self._sizes = np.ones(count, np.int64)
        self._nearest = np.full(count, -1)  # by name
        self._alike = np.full(count, -np.inf, np.float32)
        self._apart = np.concatenate([apart, apart[:, ::-1]]).reshape(-1, 2)
        self._said = time.monotonic()
        self._buffer = np.empty((_ROWS, _COLUMNS), np.float32)

    def join(self, threshold: float) -> bool:
        """Join what is nearest to each other; False where nothing is left to join."""
        place = self._places()
        stale = (self._nearest < 0) | (place[self._nearest] < 0)
        self._look(np.flatnonzero(stale), place)
        keep = self._alike >= threshold
        if not keep.any():
            return False
        # what is not near to any group never will be
        self._keep(keep)
        place = self._places()
        nearest = place[self._nearest]
        here = np.arange(len(nearest))
        mutual = (nearest >= 0) & (nearest[nearest] == here) & (here < nearest)
        a = np.flatnonzero(mutual)
        if not len(a):
            # rounding can make a ring of them
            a = np.array([int(np.where(nearest >= 0, self._alike, -np.inf).argmax())])
            if nearest[a[0]] < 0:
                return True
        b = nearest[a]
        a, b = np.minimum(a, b), np.maximum(a, b)
        self._merge(a, b)
        return True

    def _places(self) -> NDArray[np.int64]:
        """Name -> where the group is among those that may grow; -1 where it is not, and last."""
        place = np.full(len(self.first) + 1, -1)
        place[self._names] = np.arange(len(self._names))
        return place

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        if keep.all():
            return
        self._names, self._means = self._names[keep], self._means[keep]
        self._sizes, self._nearest = self._sizes[keep], self._nearest[keep]
        self._alike = self._alike[keep]

    def _merge(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
        """Group b becomes part of group a, pair by pair; no group is in two pairs."""
        sizes_a, sizes_b = self._sizes[a, None], self._sizes[b, None]
        means = self._means[a].astype(np.float64) * sizes_a + self._means[b] * sizes_b
        self._means[a] = means / (sizes_a + sizes_b)
        self._sizes[a] += self._sizes[b]
        names = np.arange(len(self.first))
        names[self._names[b]] = self._names[a]
        self.first = names[self.first]
        self._nearest[a] = -1
        # whose nearest was a or b looks again
        touched = np.zeros(len(self.first) + 1, bool)
        touched[self._names[a]] = touched[self._names[b]] = True
        self._nearest[touched[self._nearest]] = -1
        keep = np.ones(len(self._names), bool)
        keep[b] = False
        self._keep(keep)

    def _look(self, rows: NDArray[np.int64], place: NDArray[np.int64]) -> None:
        """Find the nearest group of these; the first of those that are equally near."""
        total = len(self._names)
        self._alike[rows], self._nearest[rows] = -np.inf, -1
        row_of = np.full(total, -1)
        row_of[rows] = np.arange(len(rows))
        pairs = place[self.first[self._apart]]
        pairs = pairs[(pairs >= 0).all(axis=1)]
        pairs = np.stack([row_of[pairs[:, 0]], pairs[:, 1]], axis=1)
        pairs = pairs[pairs[:, 0] >= 0]
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            here = pairs[slice(*np.searchsorted(pairs[:, 0], [start, start + len(some)]))]
            self._look_at(some, here - [start, 0])
            if (now := time.monotonic()) - self._said >= _SECONDS_BETWEEN_LINES:
                self._said = now
                logger.info("%d groups, %.0f %%", total, 100 * (start + len(some)) / len(rows))

    def _look_at(self, rows: NDArray[np.int64], apart: NDArray[np.int64]) -> None:
        """Of a few groups; `apart`: (k, 2) row among these, column, of those that never join."""
        means = self._means[rows]
        for start in range(0, len(self._names), _COLUMNS):
            other = self._means[start : start + _COLUMNS]
            end = start + len(other)
            alike = self._buffer[: len(rows), : len(other)]
            np.matmul(means, other.T, out=alike)
            itself = np.flatnonzero((rows >= start) & (rows < end))
            alike[itself, rows[itself] - start] = -np.inf
            never = apart[(apart[:, 1] >= start) & (apart[:, 1] < end)]
            alike[never[:, 0], never[:, 1] - start] = -np.inf
            best = alike.argmax(axis=1)
            values = alike[np.arange(len(rows)), best]
            nearer = values > self._alike[rows]
            self._alike[rows[nearer]] = values[nearer]
            self._nearest[rows[nearer]] = self._names[best[nearer] + start]
