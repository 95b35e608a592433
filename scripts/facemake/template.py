"""Where a face lies in its aligned crop of 112 x 112 pixels: upright, whole from brow to chin.

The template is the mean face of the built-in model at 0.7 px/mm, OpenFace's scale (Baltrusaitis et
al. 2018, `sim_scale`), fitted by the rigid points of the nose and the corners of the eyes, which
expressions move least. The jaw is left out: its points slide along the contour when a head turns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facemake.geometry import apply_affine, invert_affine, similarity
from facemake.schemes import IBUG68, N_POINTS

CROP_SIZE = 112

RIGID_POINTS = (10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 22, 25, 28)
"""Indices of iBUG-51."""

FACE_SIDES = (94.11, 91.27)
"""px: width and height of the bounding box of the mean face's 68 points in the crop; its middle is
that of the crop. A test derives these numbers again."""

# (13, 2) px: the built-in model's mean at RIGID_POINTS, 0.7 px/mm, moved so that the bounding box
# of its 68 points has its middle in the middle of the crop. A test derives these numbers again.
TEMPLATE = np.array(
    [
        (55.5, 21.83),
        (55.5, 31.78),
        (55.5, 40.92),
        (55.5, 46.81),
        (45.53, 53.11),
        (49.5, 55.52),
        (55.5, 55.95),
        (61.5, 55.52),
        (65.47, 53.11),
        (24.35, 25.81),
        (43.17, 26.19),
        (67.83, 26.19),
        (86.65, 25.81),
    ]
)


SQUARE = (56.0, 50.0, 112.0)
"""px: the middle of BlazeFace's square in the crop, right and down, and its side: between what it
is in two videos and a picture of five people, whose medians are (55.8, 51.6, 112), (57.2, 42.6,
110) and (56.9, 48.9, 112). Where a head nods, the square lies up to 10 px higher or lower."""


def crop_affine(ibug51: NDArray[np.float32]) -> NDArray[np.float64]:
    """The similarity from frame pixels to crop pixels.

    Args:
        ibug51: (51, 2) pixels of the frame.

    Returns:
        (2, 3) float64: rotation, scale and shift of the least-squares similarity (Umeyama 1991).
    """
    return similarity(ibug51[list(RIGID_POINTS)].astype(np.float64), TEMPLATE)


def affine_of_square(bbox: NDArray[np.float32], tilt: float) -> NDArray[np.float64]:
    """About where the crop will be of a face whose landmarks are not known yet.

    Args:
        bbox: (4,) x, y, w, h px, as BlazeFace draws it.
        tilt: of the line of the eyes, radians clockwise in the image.

    Returns:
        (2, 3) float64, frame pixels to crop pixels.
    """
    x, y, w, h = (float(v) for v in bbox)
    scale = SQUARE[2] / float(np.sqrt(w * h))
    cos, sin = scale * float(np.cos(tilt)), scale * float(np.sin(tilt))
    across, down = x + w / 2, y + h / 2
    return np.array(
        [
            [cos, sin, SQUARE[0] - cos * across - sin * down],
            [-sin, cos, SQUARE[1] + sin * across - cos * down],
        ]
    )


def square_of_affine(affine: NDArray[np.float64]) -> NDArray[np.float32]:
    """The square that BlazeFace would draw around a face with this crop: (4,) x, y, w, h px."""
    scale = float(np.hypot(affine[0, 0], affine[1, 0]))
    (middle,) = apply_affine(invert_affine(affine), [SQUARE[:2]])
    side = SQUARE[2] / scale
    return np.array([*(middle - side / 2), side, side], np.float32)


def face_square(ibug: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """The square around a face's 68 landmarks: that of their bounding box's area and middle.

    Of 51 landmarks, without the jaw, it is where the mean face has it that lies best on them.

    Args:
        ibug: (68, 2) or (51, 2) pixels of the frame.

    Returns:
        The middle, (2,), and half a side, px.
    """
    if len(ibug) == N_POINTS[IBUG68]:
        low, high = ibug.min(axis=0).astype(float), ibug.max(axis=0).astype(float)
        half = float(np.sqrt((high[0] - low[0]) * (high[1] - low[1]))) / 2
        return (low + high) / 2, half
    back = invert_affine(crop_affine(ibug))
    middle = (CROP_SIZE - 1) / 2
    scale = float(np.hypot(back[0, 0], back[1, 0]))
    half = scale * float(np.sqrt(FACE_SIDES[0] * FACE_SIDES[1])) / 2
    return apply_affine(back, [(middle, middle)])[0], half
