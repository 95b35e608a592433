"""Smoothing of a track's pose and expression through time: no lag, edges and peaks stay.

A smoothed course is the one that costs least, of what it misses of the data and of how it moves
(`facemake.backends.fit.courses`): poses are straight stretches with bends, expressions rest, slopes
and sudden onsets, so that blinks keep their peaks.

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

How strong is right depends on the noise alone, which is measured on each whole track
(`facemake.backends.fit.tracknoise`); `SmoothSettings.strength` shifts it. What of a pose is
smoothed, `facemake.backends.fit.trackrows` says; the quaternion, smoothed part by part, is brought
back to length 1 at the end (as averages of rotations are: Markley et al., J. Guidance 30, 2007).

**Segments.** Nothing is smoothed across missing frames (however few, unless `max_gap` allows it),
across a pause of `MAX_STEP`, or across a cut of the film, which shows as a jump of the head
(`CUT_SHIFT`) or is named by the caller.

**Windows** lie at fixed places from the start of their segment and overlap, their number of
iterations is fixed, and all is element-wise arithmetic that IEEE 754 rounds in one way (+ - * /
sqrt; sines by the C library): a frame's bits depend on its window's data and the track's noise, not
on the caller's pieces, threads or company. Time is linear in the frames (0.05 to 0.08 ms each for
50 columns on one core) and memory does not grow with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from facemake.backends.fit.courses import minimise
from facemake.backends.fit.tracknoise import MAX_STEP, Noise, NoiseMeter
from facemake.backends.fit.trackrows import (
    FRAME,
    N_POSE,
    Index,
    Intake,
    Ints,
    Mask,
    Rows,
    TrackRows,
    bounds,
    euler_of,
    joined,
    nothing,
)

__all__ = ["Noise", "NoiseMeter", "SmoothSettings", "TrackRows", "TrackSmoother", "smooth_track"]

SHORTEST_STEP = 0.125
"""In `FRAME`s. Frames closer than that (240 a second) are taken to be that far apart: the overlap
of the windows is long enough down to there."""

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
        self._bounds = bounds(n_expression, lower, upper)
        self._intake = Intake(n_expression, noise.step)
        self._rows = self._intake(nothing(n_expression))
        self._given = 0  # how many of self._rows were given out and are there as context
        self._pieces: list[Rows] = []
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
        rows = joined([self._rows, *self._pieces])
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

    def _number(self, rows: Rows, present: Index, final: bool) -> tuple[int, bool]:
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

    def _solve(self, rows: Rows, present: Index, windows: Sequence[_Window]) -> None:
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

    def _finished(self, rows: Rows) -> TrackRows:
        """What the caller gets: raw numbers where nothing was smoothed, NaN where nothing is."""
        translation, euler = rows.translation.copy(), rows.euler.copy()
        expression = rows.values[:, N_POSE:].copy()
        at = np.flatnonzero(rows.smooth)
        found = rows.result[at]
        translation[at] = found[:, :3]
        translation[at, :2] *= found[:, 2:3]
        euler[at] = euler_of(found[:, 3:N_POSE])
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


def _starts(rows: Rows, present: Index, max_gap: float) -> Mask:
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
