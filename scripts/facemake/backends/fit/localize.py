"""Localized expressions: coefficients that each move one region of the face.

A model whose own expressions are localized gives them as they are. Those of any other model are
projected, region by region, onto the built-in model's localized basis: the non-negative
coefficients whose displacement of the 51 inner landmarks is nearest to the model's own.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import schemes
from facemake.backends.fit import linalg, normal, solver
from facemake.backends.fit.model import LinearFaceModel

Array = NDArray[np.float64]

SWEEPS = 60
"""Passes of the coordinate descent; the regions are small, so that this is far past convergence."""

RIDGE_MM = 1.0
"""mm of displacement that one prior standard deviation of a coefficient weighs as much as."""


class Localizer:
    """Turns expression coefficients of a model into localized ones.

    Args:
        model: that made the fit.
        basis: a localized model that gives the coefficients; may be `model` itself.

    Raises:
        ValueError: where the basis is not localized.
    """

    def __init__(self, model: LinearFaceModel, basis: LinearFaceModel) -> None:
        if not basis.localized:
            raise ValueError(f"the expressions of {basis.name!r} are not localized")
        self.names = basis.expression_names
        self.regions = basis.expression_regions
        self._model = model
        self._basis = basis
        inner = basis.expression[:, schemes.IBUG68_TO_IBUG51].reshape(len(basis.expression), -1)
        self._target = np.ascontiguousarray(inner)
        gram = np.zeros((len(inner), len(inner)))
        for part in normal.blocks(basis.expression):
            at = part.members
            gram[np.ix_(at, at)] = (inner[at][:, None, :] * inner[at][None, :, :]).sum(axis=-1)
        gram[np.diag_indices_from(gram)] += (RIDGE_MM / basis.expression_sd) ** 2
        self._gram = gram

    def __call__(self, expression: ArrayLike) -> Array:
        """(n, E) coefficients of the model to (n, K) localized ones; rows of NaN stay NaN."""
        e = np.asarray(expression, dtype=np.float64)
        if e.ndim != 2 or e.shape[1] != len(self._model.expression):
            raise ValueError(
                f"{self._model.name!r} has {len(self._model.expression)} coefficients, "
                f"got {e.shape}"
            )
        if self._model.expression_names == self._basis.expression_names:
            return e.copy()
        n, k = len(e), len(self._target)
        known = np.isfinite(e).all(axis=1)
        padded = np.zeros((n + (-n % solver.PAD), e.shape[1]))
        padded[:n] = np.where(known[:, None], e, 0.0)
        moved = linalg.combine(padded, self._model.expression)[:, schemes.IBUG68_TO_IBUG51]
        flat = np.ascontiguousarray(moved.reshape(len(padded), 1, -1))
        gradient = linalg.weighted_gram(
            flat, np.broadcast_to(self._target, (len(padded), *self._target.shape))
        )[:, 0]
        found = linalg.box_quadratic(
            np.broadcast_to(self._gram, (len(padded), k, k)),
            gradient,
            np.broadcast_to(self._basis.expression_lower, gradient.shape),
            np.broadcast_to(self._basis.expression_upper, gradient.shape),
            SWEEPS,
        )[:n]
        found[~known] = np.nan
        return found
