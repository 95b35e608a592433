"""Who the face is: one set of identity coefficients from many frames of a track."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from facemake.backends.fit import linalg, normal, solver
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.normal import State
from facemake.backends.fit.solver import SolverSettings
from facemake.geometry import Camera

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_FRAMES = 32
"""Frames that an identity is fitted to at most. Measured on synthetic people and a real recording,
16, 32, 48 and 60 frames give mean errors of pose within 0.25 degrees of each other."""

_ROUNDS = 3
_LAST_ROUNDS = 2
"""Rounds once it is known which points are wrong and how far the others are to be trusted."""

_ITERATIONS = 6
"""Of the solver in one round; the next round goes on where it stopped."""

_LEAST = 0.05
"""Coefficient below which the linear cost of an expression is taken to be a parabola."""

_EFFECTIVE_FRAMES = 10.0
"""Errors of neighbouring frames are not independent (the landmark network repeats its own): all
frames together count at most as this many against the prior."""


@dataclass(frozen=True)
class Identity:
    """The identity of a track."""

    coefficients: Array
    """(I,) of the model's identity basis."""
    shape: Array
    """(L, 3) mm: the person's face without expression."""
    n_frames: int
    """Frames that it was fitted to; 0 where no frame was usable, and then it is the mean face."""
    error_px: float
    """Root mean square reprojection error over them, px; NaN where n_frames is 0."""
    noise: float = SolverSettings.sigma
    """Error of a point in one axis over the outer eye distance, as these frames show it: how far
    the landmarks of this track are to be trusted."""


def estimate(
    points: Array,
    start: State,
    sigma_px: Array,
    use: Mask,
    model: LinearFaceModel,
    weights: Array,
    camera: Camera,
    settings: SolverSettings,
    known: Array | None = None,
) -> Array:
    """Identity coefficients (I,) of one person seen in many frames.

    Rounds of (a) pose and expression of every frame under the present identity and (b) one
    Gauss-Newton step of the identity with pose and expression of every frame eliminated (Schur
    complement; Triggs et al., Bundle Adjustment, 2000), so that the identity is never held back by
    poses and expressions that were fitted to the identity before it. Expressions at a bound stay
    there. What an expression and the identity explain alike goes to the identity, which pays for it
    once, the expression in every frame: with it a person's neutral is told from expression.

    Args:
        points: (n, L, 2) px, n a multiple of `solver.PAD`.
        start: first guess.
        sigma_px: (n,).
        use: (n,) frames that count.
        model: the face model.
        weights: (L,) or (n, L).
        camera: of the recording.
        settings: of the solver.
        known: (I,) coefficients that are nearly right already, as `start` is then.
    """
    coefficients = np.zeros(len(model.identity)) if known is None else known
    prior = 1.0 / model.identity_sd**2
    share = min(1.0, _EFFECTIVE_FRAMES / max(1.0, float(use.sum())))
    state = start
    for _ in range(_ROUNDS if known is None else _LAST_ROUNDS):
        hessian, gradient, state = _round(
            points, model.neutral(coefficients), state, sigma_px, model, weights, camera, settings
        )
        usable = use & np.isfinite(gradient).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
        total = np.zeros(hessian.shape[1:])
        pull = np.zeros(gradient.shape[1])
        for i in np.flatnonzero(usable):  # one after the other: a fixed order of summation
            total += hessian[i] * share
            pull += gradient[i] * share
        total[np.diag_indices_from(total)] += prior
        pull -= prior * coefficients
        step = linalg.cholesky_solve(total[None], pull[None, :, None])[0, :, 0]
        coefficients = coefficients + np.where(np.isfinite(step), step, 0.0)
    return coefficients


def estimate_each(
    points: Array,
    start: State,
    sigma_px: Array,
    model: LinearFaceModel,
    weights: Array,
    camera: Camera,
    settings: SolverSettings,
) -> Array:
    """Identity coefficients (n, I), each from its one frame, for pictures of unrelated people.

    The same rounds as `estimate`; with one frame the prior decides most of what expression and
    identity explain alike.
    """
    coefficients = np.zeros((len(points), len(model.identity)))
    prior = 1.0 / model.identity_sd**2
    state = start
    for _ in range(_ROUNDS):
        base = model.mean + linalg.combine(coefficients, model.identity)
        hessian, gradient, state = _round(
            points, base, state, sigma_px, model, weights, camera, settings
        )
        diagonal = np.einsum("nii->ni", hessian)  # a view, no sum
        diagonal += prior
        pull = gradient - prior * coefficients
        step = linalg.cholesky_solve(hessian, pull[:, :, None])[:, :, 0]
        sound = np.isfinite(step).all(axis=1, keepdims=True)
        coefficients = coefficients + np.where(sound, step, 0.0)
    return coefficients


def rates(model: LinearFaceModel, settings: SolverSettings) -> Array:
    """(E,) linear cost of each expression: `settings.sparsity` for those that cannot be negative.

    A blendshape is at rest in most frames and moves far in a few: its prior is an exponential one
    more than a Gaussian, and without it noise alone would move them all a little.
    """
    return np.asarray(settings.sparsity * (model.expression_lower >= 0))


def _round(
    points: Array,
    base: Array,
    state: State,
    sigma_px: Array,
    model: LinearFaceModel,
    weights: Array,
    camera: Camera,
    settings: SolverSettings,
) -> tuple[Array, Array, State]:
    """Each frame's normal equations of the identity, (n, I, I) and (n, I), at its new state."""
    state = solver.solve(
        points,
        base,
        model.expression,
        weights,
        camera,
        (model.expression_lower, model.expression_upper),
        model.expression_sd,
        rates(model, settings),
        state,
        sigma_px,
        replace(settings, iterations=_ITERATIONS),
    ).state
    hessian, gradient = _reduced(points, base, state, sigma_px, model, weights, camera, settings)
    return hessian, gradient, state


def _reduced(
    points: Array,
    base: Array,
    state: State,
    sigma_px: Array,
    model: LinearFaceModel,
    weights: Array,
    camera: Camera,
    settings: SolverSettings,
) -> tuple[Array, Array]:
    """(n, I, I) and (n, I): each frame's normal equations of the identity alone.

    First the expressions are eliminated, block by independent block, then the pose.
    """
    n, n_identity = len(points), len(model.identity)
    rate = rates(model, settings)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        system = normal.linearise(points, base, model.expression, camera, state)
        w = normal.robust_weights(system.residual, weights, 1.0 / sigma_px, settings.huber)
        common = tuple(
            np.concatenate([normal.along(system.shape[axis], model.identity), pose], axis=1)
            for axis, pose in enumerate(system.pose)
        )
        hessian = np.zeros((n, n_identity + 6, n_identity + 6))
        gradient = np.zeros((n, n_identity + 6))
        for axis, of_common in enumerate(common):
            weighted = of_common * w[:, None, :]
            hessian += linalg.weighted_gram(weighted, of_common)
            gradient += (weighted * system.residual[:, None, :, axis]).sum(axis=-1)
        for part in normal.blocks(model.expression):
            own, across, pull = _normal_block(system, common, part, w)
            values = state.expression[:, part.members]
            prior = 1.0 / model.expression_sd[part.members] ** 2
            pull = pull - prior * values - rate[part.members]
            at_lower = (values <= model.expression_lower[part.members]) & (pull <= 0)
            at_upper = (values >= model.expression_upper[part.members]) & (pull >= 0)
            free = ~(at_lower | at_upper)
            own = own * (free[:, :, None] & free[:, None, :])
            diagonal = np.einsum("nii->ni", own)  # a view, no sum
            # The linear cost as the parabola that touches it at the present value and lies above
            # it elsewhere (Hunter & Lange, American Statistician 58, 2004): as a straight line it
            # would promise coefficients below their bound, and the identity would overshoot.
            diagonal += prior + rate[part.members] / np.maximum(values, _LEAST)
            _eliminate(hessian, gradient, own, across * free[:, :, None], pull * free)
        gradient[:, -1] += _scale_force(state.expression, model, rate) / state.translation[:, 2]
        pose_block = hessian[:, n_identity:, n_identity:].copy()
        diagonal = np.einsum("nii->ni", pose_block)
        diagonal += 1e-9
        rest, pull = hessian[:, :n_identity, :n_identity].copy(), gradient[:, :n_identity].copy()
        across = hessian[:, n_identity:, :n_identity].copy()
        _eliminate(rest, pull, pose_block, across, gradient[:, n_identity:].copy())
    return rest, pull


def _scale_force(expression: Array, model: LinearFaceModel, rate: Array) -> Array:
    """(n,) what the prior of the expressions must not do to the distance, times the distance.

    In a smaller face that is nearer by as much the same pixels are moved by smaller coefficients in
    mm, which the prior likes better: without a counterforce it draws every face to the camera (by 4
    to 5 % of the distance on synthetic people). Movements are as large as the face that makes them,
    so the prior is of coefficients relative to its size, and this is the derivative of the
    difference by the logarithm of the distance.
    """
    scaled = expression / model.expression_sd
    force: Array = (scaled * scaled + rate * expression).sum(axis=-1)
    return force


def _normal_block(
    system: normal.Linearised, common: tuple[Array, ...], part: normal.Block, w: Array
) -> tuple[Array, Array, Array]:
    """Of one block of e expressions: (n, e, e), its products with `common` (n, e, c), (n, e)."""
    n, e, c = len(w), len(part.members), common[0].shape[1]
    own, across, pull = np.zeros((n, e, e)), np.zeros((n, e, c)), np.zeros((n, e))
    for axis, of_common in enumerate(common):
        d = normal.along(np.ascontiguousarray(system.shape[axis][:, part.points]), part.basis)
        weighted = d * w[:, None, part.points]
        own += linalg.weighted_gram(weighted, d)
        here = np.ascontiguousarray(of_common[:, :, part.points])
        across += linalg.weighted_gram(weighted, here)
        pull += (weighted * system.residual[:, None, part.points, axis]).sum(axis=-1)
    return own, across, pull


def _eliminate(hessian: Array, gradient: Array, own: Array, across: Array, pull: Array) -> None:
    """Take variables with normal equations own (n, e, e), across (n, e, c), pull (n, e) out of
    the c others', in place (Schur complement).
    """
    solved = linalg.cholesky_solve(own, np.concatenate([across, pull[:, :, None]], axis=2))
    turned = np.ascontiguousarray(across.transpose(0, 2, 1))
    back = np.ascontiguousarray(solved.transpose(0, 2, 1))
    taken = linalg.weighted_gram(turned, back)
    hessian -= taken[:, :, :-1]
    gradient -= taken[:, :, -1]
