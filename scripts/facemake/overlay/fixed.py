"""Pixels as OpenCV takes them where a point lies between two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHIFT = 4
"""Bits behind the point: sixteenths of a pixel."""

_FARTHEST = 30000.0  # beyond any picture, within OpenCV's range


def fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """(..., 2) px as fixed-point numbers; those far outside stay within OpenCV's range."""
    near = np.clip(points, -_FARTHEST, _FARTHEST)
    rounded: NDArray[np.int32] = np.round(near * 2**SHIFT).astype(np.int32)
    return rounded
