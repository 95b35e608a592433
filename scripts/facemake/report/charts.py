"""Charts as bare SVG paths in a box of 1000 x 100, stretched to its place by the page.

The page gives colours, text and size: a chart is small, follows a dark or light screen, and its
labels stay as large as the text around them. x runs right from 0 to 1000 over the timeline, y runs
down from 0 (top) to 100.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake.report.series import Floats, Series, States, Timeline

WIDTH = 1000.0
HEIGHT = 100.0
_LEAST_SHARE = 0.2
"""Height of a rare status in a bin that holds many frames: one lost frame in an hour is seen."""


@dataclass(frozen=True)
class Scale:
    """The vertical axis of a chart: `low` is at its bottom, `high` at its top."""

    low: float
    high: float

    def y(self, value: float) -> float:
        """Of a value in its box, cut to the box."""
        share = (value - self.low) / (self.high - self.low)
        return HEIGHT * (1 - min(max(share, 0.0), 1.0))


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where (0-100 %) and what it says."""

    at: float
    text: str


def nice_scale(limits: tuple[float, float] | None, *, least: float, zero: bool = False) -> Scale:
    """A scale with round ends around `limits`.

    Args:
        limits: lowest and highest value; None: none.
        least: the smallest height, so that noise does not look like movement.
        zero: start at zero.
    """
    low, high = limits or (0.0, least)
    if zero:
        low = 0.0
    least = max(least, 1e-6 * max(abs(low), abs(high)))  # as far as numbers are apart there
    if high - low < least:
        middle = (low + high) / 2
        low, high = (0.0, least) if zero else (middle - least / 2, middle + least / 2)
    step = nice_step(high - low, 6)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def nice_step(span: float, parts: int) -> float:
    """1, 2 or 5 times a power of ten that cuts `span` into about `parts`."""
    rough = max(span, 1e-9) / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(
        factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * 0.99
    )


def time_ticks(axis: Timeline, parts: int = 6) -> list[Tick]:
    """Marks of the horizontal axis."""
    span = axis.end - axis.start
    if not axis.in_time:
        step = max(1.0, nice_step(span, parts))
        numbers = np.arange(math.ceil(axis.start / step) * step, axis.end - 0.5, step)
        middle = 0.5 if axis.exact else 0.0  # a picture is drawn in the middle of its bin
        return [Tick(100 * axis.share(n + middle), f"{n:.0f}") for n in numbers]
    minutes = axis.end >= 60
    clock = [s for s in (15.0, 30.0, 60.0, 120, 300, 600, 1200, 1800, 3600) if s >= span / parts]
    step = nice_step(span, parts) if span < 60 or not clock else clock[0]
    first = math.ceil(axis.start / step - 1e-9) * step
    return [
        Tick(100 * axis.share(t), clock_text(t, step, minutes=minutes))
        for t in np.arange(first, axis.end, step).tolist()
    ]


def clock_text(seconds: float, step: float, *, minutes: bool) -> str:
    """`12.5 s`, or in `minutes` `0:12.5`, `3:05`, `1:02:03`; decimals as fine as `step` needs."""
    decimals = max(0, -math.floor(math.log10(step))) if step < 1 else 0
    if seconds < 0:
        return f"−{clock_text(-seconds, step, minutes=minutes)}"
    if not minutes:
        return f"{seconds:.{decimals}f} s"
    whole, rest = divmod(round(seconds, decimals), 60)
    hours, whole = divmod(int(whole), 60)
    text = f"{rest:0{decimals + 3 if decimals else 2}.{decimals}f}"
    return f"{hours}:{whole:02d}:{text}" if hours else f"{whole}:{text}"


def curve(axis: Timeline, series: Series, scale: Scale) -> tuple[str, str]:
    """Paths of a series: the line, and the band between lowest and highest ("" for exact axes).

    A gap breaks both. A value with a gap on either side is a dot (a line of no length).
    """
    x = _x(axis)
    line, band = [], []
    for run in series.runs():
        xs, low, high = x[run], _ys(scale, series.low[run]), _ys(scale, series.high[run])
        middle = low if axis.exact else (low + high) / 2
        line.append(_polyline(xs, middle) if len(xs) > 1 else f"M{_n(xs[0])} {_n(middle[0])}h0")
        if not axis.exact:
            if len(xs) == 1:
                half = WIDTH / axis.n_bins / 2
                xs = np.array([xs[0] - half, xs[0] + half])
                low, high = low.repeat(2), high.repeat(2)
            back = " ".join(f"{_n(a)} {_n(b)}" for a, b in zip(xs[::-1], low[::-1], strict=True))
            band.append(f"{_polyline(xs, high)}L{back}Z")
    return "".join(line), "".join(band)


def gaps(axis: Timeline, there: NDArray[np.bool_]) -> str:
    """A path over the bins without a value, from top to bottom."""
    return "".join(_rectangle(axis, a, b, 0.0, HEIGHT) for a, b in _stretches(~there))


def marks(axis: Timeline, on: NDArray[np.bool_], top: float, height: float) -> str:
    """A path over the bins where something is on."""
    return "".join(_rectangle(axis, a, b, top, height) for a, b in _stretches(on))


def ribbon(axis: Timeline, states: States) -> dict[str, str]:
    """Status -> path of its share of each bin, stacked, the rarest on top.

    A status that occurs in a bin gets at least a fifth of its height.
    """
    paths: dict[str, list[str]] = {name: [] for name in states.names}
    columns = states.counts.T
    begin = 0
    for end in range(1, axis.n_bins + 1):
        same = end < axis.n_bins and np.array_equal(columns[end] > 0, columns[begin] > 0)
        if same and np.count_nonzero(columns[begin]) <= 1:
            continue  # bins of one single status make one rectangle
        top = 0.0
        for code, share in _shares(columns[begin]):
            paths[states.names[code]].append(
                _rectangle(axis, begin, end, top * HEIGHT, share * HEIGHT)
            )
            top += share
        begin = end
    return {name: "".join(parts) for name, parts in paths.items() if parts}


def _shares(counts: NDArray[np.int32]) -> Iterator[tuple[int, float]]:
    """(status, share of the height), the rarest first."""
    total = counts.sum()
    codes = [int(c) for c in np.argsort(counts, kind="stable") if counts[c]]
    raw = [max(counts[c] / total, _LEAST_SHARE) for c in codes]
    yield from ((c, r / sum(raw)) for c, r in zip(codes, raw, strict=True))


@dataclass(frozen=True)
class Histogram:
    """Counts a bin of equal width.

    Attributes:
        low, high: the ends of the values.
        counts: from low to high.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    def bars(self, together: int) -> Histogram:
        """The same in wider bins, each of so many of these."""
        sums = np.array(self.counts, np.int64).reshape(-1, together).sum(axis=1)
        return Histogram(self.low, self.high, tuple(sums.tolist()))

    @property
    def path(self) -> str:
        """Its bars; the largest is as high as the box."""
        return self._bars(1.0)

    @property
    def root_path(self) -> str:
        """Bars by the square root of the counts: rare values are seen beside a frequent one."""
        return self._bars(0.5)

    def _bars(self, power: float) -> str:
        largest = max(self.counts, default=0) or 1
        width = WIDTH / len(self.counts)
        tops = [HEIGHT * (1 - (n / largest) ** power) for n in self.counts]
        return "".join(
            f"M{_n(i * width + 4)} 100V{_n(tops[i])}h{_n(width - 8)}V100Z"
            for i, n in enumerate(self.counts)
            if n
        )


def _x(axis: Timeline) -> Floats:
    return (axis.centers - axis.start) / (axis.end - axis.start) * WIDTH


def _ys(scale: Scale, values: Floats) -> Floats:
    share = (values - scale.low) / (scale.high - scale.low)
    result: Floats = HEIGHT * (1 - np.clip(share, 0.0, 1.0))
    return result


def _polyline(xs: Floats, ys: Floats) -> str:
    points = " ".join(f"{_n(x)} {_n(y)}" for x, y in zip(xs, ys, strict=True))
    return f"M{points}"


def _stretches(on: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(begin, end) of each stretch of True."""
    padded = np.concatenate([[False], on, [False]]).astype(np.int8)
    change = np.diff(padded)
    begins, ends = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    yield from zip(begins.tolist(), ends.tolist(), strict=True)


def _rectangle(axis: Timeline, begin: int, end: int, top: float, height: float) -> str:
    left = axis.share(float(axis.edges[begin])) * WIDTH
    right = axis.share(float(axis.edges[end])) * WIDTH
    return f"M{_n(left)} {_n(top)}h{_n(right - left)}v{_n(height)}h{_n(left - right)}Z"


def _n(value: float) -> str:
    """A number with one decimal, as short as it can be."""
    return f"{value:.1f}".removesuffix(".0")
