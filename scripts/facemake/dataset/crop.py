"""From frame pixels to crop pixels: landmarks, and OpenFace's global parameters with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facemake.geometry import (
    apply_affine,
    compose,
    euler_xyz_from_rotation,
    rotation_from_euler_xyz,
)


def landmarks_in_crop(
    affine: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(n, K, 2) crop pixels of (n, K, 2) frame pixels, by (n, 2, 3) affines."""
    return apply_affine(affine, points).astype(np.float32)


def global_params_in_crop(
    affine: NDArray[np.float32], params: NDArray[np.float32]
) -> NDArray[np.float32]:
    """OpenFace's global parameters of the crop, from those of the frame.

    A point of the model is at `s R[0:2] X + t` in the frame, `R = Rx(rx) Ry(ry) Rz(rz)`. The
    affine of the crop is a similarity, `A x + c` with `A = k Q(a)`, Q the rotation of the plane.
    Taking A inside,

        A (s R[0:2] X + t) + c = (k s) (Rz(a) R)[0:2] X + (A t + c),

    because Rz(a) turns the first two rows of R by Q(a) and leaves the third alone. So the scale is
    k s, the shift A t + c, and the angles are those of `Rz(a) R` taken apart in OpenFace's order.
    (OpenFace's rz is not simply rz + a: its Rz stands on the right of the product.)

    Args:
        affine: (n, 2, 3), frame pixels to crop pixels, similarities.
        params: (n, 6): scale (px a mm), rx, ry, rz (rad), tx, ty (px) of the frame.

    Returns:
        (n, 6) float32 in the same order, of the crop.
    """
    linear = affine[:, :, :2].astype(np.float64)
    wide = params.astype(np.float64)
    scale = np.sqrt(linear[:, 0, 0] ** 2 + linear[:, 1, 0] ** 2)
    turn = np.zeros((len(wide), 3, 3))
    turn[:, :2, :2] = linear / scale[:, None, None]
    turn[:, 2, 2] = 1.0
    turned = compose(turn, rotation_from_euler_xyz(wide[:, 1:4]))
    shift = apply_affine(affine, wide[:, None, 4:6])[:, 0]
    parts = [(scale * wide[:, 0])[:, None], euler_xyz_from_rotation(turned), shift]
    out: NDArray[np.float32] = np.concatenate(parts, axis=1).astype(np.float32)
    return out
