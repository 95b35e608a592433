"""The courses of least cost of many windows at once.

A smoothed course x of a column y with noise sigma is the one that, between two gaps, costs least:

    sum of e((y - x) / sigma)  +  first * integral of f(x' / sigma)  +  second * ... f(x'' / sigma)

over frames and over time. All of it counts alike forwards and backwards, so nothing is delayed. The
kind of f says what a course is expected to be:

* **Pose**: straight stretches with bends, f(u) = |u| of the change of speed alone (l1 trend
  filtering: Kim, Koh, Boyd & Gorinevsky, SIAM Review 51, 2009), rounded off near 0; e is Huber's,
  so that a slip of the landmarks of a frame or two leaves no trace. It is convex: no small change
  of the data makes a large one of the result.
* **Expression**: rest, slopes and sudden onsets, f(u) = sqrt(|u|) of both the speed (as total
  variation has it: Rudin, Osher & Fatemi, Physica D 60, 1992) and its change; e is the square. The
  root makes a large change hardly dearer than a middling one, so that blinks keep their peaks (for
  why: Candes, Wakin & Boyd, J. Fourier Anal. Appl. 14, 2008), where total variation takes the same
  from every peak and makes stairs of slopes. It is not convex: where a change may as well be noise,
  little decides whether it stays, and what is then at stake is once or twice the noise.

The constants of `POSE` and `EXPRESSION` are from a search on synthetic courses (those of the table
in `facemake.backends.fit.smooth`) at noise of 0.1 to 1 degree and 0.01 to 0.05; half and twice of
them are worse on average at 12, 24 and 30 frames a second (from 60 on, twice would be better for
expressions).

Each of `ITERATIONS` replaces f and e by the parabolas that touch them at the present course from
above (majorisation and minimisation: Hunter & Lange, Am. Stat. 58, 2004) and solves the five-banded
system that makes, side by side for all columns of many windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from facemake.backends.fit.trackrows import FRAME, N_POSE, Array, Mask

ITERATIONS = 6
"""Reweightings; 12 change the errors of that table by less than 0.04 of the noise."""

SPIKE = 6.0
SPIKE_RISE = 0.25
SPIKE_POSE = 0.15
SPIKE_EXPRESSION = 0.045
"""A spike, which is left out: a value that stands out from both its neighbours by 6 times the noise
while neither of them has gone a quarter of that way from its own, and all that within 0.15 s (pose)
or 0.045 s (expression, so at 45 frames a second and above). The shortest blinks take 0.1 s, and the
fit, in which lids that are half down are hardly down, shows as little as one frame of them at 30:
the smoothed table rather keeps a slip of the fit than loses a blink."""


@dataclass(frozen=True)
class Penalty:
    """What a course costs, in units of its noise and of `FRAME`; see the module's docstring."""

    first: float
    """Of the speed."""
    second: float
    """Of the change of speed."""
    bend: float
    """Speed, and change of speed, below which the cost is quadratic: no stairs, no kinks."""
    root: bool
    """Above it, whether the cost grows as the root of the change, or in proportion to it."""
    huber: float
    """Errors above this count linearly."""


POSE = Penalty(first=0.0, second=1.5, bend=0.25, root=False, huber=3.0)
EXPRESSION = Penalty(first=1.0, second=1.5, bend=0.1, root=True, huber=math.inf)


def minimise(y: Array, h: Array, real: Mask, strength: float) -> Array:
    """The courses of least cost of many windows at once.

    Args:
        y: (L, lanes, 7 + E) data in units of their noise: L frames of so many windows.
        h: (L - 1, lanes, 1) steps in `FRAME`s.
        real: (L, lanes, 1) False for frames beyond the end of a window, which touch nothing.
        strength: factor of the penalties.

    Returns:
        (L, lanes, 7 + E).
    """
    parts = [
        _Part(np.ascontiguousarray(columns), h, real, penalty, strength, longest)
        for columns, penalty, longest in (
            (y[:, :, :N_POSE], POSE, SPIKE_POSE),
            (y[:, :, N_POSE:], EXPRESSION, SPIKE_EXPRESSION),
        )
    ]
    system = _System(len(y), y.shape[1] * y.shape[2])
    for _ in range(ITERATIONS):
        at = 0
        for part in parts:
            at = part.write(system, at)
        system.solve()
        at = 0
        for part in parts:
            at = part.read(system, at)
    return np.concatenate([part.x for part in parts], axis=2)


class _Part:
    """The columns that share a penalty; arguments as those of `minimise`.

    Everything but the data is worked out once; what an iteration needs is allocated once.
    """

    def __init__(
        self, y: Array, h: Array, real: Mask, penalty: Penalty, strength: float, longest: float
    ) -> None:
        self.y, self.penalty = y, penalty
        pair = (real[1:] & real[:-1]).astype(np.float64)
        triple = pair[1:] * pair[:-1]
        mean = 0.5 * (h[1:] + h[:-1])
        # Speed is (x1 - x0) * inverse, its change x0 * left + x1 * middle + x2 * right.
        self.inverse = pair / h
        self.left, self.right = triple / h[:-1], triple / h[1:]
        self.middle = -(self.left + self.right)
        square = penalty.bend * penalty.bend
        scale = math.sqrt(penalty.bend) if penalty.root else 1.0
        self.bends = (square * np.ones_like(h), square * (mean * mean))
        self.gains = (
            strength * penalty.first * scale * h * (self.inverse * self.inverse),
            strength * penalty.second * scale * (np.sqrt(mean) if penalty.root else triple),
        )
        spikes, filled = _spikes(y, h, real, longest)
        self.known = np.where(spikes, 0.0, 1.0)
        self.x = np.where(spikes, filled, y)
        self.scratch = [np.empty_like(y) for _ in range(4)]

    def write(self, system: _System, at: int) -> int:
        """Write the quadratic that touches the cost from above at the present x.

        Args:
            system: where to.
            at: its column to begin with.

        Returns:
            Its column after the last.
        """
        x = self.x
        _, lanes, columns = x.shape
        stop = at + lanes * columns
        a, b, c = (_lanes(system.bands[:, k, at:stop], lanes) for k in range(3))
        weight = self._data_weights()
        np.multiply(weight, self.y, out=_lanes(system.right[:, at:stop], lanes))
        a[...] = weight
        b[...] = 0.0
        c[...] = 0.0
        if self.penalty.first:
            w, t = self.scratch[0][:-1], self.scratch[1][:-1]
            np.subtract(x[1:], x[:-1], out=w)
            w *= self.inverse
            self._weigh(w, t, self.bends[0], self.gains[0])
            a[:-1] += w
            a[1:] += w
            b[:-1] -= w
        w, t, v = (s[:-2] for s in self.scratch[:3])
        np.multiply(x[:-2], self.left, out=w)
        w += np.multiply(x[1:-1], self.middle, out=t)
        w += np.multiply(x[2:], self.right, out=t)
        self._weigh(w, t, self.bends[1], self.gains[1])
        np.multiply(w, self.left, out=v)
        a[:-2] += np.multiply(v, self.left, out=t)
        c[:-2] += np.multiply(v, self.right, out=t)
        v *= self.middle
        b[:-2] += v
        w *= self.right
        a[2:] += np.multiply(w, self.right, out=t)
        w *= self.middle
        b[1:-1] += w
        w += v
        a[1:-1] -= w
        return stop

    def read(self, system: _System, at: int) -> int:
        """Take the solution from there; returns as `write`."""
        _, lanes, columns = self.x.shape
        stop = at + lanes * columns
        self.x[...] = _lanes(system.right[:, at:stop], lanes)
        return stop

    def _data_weights(self) -> Array:
        """(L, lanes, C) weights of the data; scratch, or not to be written to."""
        if math.isinf(self.penalty.huber):
            return self.known
        weight = np.subtract(self.y, self.x, out=self.scratch[3])
        np.maximum(np.abs(weight, out=weight), self.penalty.huber, out=weight)
        np.divide(self.penalty.huber, weight, out=weight)
        weight *= self.known
        return weight

    def _weigh(self, change: Array, scratch: Array, bend: Array, gain: Array) -> None:
        """Replace changes by the weights of their squares."""
        change *= change
        change += bend
        np.sqrt(change, out=change)
        if self.penalty.root:
            change *= np.sqrt(change, out=scratch)
        np.divide(gain, change, out=change)


def _lanes(rows: Array, lanes: int) -> Array:
    """(L, lanes * C) as (L, lanes, C), in the same memory."""
    out = rows.view()
    out.shape = (len(rows), lanes, rows.shape[1] // lanes)
    return out


def _spikes(y: Array, h: Array, real: Mask, longest: float) -> tuple[Mask, Array]:
    """Which values are spikes, see `SPIKE`, and what would lie between their neighbours."""
    spikes, filled = np.zeros(y.shape, dtype=bool), y.copy()
    if len(y) >= 5:
        before, after = h[1:-2], h[2:-1]
        brief = (before + after < longest / FRAME) & real[4:]
        for sign in (1.0, -1.0):
            z = sign * y
            out = np.minimum(z[2:-2] - z[1:-3], z[2:-2] - z[3:-1])
            rise = np.maximum(z[1:-3] - z[:-4], z[3:-1] - z[4:])
            spikes[2:-2] |= brief & (out > SPIKE) & (rise < SPIKE_RISE * out)
        share = before / (before + after)
        filled[2:-2] = y[1:-3] + share * (y[3:-1] - y[1:-3])
    return spikes, filled


class _System:
    """Symmetric positive definite systems of five bands, side by side, solved row by row.

    Cholesky without roots (Golub & Van Loan, Matrix Computations, 4.3.5) in element-wise
    operations: a column's bits depend on that column alone.

    Attributes:
        bands: (L, 3, N) the diagonal and the two bands beside it; solving overwrites them.
        right: (L, N) the right sides, and after solving the solutions. Both lie in arrays with
            rows to spare at the ends, so that the first and last frames need no code of their own.
    """

    def __init__(self, length: int, columns: int) -> None:
        self._bands = np.empty((length + 2, 3, columns))
        self._right = np.empty((length + 4, columns))
        self._factor = np.zeros((2 * length + 5, columns))
        self.bands, self.right = self._bands[:length], self._right[2:-2]
        self._one, self._two = np.empty(columns), np.empty((2, columns))
        a, f, m = self._bands, self._right, self._factor
        # Slicing takes as long as the arithmetic: every row's views are made once. The factor's
        # two entries of a column, and those of a row, are both neighbours in memory.
        self._down = [
            (
                (a[i, 0], a[i, 1:], a[i, 2]),
                (m[2 * i + 3 : 2 * i + 5], m[2 * i + 3], m[2 * i + 4]),
                (a[i + 1, :2], a[i + 2, 0]),
                (f[i + 2], f[i + 3 : i + 5]),
            )
            for i in range(length)
        ]
        self._up = [(f[i + 2], m[2 * i : 2 * i + 2], f[i : i + 2]) for i in range(length)]
        self._up.reverse()

    def solve(self) -> None:
        """Replace the right sides by the solutions."""
        reciprocal, multiply, subtract = np.reciprocal, np.multiply, np.subtract
        one, two = self._one, self._two
        self._bands[-2:] = 1.0
        self._right[:2] = self._right[-2:] = 0.0
        for (pivot, off, far), (m, m1, m2), (next_, third), (rhs, below) in self._down:
            reciprocal(pivot, one)
            multiply(off, one, m)
            multiply(off, m1, two)
            subtract(next_, two, next_)
            multiply(far, m2, one)
            subtract(third, one, third)
            multiply(m, rhs, two)
            subtract(below, two, below)
        self.right /= self.bands[:, 0]
        for x, m, above in self._up:
            multiply(m, x, two)
            subtract(above, two, above)
