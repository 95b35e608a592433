"""Localized expressions: coefficients that each move one region of the face and are not negative.

They are those of the built-in model. A face that was fitted with it has them as they are. Those of
a face that was fitted with another model come of what that model's expressions do to landmarks,
written as movements of the built-in model (the basis), region by region, non-negative and sparse:
few movements rather than a little of each. How depends on the model:

**Expressions that cannot be negative** (blendshapes, ICT-FaceKit) are taken apart one by one and
once for all, and a frame's coefficients are sums of theirs. So what one blendshape does is never
laid to another's account, as it may be where only their sum is looked at: of synthetic people that
were fitted with ICT-FaceKit, movements correlate with their blendshapes by .94 (AU12), .91 (AU01),
.90 (AU04) and .88 (AU45) this way, and by .76, .89, .89 and .88 the other way. An expression s
becomes the minimum of

    |s - sum_k c_k B_k|^2 / 2 + SHARE * top * sum_k |B_k| c_k,    c >= 0,

where top = max_k s . B_k / |B_k| is the weight from which on nothing of s is left (Tibshirani, J.
Royal Stat. Soc. B 58, 1996), so that the result does not depend on how large an expression its
maker calls 1. It is then stretched until it is as near to s as it can be: the weight, which draws
all coefficients towards 0, was for the choice among them.

**Expressions that may be negative** (principal components, BFM 2009) mean little by themselves. The
displacement d of each frame is taken apart:

    |d - sum_k c_k B_k|^2 / 2 + RATE_MM * sum_k |B_k| c_k + RIDGE_MM^2 / 2 * sum_k (c_k / sd_k)^2,

within the basis' bounds: the lasso on movements of unit length, as 3DI's localized basis has it
(`dictionary`), with a small ridge that settles what landmarks cannot tell apart.

Displacements are those of the iBUG-68 landmarks where the model has them, for the jaw tells an open
jaw from parted lips and a raised chin, and of the inner 51 where it has not.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import schemes
from facemake.backends.fit import linalg, normal, solver
from facemake.backends.fit.model import LinearFaceModel
from facemake.schemes import Indices

Array = NDArray[np.float64]

SHARE = 0.15
"""Share of the largest useful weight of the L1 norm, for single expressions. The correlations above
hold from 0.1 to 0.3; a small share leaves more of what a blendshape does beside its main movement.
"""

RATE_MM = 0.5
"""Weight of the L1 norm, mm, for the displacement of a frame: what a movement of unit length must
explain to count. More of it tells AU12 from its neighbours better, less of it sees more of AU01;
0.25 to 1 do alike on the whole. 3DI's own weight is 0.4."""

RIDGE_MM = 0.3
"""mm of displacement that one prior standard deviation of a coefficient weighs as much as."""

SWEEPS = 60
"""Passes of the coordinate descent over the displacements of frames: more of them change no
coefficient of mixtures of blendshapes by more than 0.001."""

_SWEEPS_ONCE = 1000
_NEVER = np.inf


class Localizer:
    """Turns expression coefficients of a model into localized ones.

    Args:
        model: that made the fit.
        basis: a localized model that gives the coefficients; may be `model` itself.

    Raises:
        ValueError: where the basis is not localized, or the two have no common landmarks.
    """

    def __init__(self, model: LinearFaceModel, basis: LinearFaceModel) -> None:
        if not basis.localized:
            raise ValueError(f"the expressions of {basis.name!r} are not localized")
        self.names = basis.expression_names
        self.regions = basis.expression_regions
        self.units = units(basis)
        self._model = model
        self._basis = basis
        self._same = model.expression_names == basis.expression_names
        at, ours = _common(model, basis)
        self._moves = np.ascontiguousarray(model.expression[:, at])
        target = np.ascontiguousarray(basis.expression[:, ours])
        self._target = target.reshape(len(target), -1)
        self._length = np.sqrt((self._target * self._target).sum(axis=1))
        self._gram = np.zeros((len(target), len(target)))
        for part in normal.blocks(target):
            rows = self._target[part.members]
            products = (rows[:, None, :] * rows[None, :, :]).sum(axis=-1)
            self._gram[np.ix_(part.members, part.members)] = products
        positive = bool((model.expression_lower >= 0).all())
        self._each = self._taken_apart() if positive and not self._same else None

    def __call__(self, expression: ArrayLike) -> Array:
        """(n, E) coefficients of the model to (n, K) localized ones; rows of NaN stay NaN.

        Raises:
            ValueError: for another number of coefficients than the model has.
        """
        e = np.asarray(expression, dtype=np.float64)
        if e.ndim != 2 or e.shape[1] != len(self._model.expression):
            raise ValueError(
                f"{self._model.name!r} has {len(self._model.expression)} coefficients, "
                f"got {e.shape}"
            )
        if self._same:
            return e.copy()
        n = len(e)
        known = np.isfinite(e).all(axis=1)
        padded = _padded(np.where(known[:, None], e, 0.0))
        if self._each is not None:
            found = _products(padded, np.ascontiguousarray(self._each.T))[:n]
        else:
            ridge = (RIDGE_MM / self._basis.expression_sd) ** 2
            moved = linalg.combine(padded, self._moves).reshape(len(padded), -1)
            found = self._sparse(
                moved,
                np.full(len(padded), RATE_MM),
                self._gram + np.diag(ridge),
                self._basis.expression_upper,
                SWEEPS,
            )[:n]
        found[~known] = np.nan
        return found

    def _taken_apart(self) -> Array:
        """(E, K) localized coefficients of each of the model's expressions at 1."""
        flat = _padded(self._moves.reshape(len(self._moves), -1))
        explained = _products(flat, self._target) / np.maximum(self._length, 1e-9)
        rate = SHARE * np.maximum(explained.max(axis=1), 0.0)
        upper = np.full(len(self._target), _NEVER)
        found = self._sparse(flat, rate, self._gram, upper, _SWEEPS_ONCE)[: len(self._moves)]
        shown = (found[:, :, None] * self._target).sum(axis=1)
        size = (shown * shown).sum(axis=1)
        nearest = (shown * flat[: len(self._moves)]).sum(axis=1) / np.where(size > 0, size, 1.0)
        return np.asarray(found * np.maximum(nearest, 1.0)[:, None])

    def _sparse(self, moved: Array, rate: Array, gram: Array, upper: Array, sweeps: int) -> Array:
        """(n, K) sparse non-negative coefficients of displacements (n, 3L); rate (n,) in mm."""
        gradient = _products(moved, self._target) - rate[:, None] * self._length
        return linalg.box_quadratic(
            np.broadcast_to(gram, (len(moved), *gram.shape)),
            gradient,
            np.zeros_like(gradient),
            np.broadcast_to(upper, gradient.shape),
            sweeps,
        )


def units(basis: LinearFaceModel) -> tuple[str, ...]:
    """Of each coefficient of a localized model, what 1 is in mm, and on which side."""
    size = np.sqrt((basis.expression**2).sum(axis=-1))
    point = size.argmax(axis=1)
    scheme = {schemes.IBUG68: "iBUG-68", schemes.IBUG51: "iBUG-51"}.get(basis.scheme, basis.scheme)
    number = point if basis.points is None else basis.points[point]
    side = {"_l": "; image left", "_r": "; image right"}
    return tuple(
        f"1 = {size[k, point[k]]:.1f} mm at {scheme} point {number[k]}, a full movement; not "
        f"negative{side.get(name[-2:], '')}"
        for k, name in enumerate(basis.expression_names)
    )


def _common(model: LinearFaceModel, basis: LinearFaceModel) -> tuple[Indices, Indices]:
    """Where the points that both models have are among their points: iBUG-68, else iBUG-51."""
    for scheme in (schemes.IBUG68, schemes.IBUG51):
        at, ours = _points(model, scheme), _points(basis, scheme)
        if at is not None and ours is not None:
            return at, ours
    raise ValueError(f"{model.name!r} and {basis.name!r} have no landmarks in common")


def _points(model: LinearFaceModel, scheme: str) -> Indices | None:
    """Where the points of a scheme are among a model's; None where it lacks one of them."""
    try:
        wanted = schemes.subset(model.scheme, scheme)
    except ValueError:
        return None
    if model.points is None:
        return wanted
    where = np.minimum(np.searchsorted(model.points, wanted), model.n_points - 1)
    return where if (model.points[where] == wanted).all() else None


def _padded(rows: Array) -> Array:
    """With rows of 0 up to a multiple of PAD; see `linalg`."""
    padded = np.zeros((len(rows) + (-len(rows) % solver.PAD), rows.shape[1]))
    padded[: len(rows)] = rows
    return padded


def _products(rows: Array, others: Array) -> Array:
    """(n, m) products of rows (n, d) and (m, d), the same bits however many rows there are."""
    many = np.broadcast_to(others, (len(rows), *others.shape))
    return linalg.weighted_gram(np.ascontiguousarray(rows[:, None, :]), many)[:, 0]
