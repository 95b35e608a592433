"""OpenFace's numbers for any face model: a point distribution model and its weak perspective.

`x2d = s * R[0:2] @ (mean + Phi p) + t` with `R = Rx(rx) @ Ry(ry) @ Rz(rz)`, global parameters
[s, rx, ry, rz, tx, ty] and local parameters p (Baltrusaitis et al., OpenFace, WACV 2016; Saragih et
al., Int. J. Computer Vision 91, 2011). Phi is derived from the model that made the fit; it is not
OpenFace's own, so its p cannot be compared with OpenFace's mode by mode.
"""

import numpy as np
from numpy.typing import NDArray

from facemake import geometry
from facemake.backends.fit.model import LinearFaceModel
from facemake.calibration.lens import Lens
from facemake.geometry import Camera

Array = NDArray[np.float64]

N_MODES = 34
"""Modes of OpenFace's PDM, and so of the training set's layout."""


def derive_pdm(model: LinearFaceModel, modes: int = N_MODES) -> Array:
    """Orthonormal modes (3L, modes) of all that the model can do, the strongest first.

    The left singular vectors of the identity and expression bases, each vector scaled by its
    standard deviation; rows are all x, all y, all z; the sign of a mode makes its largest entry
    positive. Where the model has fewer vectors than modes the rest are zero. It calls LAPACK: model
    files should carry the result.
    """
    scaled = np.concatenate(
        [
            model.identity * model.identity_sd[:, None, None],
            model.expression * model.expression_sd[:, None, None],
        ]
    )
    matrix = scaled.transpose(2, 1, 0).reshape(3 * model.n_points, -1)
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    rank = int((s > s.max(initial=0.0) * 1e-9).sum())
    out = np.zeros((3 * model.n_points, modes))
    kept = u[:, : min(rank, modes)]
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=0)[None], axis=0)
    out[:, : kept.shape[1]] = kept * np.sign(largest)
    return out


def global_params(
    rotation: Array, translation: Array, shape: Array, camera: Camera, lens: Lens | None = None
) -> Array:
    """[s, rx, ry, rz, tx, ty] of each frame: the weak perspective nearest to the perspective fit.

    Args:
        rotation: (n, 3, 3), the perspective fit's, model axes to camera axes.
        translation: (n, 3) mm.
        shape: (n, L, 3) mm in model axes, with identity and expression.
        camera: of the fit.
        lens: what takes its pixels to the recording's; None where they are the same.

    Returns:
        (n, 6): scale in px a mm, radians, px. The turn is that of the perspective camera's first
        order at the middle of the face, which includes the direction in which the face is seen;
        scale and shift are then least squares, in the recording's pixels.
    """
    middle = shape.mean(axis=1)
    centre = geometry.rotate(rotation, middle[:, None, :])[:, 0] + translation
    x, y = centre[:, 0] / centre[:, 2], centre[:, 1] / centre[:, 2]
    scale = camera.focal / centre[:, 2]
    linear = scale[:, None, None] * np.stack(
        [
            rotation[:, 0] - x[:, None] * rotation[:, 2],
            rotation[:, 1] - y[:, None] * rotation[:, 2],
        ],
        axis=1,
    )
    _, turn = geometry.nearest_scaled_rotation(linear)
    flat = geometry.rotate(turn, shape)[..., :2]
    seen = camera.project(geometry.rotate(rotation, shape) + translation[:, None, :])
    if lens is not None:
        seen = lens.distort(seen)
    flat_mean, seen_mean = flat.mean(axis=1), seen.mean(axis=1)
    f0, s0 = flat - flat_mean[:, None, :], seen - seen_mean[:, None, :]
    best = (f0 * s0).sum(axis=(1, 2)) / (f0 * f0).sum(axis=(1, 2))
    shift = seen_mean - best[:, None] * flat_mean
    angles = geometry.euler_xyz_from_rotation(turn)
    return np.concatenate([best[:, None], angles, shift], axis=1)
