"""Where a recording changes to another shot, by small pictures of its frames.

A cut is a step between two frames that stands out from the steps around it (the adaptive threshold
of PySceneDetect's detector, with other numbers), and after which the picture does not come back. A
step is what a change of brightness and contrast cannot explain, so a lamp that is switched on, an
exposure that adapts or a flash is none. What changes little by little, a fade or a dissolve, is
not found; what is seen again within `FLASH` frames counts as a flash, be it a very short shot.

Measured on five recordings of 640x360 and 960x540, their cuts known, and on all their pairs joined
end to end: the steps of cuts are 8.0 to 57.6 and 3.5 to 30 times as large as those around them,
other steps stay below 1.9 times; brightness that changes by a tenth or a half at once makes a step
of 1.7 at most, and of 7.0 where much of the picture is clipped.
"""

from __future__ import annotations

from array import array

import cv2
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
_SAMPLES = 4
"""Pixels in each direction that a value of the signature is the mean of."""


def signature(rgb: NDArray[np.uint8]) -> bytes:
    """A picture of `WIDTH` x `HEIGHT` RGB values, of a frame of any size (8 microseconds).

    Args:
        rgb: (H, W, 3) uint8.
    """
    size = (WIDTH * _SAMPLES, HEIGHT * _SAMPLES)
    sampled = cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST)
    small: NDArray[np.uint8] = cv2.resize(sampled, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return small.tobytes()


class CutFinder:
    """Takes the signatures of a recording in order, whatever it is cut into; keeps 8 bytes a frame.

    A frame that cannot be decoded is none here: the step is from the last one that could be.
    """

    def __init__(self) -> None:
        self._n_frames = 0
        self._frames = array("i")  # by place: among those that can be decoded
        self._steps = array("f")  # to each place from the one before
        self._recent: list[_Picture] = []  # the last places, at most FLASH + 1
        self._nearest: dict[int, float] = {}  # of steps that may be cuts

    def add(self, frame: bytes | None) -> None:
        """Add the next frame's signature; None of a frame that cannot be decoded."""
        index = self._n_frames
        self._n_frames += 1
        if frame is None:
            return
        place, here = len(self._steps), _Picture(frame)
        self._frames.append(index)
        self._steps.append(_step(self._recent[-1], here) if self._recent else 0.0)
        for cut in range(max(1, place - FLASH), place):
            if cut in self._nearest:
                before = self._recent[cut - 1 - place]
                self._nearest[cut] = min(self._nearest[cut], _step(before, here))
        if self._stands_out(place):
            earlier = [_step(picture, here) for picture in self._recent[:-1]]
            self._nearest[place] = min([self._steps[place], *earlier])
        self._recent = [*self._recent[-FLASH:], here]

    def cuts(self) -> list[int]:
        """The frames that begin a new shot, rising; frame 0 is none."""
        return [
            self._frames[place]
            for place, nearest in self._nearest.items()
            if nearest >= _SAME * self._steps[place] and self._stands_out(place, all_known=True)
        ]

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


class _Picture:
    """A signature without its brightness: whole numbers, so that sums are exact."""

    __slots__ = ("energy", "values")

    def __init__(self, frame: bytes) -> None:
        values = np.frombuffer(frame, np.uint8).reshape(-1, 3).astype(np.int64)
        self.values = (len(values) * values - values.sum(axis=0)).ravel()
        self.energy = int(self.values @ self.values)


def _step(a: _Picture, b: _Picture) -> float:
    """Grey levels that a change of brightness and contrast from one to the other leaves."""
    if a.energy < b.energy:
        a, b = b, a
    gain = max(0.0, int(a.values @ b.values) / b.energy) if b.energy else 0.0
    return float(np.abs(a.values - gain * b.values).mean()) / (WIDTH * HEIGHT)
