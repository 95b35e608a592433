"""Who the face is: one set of identity coefficients from many frames of a track."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake.backends.fit import linalg, solver
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.solver import SolverSettings, State
from facemake.geometry import Camera

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAX_FRAMES = 60
"""Frames that an identity is fitted to at most; more of one recording tell little that is new."""

_ROUNDS = 6
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


def estimate(
    points: Array,
    start: State,
    sigma_px: Array,
    use: Mask,
    model: LinearFaceModel,
    weights: Array,
    camera: Camera,
    settings: SolverSettings,
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
        weights: (L,).
        camera: of the recording.
        settings: of the solver.
    """
    coefficients = np.zeros(len(model.identity))
    prior = 1.0 / model.identity_sd**2
    share = min(1.0, _EFFECTIVE_FRAMES / max(1.0, float(use.sum())))
    state = start
    for _ in range(_ROUNDS):
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
        state,
        sigma_px,
        settings,
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
    """(n, I, I) and (n, I): each frame's normal equations of the identity alone."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        system = solver.linearise(points, base, model.expression, camera, state)
        w = solver.robust_weights(system.residual, weights, 1.0 / sigma_px, settings.huber)
        r = system.residual
        n_expression = len(model.expression)
        n, n_identity = len(r), len(model.identity)
        h_ii = np.zeros((n, n_identity, n_identity))
        h_iq = np.zeros((n, n_identity, 6 + n_expression))
        h_qq = np.zeros((n, 6 + n_expression, 6 + n_expression))
        g_i, g_q = np.zeros((n, n_identity)), np.zeros((n, 6 + n_expression))
        for axis in (0, 1):
            of_identity = solver.along(system.shape[axis], model.identity)
            own = np.concatenate(
                [system.pose[axis], solver.along(system.shape[axis], model.expression)], axis=1
            )
            weighted_identity = of_identity * w[:, None, :]
            weighted_own = own * w[:, None, :]
            h_ii += linalg.weighted_gram(weighted_identity, of_identity)
            h_iq += linalg.weighted_gram(weighted_identity, own)
            h_qq += linalg.weighted_gram(weighted_own, own)
            g_i += (weighted_identity * r[:, None, :, axis]).sum(axis=-1)
            g_q += (weighted_own * r[:, None, :, axis]).sum(axis=-1)
        prior = 1.0 / model.expression_sd**2
        g_q[:, 6:] -= prior * state.expression
        at_lower = (state.expression <= model.expression_lower) & (g_q[:, 6:] <= 0)
        at_upper = (state.expression >= model.expression_upper) & (g_q[:, 6:] >= 0)
        free = np.concatenate([np.ones((n, 6), bool), ~(at_lower | at_upper)], axis=1)
        h_qq = h_qq * (free[:, :, None] & free[:, None, :])
        diagonal = np.einsum("nii->ni", h_qq)  # a view, no sum
        diagonal += np.concatenate([np.full(6, 1e-9), prior])
        h_iq, g_q = h_iq * free[:, None, :], g_q * free
        solved = linalg.cholesky_solve(
            h_qq, np.concatenate([h_iq.transpose(0, 2, 1), g_q[:, :, None]], axis=2)
        )
        back = np.ascontiguousarray(solved[:, :, :-1].transpose(0, 2, 1))
        hessian = h_ii - linalg.weighted_gram(h_iq, back)
        gradient = g_i - (h_iq * solved[:, None, :, -1]).sum(axis=-1)
    return hessian, gradient
