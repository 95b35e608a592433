"""Projections, residuals, their derivatives, and the weights and normal equations made of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake import geometry
from facemake.backends.fit import linalg
from facemake.geometry import Camera

Array = NDArray[np.float64]


@dataclass
class State:
    """Parameters of n frames."""

    rotation: Array
    """(n, 3, 3), model axes to camera axes."""
    translation: Array
    """(n, 3) mm, camera axes."""
    expression: Array
    """(n, E)."""

    def rows(self, index: NDArray[np.intp]) -> "State":
        """The parameters of some of the frames."""
        return State(self.rotation[index], self.translation[index], self.expression[index])


@dataclass(frozen=True)
class Linearised:
    """The residuals of n frames and their derivatives at a state."""

    residual: Array
    """(n, L, 2)."""
    pose: tuple[Array, Array]
    """Of x and of y: (n, 6, L), derivative by rotation (a turn in camera axes) and translation."""
    shape: tuple[Array, Array]
    """Of x and of y: (n, L, 3), derivative by the position of the point in model axes."""


def residuals(points: Array, base: Array, basis: Array, camera: Camera, state: State) -> Array:
    """(n, L, 2) px: observed minus projected; NaN where a point lies behind the lens."""
    shape = base + linalg.combine(state.expression, basis)
    seen = geometry.rotate(state.rotation, shape) + state.translation[:, None, :]
    depth = np.where(seen[..., 2] > 1.0, seen[..., 2], np.nan)
    x, y = seen[..., 0] / depth, seen[..., 1] / depth
    projected = np.stack([camera.focal * x + camera.cx, camera.focal * y + camera.cy], axis=-1)
    residual: Array = points - projected
    return residual


def linearise(points: Array, base: Array, basis: Array, camera: Camera, state: State) -> Linearised:
    """Residuals and derivatives of the projection at a state; arguments as in `solve`."""
    shape = base + linalg.combine(state.expression, basis)
    turned = geometry.rotate(state.rotation, shape)
    seen = turned + state.translation[:, None, :]
    depth = np.where(seen[..., 2] > 1.0, seen[..., 2], np.nan)  # mm; nearer is no face
    scale = camera.focal / depth
    x, y = seen[..., 0] / depth, seen[..., 1] / depth
    projected = np.stack([camera.focal * x + camera.cx, camera.focal * y + camera.cy], axis=-1)
    tx, ty, tz = turned[..., 0], turned[..., 1], turned[..., 2]
    zero = np.zeros_like(scale)
    # d(turned) = w x turned; du = scale (dX - x dZ), dv = scale (dY - y dZ).
    pose_x = np.stack(
        [-scale * x * ty, scale * (tz + x * tx), -scale * ty, scale, zero, -scale * x], axis=1
    )
    pose_y = np.stack(
        [-scale * (tz + y * ty), scale * y * tx, scale * tx, zero, scale, -scale * y], axis=1
    )
    r = state.rotation[:, None, :, :]
    shape_x = scale[..., None] * (r[:, :, 0] - x[..., None] * r[:, :, 2])
    shape_y = scale[..., None] * (r[:, :, 1] - y[..., None] * r[:, :, 2])
    return Linearised(points - projected, (pose_x, pose_y), (shape_x, shape_y))


@dataclass(frozen=True)
class Block:
    """Expressions that share points with each other and with no other expression."""

    members: NDArray[np.intp]
    """(e,) indices of the expressions."""
    points: NDArray[np.intp]
    """(p,) indices of all points that they move."""
    basis: Array
    """(e, p, 3) mm."""


def blocks(basis: Array) -> list[Block]:
    """The independent blocks of a basis (E, L, 3): one a region for localized models.

    What expressions of different regions do to the data never meets but in the pose, so their
    derivatives and normal equations are zero outside the blocks and need not be computed.
    """
    moved = (basis != 0).any(axis=2)
    rest = list(range(len(basis)))
    found = []
    while rest:
        members = [rest.pop(0)]
        points = moved[members[0]].copy()
        grown = True
        while grown:
            joined = [k for k in rest if (moved[k] & points).any()]
            grown = bool(joined)
            for k in joined:
                rest.remove(k)
                members.append(k)
                points |= moved[k]
        index, where = np.array(sorted(members)), np.flatnonzero(points)
        found.append(Block(index, where, np.ascontiguousarray(basis[np.ix_(index, where)])))
    return found


def along(shape: Array, basis: Array) -> Array:
    """Derivatives by coefficients, (n, E, L), from those by position (n, L, 3) and (E, L, 3)."""
    out = shape[:, None, :, 0] * basis[None, :, :, 0]
    term = np.empty_like(out)
    for axis in (1, 2):
        np.multiply(shape[:, None, :, axis], basis[None, :, :, axis], out=term)
        out += term
    return out


def robust_weights(residual: Array, weights: Array, inverse_sigma: Array, huber: float) -> Array:
    """(n, L) weights of iterated re-weighting, in units of 1 / px^2."""
    size = np.sqrt(residual[..., 0] ** 2 + residual[..., 1] ** 2) * inverse_sigma[:, None]
    bounded = np.where(size > huber, huber / np.maximum(size, huber), 1.0)
    out: Array = weights * bounded * (inverse_sigma * inverse_sigma)[:, None]
    return out


def normal_pose(system: Linearised, w: Array) -> tuple[Array, Array]:
    """(n, 6, 6) Hessian and (n, 6) gradient of the pose under weights (n, L)."""
    (px, py), r = system.pose, system.residual
    wx, wy = px * w[:, None, :], py * w[:, None, :]
    hessian = linalg.weighted_gram(wx, px) + linalg.weighted_gram(wy, py)
    gradient = (wx * r[:, None, :, 0]).sum(axis=-1) + (wy * r[:, None, :, 1]).sum(axis=-1)
    return hessian, gradient
