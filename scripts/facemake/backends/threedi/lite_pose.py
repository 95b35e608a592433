"""The turn of a head in the picture, from what 3DI-lite says of it in its crop.

3DI-lite turns and scales a face so that five points of it lie near a template, and says the turn of
the head in that crop, as a rotation vector whose x is negated. Undone here: x is negated again, and
the roll of the similarity between the crop and the picture is put before the turn. Of the position
of the head 3DI-lite says nothing.

Axes and signs are those of `facemake.geometry`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import geometry, schemes
from facemake.backends.threedi import turns

Array = NDArray[np.float64]

# ArcFace's five points (Deng et al., CVPR 2019) in its crop of 112 x 112: eyes, nose tip, mouth
# corners, image-left first. 3DI-lite's template is 1.5 times those, plus 25.
_TEMPLATE = 25.0 + 1.5 * np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)

_FIVE = ((19, 22), (25, 28), (13,), (31,), (37,))
"""Points of iBUG-51 whose mean each point of the template is: an eye is between its corners."""

LIMITS = (0.785, 1.57, 0.785)
"""Largest pitch, yaw and roll that 3DI-lite is believed, radians; what is beyond is NaN."""


def rotations(vectors: ArrayLike, landmarks: ArrayLike) -> Array:
    """Rotations of the head in the picture, model axes to camera axes.

    Args:
        vectors: (n, 3) the last three columns of 3DI-lite's pose.
        landmarks: (m, 102) px, its landmarks of the same video, m >= n; a row of zeros is none.

    Returns:
        (n, 3, 3); NaN where there are no landmarks, or the vector is none.

    Raises:
        ValueError: there are fewer rows of landmarks than of vectors.
    """
    v = np.array(vectors, dtype=np.float64).reshape(-1, 3)
    points = np.asarray(landmarks, dtype=np.float64)
    if len(points) < len(v):
        raise ValueError(f"{len(points)} rows of landmarks for {len(v)} of the pose")
    roll = _crop_roll(points[: len(v)].reshape(len(v), schemes.N_POINTS[schemes.IBUG51], 2))
    v[:, 0] = -v[:, 0]
    turn = geometry.rotation_from_euler(np.stack([0 * roll, 0 * roll, roll], axis=-1))
    return geometry.compose(turn, turns.rotation_from_vector(v))


def lite_angles(vectors: ArrayLike, landmarks: ArrayLike, limits: ArrayLike = LIMITS) -> Array:
    """Pitch, yaw and roll as bitbox's users have them: `R = Ry(yaw) Rx(pitch) Rz(roll)`.

    Other than facemake's own angles (`geometry.euler_from_rotation` of `rotations`), which are
    those of 3DI: the two differ where a head is turned about more than one axis.

    Args:
        vectors: (n, 3) as `rotations` wants them.
        landmarks: (m, 102) likewise.
        limits: (3,) radians.

    Returns:
        (n, 3) radians; each angle beyond its limit is NaN, and all are where there is no face.
    """
    angles = _euler_yxz(rotations(vectors, landmarks))
    angles[~(np.abs(angles) <= np.asarray(limits, dtype=np.float64))] = np.nan
    return angles


def _crop_roll(points: Array) -> Array:
    """(n,) how far a face (n, 51, 2) is turned clockwise against the template; NaN without one."""
    five = np.stack([points[:, list(at)].mean(axis=1) for at in _FIVE], axis=1)
    affine = geometry.similarity(np.broadcast_to(_TEMPLATE, five.shape), five)
    roll = turns.atan2(affine[:, 1, 0], affine[:, 0, 0])
    return np.where((points != 0).any(axis=(1, 2)), roll, np.nan)


def _euler_yxz(r: Array) -> Array:
    """(n, 3) pitch, yaw, roll of `Ry(yaw) Rx(pitch) Rz(roll)`; pitch in [-pi/2, pi/2]."""
    across = np.sqrt(r[:, 0, 2] ** 2 + r[:, 2, 2] ** 2)
    pitch = turns.atan2(-r[:, 1, 2], across)
    yaw = turns.atan2(r[:, 0, 2], r[:, 2, 2])
    roll = turns.atan2(r[:, 1, 0], r[:, 1, 1])
    return np.stack([pitch, yaw, roll], axis=-1)
