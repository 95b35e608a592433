"""How near predictions come to labels. A label that is NaN is missing and counts for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.nn.action_units import AU_NAMES

Values = NDArray[np.floating[Any]]

_LEAST_SD = 1e-6
"""A label that varies less over the examples does not vary: there is no correlation with it."""


def correlation(predicted: Values, wanted: Values) -> float:
    """Pearson's correlation of all pairs whose label is there.

    Args:
        predicted: of any shape.
        wanted: of the same shape.

    Returns:
        In [-1, 1]; NaN where the labels do not vary, or are fewer than two, and 0 where they vary
        and the predictions do not.
    """
    there = np.isfinite(wanted)
    x, y = predicted[there].astype(np.float64), wanted[there].astype(np.float64)
    if len(y) < 2:
        return float("nan")
    dx, dy = x - x.mean(), y - y.mean()
    sx, sy = np.sqrt((dx**2).mean()), np.sqrt((dy**2).mean())
    if sy < _LEAST_SD:
        return float("nan")
    if sx < _LEAST_SD:
        return 0.0
    return float(np.clip((dx * dy).mean() / (sx * sy), -1.0, 1.0))


def mean_absolute_error(predicted: Values, wanted: Values) -> float:
    """Over all pairs whose label is there; NaN where there is none."""
    there = np.isfinite(wanted)
    if not there.any():
        return float("nan")
    return float(np.abs(predicted[there].astype(np.float64) - wanted[there]).mean())


def landmark_metrics(
    predicted: Mapping[str, Values], wanted: Mapping[str, Values]
) -> dict[str, float]:
    """Metrics of the landmark and pose network.

    `landmark_correlation` is pyfaceau's: one correlation over all coordinates of all examples
    together. What it mostly says is that eyes are above mouths: the mean face has a high one, too.
    `landmark_correlation_within` is the mean over the 136 coordinates of each one's correlation
    over the examples, which only a network that sees how faces differ has.

    Args:
        predicted: `landmarks` (n, K, 2) px of the crop; more keys do not count.
        wanted: the same.

    Returns:
        `landmark_correlation`, `landmark_mae` (px, over coordinates), and
        `landmark_correlation_within`.
    """
    x, y = predicted["landmarks"], wanted["landmarks"]
    flat_x, flat_y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    each = [correlation(a, b) for a, b in zip(flat_x.T, flat_y.T, strict=True)]
    return {
        "landmark_correlation": correlation(x, y),
        "landmark_mae": mean_absolute_error(x, y),
        "landmark_correlation_within": _mean(each),
    }


def au_metrics(predicted: Values, wanted: Values) -> dict[str, float]:
    """Metrics of the network of action units.

    Args:
        predicted: (n, 17) in the order of `AU_NAMES`.
        wanted: the same.

    Returns:
        `corr_AU01_r` ... and `mae_AU01_r` ..., and their means `mean_correlation` and `mean_mae`.
        An action unit that does not vary has a correlation of NaN (pyfaceau says 0), one without
        labels an error of NaN; the means are over the others.
    """
    correlations = [correlation(a, b) for a, b in zip(predicted.T, wanted.T, strict=True)]
    errors = [mean_absolute_error(a, b) for a, b in zip(predicted.T, wanted.T, strict=True)]
    found = {"mean_correlation": _mean(correlations), "mean_mae": _mean(errors)}
    for name, r, error in zip(AU_NAMES, correlations, errors, strict=True):
        found[f"corr_{name}"], found[f"mae_{name}"] = r, error
    return found


def _mean(values: list[float]) -> float:
    """Of those that are there; NaN where none is."""
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else float("nan")
