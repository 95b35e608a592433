"""Faces put together to people by what they look like: average linkage, exact, of any number.

Two groups are as alike as their faces are on average, each of the one with each of the other; the
two most alike become one until none are as alike as the threshold. So one bad picture neither
chains two people together, as the nearest pair would, nor keeps one person apart, as the farthest
would. Two faces that were seen in one frame are never put together, nor are groups that have such.

Faces are compared once, each with each, to find the sets within which people can lie at all: two
groups whose faces are nowhere as alike as the threshold are not so on average. Within a set, of
unit vectors that mean is the product of the groups' mean vectors, so groups need no table of pairs:
memory is that of the vectors and of one copy of those that are linked, and the time is that of
matrix products. Groups that are each
other's nearest are joined many at a time: joining others cannot bring a third group nearer than its
nearest was (average linkage is reducible), so this gives what joining one pair at a time gives,
but for ties in the last bits of a float32.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed.vectors import unit

logger = logging.getLogger(__name__)

_ROWS, _COLUMNS = 1024, 4096
"""Of the piece of the table of pairs that is in memory: 17 MB."""
_MOST_LINKS = 1_000_000
"""Pairs that are held before sets become one by them: 16 MB."""
_ROUNDING = 1e-5
"""Of a similarity: of vectors of 1000 numbers in float32, and more."""
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
    first = np.arange(len(vectors))
    for members, never in _portions(_linked(vectors, threshold - _ROUNDING), apart):
        groups = _Groups(vectors[members], never)
        while groups.join(threshold):
            pass
        first[members] = members[groups.first]
    person: NDArray[np.int32] = np.unique(first, return_inverse=True)[1].astype(np.int32)
    return person


def _linked(vectors: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """(n,) the first face of those that are linked to each face by pairs so much alike.

    Groups are no more alike on average than their most alike pair, so nobody has faces of two such
    sets. Each pair is looked at once.
    """
    count = len(vectors)
    lowest = np.arange(count)
    buffer = np.empty((_ROWS, _COLUMNS), np.float32)
    said = time.monotonic()
    for start in range(0, count, _ROWS):
        rows = vectors[start : start + _ROWS]
        links: list[NDArray[np.int64]] = []
        for at in range(start, count, _COLUMNS):
            other = vectors[at : at + _COLUMNS]
            sets = lowest[start : start + len(rows)], lowest[at : at + len(other)]
            if all((some == lowest[start]).all() for some in sets):
                continue
            alike = buffer[: len(rows), : len(other)]
            np.matmul(rows, other.T, out=alike)
            one, two = np.divmod(np.flatnonzero(alike >= threshold), len(other))
            apart = sets[0][one] != sets[1][two]
            links.append(np.stack([one[apart] + start, two[apart] + at]))
            if sum(some.shape[1] for some in links) > _MOST_LINKS:
                _link(lowest, np.concatenate(links, axis=1))
                links.clear()
        if links:
            _link(lowest, np.concatenate(links, axis=1))
        if (now := time.monotonic()) - said >= _SECONDS_BETWEEN_LINES:
            said = now
            left = max(0.0, 1 - (start + _ROWS) / count)
            logger.info("%d faces, %.0f %% compared", count, 100 * (1 - left**2))
    return lowest


def _link(lowest: NDArray[np.int64], pairs: NDArray[np.int64]) -> None:
    """Make the sets of two faces one, of each of (2, k) pairs.

    Args:
        lowest: (n,) the first face of the set of each; changed.
        pairs: of faces.
    """
    while True:
        one, two = lowest[pairs]
        apart = one != two
        if not apart.any():
            return
        pairs = pairs[:, apart]
        np.minimum.at(lowest, np.maximum(one, two)[apart], np.minimum(one, two)[apart])
        while not np.array_equal(further := lowest[lowest], lowest):
            lowest[:] = further


def _portions(
    lowest: NDArray[np.int64], apart: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Faces that are linked, rising, and their pairs of two people, by their places among these.

    Small sets come together, since they take longer one by one.
    """
    order = np.argsort(lowest, kind="stable")
    starts = np.flatnonzero(np.diff(lowest[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    if not len(starts):
        return
    faces = np.concatenate([order[s : s + n] for s, n in zip(starts, sizes, strict=True)])
    # a portion ends with the set that fills it
    portion = np.repeat((np.cumsum(sizes) - sizes) // _ROWS, sizes)
    of_face = np.full(len(lowest), -1)
    of_face[faces] = portion
    apart = apart[(lowest[apart[:, 0]] == lowest[apart[:, 1]]) & (of_face[apart[:, 0]] >= 0)]
    apart = apart[np.argsort(of_face[apart[:, 0]], kind="stable")]
    whose = of_face[apart[:, 0]]
    place = np.zeros(len(lowest), np.int64)
    for number in np.unique(portion).tolist():
        members = np.sort(faces[slice(*np.searchsorted(portion, [number, number + 1]))])
        place[members] = np.arange(len(members))
        yield members, place[apart[slice(*np.searchsorted(whose, [number, number + 1]))]]


def similarity_to_person(
    vectors: NDArray[np.float32], person: NDArray[np.int32]
) -> NDArray[np.float32]:
    """(n,) cosine similarity of each face to the mean vector of its person, itself among them."""
    if not len(person):
        return np.zeros(0, np.float32)
    order = np.argsort(person, kind="stable")
    starts = np.flatnonzero(np.diff(person[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    # some whole people at a time: in double precision all would be more than the vectors
    portion = (np.cumsum(sizes) - sizes) // _ROWS
    out = np.empty(len(person), np.float32)
    for some in np.split(np.arange(len(starts)), np.flatnonzero(np.diff(portion)) + 1):
        rows = order[starts[some[0]] : starts[some[-1]] + sizes[some[-1]]]
        faces = vectors[rows].astype(np.float64)
        means = unit(np.add.reduceat(faces, starts[some] - starts[some[0]], axis=0))
        whose = np.repeat(np.arange(len(some)), sizes[some])
        out[rows] = np.einsum("nd,nd->n", faces, means[whose], dtype=np.float64)
    return out


class _Groups:
    """The groups that may still grow.

    Attributes:
        first: (n,) the first face of the group of each face; it names the group.

    Args:
        vectors: (n, D) of the faces, which are changed.
        apart: (k, 2) pairs of faces of two people.
    """

    def __init__(self, vectors: NDArray[np.float32], apart: NDArray[np.int64]) -> None:
        count = len(vectors)
        self.first = np.arange(count)
        self._names = np.arange(count)  # of the m groups that may grow, rising
        self._means = vectors  # theirs from here on
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
        self._names, self._sizes = self._names[keep], self._sizes[keep]
        self._nearest, self._alike = self._nearest[keep], self._alike[keep]
        end = 0
        for start in range(0, len(keep), _ROWS):  # in place
            some = self._means[start : start + _ROWS][keep[start : start + _ROWS]]
            self._means[end : end + len(some)] = some
            end += len(some)
        self._means = self._means[:end]

    def _merge(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
        """Group b becomes part of group a, pair by pair; no group is in two pairs."""
        for start in range(0, len(a), _ROWS):
            one, two = a[start : start + _ROWS], b[start : start + _ROWS]
            sizes_a, sizes_b = self._sizes[one, None], self._sizes[two, None]
            means = self._means[one].astype(np.float64) * sizes_a + self._means[two] * sizes_b
            self._means[one] = means / (sizes_a + sizes_b)
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
