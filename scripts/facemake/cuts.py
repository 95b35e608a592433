"""Where a recording changes to another shot, by small pictures of its frames.

A cut is a step between two frames that stands out from the steps around it (the adaptive threshold
of PySceneDetect's detector, with other numbers), and after which the picture does not come back. A
step is what a change of brightness and contrast cannot explain, so a lamp that is switched on, an
exposure that adapts or a flash is none. What changes little by little, a fade or a dissolve, is
not found, nor is a cut amid a camera's fast pan; what is seen again within `FLASH` frames counts as
a flash, be it a very short shot.

Measured on five recordings of 640x360 and 960x540, their cuts known, and on all their pairs joined
end to end: the steps of cuts are at least 9.9 and 3.2 times as large as those around them, other
steps stay below 1.7 times. Brightness that rises by a tenth or falls by half at once makes no step
that stands out; one that rises by a third makes one of 7.2 where much of the picture is clipped.
"""

from __future__ import annotations

from array import array
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 16, 9
N_BYTES = WIDTH * HEIGHT * 3
"""Of a signature."""

LEAST_STEP = 7.5
"""Grey levels of 255, a mean over the signature: below it, nothing is a cut."""
LEAST_RATIO = 2.5
"""A cut's step over those around it: over the `_NTH` largest of `_AROUND` to either side, so that
another cut nearby does not hide it. (At the ends of a recording, as many to one side.)"""
_AROUND, _NTH = 8, 3
FLASH = 4
"""Frames that what comes back may be away."""
_SAME = 0.5
"""What is less than this part of the step away from what was before it has come back."""
_SAMPLES = 2
"""Pixels in each direction that a value of the signature is the mean of."""
_AT_ONCE = 64
"""Frames that are looked at together: one by one costs more than twice as much."""

_Rows = NDArray[np.int64]


def sampled(rgb: NDArray[np.uint8]) -> bytes:
    """The pixels of a frame that its signature is made of, spread over it.

    Args:
        rgb: (H, W, 3) uint8, of any size.
    """
    rows, columns = _places(*rgb.shape[:2])
    return np.ascontiguousarray(rgb[rows, columns]).tobytes()


@lru_cache(8)
def _places(height: int, width: int) -> tuple[slice | _Rows, slice | _Rows]:
    wanted = (height, HEIGHT * _SAMPLES), (width, WIDTH * _SAMPLES)
    if all(length >= count for length, count in wanted):
        rows, columns = (
            slice(step // 2, step // 2 + step * (count - 1) + 1, step)
            for length, count in wanted
            for step in [length // count]
        )
        return rows, columns
    several = [(2 * np.arange(count) + 1) * length // (2 * count) for length, count in wanted]
    return several[0][:, None], several[1][None]


class CutFinder:
    """Takes the frames of a recording in order, whatever it is cut into; keeps 8 bytes a frame.

    A frame that cannot be decoded is none here: the step is from the last one that could be.

    Attributes:
        signatures: `N_BYTES` of each frame so far, where they are to be kept.
    """

    def __init__(self, keep: bool = False) -> None:
        self.signatures = bytearray()
        self._keep = keep
        self._n_frames = 0
        self._frames = array("i")  # by place: among those that can be decoded
        self._steps = array("f")  # to each place from the one before
        self._waiting = bytearray()
        self._rows: _Rows = np.zeros((0, N_BYTES), np.int64)  # of the last places
        self._nearest: dict[int, float] = {}  # of steps that may be cuts
        self._decided = 1  # the first place that more frames may say something of

    def add(self, samples: bytes | None) -> None:
        """Add the next frame: what `sampled` gave; None of one that cannot be decoded."""
        if samples is not None:
            self._frames.append(self._n_frames)
            self._waiting += samples
            if len(self._waiting) >= _AT_ONCE * N_BYTES * _SAMPLES**2:
                self.flush()
        self._n_frames += 1

    def add_signatures(self, signatures: bytes) -> None:
        """Add frames that another finder has kept."""
        self.flush()
        count = len(signatures) // N_BYTES
        self._frames.extend(range(self._n_frames, self._n_frames + count))
        self._n_frames += count
        self._look(np.frombuffer(signatures, np.uint8).reshape(count, N_BYTES))

    def flush(self) -> None:
        """Look at what waits, so that `signatures` has all frames."""
        if not self._waiting:
            return
        shape = (-1, HEIGHT, _SAMPLES, WIDTH, _SAMPLES, 3)
        samples = np.frombuffer(bytes(self._waiting), np.uint8).reshape(shape)
        means = samples.sum(axis=(2, 4), dtype=np.uint16) // _SAMPLES**2
        signatures = means.astype(np.uint8).reshape(len(means), N_BYTES)
        self._waiting.clear()
        if self._keep:
            self.signatures += signatures.tobytes()
        self._look(signatures)

    def cuts(self) -> list[int]:
        """The frames that begin a new shot, rising; frame 0 is none."""
        self.flush()
        undecided = self._candidates(self._decided, len(self._steps))
        return [
            self._frames[place]
            for place, nearest in {**self._nearest, **undecided}.items()
            if nearest >= _SAME * self._steps[place] and self._stands_out(place, all_known=True)
        ]

    def _look(self, signatures: NDArray[np.uint8]) -> None:
        values = signatures.reshape(len(signatures), -1, 3).astype(np.int64)
        # without their brightness, in whole numbers, so that sums are exact
        values = values.shape[1] * values - values.sum(axis=1, keepdims=True)
        old = len(self._rows)
        self._rows = np.concatenate([self._rows, values.reshape(len(values), N_BYTES)])
        if not old and len(values):
            self._steps.append(0.0)
            old = 1
        self._steps.extend(_steps(self._rows[old - 1 : -1], self._rows[old:]).tolist())
        end = max(self._decided, len(self._steps) - FLASH)
        self._nearest |= self._candidates(self._decided, end)
        self._decided = end
        self._rows = self._rows[-(2 * FLASH + 1) :]

    def _candidates(self, first: int, end: int) -> dict[int, float]:
        """Of steps that may be cuts: how near what is seen after each comes to what was before."""
        found = {}
        start = len(self._steps) - len(self._rows)  # the place of the first row
        for place in range(first, end):
            if self._stands_out(place):
                at = place - start
                here, before = self._rows[at : at + 1], self._rows[at - 1 : at]
                earlier = self._rows[max(0, at - 1 - FLASH) : at]
                later = self._rows[at : at + 1 + FLASH]
                found[place] = float(
                    min(
                        _steps(earlier, np.broadcast_to(here, earlier.shape)).min(),
                        _steps(np.broadcast_to(before, later.shape), later).min(),
                    )
                )
        return found

    def _stands_out(self, place: int, all_known: bool = False) -> bool:
        """By the steps known so far: what does not stand out from some does not from more."""
        step = self._steps[place]
        if step < LEAST_STEP:
            return False
        first = place - _AROUND
        if all_known:  # as many at the end as elsewhere
            first = min(first, len(self._steps) - 1 - 2 * _AROUND)
        first = max(1, first)
        last = first + 2 * _AROUND
        others = sorted([*self._steps[first:place], *self._steps[place + 1 : last + 1]])
        if not others or (len(others) < _NTH and not all_known):
            return not all_known
        return step >= LEAST_RATIO * others[-min(_NTH, len(others))]


def _steps(a: _Rows, b: _Rows) -> NDArray[np.float64]:
    """(n,) grey levels that a change of brightness and contrast leaves between rows of (n, 432)."""
    energy_a, energy_b, both = (a * a).sum(axis=1), (b * b).sum(axis=1), (a * b).sum(axis=1)
    swap = energy_a < energy_b
    strong = np.where(swap[:, None], b, a)
    weak = np.where(swap[:, None], a, b)
    gain = np.maximum(both, 0) / np.maximum(np.minimum(energy_a, energy_b), 1)
    rest = np.abs(strong - gain[:, None] * weak).mean(axis=1) / (WIDTH * HEIGHT)
    return np.asarray(rest, np.float64)
