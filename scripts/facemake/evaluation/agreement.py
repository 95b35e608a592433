"""Measures of agreement between what a network says and what a label says.

A pair whose label is NaN is missing and counts for nothing. A measure is NaN where it is not
defined: of fewer than two pairs, or where the labels do not vary, so that there is nothing to agree
about.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.geometry import rotation_from_euler_xyz

Values = NDArray[np.floating[Any]]

OCCURS = 2.0
"""Intensity from which an action unit counts as there when DISFA is scored by F1."""

OUTER_EYE_CORNERS = (36, 45)
"""Of iBUG-68."""

_LEAST_SD = 1e-6
"""A label that varies less over the examples does not vary."""

FORMULAS: dict[str, tuple[str, str]] = {
    "correlation": (
        "r = s_xy / (s_x s_y)",
        "Pearson's product-moment correlation",
    ),
    "ccc": (
        "2 s_xy / (s_x^2 + s_y^2 + (mean_x - mean_y)^2), moments over n",
        "Lin (1989), A concordance correlation coefficient to evaluate reproducibility, "
        "Biometrics 45",
    ),
    "icc": (
        "ICC(3,1) = (BMS - EMS) / (BMS + (k - 1) EMS), k = 2: network and label",
        "Shrout & Fleiss (1979), Intraclass correlations, Psychological Bulletin 86",
    ),
    "mae": ("mean |x - y|", "mean absolute error"),
    "f1": (
        "2 TP / (2 TP + FP + FN), an action unit is there from intensity 2 on",
        "Mavadati et al. (2013), DISFA, IEEE Transactions on Affective Computing 4; intensity 2 "
        "and more counts as occurrence, as DISFA is scored",
    ),
    "nme": (
        "mean distance of the points / distance of the label's outer eye corners, in %",
        "Sagonas et al. (2013), 300 Faces in-the-Wild Challenge, ICCV workshops (inter-ocular: "
        "outer corners)",
    ),
    "rotation": (
        "arccos((trace(R_x^T R_y) - 1) / 2), in degrees",
        "the angle of the one turn that takes one head pose to the other; R = Rx Ry Rz",
    ),
    "limits": (
        "mean of x - y, and 1.96 standard deviations (n - 1) to each side",
        "Bland & Altman (1986), Statistical methods for assessing agreement, Lancet 327",
    ),
}
"""Measure -> its formula, x the network and y the label, and its source."""


def paired(predicted: Values, wanted: Values) -> tuple[Values, Values]:
    """Both as float64 in one row each, without the pairs whose label is missing."""
    there = np.isfinite(wanted)
    return predicted[there].astype(np.float64), wanted[there].astype(np.float64)


def pearson(predicted: Values, wanted: Values) -> float:
    """See FORMULAS; NaN where the predictions do not vary, either.

    Args:
        predicted: of any shape.
        wanted: of the same shape.
    """
    x, y = paired(predicted, wanted)
    if not _varies(y) or x.std() == 0:
        return float("nan")
    dx, dy = x - x.mean(), y - y.mean()
    return float(np.clip((dx * dy).mean() / np.sqrt((dx**2).mean() * (dy**2).mean()), -1, 1))


def concordance(predicted: Values, wanted: Values) -> float:
    """See FORMULAS: 1 only where both are the same numbers."""
    x, y = paired(predicted, wanted)
    if not _varies(y):
        return float("nan")
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def icc_3_1(predicted: Values, wanted: Values) -> float:
    """See FORMULAS: consistency of two raters, whose constant difference does not count."""
    x, y = paired(predicted, wanted)
    if not _varies(y):
        return float("nan")
    both = np.stack([x, y], axis=1)
    n, k = both.shape
    mean = both.mean()
    of_rows = k * ((both.mean(axis=1) - mean) ** 2).sum()
    of_raters = n * ((both.mean(axis=0) - mean) ** 2).sum()
    rest = ((both - mean) ** 2).sum() - of_rows - of_raters
    between, error = of_rows / (n - 1), rest / ((n - 1) * (k - 1))
    return float((between - error) / (between + (k - 1) * error))


def mean_absolute(predicted: Values, wanted: Values) -> float:
    """See FORMULAS; NaN where there is no pair."""
    x, y = paired(predicted, wanted)
    return float(np.abs(x - y).mean()) if len(y) else float("nan")


def f1(predicted: Values, wanted: Values) -> float:
    """See FORMULAS; NaN where it is in no label: there was nothing to be found."""
    x, y = paired(predicted, wanted)
    said, so = x >= OCCURS, y >= OCCURS
    if not so.any():
        return float("nan")
    return float(2 * (said & so).sum() / (said.sum() + so.sum()))


def limits(predicted: Values, wanted: Values) -> tuple[float, float, float]:
    """Mean difference, lower and upper limit of agreement: see FORMULAS."""
    x, y = paired(predicted, wanted)
    if len(y) < 2:
        return (float("nan"),) * 3
    off = x - y
    mean, wide = float(off.mean()), 1.96 * float(off.std(ddof=1))
    return mean, mean - wide, mean + wide


def distances(predicted: Values, wanted: Values) -> NDArray[np.float64]:
    """(n, K) px between the points of a network and of a label.

    Args:
        predicted: (n, K, 2).
        wanted: the same; NaN where a point is missing.
    """
    out: NDArray[np.float64] = np.linalg.norm(
        predicted.astype(np.float64) - wanted.astype(np.float64), axis=2
    )
    return out


def interocular(wanted: Values) -> NDArray[np.float64]:
    """(n,) px between the outer eye corners of (n, 68, 2) labels; NaN where they are one point."""
    one, other = (wanted[:, i].astype(np.float64) for i in OUTER_EYE_CORNERS)
    size: NDArray[np.float64] = np.linalg.norm(one - other, axis=1)
    return np.where(size > 0, size, np.nan)


def turns(predicted: Values, wanted: Values) -> NDArray[np.float64]:
    """(n,) degrees between head poses, (n, 3) rx ry rz in rad each: see FORMULAS, `rotation`."""
    one, other = (rotation_from_euler_xyz(angles) for angles in (predicted, wanted))
    trace = np.einsum("nij,nij->n", one, other)
    out: NDArray[np.float64] = np.rad2deg(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    return out


def mean_of(values: list[float]) -> float:
    """Of those that are numbers; NaN where none is."""
    there = [value for value in values if not np.isnan(value)]
    return float(np.mean(there)) if there else float("nan")


def _varies(labels: Values) -> bool:
    return len(labels) > 1 and float(labels.std()) >= _LEAST_SD
