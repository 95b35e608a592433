"""How well a similarity tells people apart: error rates of pairs whose people are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.counting import counted
from facemake.errors import FacemakeError

MOST_PAIRS = 10_000_000
"""Of one person, and of two: where there are more, so many are drawn, always the same ones."""

TARGETS = (1e-1, 1e-2, 1e-3, 1e-4)
"""False accept rates that are asked for."""

LEAST_ERRORS = 10
"""Pairs of two people that a false accept rate must rest on."""

_AT_ONCE = 65_536
_POINTS = 500
_SEED = 20_231


@dataclass(frozen=True)
class Pairs:
    """Similarities of pairs of faces.

    Attributes:
        same: of one person, rising.
        other: of two people, rising.
        drawn: not all pairs there are.
        faces, people: that they are of.
    """

    same: NDArray[np.float32]
    other: NDArray[np.float32]
    drawn: bool
    faces: int
    people: int

    def rates(self, threshold: float) -> tuple[float, float]:
        """Of pairs of two people, the share that passes for one (FAR); of pairs of one person, the
        share that does not (FRR).
        """
        value = np.float32(threshold)
        accepted = len(self.other) - int(np.searchsorted(self.other, value))
        rejected = int(np.searchsorted(self.same, value))
        return accepted / len(self.other), rejected / len(self.same)


@dataclass(frozen=True)
class Point:
    """A threshold and what it gives.

    Attributes:
        what: what it was chosen for.
        threshold: cosine similarity; None where there are too few pairs to say it.
        far, frr: see `Pairs.rates`; None likewise.
        why: why there is none.
    """

    what: str
    threshold: float | None
    far: float | None = None
    frr: float | None = None
    why: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """As plain values."""
        tar = None if self.frr is None else 1 - self.frr
        return {
            "what": self.what,
            "threshold": self.threshold,
            "far": self.far,
            "frr": self.frr,
            "tar": tar,
            "why": self.why,
        }


def pairs_of(
    vectors: NDArray[np.float32], labels: Sequence[str | None], most: int = MOST_PAIRS
) -> Pairs:
    """The similarities of labelled faces, each with each other one.

    Args:
        vectors: (n, D) of L2 norm 1.
        labels: who each is; None: not known, and left out.
        most: pairs of either kind; of more there are, so many are drawn.

    Raises:
        FacemakeError: no two faces are of one person, or none are of two.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        if label is not None:
            rows[label].append(row)
    groups = [np.array(rows[name]) for name in sorted(rows)]
    sizes = np.array([len(one) for one in groups], np.int64)
    faces = int(sizes.sum())
    n_same = int((sizes * (sizes - 1) // 2).sum())
    n_other = faces * (faces - 1) // 2 - n_same
    if not n_other or not n_same:
        people = counted(len(groups), "person", "people")
        need = "no two of them are of two people" if not n_other else "no two are of one person"
        raise FacemakeError(
            f"{counted(faces, 'labelled face')} of {people}, and {need}: label at least two "
            "people, one of them in two samples"
        )
    generator = np.random.Generator(np.random.PCG64(_SEED))
    members = np.concatenate(groups)
    starts = np.cumsum(sizes) - sizes
    same = _same(sizes, starts, n_same, most, generator)
    group = np.repeat(np.arange(len(groups)), sizes)
    other = _other(group, n_other, most, generator)
    return Pairs(
        same=np.sort(_similarities(vectors, members[same])),
        other=np.sort(_similarities(vectors, members[other])),
        drawn=n_same > most or n_other > most,
        faces=faces,
        people=len(groups),
    )


def _same(
    sizes: NDArray[np.int64],
    starts: NDArray[np.int64],
    total: int,
    most: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """(k, 2) pairs within groups, which lie one behind the other."""
    if total <= most:
        found = [
            np.stack(np.triu_indices(size, 1), axis=1) + start
            for size, start in zip(sizes.tolist(), starts.tolist(), strict=True)
            if size > 1
        ]
        return np.concatenate(found)
    shares = sizes * (sizes - 1) / (2 * total)
    which = generator.choice(len(sizes), most, p=shares)
    first = (generator.random(most) * sizes[which]).astype(np.int64)
    second = (generator.random(most) * (sizes[which] - 1)).astype(np.int64)
    second += second >= first
    pairs: NDArray[np.int64] = np.stack([first, second], axis=1) + starts[which][:, None]
    return pairs


def _other(
    group: NDArray[np.int64], total: int, most: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """(k, 2) pairs of two groups; `group`: of each face, rising."""
    count = len(group)
    if total <= most:
        found = []
        for face in range(count):
            after = np.arange(np.searchsorted(group, group[face], "right"), count)
            found.append(np.stack([np.full(len(after), face), after], axis=1))
        return np.concatenate(found)
    kept = np.zeros((0, 2), np.int64)
    while len(kept) < most:
        drawn = generator.integers(0, count, (most, 2))
        drawn = drawn[group[drawn[:, 0]] != group[drawn[:, 1]]]
        kept = np.concatenate([kept, drawn])[:most]
    return kept


def _similarities(vectors: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _AT_ONCE):
        one, other = pairs[start : start + _AT_ONCE].T
        found[start : start + _AT_ONCE] = np.einsum("nd,nd->n", vectors[one], vectors[other])
    return found


def equal_error(pairs: Pairs) -> Point:
    """Where both kinds of error are as frequent: EER, the mean of the two rates there."""
    values = np.unique(np.concatenate([pairs.same, pairs.other]))
    far = 1 - np.searchsorted(pairs.other, values) / len(pairs.other)
    frr = np.searchsorted(pairs.same, values) / len(pairs.same)
    best = int(np.abs(far - frr).argmin())
    # any threshold from the value below on gives these rates: the middle of them
    middle = (values[max(best - 1, 0)].astype(float) + values[best]) / 2
    return Point("EER", float(middle), float(far[best]), float(frr[best]))


def at_far(pairs: Pairs, target: float) -> Point:
    """The lowest threshold whose FAR is no more than a target."""
    what = f"FAR {target:g}"
    count = len(pairs.other)
    if count * target < LEAST_ERRORS:
        need = round(LEAST_ERRORS / target)
        return Point(what, None, why=f"needs {need:,} pairs of two people, and there are {count:,}")
    allowed = int(count * target)
    # just above the highest similarity that is not to pass
    edge = pairs.other[count - allowed - 1]
    threshold = float(np.nextafter(edge, np.float32(2)))
    return Point(what, threshold, *pairs.rates(threshold))


def curve(pairs: Pairs) -> list[dict[str, float]]:
    """Rates by threshold: at evenly spread pairs of either kind."""
    shares = np.linspace(0, 1, _POINTS)
    # of pairs of two people also the rare ones, which the curve is read for
    rare = 1 - np.geomspace(1 / len(pairs.other), 1, _POINTS)
    spread = [
        *(np.quantile(kind, shares, method="nearest") for kind in (pairs.same, pairs.other)),
        np.quantile(pairs.other, rare, method="nearest"),
    ]
    values = np.unique(np.concatenate([*spread, [np.nextafter(pairs.same[-1], np.float32(2))]]))
    rows = []
    for value in values.tolist():
        far, frr = pairs.rates(value)
        rows.append({"threshold": value, "far": far, "frr": frr, "tar": 1 - frr})
    return rows
