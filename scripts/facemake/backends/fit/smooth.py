"""Smoothing of a track's pose and expression through time: no lag, edges and peaks stay.

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

3DI smooths both by total variation of the first order. Root mean square errors as a share of the
noise's, 30 frames a second, on synthetic courses (heads that sway, turn within 0.2 to 0.6 s and nod
at 1.5 to 4 Hz; blinks of 0.1 to 0.35 s; expressions held for 0.2 to 2 s; syllables at 3 to 8 Hz),
here with the noise as measured, the others with the true one; the last row is what blinks lose of
their peak, on average and at most in 95 of 100:

    =========================  =========  ==========  ==========  ==========  ==========
    noise                      this       TV, 1.0     TV, 0.5     Sav.-Gol.   Gauss
                                          sigma       sigma       5 frames    1 frame
    =========================  =========  ==========  ==========  ==========  ==========
    rotation, 0.15 degrees     0.64       0.84        0.84        0.71        1.19
    rotation, 0.4 degrees      0.54       0.68        0.73        0.70        0.66
    rotation, 1 degree         0.49       0.58        0.67        0.70        0.56
    blinks, 0.02               0.51       0.56        0.66        1.26        2.01
    held expressions, 0.02     0.53       0.58        0.69        0.71        0.68
    syllables, 0.02            0.93       0.99        0.87        0.97        2.04
    syllables, 0.05            0.77       0.80        0.79        0.75        0.81
    peaks of blinks, 0.02      0.9, 2 %   3.2, 6 %    1.6, 3 %    -1, 12 %    13, 26 %
    =========================  =========  ==========  ==========  ==========  ==========

White noise at rest falls to 0.44 (pose) and 0.40 (expression) of itself. A step of 10 times the
noise or more stays a step from one frame to the next, its two frames as exact as single frames are.
On a real recording of an acting head (472 frames at 24 a second) the jitter of the rotation falls
to 0.22, by total variation to 0.62; blinks and half blinks lose 8 % of their peaks (those above 0.6
lose 2 to 6 %), by total variation 15 %, by the Gaussian, or Savitzky-Golay over 7 frames, 26 %.

The constants of `POSE` and `EXPRESSION` are from a search on such courses at noise of 0.1 to 1
degree and 0.01 to 0.05; half and twice of them are worse on average at 12, 24 and 30 frames a
second (from 60 on, twice would be better for expressions). How strong is right depends on the noise
alone, which is measured on each whole track (`NoiseMeter`); `SmoothSettings.strength` shifts it.

**Pose** is smoothed as what the picture shows: the direction of sight tx/tz, ty/tz, which is known
to a fraction of a pixel, apart from the distance tz, whose noise is tenfold and would be in tx
and ty too; and the rotation as its unit quaternion, continuous in sign, each part by itself,
brought back to length 1 at the end (as averages of rotations are: Markley et al., J. Guidance 30,
2007). That is smooth for any head, where angles wrap at 180 degrees and two of them become one at
yaw 90, and is the same to third order as smoothing on the rotations themselves.

**Segments.** Nothing is smoothed across missing frames (however few, unless `max_gap` allows it),
across a pause of `MAX_STEP`, or across a cut of the film, which shows as a jump of the head
(`CUT_SHIFT`) or is named by the caller.

**Solving.** Each of `ITERATIONS` replaces f and e by the parabolas that touch them at the present
course from above (majorisation and minimisation: Hunter & Lange, Am. Stat. 58, 2004) and solves the
five-banded system that makes, side by side for all columns of many windows. Windows lie at fixed
places from the start of their segment and overlap, their number of iterations is fixed, and all is
element-wise arithmetic that IEEE 754 rounds in one way (+ - * / sqrt; sines by the C library): a
frame's bits depend on its window's data and the track's noise, not on the caller's pieces, threads
or company. Time is linear in the frames (0.05 to 0.08 ms each for 50 columns on one core) and
memory does not grow with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import geometry

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Index = NDArray[np.intp]

FRAME = 1.0 / 30.0
"""s; the unit of time of the penalties. They are integrals over time, so what is smoothed is motion
in seconds: at 60 frames a second about twice as many frames count as at 30."""

SHORTEST_STEP = 0.125
"""In `FRAME`s. Frames closer than that (240 a second) are taken to be that far apart: the overlap
of the windows is long enough down to there."""

MAX_STEP = 0.25
"""s between neighbouring frames from which on they do not smooth each other: a whole blink, or half
a nod, goes unseen between them."""

N_POSE = 7
"""Columns of the pose: the direction of sight (x/z, y/z), the distance z, a unit quaternion."""

ITERATIONS = 6
"""Reweightings; 12 change the errors of the module's table by less than 0.04 of the noise."""

WINDOW = 240
"""Frames that are solved at once and kept."""

OVERLAP = 80
"""Frames on either side of a window that are solved with it and thrown away. Whatever is beyond
them changes a kept frame by less than 1e-7 of the noise at 60 frames a second, 1e-5 at 120 and 1e-3
at 240 (measured; the influence falls off exponentially)."""

FLUSH = 4096
"""New rows that are awaited before windows are solved, side by side: it changes speed and memory,
and no result."""

LANES = 16
"""Whole windows that are solved side by side, so that they fit into a processor's cache."""

CUT_SHIFT = 25.0
CUT_DEPTH = 0.07
CUT_TURN = 10.0
CUT_RATIO = 3.0
"""A cut of the film: from one frame to the next the head is displaced by more than 25 mm across the
line of sight, or 7 % of its distance, or turned by more than 10 degrees (each a `FRAME` apart,
where they are further apart in proportion), and more than 3 times as fast as in the steps before
and after. A turning head, however fast, is about as fast one frame later. Measured: no cut in 700
frames of four recordings without any, one in 480 synthetic turns of up to 800 degrees a second; of
splices of two recordings all are found, of splices of two moments of one recording of a moving head
73 %; who knows more names the cuts (`TrackRows.cut`)."""

SPIKE = 6.0
SPIKE_RISE = 0.25
SPIKE_POSE = 0.15
SPIKE_EXPRESSION = 0.045
"""A spike, which is left out: a value that stands out from both its neighbours by 6 times the noise
while neither of them has gone a quarter of that way from its own, and all that within 0.15 s (pose)
or 0.045 s (expression, so at 45 frames a second and above). The shortest blinks take 0.1 s, and the
fit, in which lids that are half down are hardly down, shows as little as one frame of them at 30:
the smoothed table rather keeps a slip of the fit than loses a blink."""

MIN_COUNT = 20
"""Differences that the noise of a column must be known from."""

_MAX_VALUE = 1e7
"""mm, radians, coefficients: more belongs to no face."""

_MIN_DEPTH = 1e-6
"""mm in front of the lens, to divide by."""


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


@dataclass(frozen=True)
class SmoothSettings:
    """How a track is smoothed.

    Raises:
        ValueError: for a number that is negative or not finite.
    """

    strength: float = 1.0
    """Factor of the penalties; 0 leaves everything as it is."""
    max_gap: float = 0.0
    """s without the face that a course may bridge; the missing frames stay missing all the same.
    At 0 every missing frame ends a segment."""

    def __post_init__(self) -> None:
        for name in ("strength", "max_gap"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"smoothing: {name} must be a number from 0 on, got {value}")


@dataclass(frozen=True)
class TrackRows:
    """Consecutive rows of one track, raw or smoothed.

    Raises:
        ValueError: for arrays whose shapes do not agree.
    """

    frame: Ints
    """(n,) rising; numbers that are left out are missing frames."""
    time: Array
    """(n,) s, of presentation. One that does not rise counts as the track's median step later."""
    ok: Mask
    """(n,) rows with numbers. A row that has one that is not finite, or is absurd, or a head that
    is not in front of the lens, is taken for missing."""
    translation: Array
    """(n, 3) mm, tx ty tz in camera axes, tz > 0."""
    euler: Array
    """(n, 3) radians: pitch, yaw, roll, as in `facemake.geometry`."""
    expression: Array
    """(n, E) coefficients."""
    cut: Mask | None = None
    """(n,) where known: whether the film was cut between the row before and this one."""

    def __post_init__(self) -> None:
        n = len(self.frame)
        width = self.expression.shape[-1] if self.expression.ndim == 2 else -1
        shapes = {"time": (n,), "ok": (n,), "translation": (n, 3), "euler": (n, 3)}
        for name, shape in {**shapes, "expression": (n, width), "cut": (n,)}.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"{n} rows of a track have {name} of shape {value.shape}")


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

    Measured on the synthetic courses of the module's table, within 4 % (heads, held expressions), 9
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
        self._intake = _Intake(n_expression, FRAME)
        self._bounds = _bounds(n_expression, lower, upper)
        self._differences = _Histogram(N_POSE + n_expression)
        self._steps = _Histogram(1)
        self._last = self._intake(_nothing(n_expression))

    def push(self, rows: TrackRows) -> None:
        """See the track's next rows.

        Raises:
            ValueError: for frames that do not rise, or another number of coefficients.
        """
        old = len(self._last.frame)
        seen = _joined([self._last, self._intake(rows)])
        n = len(seen.frame)
        self._last = seen.take(np.arange(max(0, n - 3), n))
        with np.errstate(invalid="ignore"):
            step = np.diff(seen.time)
            next_ = np.diff(seen.frame) == 1
            usual = next_ & (step > 0) & (step < _MAX_VALUE)
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

    def _third(self, rows: _Rows, first: Index, step: Array) -> Array:
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


class TrackSmoother:
    """Smooths a track piece by piece; results do not depend on the pieces, to the last bit.

    It holds back `WINDOW` + `OVERLAP` + `FLUSH` rows at most, apart from the last piece.

    Args:
        noise: of the whole track (`NoiseMeter`).
        settings: how strongly; the defaults if None.
        lower: bounds of the coefficients, (E,) or one for all; smoothed values stay within.
        upper: likewise.

    Raises:
        ValueError: for a lower bound above its upper bound.
    """

    def __init__(
        self,
        noise: Noise,
        settings: SmoothSettings | None = None,
        lower: ArrayLike = -math.inf,
        upper: ArrayLike = math.inf,
    ) -> None:
        n_expression = len(noise.sigma) - N_POSE
        self._settings = settings or SmoothSettings()
        self._sigma = noise.sigma
        self._bounds = _bounds(n_expression, lower, upper)
        self._intake = _Intake(n_expression, noise.step)
        self._rows = self._intake(_nothing(n_expression))
        self._given = 0  # how many of self._rows were given out and are there as context
        self._pieces: list[_Rows] = []
        self._waiting = 0

    def push(self, rows: TrackRows) -> TrackRows:
        """Take the track's next rows, and give those that are finished by now.

        Returns:
            Rows in their order, often none. Missing rows are NaN and have `ok` False; rows of a
            segment of one or two frames are as they came.

        Raises:
            ValueError: for frames that do not rise, or another number of coefficients.
        """
        piece = self._intake(rows)
        self._pieces.append(piece)
        self._waiting += len(piece.frame)
        if self._waiting < FLUSH:
            return self._finished(piece.take(np.arange(0)))
        return self._advance(final=False)

    def finish(self) -> TrackRows:
        """The rows that are left: the track has no more."""
        return self._advance(final=True)

    def _advance(self, final: bool) -> TrackRows:
        """Solve what can be solved, and give all rows before the first that cannot."""
        rows = _joined([self._rows, *self._pieces])
        self._pieces, self._waiting = [], 0
        present = np.flatnonzero(rows.present)
        known, ended = self._number(rows, present, final)
        solved = int(np.searchsorted(present, self._given))
        windows, solvable = _windows(rows.place[present[:known]], solved, ended)
        if self._settings.strength > 0 and (self._sigma > 0).all():
            for some in _side_by_side(windows):
                self._solve(rows, present, some)
        stop = int(present[solvable]) if solvable < len(present) else len(rows.frame)
        out = rows.take(np.arange(self._given, stop))
        # Two rows more than the overlap: where the next segment starts is judged by them.
        context = present[max(0, solvable - OVERLAP - 2) : solvable]
        self._given = len(context)
        self._rows = rows.take(np.concatenate([context, np.arange(stop, len(rows.frame))]))
        return self._finished(out)

    def _number(self, rows: _Rows, present: Index, final: bool) -> tuple[int, bool]:
        """Find the place of each present row in its segment, as far as that can be known.

        Returns:
            How many of the present rows are known, and whether the last of them ends its segment.
        """
        ended = final
        if len(present):
            since = rows.clock[present[-1] + 1 :] - rows.clock[present[-1]]
            ended |= bool((since > self._settings.max_gap).any())
        # Whether a jump is a cut depends on the step after it too.
        known = len(present) if ended else max(0, len(present) - 1)
        old = int((rows.place[present] >= 0).sum())
        if known > old:
            starts = _starts(rows, present, self._settings.max_gap)[old:known]
            index = np.arange(old, known)
            begin = np.maximum.accumulate(np.where(starts, index, -1))
            before = old - 1 - int(rows.place[present[old - 1]]) if old else 0
            rows.place[present[old:known]] = index - np.where(begin < 0, before, begin)
        return known, ended

    def _solve(self, rows: _Rows, present: Index, windows: Sequence[_Window]) -> None:
        """Smooth the rows of some windows, in place."""
        shape = (max(w.stop - w.start for w in windows), len(windows), 1)
        y = np.zeros((*shape[:2], rows.values.shape[1]))
        h, real = np.ones((shape[0] - 1, *shape[1:])), np.zeros(shape, dtype=bool)
        for lane, w in enumerate(windows):
            index = present[w.start : w.stop]
            y[: len(index), lane] = rows.values[index]
            h[: len(index) - 1, lane, 0] = np.diff(rows.clock[index]) / FRAME
            real[: len(index), lane] = True
        y /= self._sigma
        x = minimise(y, np.maximum(h, SHORTEST_STEP), real, self._settings.strength)
        x *= self._sigma
        for lane, w in enumerate(windows):
            found = x[w.core - w.start : w.end - w.start, lane]
            sound = np.isfinite(found).all(axis=1)
            index = present[w.core : w.end][sound]
            rows.result[index] = found[sound]
            rows.smooth[index] = True

    def _finished(self, rows: _Rows) -> TrackRows:
        """What the caller gets: raw numbers where nothing was smoothed, NaN where nothing is."""
        translation, euler = rows.translation.copy(), rows.euler.copy()
        expression = rows.values[:, N_POSE:].copy()
        at = np.flatnonzero(rows.smooth)
        found = rows.result[at]
        translation[at] = found[:, :3]
        translation[at, :2] *= found[:, 2:3]
        euler[at] = _euler(found[:, 3:N_POSE])
        lower, upper = self._bounds
        expression[at] = np.minimum(np.maximum(found[:, N_POSE:], lower), upper)
        for values in (translation, euler, expression):
            values[~rows.present] = np.nan
        return TrackRows(rows.frame, rows.time, rows.present, translation, euler, expression)


def smooth_track(
    rows: TrackRows,
    settings: SmoothSettings | None = None,
    lower: ArrayLike = -math.inf,
    upper: ArrayLike = math.inf,
) -> TrackRows:
    """Smooth a whole track that is in memory: `NoiseMeter`, then `TrackSmoother`.

    Args:
        rows: all rows of the track.
        settings: how strongly; the defaults if None.
        lower: bounds of the coefficients, (E,) or one for all; smoothed values stay within.
        upper: likewise.

    Returns:
        As many rows; see `TrackSmoother.push`.

    Raises:
        ValueError: for frames that do not rise, or a lower bound above its upper bound.
    """
    meter = NoiseMeter(rows.expression.shape[1], lower, upper)
    meter.push(rows)
    smoother = TrackSmoother(meter.noise(), settings, lower, upper)
    parts = [smoother.push(rows), smoother.finish()]
    names = ("frame", "time", "ok", "translation", "euler", "expression")
    return TrackRows(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


@dataclass(frozen=True)
class _Rows:
    """Rows as they are worked on; `result`, `place` and `smooth` are filled in as it goes."""

    frame: Ints
    time: Array
    clock: Array
    """(n,) s, rising without fail."""
    cuts: Ints
    """(n,) how many cuts the caller has named up to this row."""
    present: Mask
    translation: Array
    euler: Array
    values: Array
    """(n, 7 + E) what is to be smoothed; columns as in `Noise.sigma`."""
    result: Array
    """(n, 7 + E) what came of it, where `smooth` says so."""
    place: Ints
    """(n,) place of a present row in its segment, from 0; -1 as long as that is not known."""
    smooth: Mask

    def take(self, index: Index) -> _Rows:
        """Copies of these rows."""
        return _Rows(*(getattr(self, name)[index] for name in _Rows.__dataclass_fields__))


def _joined(parts: Sequence[_Rows]) -> _Rows:
    names = _Rows.__dataclass_fields__
    return _Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _nothing(n_expression: int) -> TrackRows:
    none = np.empty(0)
    vectors = np.empty((0, 3))
    return TrackRows(
        none.astype(np.int64),
        none,
        none.astype(bool),
        vectors,
        vectors,
        np.empty((0, n_expression)),
    )


def _bounds(n: int, lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array]:
    low = np.broadcast_to(np.asarray(lower, dtype=np.float64), (n,))
    high = np.broadcast_to(np.asarray(upper, dtype=np.float64), (n,))
    if not (low <= high).all():
        raise ValueError("smoothing: a lower bound lies above its upper bound")
    return low, high


@dataclass
class _Intake:
    """Brings the rows of a track, piece by piece, into the form that is worked on."""

    n_expression: int
    step: float
    """s that a frame takes where the stamps do not say."""
    frame: int | None = None
    clock: float = 0.0
    cuts: int = 0
    quaternion: Array = field(default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0]))

    def __call__(self, rows: TrackRows) -> _Rows:
        n = len(rows.frame)
        translation = np.array(rows.translation, dtype=np.float64)
        euler = np.array(rows.euler, dtype=np.float64)
        expression = np.asarray(rows.expression, dtype=np.float64)
        if expression.shape[1] != self.n_expression:
            raise ValueError(
                f"smoothing: a track of {self.n_expression} coefficients, and rows of "
                f"{expression.shape[1]}"
            )
        frame, time = np.array(rows.frame, np.int64), np.array(rows.time, np.float64)
        present = np.array(rows.ok, dtype=bool)
        for part in (translation, euler, expression):
            present &= (np.abs(part) < _MAX_VALUE).all(axis=1)  # False for NaN
        present &= translation[:, 2] > _MIN_DEPTH
        at = np.flatnonzero(present)
        values = np.zeros((n, N_POSE + self.n_expression))
        values[at, :3] = translation[at]
        values[at, :2] /= translation[at, 2:3]
        values[at, 3:N_POSE] = self._continuous(_quaternions(euler[at]))
        values[at, N_POSE:] = expression[at]
        cuts = np.zeros(n, np.int64) if rows.cut is None else rows.cut.astype(np.int64)
        cuts = self.cuts + np.cumsum(cuts)
        self.cuts = int(cuts[-1]) if n else self.cuts
        return _Rows(
            frame=frame,
            time=time,
            clock=self._clocked(frame, time),
            cuts=cuts,
            present=present,
            translation=translation,
            euler=euler,
            values=values,
            result=np.zeros_like(values),
            place=np.full(n, -1, np.int64),
            smooth=np.zeros(n, dtype=bool),
        )

    def _clocked(self, frame: Ints, time: Array) -> Array:
        """(n,) s: the stamps where they rise, and a usual step further where they do not."""
        out = []
        for f, t in zip(frame.tolist(), time.tolist(), strict=True):
            passed = self.step if self.frame is None else (f - self.frame) * self.step
            if passed <= 0:
                raise ValueError(f"smoothing: frame {f} follows frame {self.frame}")
            if math.isfinite(t) and (self.frame is None or t - self.clock >= 0.25 * passed):
                self.clock = t
            else:
                self.clock += passed
            self.frame = f
            out.append(self.clock)
        return np.array(out, dtype=np.float64)

    def _continuous(self, quaternions: Array) -> Array:
        """The same rotations, with the sign by which each is near the one before."""
        if len(quaternions):
            before = np.concatenate([self.quaternion[None], quaternions[:-1]])
            product = before * quaternions
            dot = product[:, 0] + product[:, 1] + product[:, 2] + product[:, 3]
            quaternions = quaternions * np.cumprod(np.where(dot < 0, -1.0, 1.0))[:, None]
            self.quaternion = quaternions[-1].copy()
        return quaternions


def _quaternions(euler: Array) -> Array:
    """(n, 4) unit quaternions w x y z of (n, 3) pitch, yaw, roll, radians.

    By the C library's sine and cosine, for the reason that `geometry` gives.
    """
    halves = [(0.5 * euler[:, axis]).tolist() for axis in range(3)]
    cx, cy, cz = (np.array([math.cos(v) for v in half], np.float64) for half in halves)
    sx, sy, sz = (np.array([math.sin(v) for v in half], np.float64) for half in halves)
    return np.stack(
        [
            cx * cy * cz + sx * sy * sz,
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
        ],
        axis=1,
    )


def _euler(quaternions: Array) -> Array:
    """(n, 3) pitch, yaw, roll of (n, 4) quaternions of any length above 0."""
    w, x, y, z = np.ascontiguousarray(quaternions.T)
    f = 2.0 / (w * w + x * x + y * y + z * z)
    entries = [
        [1 - f * (y * y + z * z), f * (x * y - w * z), f * (x * z + w * y)],
        [f * (x * y + w * z), 1 - f * (x * x + z * z), f * (y * z - w * x)],
        [f * (x * z - w * y), f * (y * z + w * x), 1 - f * (x * x + y * y)],
    ]
    rotation = np.stack([np.stack(row, axis=-1) for row in entries], axis=-2)
    return geometry.euler_from_rotation(rotation)


def _starts(rows: _Rows, present: Index, max_gap: float) -> Mask:
    """(n,) whether each present row starts a segment: after a gap or a cut."""
    n = len(present)
    values = rows.values[present]
    apart = np.diff(rows.clock[present])
    skipped = np.diff(rows.frame[present]) > 1
    broken = np.where(skipped, apart > max_gap, apart > MAX_STEP)
    broken |= np.diff(rows.cuts[present]) > 0
    h = np.maximum(apart / FRAME, SHORTEST_STEP)
    d = np.diff(values[:, :N_POSE], axis=0)
    near = np.minimum(values[1:, 2], values[:-1, 2])
    across = np.sqrt(d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1]) * near
    turn = np.sqrt(d[:, 3] * d[:, 3] + d[:, 4] * d[:, 4] + d[:, 5] * d[:, 5] + d[:, 6] * d[:, 6])
    # The chord between unit quaternions an angle apart is 2 sin(angle / 4).
    chord = 2.0 * math.sin(math.radians(CUT_TURN) / 4.0)
    moved = np.stack([across / CUT_SHIFT, np.abs(d[:, 2]) / near / CUT_DEPTH, turn / chord], axis=1)
    rate = np.where(broken[:, None], 0.0, moved / h[:, None])
    local = np.zeros_like(rate)
    local[1:] = rate[:-1]
    local[:-1] = np.maximum(local[:-1], rate[1:])
    far = moved > np.maximum(h, 1.0)[:, None]
    starts = np.ones(n, dtype=bool)
    starts[1:] = broken | (far & (rate > CUT_RATIO * local)).any(axis=1)
    return starts


@dataclass(frozen=True)
class _Window:
    """Positions among the present rows: data from start to stop, results from core to end."""

    start: int
    core: int
    end: int
    stop: int


def _windows(place: Ints, solved: int, ended: bool) -> tuple[list[_Window], int]:
    """The windows that can be solved, and the position before which all is then solved.

    Windows start at multiples of `WINDOW` from the start of their segment, and the last one has at
    least `OVERLAP` frames of its own, so they are the same whatever was known when.

    Args:
        place: (n,) of the present rows that are known.
        solved: the position before which all is solved by now.
        ended: whether the last of them ends its segment.
    """
    n = len(place)
    found: list[_Window] = []
    segments = np.append(np.flatnonzero(place == 0), n)
    cores = np.flatnonzero(place % WINDOW == 0)
    for core in cores[cores >= solved].tolist():
        after = int(segments[np.searchsorted(segments, core, side="right")])
        last = after - core < WINDOW + OVERLAP
        if last and after == n and not ended:
            return found, core
        before = min(int(place[core]), OVERLAP)
        if before and after - core < OVERLAP:
            continue  # the window before goes on to the end
        if before or after - core > 2:
            end = after if last else core + WINDOW
            found.append(_Window(core - before, core, end, min(core + WINDOW + OVERLAP, after)))
    return found, n


def _side_by_side(windows: Sequence[_Window]) -> Iterator[Sequence[_Window]]:
    """Windows of similar length together, and not too many."""
    by_size: dict[int, list[_Window]] = {}
    for w in windows:
        by_size.setdefault((w.stop - w.start - 1).bit_length(), []).append(w)
    for bits in sorted(by_size):
        lanes = max(1, LANES * (WINDOW + 2 * OVERLAP) >> bits)
        for k in range(0, len(by_size[bits]), lanes):
            yield by_size[bits][k : k + lanes]


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
