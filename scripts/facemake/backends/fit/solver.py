"""Pose and expression of many frames at once from 2-D points: bounded, robust Levenberg-Marquardt.

For each frame the solver minimises, over a rotation R, a shift t and coefficients e,

    sum_l w_l * huber(|p_l - project(R (base_l + sum_k e_k B_kl) + t)| / sigma)
    + sum_k (e_k / sd_k)^2 + 2 rate_k e_k

with `lower <= e <= upper`. The scale sigma is a fixed share of the face's size in that frame, so
that the balance of data and prior does not depend on resolution; the penalty is Huber's (Ann. Math.
Stat. 35, 1964), by iterated re-weighting; a step is taken only where it lowers the cost (Marquardt,
SIAM J. 11, 1963). Everything keeps to the rules of `linalg`: a frame's bits depend on that frame
and on nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facemake import geometry
from facemake.backends.fit import linalg
from facemake.backends.fit.normal import (
    Block,
    Linearised,
    State,
    blocks,
    linearise,
    normal_pose,
    residuals,
    robust_weights,
)
from facemake.geometry import Camera

Array = NDArray[np.float64]
Single = NDArray[np.float32]
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
    sparsity: float = 4.0
    """Rate of the exponential prior of what cannot be negative, at coefficient 1."""
    outlier: float = 5.0
    """A point that is wrong by more than this many sigma, once the frame is fitted, is left out and
    the frame fitted again, the others weighed after Tukey (biweight; Beaton & Tukey, Technometrics
    16, 1974): what Huber's penalty leaves of an outlier's pull still turns a head by tenths of a
    degree. 4.7 is 95 % efficient for Gaussian noise."""
    iterations: int = 20
    tolerance: float = 1e-3
    """A frame is at rest when a step lowers its cost by less than this share of it, or of
    `FLOOR` where the points fit the model without any error."""
    sweeps: int = 6
    """Passes of the coordinate descent in one iteration."""
    rotation_step: float = 0.5
    """Largest change of the rotation in one iteration, radians."""


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

    def replaced(self, index: NDArray[np.intp], other: "Solution") -> "Solution":
        """With the frames of `index` as the first rows of `other` have them."""
        rows = slice(len(index))
        state = State(
            self.state.rotation.copy(), self.state.translation.copy(), self.state.expression.copy()
        )
        residual, at_rest = self.residual.copy(), self.at_rest.copy()
        for name in ("rotation", "translation", "expression"):
            getattr(state, name)[index] = getattr(other.state, name)[rows]
        residual[index], at_rest[index] = other.residual[rows], other.at_rest[rows]
        return Solution(state, residual, at_rest, self.sigma_px)


def solve(
    points: Array,
    base: Array,
    basis: Array,
    weights: Array,
    camera: Camera,
    bounds: tuple[Array, Array],
    sd: Array,
    rate: Array,
    start: State,
    sigma_px: Array,
    settings: SolverSettings,
) -> Solution:
    """Fit pose and expression of n frames.

    Args:
        points: (n, L, 2) px, n a multiple of PAD; a frame that is not finite stays as it started.
        base: (L, 3) or (n, L, 3) mm, the neutral face.
        basis: (E, L, 3) mm.
        weights: (L,) or (n, L), weight of each point.
        camera: that took the picture.
        bounds: lower and upper, each (E,).
        sd: (E,) prior of each coefficient.
        rate: (E,) linear cost of each coefficient; 0 where it may be negative.
        start: first guess.
        sigma_px: (n,) expected error of a point.
        settings: see there.
    """
    lower, upper = bounds
    parts = blocks(basis)
    prior = 1.0 / (sd * sd)
    weights = np.broadcast_to(weights, points.shape[:2])
    work = _Work.begin(points, base, weights, start, sigma_px)
    work.residual = residuals(points, base, basis, camera, start)
    work.cost = _cost(work, prior, rate, settings.huber)
    work.active = np.isfinite(work.cost)
    result = _Work.begin(points, base, weights, start, sigma_px)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for _ in range(settings.iterations):
            system = linearise(work.points, work.base, basis, camera, work.state)
            w = robust_weights(system.residual, work.weights, work.inverse_sigma, settings.huber)
            step, change = _step(
                system, parts, w, prior, rate, bounds, work.state, work.damping, settings
            )
            state = work.state
            trial = State(
                geometry.compose(geometry.rotation_from_vector(step[:, :3]), state.rotation),
                state.translation + step[:, 3:],
                np.minimum(np.maximum(state.expression + change, lower), upper),
            )
            work.judge(
                trial,
                residuals(work.points, work.base, basis, camera, trial),
                lambda tried: _cost(tried, prior, rate, settings.huber),
                settings.tolerance,
            )
            if not work.active.any():
                break
            work = work.shrunk(result)
    work.store(result)
    return Solution(
        result.state, result.residual, result.at_rest & np.isfinite(result.cost), sigma_px
    )


@dataclass
class _Work:
    """The frames that are still being solved, and what is known of them."""

    index: NDArray[np.intp]
    points: Array
    base: Array
    weights: Array
    state: State
    inverse_sigma: Array
    residual: Array
    cost: Array
    damping: Array
    active: Mask
    at_rest: Mask

    @classmethod
    def begin(
        cls, points: Array, base: Array, weights: Array, start: State, sigma_px: Array
    ) -> "_Work":
        n = len(points)
        return cls(
            index=np.arange(n),
            points=points,
            base=base,
            weights=weights,
            state=State(start.rotation.copy(), start.translation.copy(), start.expression.copy()),
            inverse_sigma=1.0 / sigma_px,
            residual=np.full(points.shape, np.nan),
            cost=np.full(n, np.nan),
            damping=np.full(n, 1e-3),
            active=np.ones(n, dtype=bool),
            at_rest=np.zeros(n, dtype=bool),
        )

    def judge(
        self,
        trial: State,
        residual: Array,
        cost_of: Callable[["_Work"], Array],
        tolerance: float,
    ) -> None:
        """Take the trial where it lowers the cost, and see which frames are at rest."""
        cost = cost_of(replace(self, state=trial, residual=residual))
        better = self.active & (cost <= self.cost)  # False for NaN
        small = better & (self.cost - cost <= tolerance * (self.cost + FLOOR))
        self.state = _choose(better, trial, self.state)
        self.residual = np.where(better[:, None, None], residual, self.residual)
        self.cost = np.where(better, cost, self.cost)
        self.damping = np.where(better, np.maximum(self.damping * 0.2, 1e-9), self.damping * 10.0)
        # No step however short lowers the cost any more: that is a minimum as well.
        stuck = self.active & ~better & (self.damping > 1e3)
        self.at_rest |= small | stuck
        self.active &= ~self.at_rest

    def store(self, result: "_Work") -> None:
        """Write what is known of these frames into the result of all frames."""
        for name in ("residual", "cost", "at_rest"):
            getattr(result, name)[self.index] = getattr(self, name)
        for name in ("rotation", "translation", "expression"):
            getattr(result.state, name)[self.index] = getattr(self.state, name)

    def shrunk(self, result: "_Work") -> "_Work":
        """Only the frames that move still, padded, once they are half as many; else all.

        It saves time and changes nothing: a frame does not notice the others.
        """
        moving = np.flatnonzero(self.active)
        count = -(-len(moving) // PAD) * PAD
        if count * 2 > len(self.index):
            return self
        self.store(result)
        keep = np.concatenate([moving, np.repeat(moving[-1:], count - len(moving))])
        return _Work(
            index=self.index[keep],
            points=self.points[keep],
            base=self.base[keep] if self.base.ndim == 3 else self.base,
            weights=self.weights[keep],
            state=State(
                self.state.rotation[keep],
                self.state.translation[keep],
                self.state.expression[keep],
            ),
            inverse_sigma=self.inverse_sigma[keep],
            residual=self.residual[keep],
            cost=self.cost[keep],
            damping=self.damping[keep],
            active=self.active[keep],
            at_rest=self.at_rest[keep],
        )


def _step(
    system: Linearised,
    parts: list[Block],
    w: Array,
    prior: Array,
    rate: Array,
    bounds: tuple[Array, Array],
    state: State,
    damping: Array,
    settings: SolverSettings,
) -> tuple[Array, Array]:
    """One damped step: (n, 6) of the pose and (n, E) of the expression.

    The pose, which has no bounds, is eliminated (Schur complement); the bounded quadratic in the
    expression is solved by coordinate descent; the pose follows.
    """
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
    root = np.sqrt(w)
    for part in parts:
        rows, e = part.members, len(part.members)
        product = linalg.weighted_gram(*_weighted_rows(system, part, root))
        h_ee[:, rows[:, None], rows[None, :]] = product[:, :, :e]
        h_ep[:, rows] = product[:, :, e:-1]
        g_e[:, rows] = product[:, :, -1]
    g_e -= prior * state.expression + rate
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
        reduced.astype(np.float32),
        g_reduced,
        bounds[0] - state.expression,
        bounds[1] - state.expression,
        settings.sweeps,
    )
    step = pose_alone - (to_expression * change[:, None, :]).sum(axis=-1)
    return _shorten(step, settings), change


def _weighted_rows(system: Linearised, part: Block, root: Array) -> tuple[Single, Single]:
    """Derivatives by the block's expressions (n, e, 2p), and these with pose and residual below.

    Each is times the root of the points' weights, so that the product of the two, (n, e, e + 7), is
    all that the normal equations want of the block. In single precision, which is twice as fast:
    what it loses is in the step alone, and steps are judged in double precision.
    """
    n, (e, p) = len(root), part.basis.shape[:2]
    at = np.ascontiguousarray(root[:, part.points], dtype=np.float32)
    basis = part.basis.astype(np.float32)
    rows = np.empty((n, e + 7, 2, p), dtype=np.float32)
    term = np.empty((n, e, p), dtype=np.float32)
    for axis in (0, 1):
        by_place = (system.shape[axis][:, part.points] * root[:, part.points, None]).astype(
            np.float32
        )
        out = rows[:, :e, axis]
        np.multiply(by_place[:, None, :, 0], basis[None, :, :, 0], out=out)
        for place in (1, 2):
            np.multiply(by_place[:, None, :, place], basis[None, :, :, place], out=term)
            out += term
        rows[:, e:-1, axis] = system.pose[axis][:, :, part.points]
        rows[:, e:-1, axis] *= at[:, None, :]
        rows[:, -1, axis] = system.residual[:, part.points, axis]
        rows[:, -1, axis] *= at
    flat = rows.reshape(n, e + 7, 2 * p)
    return np.ascontiguousarray(flat[:, :e]), flat


def _shorten(step: Array, settings: SolverSettings) -> Array:
    """The pose step with its turn held within `rotation_step`."""
    turn = np.sqrt((step[:, :3] ** 2).sum(axis=-1))
    factor = np.where(turn > settings.rotation_step, settings.rotation_step / turn, 1.0)
    short: Array = step * factor[:, None]
    return short


def _cost(work: _Work, prior: Array, rate: Array, huber: float) -> Array:
    """(n,) value of the function that is minimised; NaN where a residual is."""
    r, e = work.residual, work.state.expression
    size = np.sqrt(r[..., 0] ** 2 + r[..., 1] ** 2) * work.inverse_sigma[:, None]
    rho = np.where(size > huber, huber * (2.0 * size - huber), size * size)
    penalty = ((prior * e + 2.0 * rate) * e).sum(axis=-1)
    total: Array = (work.weights * rho).sum(axis=-1) + penalty
    return total


def _choose(mask: Mask, new: State, old: State) -> State:
    return State(
        np.where(mask[:, None, None], new.rotation, old.rotation),
        np.where(mask[:, None], new.translation, old.translation),
        np.where(mask[:, None], new.expression, old.expression),
    )
