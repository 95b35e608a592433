"""Action units by rule from localized expressions: a proxy, not a trained or coded measurement.

Each action unit is read from the coefficients of the movement that the Facial Action Coding System
gives it (Ekman, Friesen & Hager, FACS Manual, 2002), as far as landmarks show it. The pairing is
the one that is published for ARKit's blendshapes (Ozel, ARKit to FACS cheat sheet,
melindaozel.com/arkit-to-facs-cheat-sheet): 1 browInnerUp, 2 browOuterUp, 4 browDown, 5 eyeWide,
6 cheekSquint, 7 eyeSquint, 9 noseSneer, 10 mouthUpperUp, 12 mouthSmile, 14 mouthDimple,
15 mouthFrown, 17 mouthShrugLower, 20 mouthStretch, 23 mouthPress, 26 jawOpen, 45 eyeBlink. Of each
coefficient c that an action unit is read from, with the track's neutral n and the dead zone d,

    e = max(c - n - d, 0) / (1 - d)
    AUxx_r = 5 * clip(sum of weight * e / full, 0, 1)

`full` is the movement that counts as FACS intensity E. What one side can do alone is measured on
each (`AUxx_r_left`, `AUxx_r_right`: the image's sides), and `AUxx_r` is the mean of both: a
one-sided movement counts half. An action unit occurs (`AUxx_c` = 1) from intensity 1 on, where A, a
trace, ends. So each is continuous, monotone in its own movement, and rises with no other. What
wrinkling the nose does to the brow is taken from AU04, as the manual has it: AU9 lowers the inner
brow by itself, and AU4 is scored with it for what goes beyond.

**Neutral.** Values are relative to the person at rest, as action units are scored by hand and as
trained estimators gain most from (Baltrusaitis, Mahmoud & Robinson, Cross-dataset learning and
person-specific normalisation for automatic Action Unit detection, FG 2015, who subtract a median
over the track). Of each coefficient it is the 20th percentile over the track's fitted frames, at
most `BASELINE_CAP`, and shrunk by n / (n + 10) with the number n of frames. A low percentile,
because many people smile or frown in most frames of a clip: with a median their labels would be
zero. The cap, because a track that is never neutral must not lose its expression. The shrinkage,
because a single picture is not its own neutral. What this cannot do: a recording that is cut in
pieces has a neutral in each, and an intensity can differ between them by at most 5 * cap / full;
from about 50 frames on, in a fifth of which the face is at rest, pieces agree.

**Dead zone.** A movement counts from `DEAD` half-widths w of its measured noise on
(`facemake.backends.fit.normalize`), and from `DEAD_LEAST` of a full movement in any case; from
there it rises without a step. Not all of w, because w holds 95 % of what turning heads and bad
pictures do, and a wider zone takes away more true movement than noise: on synthetic people the
correlation with the true blendshapes is best from .25 to .5 w. What is left of the noise shows: in
the brows most, which the landmark network places worst.

**Limits.** 68 points do not show all that a coder sees; `SEEN_IN_PART` says what they show of those
that they show badly, and so do the columns' units. AU25 and AU26 share the jaw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemake.backends.aus import AU_COLUMNS, INTENSITY_AUS, OCCURRENCE_AUS, OCCURS_FROM, SIDED_AUS
from facemake.backends.fit.normalize import shipped_noise

Array = NDArray[np.float64]

BASELINE_QUANTILE = 0.2
BASELINE_CAP = 0.3
BASELINE_FRAMES = 10.0
WRINKLE_LOWERS = 0.2
"""Part of a full AU4 that a full AU9 lowers the brow by itself, and that is no AU4."""

DEAD = 0.4
"""Half-widths of the measured noise that do not count."""
DEAD_LEAST = 0.12
"""Full movements that do not count in any case. It keeps every action unit of neutral synthetic
heads below 0.3 that turn by up to 45 degrees, with an error of 0.5 px in each landmark at 130 px
between the outer eye corners; with 1 px, 99 % of their frames are below 0.4."""

_BINS = 1024
_TOP = 2.0  # coefficients stay below this


@dataclass(frozen=True)
class Movement:
    """What an action unit is read from: a weighted sum of coefficients, and its size at 5.

    A weight below 0 is of what another movement does to the same landmarks.
    """

    weights: Mapping[str, float]
    full: float = 1.0

    def side(self, suffix: str) -> Movement:
        """What one side of the face does of it; the weights of both sum to 1 a coefficient."""
        own = {name: 2 * w for name, w in self.weights.items() if name.endswith(f"_{suffix}")}
        return Movement(own, self.full)


def _sides(name: str, full: float = 1.0, less: Mapping[str, float] | None = None) -> Movement:
    weights = {name: 1.0, **{other: -weight for other, weight in (less or {}).items()}}
    return Movement({f"{n}_{s}": 0.5 * w for n, w in weights.items() for s in "lr"}, full)


MOVEMENTS: Mapping[int, Movement] = MappingProxyType(
    {
        1: _sides("brow_inner_raise"),
        2: _sides("brow_outer_raise"),
        4: _sides("brow_lower", less={"nose_wrinkle": WRINKLE_LOWERS}),
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
        45: _sides("eye_close", full=1.2),
    }
)
"""Action unit -> movement."""

NEEDED = tuple(sorted({name for m in MOVEMENTS.values() for name in m.weights}))
"""The coefficients that are read."""

SEEN_IN_PART: Mapping[int, str] = MappingProxyType(
    {
        6: "landmarks show of it the lower lid, not the cheek",
        9: "landmarks show of it the wings of the nose, no wrinkles",
        14: "landmarks show of it the depth of the lip corner, which one camera hardly sees",
        17: "landmarks show of it the lower lip and the outline of the chin",
        23: "landmarks show of it the red of the lips alone, as of AU24",
        28: "landmarks show of it the red of the lips alone",
    }
)
"""Action units that 68 points show badly -> what they show."""

LIPS_IN = 0.6
"""AU28 occurs where both lips are rolled in by this much more than at rest."""


def _unit(column: str) -> str:
    number = int(column[2:4])
    if column.endswith("_c"):
        says = f"proxy: 0 or 1, from intensity {OCCURS_FROM:g} on"
        if number == 28:
            says = f"proxy: 0 or 1, both lips rolled in by {LIPS_IN:g} of the full movement"
    elif column.endswith("_r"):
        says = "proxy: intensity 0-5" + (", mean of both sides" if number in SIDED_AUS else "")
    else:
        says = f"proxy: intensity 0-5 on the image's {column.rpartition('_')[2]} side"
    return f"{says}; {SEEN_IN_PART[number]}" if number in SEEN_IN_PART else says


UNITS = tuple(_unit(column) for column in AU_COLUMNS)
"""Of each column of the table."""


def create(names: Sequence[str]) -> ProxyEstimator:
    """An estimator for one track whose coefficients have these names.

    Raises:
        ValueError: where a coefficient is missing that an action unit is read from.
        ModelError: where the noise of one was not measured.
    """
    return ProxyEstimator(names)


class ProxyEstimator:
    """The rule of this module for one track; see `AuEstimator`."""

    def __init__(self, names: Sequence[str]) -> None:
        index = {name: i for i, name in enumerate(names)}
        missing = [name for name in NEEDED if name not in index]
        if missing:
            raise ValueError(f"action units need the expressions {', '.join(missing)}")
        self._at = np.array([index[name] for name in NEEDED])
        self._index = {name: i for i, name in enumerate(NEEDED)}
        self._dead = np.maximum(DEAD * shipped_noise().of(NEEDED).w, DEAD_LEAST)
        self._counts = np.zeros((len(NEEDED), _BINS), dtype=np.int64)

    def look(self, coefficients: Array) -> None:
        """Count (n, K) coefficients of fitted frames; rows of NaN are passed over.

        A histogram, so that memory does not grow with the track and the order does not matter.
        """
        own = coefficients[:, self._at]
        known = own[np.isfinite(own).all(axis=1)]
        bins = np.clip((known * (_BINS / _TOP)).astype(np.int64), 0, _BINS - 1)
        for k in range(bins.shape[1]):
            self._counts[k] += np.bincount(bins[:, k], minlength=_BINS)

    def neutral(self) -> Array:
        """The track's neutral in each of NEEDED; see the module."""
        n = int(self._counts[0].sum())
        if n == 0:
            return np.zeros(len(self._counts))
        reached = np.cumsum(self._counts, axis=1) >= BASELINE_QUANTILE * n
        value = reached.argmax(axis=1) * (_TOP / _BINS)  # the lower edge: 0 stays 0
        return np.asarray(np.minimum(value, BASELINE_CAP) * (n / (n + BASELINE_FRAMES)))

    def estimate(self, coefficients: Array) -> Array:
        """(n, 61) values of AU_COLUMNS; rows of NaN stay NaN."""
        beyond = coefficients[:, self._at] - self.neutral() - self._dead
        moved = np.maximum(beyond, 0.0) / (1.0 - self._dead)  # NaN stays NaN
        sides = {
            (au, side): self._intensity(moved, MOVEMENTS[au].side(side))
            for au in SIDED_AUS
            for side in "lr"
        }
        intensity = {
            au: 0.5 * (sides[au, "l"] + sides[au, "r"])
            if au in SIDED_AUS
            else self._intensity(moved, MOVEMENTS[au])
            for au in INTENSITY_AUS
        }
        lips = [moved[:, self._index[f"{lip}_lip_tighten"]] for lip in ("upper", "lower")]
        columns = [intensity[au] for au in INTENSITY_AUS]
        for au in OCCURRENCE_AUS:
            if au == 28:
                value = np.minimum(lips[0], lips[1])
                occurs = value >= LIPS_IN
            else:
                value = intensity[au]
                occurs = value >= OCCURS_FROM
            columns.append(np.where(np.isnan(value), np.nan, occurs))
        columns += list(sides.values())
        out: Array = np.stack(columns, axis=1)
        assert out.shape[1] == len(AU_COLUMNS)
        return out

    def _intensity(self, moved: Array, movement: Movement) -> Array:
        total = np.zeros(len(moved))
        for name, weight in movement.weights.items():
            total += weight * moved[:, self._index[name]]
        return np.asarray(5.0 * np.minimum(np.maximum(total / movement.full, 0.0), 1.0))
