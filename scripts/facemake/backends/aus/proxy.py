"""Action units by rule from localized expressions: a proxy, not a trained or coded measurement.

Each action unit is read from the coefficient of the movement that the Facial Action Coding System
gives it (Ekman, Friesen & Hager, FACS Manual, 2002; the pairing of movements with action units is
the one that publishers of blendshape models use), as a mean of both sides, relative to the track's
own neutral:

    AUxx_r = 5 * clip((movement - neutral) / full, 0, 1)

`full` is the movement that counts as FACS intensity E. An action unit occurs (`_c` = 1) from
intensity 1 on. So each is monotone in its own movement and in no other.

**Neutral.** Of each coefficient, the 20th percentile over the track's fitted frames, at most 0.3,
and shrunk by n / (n + 10) with the number n of frames. A low percentile, because many people smile
or frown in most frames of a clip: with a running median their labels would be zero. The cap,
because a track that is never neutral must not lose its expression. The shrinkage, because a single
picture is not its own neutral. What this cannot do: a recording that is cut in pieces has a neutral
in each piece, and an intensity can differ between them by at most 5 * 0.3 / full; from about 50
frames on, in a fifth of which the face is at rest, pieces agree.

**Limits.** 68 points do not show AU06 but for the lids, nor AU14 and AU23 but for the lip contour;
AU28 is lips that vanish. AU25 and AU26 share the jaw. One-sided movements count half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemake.backends.aus import AU_COLUMNS, INTENSITY_AUS, OCCURRENCE_AUS

Array = NDArray[np.float64]

BASELINE_QUANTILE = 0.2
BASELINE_CAP = 0.3
BASELINE_FRAMES = 10.0
OCCURS_FROM = 1.0
"""Intensity from which an action unit occurs; FACS A, a trace, is up to 1."""

_BINS = 1024
_TOP = 2.0  # coefficients stay below this


@dataclass(frozen=True)
class Movement:
    """What an action unit is read from: a weighted sum of coefficients, and its size at 5."""

    weights: Mapping[str, float]
    full: float = 1.0


def _sides(name: str, full: float = 1.0) -> Movement:
    return Movement({f"{name}_l": 0.5, f"{name}_r": 0.5}, full)


MOVEMENTS: Mapping[int, Movement] = MappingProxyType(
    {
        1: _sides("brow_inner_raise"),
        2: _sides("brow_outer_raise"),
        4: _sides("brow_lower"),
        5: _sides("eye_widen"),
        6: _sides("eye_cheek_raise"),
        7: _sides("eye_tighten"),
        9: _sides("nose_wrinkle"),
        10: _sides("upper_lip_raise"),
        12: _sides("lip_corner_pull"),
        14: _sides("lip_corner_dimple"),
        15: _sides("lip_corner_depress"),
        17: Movement({"chin_raise": 1.0}),
        20: _sides("lip_stretch"),
        23: Movement({"upper_lip_tighten": 0.5, "lower_lip_tighten": 0.5}),
        25: Movement(
            {
                "jaw_open": 1.0,
                "lower_lip_depress_l": 0.25,
                "lower_lip_depress_r": 0.25,
                "upper_lip_raise_l": 0.25,
                "upper_lip_raise_r": 0.25,
                "lips_funnel": 0.5,
            },
            full=0.8,
        ),
        26: Movement({"jaw_open": 1.0}, full=0.8),
        45: _sides("eye_close"),
    }
)
"""Action unit -> movement."""

LIPS_IN = 0.6
"""AU28 occurs where both lips are rolled in by this much more than at rest."""


def create(names: Sequence[str]) -> ProxyEstimator:
    """An estimator for one track whose coefficients have these names.

    Raises:
        ValueError: where a coefficient is missing that an action unit is read from.
    """
    return ProxyEstimator(names)


class ProxyEstimator:
    """The rule of this module for one track; see `AuEstimator`."""

    def __init__(self, names: Sequence[str]) -> None:
        index = {name: i for i, name in enumerate(names)}
        wanted = {name for movement in MOVEMENTS.values() for name in movement.weights}
        missing = sorted(wanted - index.keys())
        if missing:
            raise ValueError(f"action units need the expressions {', '.join(missing)}")
        self._index = index
        self._counts = np.zeros((len(names), _BINS), dtype=np.int64)

    def look(self, coefficients: Array) -> None:
        """Count (n, K) coefficients of fitted frames; rows of NaN are passed over.

        A histogram, so that memory does not grow with the track and the order does not matter.
        """
        known = coefficients[np.isfinite(coefficients).all(axis=1)]
        bins = np.clip((known * (_BINS / _TOP)).astype(np.int64), 0, _BINS - 1)
        for k in range(bins.shape[1]):
            self._counts[k] += np.bincount(bins[:, k], minlength=_BINS)

    def neutral(self) -> Array:
        """(K,) coefficients of the track's neutral; see the module."""
        n = int(self._counts[0].sum())
        if n == 0:
            return np.zeros(len(self._counts))
        reached = np.cumsum(self._counts, axis=1) >= BASELINE_QUANTILE * n
        value = reached.argmax(axis=1) * (_TOP / _BINS)  # the lower edge: 0 stays 0
        return np.asarray(np.minimum(value, BASELINE_CAP) * (n / (n + BASELINE_FRAMES)))

    def estimate(self, coefficients: Array) -> Array:
        """(n, 35) values of AU_COLUMNS; rows of NaN stay NaN."""
        relative = coefficients - self.neutral()
        intensity = {au: self._intensity(relative, au) for au in INTENSITY_AUS}
        lips = [relative[:, self._index[f"{lip}_lip_tighten"]] for lip in ("upper", "lower")]
        columns = [intensity[au] for au in INTENSITY_AUS]
        for au in OCCURRENCE_AUS:
            if au == 28:
                value = np.minimum(lips[0], lips[1])
                occurs = value >= LIPS_IN
            else:
                value = intensity[au]
                occurs = value >= OCCURS_FROM
            columns.append(np.where(np.isnan(value), np.nan, occurs))
        out = np.stack(columns, axis=1)
        assert out.shape[1] == len(AU_COLUMNS)
        return out

    def _intensity(self, relative: Array, au: int) -> Array:
        movement = MOVEMENTS[au]
        total = np.zeros(len(relative))
        for name, weight in movement.weights.items():
            total += weight * np.maximum(relative[:, self._index[name]], 0.0)
        return np.asarray(5.0 * np.clip(total / movement.full, 0.0, 1.0))
