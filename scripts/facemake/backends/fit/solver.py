"""Pose and expression of many frames at once from 2-D points: bounded, robust Levenberg-Marquardt.

For each frame the solver minimises, over a rotation R, a shift t and coefficients e,

    sum_l w_l * huber(|p_l - project(R (base_l + sum_k e_k B_kl) + t)| / sigma)
    + sum_k (e_k / sd_k)^2

with `lower <= e <= upper`. The scale sigma is a fixed share of the face's size in that frame, so
that the balance of data and prior does not depend on resolution; the penalty is Huber's (Ann. Math.
Stat. 35, 1964), by iterated re-weighting; a step is taken only where it lowers the cost (Marquardt,
SIAM J. 11, 1963). Everything keeps to the rules of `linalg`: a frame's bits depend on that frame
and on nothing else.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake import geometry
from facemake.backends.fit import linalg
from facemake.geometry import Camera

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

PAD = 16
"""Batches are padded to a multiple of this; see `linalg`."""

FACE_UNIT = 89.0
"""mm between an adult's outer eye corners: the unit of a face's size in pixels."""

FLOOR = 0.1
"""A cost that is as good as none: one point wrong by a third of sigma."""


@dataclass(frozen=True)
class SolverSettings:
    """How the solver weighs and stops; the defaults are what the fit uses."""

    sigma: float = 0.012
    """Expected error of a point, as a share of the outer eye distance (seen from the front)."""
    huber: float = 1.5
    """Errors above this many sigma count linearly: 1.345 is 95 % efficient for Gaussian noise
    (Huber 1981); slightly more, since part of the error is the model's, which is not an outlier."""
    iterations: int = 14
    tolerance: float = 1e-4
    """A frame is at rest when a step lowers its cost by less than this share of it, or of
    `FLOOR` where the points fit the model without any error."""
    sweeps: int = 6
    """Passes of the coordinate descent in one iteration."""
    rotation_step: float = 0.5
    """Largest change of the rotation in one iteration, radians."""


@dataclass
class State:
    """Parameters of n frames."""

    rotation: Array
    """(n, 3, 3), model axes to camera axes."""
    translation: Array
    """(n, 3) mm, camera axes."""
    expression: Array
    """(n, E)."""


@dataclass(frozen=True)
class Solution:
    """What the solver found for n frames."""

    state: State
    residual: Array
    """(n, L, 2) px, observed minus projected."""
    at_rest: Mask
    """(n,) the last step was small, and all is finite."""
    sigma_px: Array
    """(n,) the scale of the errors that was used."""


@dataclass(frozen=True)
class Linearised:
    """The residuals of n frames and their derivatives at a state."""

    residual: Array
    """(n, L, 2)."""
    pose: tuple[Array, Array]
    """Of x and of y: (n, 6, L), derivative by rotation (a turn in camera axes) and translation."""
    shape: tuple[Array, Array]
    """Of x and of y: (n, L, 3), derivative by the position of the point in model axes."""


def solve(
    points: Array,
    base: Array,
    basis: Array,
    weights: Array,
    camera: Camera,
    bounds: tuple[Array, Array],
    sd: Array,
    start: State,
    sigma_px: Array,
    settings: SolverSettings,
) -> Solution:
    """Fit pose and expression of n frames.

    Args:
        points: (n, L, 2) px, n a multiple of PAD; a frame that is not finite stays as it started.
        base: (L, 3) or (n, L, 3) mm, the neutral face.
        basis: (E, L, 3) mm.
        weights: (L,) weight of each point.
        camera: that took the picture.
        bounds: lower and upper, each (E,).
        sd: (E,) prior of each coefficient.
        start: first guess.
        sigma_px: (n,) expected error of a point.
        settings: see there.
    """
    lower, upper = bounds
    parts = blocks(basis)
    prior = 1.0 / (sd * sd)
    inverse_sigma = 1.0 / sigma_px
    state = start
    residual = _residual(points, base, basis, camera, state)
    cost = _cost(residual, state.expression, weights, inverse_sigma, prior, settings.huber)
    damping = np.full(len(points), 1e-3)
    active = np.isfinite(cost)
    at_rest = np.zeros(len(points), dtype=bool)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(settings.iterations):
            system = linearise(points, base, basis, camera, state)
            w = robust_weights(system.residual, weights, inverse_sigma, settings.huber)
            step, change = _step(system, parts, w, prior, bounds, state, damping, settings)
            trial = State(
                geometry.compose(geometry.rotation_from_vector(step[:, :3]), state.rotation),
                state.translation + step[:, 3:],
                np.minimum(np.maximum(state.expression + change, lower), upper),
            )
            new_residual = _residual(points, base, basis, camera, trial)
            new_cost = _cost(
                new_residual, trial.expression, weights, inverse_sigma, prior, settings.huber
            )
            better = active & (new_cost <= cost)  # False for NaN
            small = better & (cost - new_cost <= settings.tolerance * (cost + FLOOR))
            state = _choose(better, trial, state)
            residual = np.where(better[:, None, None], new_residual, residual)
            cost = np.where(better, new_cost, cost)
            damping = np.where(better, np.maximum(damping * 0.2, 1e-9), damping * 10.0)
            # No step however short lowers the cost any more: that is a minimum as well.
            stuck = active & ~better & (damping > 1e3)
            at_rest |= small | stuck
            active &= ~at_rest
            if not active.any():
                break
    return Solution(state, residual, at_rest & np.isfinite(cost), sigma_px)


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


def _step(
    system: Linearised,
    parts: list[Block],
    w: Array,
    prior: Array,
    bounds: tuple[Array, Array],
    state: State,
    damping: Array,
    settings: SolverSettings,
) -> tuple[Array, Array]:
    """One damped step: (n, 6) of the pose and (n, E) of the expression.

    The pose, which has no bounds, is eliminated (Schur complement); the bounded quadratic in the
    expression is solved by coordinate descent; the pose follows.
    """
    r = system.residual
    h_pp, g_p = normal_pose(system, w)
    diagonal = np.einsum("nii->ni", h_pp)  # a view, no sum
    diagonal += damping[:, None] * diagonal + 1e-9
    n, n_expression = state.expression.shape
    if n_expression == 0:
        step = linalg.cholesky_solve(h_pp, g_p[:, :, None])[:, :, 0]
        return _shorten(step, settings), np.zeros((n, 0))
    h_ee = np.zeros((n, n_expression, n_expression))
    h_ep = np.zeros((n, n_expression, 6))
    g_e = np.zeros((n, n_expression))
    for part in parts:
        rows, points = part.members, part.points
        w_part = w[:, None, points]
        block: Array | float = 0.0
        across: Array | float = 0.0
        pull: Array | float = 0.0
        for axis, pose in enumerate(system.pose):
            d = along(np.ascontiguousarray(system.shape[axis][:, points]), part.basis)
            weighted = d * w_part
            block = block + linalg.weighted_gram(weighted, d)
            across = across + linalg.weighted_gram(
                weighted, np.ascontiguousarray(pose[:, :, points])
            )
            pull = pull + (weighted * r[:, None, points, axis]).sum(axis=-1)
        h_ee[:, rows[:, None], rows[None, :]] = block
        h_ep[:, rows] = across
        g_e[:, rows] = pull
    g_e -= prior * state.expression
    own = np.einsum("nii->ni", h_ee)
    own += damping[:, None] * own + prior
    solved = linalg.cholesky_solve(
        h_pp, np.concatenate([h_ep.transpose(0, 2, 1), g_p[:, :, None]], axis=2)
    )
    to_expression, pose_alone = solved[:, :, :-1], solved[:, :, -1]
    reduced = h_ee - linalg.weighted_gram(
        h_ep, np.ascontiguousarray(to_expression.transpose(0, 2, 1))
    )
    g_reduced = g_e - (h_ep * pose_alone[:, None, :]).sum(axis=-1)
    change = linalg.box_quadratic(
        reduced,
        g_reduced,
        bounds[0] - state.expression,
        bounds[1] - state.expression,
        settings.sweeps,
    )
    step = pose_alone - (to_expression * change[:, None, :]).sum(axis=-1)
    return _shorten(step, settings), change


def _shorten(step: Array, settings: SolverSettings) -> Array:
    """The pose step with its turn held within `rotation_step`."""
    turn = np.sqrt((step[:, :3] ** 2).sum(axis=-1))
    factor = np.where(turn > settings.rotation_step, settings.rotation_step / turn, 1.0)
    short: Array = step * factor[:, None]
    return short


def _residual(points: Array, base: Array, basis: Array, camera: Camera, state: State) -> Array:
    shape = base + linalg.combine(state.expression, basis)
    seen = geometry.rotate(state.rotation, shape) + state.translation[:, None, :]
    depth = np.where(seen[..., 2] > 1.0, seen[..., 2], np.nan)
    x, y = seen[..., 0] / depth, seen[..., 1] / depth
    projected = np.stack([camera.focal * x + camera.cx, camera.focal * y + camera.cy], axis=-1)
    residual: Array = points - projected
    return residual


def _cost(
    residual: Array,
    expression: Array,
    weights: Array,
    inverse_sigma: Array,
    prior: Array,
    huber: float,
) -> Array:
    """(n,) value of the function that is minimised; NaN where a residual is."""
    size = np.sqrt(residual[..., 0] ** 2 + residual[..., 1] ** 2) * inverse_sigma[:, None]
    rho = np.where(size > huber, huber * (2.0 * size - huber), size * size)
    penalty = (prior * expression * expression).sum(axis=-1)
    total: Array = (weights * rho).sum(axis=-1) + penalty
    return total


def _choose(mask: Mask, new: State, old: State) -> State:
    return State(
        np.where(mask[:, None, None], new.rotation, old.rotation),
        np.where(mask[:, None], new.translation, old.translation),
        np.where(mask[:, None], new.expression, old.expression),
    )
