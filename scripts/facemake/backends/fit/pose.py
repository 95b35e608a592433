"""The first guess of a head's pose: a scaled-orthographic camera by robust linear least squares."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.fit import linalg
from facemake.geometry import Camera

Array = NDArray[np.float64]

RIGID = np.concatenate([schemes.IBUG51_GROUPS[part] for part in ("no", "le", "re")])
"""Points of iBUG-51 that expressions hardly move: nose and eyes. Brows and mouth would bend the
guess."""

_ROUNDS = 3
_HUBER_SHARE = 0.04  # of the outer eye distance: where a point begins to count less


@dataclass(frozen=True)
class Guess:
    """Pose of n frames under a scaled-orthographic camera."""

    rotation: Array
    """(n, 3, 3) model axes to camera axes."""
    translation: Array
    """(n, 3) mm."""
    scale: Array
    """(n,) px a mm at the head; NaN where there is no face-like arrangement of points."""


def first_guess(
    points: Array, shape: Array, rigid: schemes.Indices, camera: Camera, unit: float
) -> Guess:
    """Pose of each frame from its rigid points alone.

    An affine camera by least squares, re-weighted after Huber, and the scaled rotation nearest to
    it. Linear, so there is no wrong minimum to fall into.

    Args:
        points: (n, L, 2) px.
        shape: (L, 3) or (n, L, 3) mm, the neutral face.
        rigid: which of the points to go by.
        camera: gives the distance that belongs to the scale.
        unit: mm between the outer eye corners, for the re-weighting.
    """
    n = len(points)
    seen = points[:, rigid]
    solid = np.broadcast_to(shape, (n, *shape.shape[-2:]))[:, rigid]
    middle = solid.mean(axis=1)
    design = np.concatenate([solid - middle[:, None, :], np.ones((n, len(rigid), 1))], axis=-1)
    design = np.ascontiguousarray(design.transpose(0, 2, 1))  # (n, 4, K)
    weights = np.ones((n, len(rigid)))
    affine = np.zeros((n, 4, 2))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(_ROUNDS):
            weighted = design * weights[:, None, :]
            hessian = linalg.weighted_gram(weighted, design)
            rhs = np.stack([(weighted * seen[:, None, :, a]).sum(axis=-1) for a in (0, 1)], axis=-1)
            affine = linalg.cholesky_solve(hessian, rhs)
            left = seen - sum(design[:, i, :, None] * affine[:, i, None, :] for i in range(4))
            size = np.sqrt(left[..., 0] ** 2 + left[..., 1] ** 2)
            scale, _ = geometry.nearest_scaled_rotation(affine[:, :3].transpose(0, 2, 1))
            limit = (_HUBER_SHARE * unit * scale)[:, None]
            weights = np.where(size > limit, limit / size, 1.0)
        scale, rotation = geometry.nearest_scaled_rotation(affine[:, :3].transpose(0, 2, 1))
        distance = camera.focal / scale
        pixel = affine[:, 3]
        at_middle = np.stack(
            [
                (pixel[:, 0] - camera.cx) / scale,
                (pixel[:, 1] - camera.cy) / scale,
                distance,
            ],
            axis=-1,
        )
        translation = at_middle - geometry.rotate(rotation, middle[:, None, :])[:, 0]
    return Guess(rotation, translation, scale)
