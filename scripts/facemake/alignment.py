"""The aligned crop: a face cut out of its frame as `facemake.template` has it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.geometry import apply_affine, invert_affine
from facemake.template import CROP_SIZE

# Below this scale a bilinear look-up skips pixels of the frame: it is halved by area first.
_HALVE_BELOW = 0.5


LONGEST = 32_766
"""px: at a picture with a longer side OpenCV's warps raise, and MediaPipe's end the process."""


def around(
    rgb: NDArray[np.uint8], middle: tuple[float, float], reach: float
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """What a warp is to see of a picture: all of it, or if it is too long for one, a part.

    Args:
        rgb: (H, W, 3) uint8.
        middle: x, y px of what matters.
        reach: px of it to each side.

    Returns:
        The pixels, C-contiguous, and the left and the top of them in the picture.
    """
    if max(rgb.shape[:2]) <= LONGEST:
        return rgb, (0, 0)
    sides = []
    for at, length in zip(middle, rgb.shape[1::-1], strict=True):
        first = min(max(int(at - reach), 0), length - 1)
        sides.append((first, max(min(int(at + reach) + 2, length), first + 1)))
    (left, right), (top, bottom) = sides
    return np.ascontiguousarray(rgb[top:bottom, left:right][:LONGEST, :LONGEST]), (left, top)


def align(
    rgb: NDArray[np.uint8],
    affine: NDArray[np.float64],
    size: tuple[int, int] = (CROP_SIZE, CROP_SIZE),
) -> NDArray[np.uint8]:
    """Cut the crop out of a frame: bilinear, black outside of the frame.

    Args:
        rgb: (H, W, 3) uint8.
        affine: (2, 3), frame pixels to crop pixels.
        size: width and height of the crop, px.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    rgb, affine = _cut(rgb, affine, size)
    scale = float(np.hypot(affine[0, 0], affine[1, 0]))
    while scale < _HALVE_BELOW and min(rgb.shape[:2]) >= 2:
        height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
        rgb = cv2.resize(
            rgb[:height, :width], (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
        # pixel centres: half-size pixel u is the mean of the pixels 2u and 2u + 1
        affine = affine @ np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
        scale *= 2
    crop: NDArray[np.uint8] = cv2.warpAffine(
        rgb, affine, size, flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0)
    )
    return crop


def _cut(
    rgb: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The part of the frame that the crop sees, so that halving does not touch the rest."""
    x, y = (side - 1.0 for side in size)
    corners = apply_affine(invert_affine(affine), [(0.0, 0.0), (x, 0.0), (0.0, y), (x, y)])
    margin = 4
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + margin, rgb.shape[1::-1])
    if (high - low < 2).any():  # the crop lies outside of the frame
        return rgb[:LONGEST, :LONGEST], affine
    shifted = affine @ np.array([[1.0, 0.0, low[0]], [0.0, 1.0, low[1]], [0.0, 0.0, 1.0]])
    return rgb[low[1] : high[1], low[0] : high[0]], shifted
