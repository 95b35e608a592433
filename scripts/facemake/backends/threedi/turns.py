"""Rotation vectors: axis times angle, as 3DI and 3DI-lite write them.

Like `facemake.geometry`, nothing here depends on how many rotations a call holds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SMALL = 1e-9


def rotation_from_vector(vectors: Array) -> Array:
    """(n, 3, 3) rotations of rotation vectors (n, 3) (Rodrigues)."""
    x, y, z = vectors.T
    angle = np.sqrt(x * x + y * y + z * z)
    small = ~(angle > _SMALL)
    # sin(a)/a and (1 - cos(a))/a^2, whose limits are 1 and 1/2
    safe = np.where(small, 1.0, angle)
    half = np.sin(safe / 2) / safe
    s = np.where(small, 1.0, np.sin(safe) / safe)
    c = np.where(small, 0.5, 2 * half * half)
    rows = [
        [1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y],
        [c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x],
        [c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def vector_from_rotation(r: Array) -> Array:
    """(n, 3) rotation vectors of rotations (n, 3, 3) by less than half a turn."""
    w = np.stack(
        [r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], axis=1
    )
    x, y, z = w.T
    sine = np.sqrt(x * x + y * y + z * z) / 2
    angle = atan2(sine, (r[:, 0, 0] + r[:, 1, 1] + r[:, 2, 2] - 1) / 2)
    small = ~(sine > _SMALL)
    factor = np.where(small, 1.0, angle / np.where(small, 1.0, sine))
    return np.asarray(w * factor[:, None] / 2)


def atan2(y: Array, x: Array) -> Array:
    """Of each pair, by the C library: see `facemake.geometry`."""
    pairs = zip(y.tolist(), x.tolist(), strict=True)
    return np.array([math.atan2(a, b) for a, b in pairs], dtype=np.float64)
