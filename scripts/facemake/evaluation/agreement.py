"""Measures of agreement between what a network says and what a label says.

A pair with a NaN is missing and counts for nothing: a label that nobody gave, or an action unit
that this pipeline does not know of a frame (a network's own numbers are seen to be numbers before).
A measure is NaN where it is not defined: of fewer than two pairs, or where the labels do not vary,
so that there is nothing to agree about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
"""What varies less over the examples does not vary."""

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


@dataclass(frozen=True)
class Moments:
    """Of pairs: what correlation, concordance and the intraclass correlation are made of.

    Moments of two sets of pairs add up to those of all of them (Chan, Golub & LeVeque 1979), so no
    set need be in memory at once.

    Attributes:
        n: pairs.
        x, y: means.
        xx, yy, xy: sums of squares and of products about them.
        off: sum of |x - y|.
    """

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    off: float = 0.0

    @classmethod
    def of(cls, predicted: Values, wanted: Values) -> Moments:
        """Of the pairs of two arrays of one shape; see `paired`."""
        x, y = paired(predicted, wanted)
        if not len(y):
            return cls()
        mean_x, mean_y = float(x.mean()), float(y.mean())
        dx, dy = x - mean_x, y - mean_y
        return cls(
            n=len(y),
            x=mean_x,
            y=mean_y,
            xx=float((dx * dx).sum()),
            yy=float((dy * dy).sum()),
            xy=float((dx * dy).sum()),
            off=float(np.abs(x - y).sum()),
        )

    def __add__(self, other: Moments) -> Moments:
        """Of the pairs of both."""
        n = self.n + other.n
        if not n:
            return self
        share = other.n / n
        dx, dy = other.x - self.x, other.y - self.y
        apart = self.n * share
        return Moments(
            n,
            self.x + dx * share,
            self.y + dy * share,
            self.xx + other.xx + dx * dx * apart,
            self.yy + other.yy + dy * dy * apart,
            self.xy + other.xy + dx * dy * apart,
            self.off + other.off,
        )

    @property
    def mean_absolute(self) -> float:
        """See FORMULAS; NaN where there is no pair."""
        return self.off / self.n if self.n else math.nan

    @property
    def pearson(self) -> float:
        """See FORMULAS; NaN where the predictions do not vary, either."""
        if not (self._varies(self.yy) and self._varies(self.xx)):
            return math.nan
        return min(1.0, max(-1.0, self.xy / math.sqrt(self.xx * self.yy)))

    @property
    def concordance(self) -> float:
        """See FORMULAS: 1 only where both are the same numbers."""
        if not self._varies(self.yy):
            return math.nan
        return 2 * self.xy / (self.xx + self.yy + self.n * (self.x - self.y) ** 2)

    @property
    def icc_3_1(self) -> float:
        """See FORMULAS: consistency of two raters, whose constant difference does not count.

        Of two raters the mean square of the rows is `(xx + yy + 2 xy) / 2 (n - 1)`, that of the
        rest `(xx + yy - 2 xy) / 2 (n - 1)`, and so the coefficient `2 xy / (xx + yy)`.
        """
        return 2 * self.xy / (self.xx + self.yy) if self._varies(self.yy) else math.nan

    def _varies(self, squares: float) -> bool:
        return self.n > 1 and math.sqrt(squares / self.n) >= _LEAST_SD


def paired(predicted: Values, wanted: Values) -> tuple[Values, Values]:
    """Both as float64 in one row each, without the pairs of which one is missing.

    Args:
        predicted: of any shape.
        wanted: of the same shape.
    """
    there = np.isfinite(wanted) & np.isfinite(predicted)
    return predicted[there].astype(np.float64), wanted[there].astype(np.float64)


def pearson(predicted: Values, wanted: Values) -> float:
    """See `Moments.pearson`."""
    return Moments.of(predicted, wanted).pearson


def concordance(predicted: Values, wanted: Values) -> float:
    """See `Moments.concordance`."""
    return Moments.of(predicted, wanted).concordance


def icc_3_1(predicted: Values, wanted: Values) -> float:
    """See `Moments.icc_3_1`."""
    return Moments.of(predicted, wanted).icc_3_1


def mean_absolute(predicted: Values, wanted: Values) -> float:
    """See `Moments.mean_absolute`."""
    return Moments.of(predicted, wanted).mean_absolute


def f1(predicted: Values, wanted: Values) -> float:
    """See FORMULAS; NaN where it is in no label: there was nothing to be found."""
    x, y = paired(predicted, wanted)
    said, so = x >= OCCURS, y >= OCCURS
    if not so.any():
        return math.nan
    return float(2 * (said & so).sum() / (said.sum() + so.sum()))


def limits(predicted: Values, wanted: Values) -> tuple[float, float, float]:
    """Mean difference, lower and upper limit of agreement: see FORMULAS."""
    x, y = paired(predicted, wanted)
    if len(y) < 2:
        return (math.nan,) * 3
    off = x - y
    mean, wide = float(off.mean()), 1.96 * float(off.std(ddof=1))
    return mean, mean - wide, mean + wide


def distances(predicted: Values, wanted: Values) -> NDArray[np.float64]:
    """(n, K) px between the points of a network and of a label.

    Args:
        predicted: (n, K, 2), or without one of the axes before the last.
        wanted: the same; NaN where a point is missing.
    """
    x, y = (predicted[..., i].astype(np.float64) - wanted[..., i] for i in range(2))
    out: NDArray[np.float64] = np.hypot(x, y)
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
    return float(np.mean(there)) if there else math.nan
