"""A few good frames of many, spread over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def choose_frames(
    frames: NDArray[np.int32],
    times: NDArray[np.float64],
    quality: NDArray[np.float32],
    most: int,
    spacing: float,
) -> NDArray[np.int64]:
    """The rows of the best frames of one track, in time order.

    The best frame first, then the next best that is at least `spacing` seconds from all before, and
    so on; of equal frames the earlier one. Frames without a time (pictures) are not held apart.

    Args:
        frames: (n,) rising.
        times: (n,) s; NaN where there is none.
        quality: (n,).
        most: how many.
        spacing: s.
    """
    chosen: list[int] = []
    free = np.ones(len(frames), bool)
    order = np.lexsort((frames, -quality))
    for row in order.tolist():
        if len(chosen) == most:
            break
        if free[row]:
            chosen.append(row)
            # a microsecond less: the stamps of a steady clock are not exact multiples
            free &= ~(np.abs(times - times[row]) < spacing - 1e-6)
    return np.array(sorted(chosen), np.int64)
