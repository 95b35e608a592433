"""Values over time in bounded space: exact for short samples, lowest and highest a bin for long.

A sample of at most `EXACT_FRAMES` frames has a bin a frame, so that every value is drawn. A longer
one has `BINS` bins of equal time, and a series keeps the lowest and the highest value of each:
peaks stay, and neither a page nor memory grows with the recording. Such a sample has a finer axis
besides, for a reader who looks closely: a bin a frame, or at most `FINE_BINS`. A bin without a
value is a gap; nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

EXACT_FRAMES = 1000
BINS = 600
FINE_BINS = 3000
_FRAMES_A_BIN = 2
"""At least so many on average where a bin is not one frame: else slow frames would leave gaps."""
_LONG_STEP = 5.0
"""A step this many times the usual one is a hole in the recording, not a slow frame."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Timeline:
    """The horizontal axis of a sample.

    Attributes:
        in_time: True: seconds; False: the number of the picture (no clock, or pictures that
            stand alone).
        start, end: of the axis, in seconds or pictures.
        edges: (n_bins + 1,) borders of the bins on the axis.
        centers: (n_bins,) where a bin's value is drawn.
        bin_of: (n_frames,) frame -> bin.
        first: (n_bins,) lowest frame of each bin, -1 for a bin without a frame.
        breaks: (n_bins,) True where a curve may not go on from the bin before.
        exact: whether each bin is one frame.
        alone: the frames are pictures that have nothing to do with each other.
        fine: the same axis in finer bins; None where a bin is one frame.
    """

    in_time: bool
    start: float
    end: float
    edges: Floats
    centers: Floats
    bin_of: Ints
    first: Ints
    breaks: NDArray[np.bool_]
    exact: bool
    alone: bool = False
    fine: Timeline | None = None

    @property
    def n_bins(self) -> int:
        """How many bins the axis has."""
        return len(self.centers)

    @property
    def n_frames(self) -> int:
        """How many frames the sample has."""
        return len(self.bin_of)

    def share(self, position: float) -> float:
        """Where a position of the axis lies between its ends, 0-1."""
        return (position - self.start) / (self.end - self.start)


def timeline(times: Floats, *, alone: bool = False) -> Timeline:
    """The axis of a sample.

    Args:
        times: (n_frames,) seconds, in frame order; NaN where a frame has no stamp.
        alone: the frames are pictures that stand alone: no curve joins them.
    """
    n = len(times)
    in_time = not alone and n > 1 and bool(np.isfinite(times).all()) and times[-1] > times[0]
    if in_time and bool((np.diff(times) < 0).any()):
        in_time = False  # stamps that run backward make no axis
    if not in_time:
        return _by_number(n, alone)
    start, end = float(times[0]), float(times[-1]) + float(np.median(np.diff(times)))
    if n <= EXACT_FRAMES:
        return _exact(times, end)

    def binned(bins: int) -> Timeline:
        at = ((times - start) / (end - start) * bins).astype(np.int64)
        return _binned(True, np.linspace(start, end, bins + 1), np.clip(at, 0, bins - 1))

    fine = _exact(times, end) if n <= FINE_BINS else binned(_fine_bins(n))
    return replace(binned(BINS), fine=fine)


def _fine_bins(n: int) -> int:
    return min(FINE_BINS, n // _FRAMES_A_BIN)


def _exact(times: Floats, end: float) -> Timeline:
    """A bin a frame, by its stamp."""
    steps = np.diff(times)
    usual = float(np.median(steps))
    held = np.minimum(np.append(steps, usual), usual if usual > 0 else np.inf)
    late = steps > max(_LONG_STEP * usual, 0.25)
    return Timeline(
        in_time=True,
        start=float(times[0]),
        end=end,
        edges=np.append(times, end),
        centers=times + held / 2,
        bin_of=np.arange(len(times)),
        first=np.arange(len(times)),
        breaks=np.concatenate([[True], late]),
        exact=True,
    )


def _by_number(n: int, alone: bool) -> Timeline:
    if n <= EXACT_FRAMES:
        return _numbered(n, alone)

    def binned(bins: int) -> Timeline:
        return _binned(False, np.linspace(0, n, bins + 1), np.arange(n) * bins // n)

    fine = _numbered(n, alone) if n <= FINE_BINS else binned(_fine_bins(n))
    return replace(binned(BINS), alone=alone, fine=replace(fine, alone=alone))


def _numbered(n: int, alone: bool) -> Timeline:
    """A bin a frame, by its number."""
    edges = np.arange(n + 1, dtype=np.float64)
    breaks = np.full(n, alone)
    breaks[:1] = True
    return Timeline(
        in_time=False,
        start=0.0,
        end=float(max(n, 1)),
        edges=edges,
        centers=edges[:-1] + 0.5,
        bin_of=np.arange(n),
        first=np.arange(n),
        breaks=breaks,
        exact=True,
        alone=alone,
    )


def _binned(in_time: bool, edges: Floats, bin_of: Ints) -> Timeline:
    n_bins = len(edges) - 1
    first = np.full(n_bins, -1, np.int64)
    # from the last frame to the first: what stays is each bin's lowest
    first[bin_of[::-1]] = np.arange(len(bin_of))[::-1]
    return Timeline(
        in_time=in_time,
        start=float(edges[0]),
        end=float(edges[-1]),
        edges=edges,
        centers=(edges[1:] + edges[:-1]) / 2,
        bin_of=bin_of,
        first=first,
        breaks=np.arange(n_bins) == 0,
        exact=False,
    )


class Series:
    """One quantity over a timeline: lowest and highest value a bin, and its mean over all.

    `fine` is the same on the finer axis, None where there is none.
    """

    def __init__(self, axis: Timeline) -> None:
        self._axis = axis
        self.fine: Series | None = Series(axis.fine) if axis.fine else None
        self.low: Floats = np.full(axis.n_bins, np.nan)
        self.high: Floats = np.full(axis.n_bins, np.nan)
        self.count = 0
        self._sum = 0.0

    def add(self, frames: Ints, values: Floats) -> None:
        """Take values of some frames; a value that is not finite is none."""
        if self.fine:
            self.fine.add(frames, values)
        there = np.isfinite(values)
        values, bins = values[there], self._axis.bin_of[frames[there]]
        np.fmin.at(self.low, bins, values)
        np.fmax.at(self.high, bins, values)
        self.count += len(values)
        self._sum += float(values.sum())

    @property
    def exact(self) -> bool:
        """Whether each bin is one frame."""
        return self._axis.exact

    @property
    def mean(self) -> float:
        """Of all values; NaN without one."""
        return self._sum / self.count if self.count else float("nan")

    @property
    def limits(self) -> tuple[float, float] | None:
        """The lowest and the highest value; None without one."""
        return (float(np.nanmin(self.low)), float(np.nanmax(self.high))) if self.count else None

    def runs(self) -> list[slice]:
        """The stretches of bins with values that a curve may join."""
        there = np.isfinite(self.low)
        begins = there & (self._axis.breaks | ~np.append(False, there[:-1]))
        ends = there & (np.append(self._axis.breaks[1:], True) | ~np.append(there[1:], False))
        pairs = zip(np.flatnonzero(begins), np.flatnonzero(ends), strict=True)
        return [slice(int(begin), int(end) + 1) for begin, end in pairs]


class Spread:
    """How often the values of one quantity fall where: bins of equal width.

    Args:
        low, high: the ends; a value beyond them counts in the bin at that end.
        counts: (n_bins,) to begin with.
    """

    def __init__(self, low: float, high: float, counts: Ints) -> None:
        self.low, self.high, self.counts = low, high, counts

    def add(self, values: Floats) -> None:
        """Take values; one that is not finite is none."""
        values = values[np.isfinite(values)]
        n = len(self.counts)
        bins = np.floor((values - self.low) / (self.high - self.low) * n)
        self.counts = self.counts + np.bincount(
            np.clip(bins, 0, n - 1).astype(np.int64), minlength=n
        )


class States:
    """How many frames of each bin have which status, of one track."""

    def __init__(self, axis: Timeline, names: Sequence[str]) -> None:
        self._axis = axis
        self.fine: States | None = States(axis.fine, names) if axis.fine else None
        self.names = tuple(names)
        self._code = {name: index for index, name in enumerate(self.names)}
        self.counts: NDArray[np.int32] = np.zeros((len(self.names), axis.n_bins), np.int32)

    def add(self, frames: Ints, statuses: Sequence[str]) -> None:
        """Take the statuses of some frames."""
        if self.fine:
            self.fine.add(frames, statuses)
        codes = np.array([self._code[s] for s in statuses], np.int64)
        np.add.at(self.counts, (codes, self._axis.bin_of[frames]), 1)

    def totals(self) -> dict[str, int]:
        """Status -> frames, for the statuses that occur."""
        sums = self.counts.sum(axis=1)
        return {name: int(n) for name, n in zip(self.names, sums, strict=True) if n}
