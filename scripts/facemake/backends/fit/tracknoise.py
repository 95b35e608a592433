"""How noisy a track is, measured on all of it.

What is said to be measured here was so on the synthetic courses of `facemake.backends.fit.smooth`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from facemake.backends.fit.trackrows import (
    FRAME,
    MAX_VALUE,
    N_POSE,
    Array,
    Index,
    Intake,
    Ints,
    Rows,
    TrackRows,
    bounds,
    joined,
    nothing,
)

MAX_STEP = 0.25
"""s between neighbouring frames from which on they do not smooth each other: a whole blink, or half
a nod, goes unseen between them."""

MIN_COUNT = 20
"""Differences that the noise of a column must be known from."""


@dataclass(frozen=True)
class Noise:
    """How noisy a track is, and its step in time."""

    sigma: Array
    """(7 + E,) standard deviations from frame to frame: tx/tz and ty/tz, tz in mm, the four parts
    of the quaternion (half an angle in radians), then the coefficients. With a 0 in it, nothing
    is smoothed."""
    step: float
    """s, the median from one frame to the next."""


_FLOOR = np.array([1e-5, 1e-5, 0.1, 1e-4, 1e-4, 1e-4, 1e-4])
_CEILING = np.array([3e-3, 3e-3, 100.0, 0.026, 0.026, 0.026, 0.026])
_EXPRESSION_FLOOR, _EXPRESSION_CEILING = 0.002, 0.2
# The floors are 0.01 mm at 1 m, 0.1 mm, 0.01 degrees and a five-hundredth of an expression: less
# than any landmark network's noise. The ceilings are 3 mm at 1 m, 100 mm, 3 degrees and a fifth of
# an expression: more than the smallest faces that can be fitted have, so what trembles by more is
# no noise.


class NoiseMeter:
    """Measures the noise of a track, piece by piece, in memory that does not grow.

    The noise of a column is the median of its third differences, each divided by what white noise
    of 1 would give it at the spacing of its four frames, over 0.6745 (that median for a Gaussian):
    robust against what happens now and then, and third differences leave little of a steady motion
    (at 30 frames a second 7 % of the amplitude at 2 Hz, second ones 18 %). One figure for the whole
    track, so that a lively moment is smoothed no more than a quiet one. Values at a bound have no
    noise of their own and do not count. The median is read from a histogram, to about 1 %.

    Measured within 4 % (heads, held expressions), 9
    to 18 % too high (blinks), and too high by 1.3 at a noise of 0.02 and by 1.7 at 0.01 (syllables
    without a pause, which is where smoothing gains nothing: 1.04 of the noise are left).

    Args:
        n_expression: coefficients E.
        lower: bounds of the coefficients, (E,) or one for all.
        upper: likewise.
    """

    def __init__(
        self, n_expression: int, lower: ArrayLike = -math.inf, upper: ArrayLike = math.inf
    ) -> None:
        self._intake = Intake(n_expression, FRAME)
        self._bounds = bounds(n_expression, lower, upper)
        self._differences = _Histogram(N_POSE + n_expression)
        self._steps = _Histogram(1)
        self._last = self._intake(nothing(n_expression))

    def push(self, rows: TrackRows) -> None:
        """See the track's next rows.

        Raises:
            ValueError: for frames that do not rise, or another number of coefficients.
        """
        old = len(self._last.frame)
        seen = joined([self._last, self._intake(rows)])
        n = len(seen.frame)
        self._last = seen.take(np.arange(max(0, n - 3), n))
        with np.errstate(invalid="ignore"):
            step = np.diff(seen.time)
            next_ = np.diff(seen.frame) == 1
            usual = next_ & (step > 0) & (step < MAX_VALUE)
        usual[: max(0, old - 1)] = False
        self._steps.add(step[usual][:, None])
        first = np.arange(max(0, old - 3), max(0, n - 3))
        for k in range(3):
            first = first[next_[first + k] & ~(step[first + k] > MAX_STEP)]
        for k in range(4):
            first = first[seen.present[first + k]]
        self._differences.add(self._third(seen, first, step))

    def noise(self) -> Noise:
        """The noise by what was seen.

        A coefficient with fewer than `MIN_COUNT` differences takes the median of those that have
        as many, or the least there is. Where the pose has fewer its noise is given as 0, and the
        track is too short to be smoothed.
        """
        median, count = self._differences.medians()
        sigma = np.where(count >= MIN_COUNT, median / 0.6745, 0.0)
        ours = sigma[N_POSE:]
        known = count[N_POSE:] >= MIN_COUNT
        ours[~known] = sorted(ours[known].tolist())[int(known.sum()) // 2] if known.any() else 0.0
        least = np.concatenate([_FLOOR, np.full(len(ours), _EXPRESSION_FLOOR)])
        most = np.concatenate([_CEILING, np.full(len(ours), _EXPRESSION_CEILING)])
        (step,), (steps,) = self._steps.medians()
        sigma = np.minimum(np.maximum(sigma, least), most)
        sigma[:N_POSE][count[:N_POSE] < MIN_COUNT] = 0.0
        return Noise(sigma, float(step) if steps else FRAME)

    def _third(self, rows: Rows, first: Index, step: Array) -> Array:
        """(m, 7 + E) sizes of the third differences from those rows on; NaN at a bound."""
        h = np.stack([step[first + k] for k in range(3)])
        # Stamps that do not rise say nothing: four such frames are taken as evenly spaced.
        h = np.where((h > 0).all(axis=0), h, FRAME) / FRAME
        t = np.stack([np.zeros(len(first)), h[0], h[0] + h[1], h[0] + h[1] + h[2]])
        factors = np.ones((4, len(first)))
        for k in range(4):
            for other in range(4):
                if other != k:
                    factors[k] /= t[k] - t[other]
        squares = factors * factors
        factors /= np.sqrt(squares[0] + squares[1] + squares[2] + squares[3])
        lower, upper = self._bounds
        total = np.zeros((len(first), rows.values.shape[1]))
        for k in range(4):
            values = rows.values[first + k]
            free = (values[:, N_POSE:] > lower) & (values[:, N_POSE:] < upper)
            total += factors[k][:, None] * values
            total[:, N_POSE:][~free] = np.nan
        return np.abs(total)


class _Histogram:
    """Counts of positive numbers by size, in 16 equal parts of every octave; one row a column."""

    _LOW, _HIGH, _PARTS = -40, 24, 16
    _BINS = (_HIGH - _LOW) * _PARTS + 1  # the first is for 0, and what is as good as 0

    def __init__(self, columns: int) -> None:
        self._counts = np.zeros((columns, self._BINS), np.int64)

    def add(self, values: Array) -> None:
        """Count (n, columns) values; those that are not finite are passed over."""
        finite = np.isfinite(values)
        # frexp takes a number apart without rounding: no logarithm, whose last bit may differ.
        mantissa, exponent = np.frexp(np.where(finite, values, 0.0))
        part = ((mantissa - 0.5) * (2 * self._PARTS)).astype(np.int64)
        bins = (exponent.astype(np.int64) - self._LOW) * self._PARTS + part + 1
        bins = np.where(mantissa > 0, np.clip(bins, 0, self._BINS - 1), 0)
        bins += np.arange(values.shape[1]) * self._BINS
        found = np.bincount(bins[finite], minlength=self._counts.size)
        self._counts += found.reshape(self._counts.shape)

    def medians(self) -> tuple[Array, Ints]:
        """(columns,) medians, 0 where there is nothing, and (columns,) how many were counted."""
        total = self._counts.sum(axis=1)
        up_to = np.cumsum(self._counts, axis=1)
        out = np.zeros(len(total))
        for i, n in enumerate(total.tolist()):
            k = int(np.searchsorted(2 * up_to[i], n))
            if n and k:
                inside = (0.5 * n - up_to[i, k - 1]) / self._counts[i, k]
                octave, part = divmod(k - 1, self._PARTS)
                out[i] = math.ldexp(0.5 + (part + inside) / (2 * self._PARTS), octave + self._LOW)
        return out, total
