"""FHOG of aligned crops: Felzenszwalb's histograms of oriented gradients, as in OpenFace."""

from __future__ import annotations

import numpy as np
import pyfhog
from numpy.typing import NDArray

CELL = 8
LENGTH = 12 * 12 * 31
"""Cells by cells by Felzenszwalb's 18 signed and 9 unsigned orientations and 4 texture sums."""


def fhog(crops: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """FHOG of each crop (Felzenszwalb et al. 2010; dlib's implementation, through pyfhog).

    The order of the 4464 numbers is pyfhog's: 12 rows of 12 cells of 31 numbers each.

    Args:
        crops: (n, 112, 112, 3) uint8 RGB.
        out: (n, 4464) float32, filled.
    """
    # pyfhog reads BGR as OpenFace does; the order decides where two channels have equal gradients
    bgr = np.empty(crops.shape[1:], np.uint8)
    for crop, row in zip(crops, out, strict=True):
        bgr[..., 0], bgr[..., 1], bgr[..., 2] = crop[..., 2], crop[..., 1], crop[..., 0]
        row[:] = pyfhog.extract_fhog_features(bgr, CELL)
