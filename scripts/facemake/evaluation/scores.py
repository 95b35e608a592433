"""Predictions and labels to rows of tables: action units, groups of landmarks, poses, videos."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.evaluation import agreement
from facemake.evaluation.agreement import Moments, Values, mean_of
from facemake.evaluation.predicting import Predictions
from facemake.nn.action_units import AU_NAMES

Row = dict[str, Any]

GROUPS: dict[str, tuple[int, int]] = {
    "jaw": (0, 17),
    "brows": (17, 27),
    "nose": (27, 36),
    "eyes": (36, 48),
    "mouth": (48, 68),
    "without jaw": (17, 68),
    "all": (0, 68),
}
"""Group of iBUG-68 -> its points, the last one left out."""

PARTS = ("jaw", "brows", "nose", "eyes", "mouth")
"""Those of them that share no point."""

ANGLES = ("rx", "ry", "rz")
_POSE = (("scale", 0, "px/mm"), *((a, i, "°") for i, a in enumerate(ANGLES, 1)))
POSE = (*_POSE, ("tx", 4, "px"), ("ty", 5, "px"))
"""Name of a global parameter, its place, its unit in the tables."""

LEAST_FOR_CORRELATION = 10
"""Labelled examples of a video from which its own correlation is shown."""


def action_units(
    found: Values, wanted: Values, who: str, against: str, means: Values | None = None
) -> list[Row]:
    """A row an action unit.

    Args:
        found: (n, 17), 0-5; NaN where who said it does not know.
        wanted: (n, 17), NaN where nobody said.
        who: said it: `network` or `pipeline`.
        against: whose labels: `pipeline` or `labels`.
        means: (17,) mean labels of the training examples, for the error of who says always that.
    """
    rows = []
    for i, name in enumerate(AU_NAMES):
        x, y = agreement.paired(found[:, i], wanted[:, i])
        bias, lower, upper = agreement.limits(x, y)
        always = np.nan if means is None else means[i]
        both = Moments.of(x, y)
        rows.append(
            {
                "au": name,
                "of": who,
                "against": against,
                "n": len(y),
                "present": int((y >= agreement.OCCURS).sum()),
                "label_mean": float(y.mean()) if len(y) else math.nan,
                "label_sd": float(y.std()) if len(y) else math.nan,
                "correlation": both.pearson,
                "ccc": both.concordance,
                "icc": both.icc_3_1,
                "mae": both.mean_absolute,
                "mae_of_mean": float(np.abs(y - always).mean()) if len(y) else math.nan,
                "f1": agreement.f1(x, y),
                "bias": bias,
                "lower_limit": lower,
                "upper_limit": upper,
            }
        )
    return rows


@dataclass(frozen=True)
class _Mean:
    """Of numbers: their sum, and how many they are."""

    total: float
    count: int

    @classmethod
    def of(cls, values: Values) -> _Mean:
        """Of those that are finite."""
        there = values[np.isfinite(values)]
        return cls(float(there.sum(dtype=np.float64)), len(there))

    def __add__(self, other: _Mean) -> _Mean:
        return _Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """NaN of none."""
        return self.total / self.count if self.count else math.nan


@dataclass(frozen=True)
class _Point:
    """One landmark over all examples."""

    both: tuple[Moments, Moments]  # of its x and its y
    place: tuple[float, float]
    distance: _Mean
    p95: float
    of_size: _Mean
    of_mean: _Mean


def landmarks(
    found: Values, wanted: Values, means: Values | None = None
) -> tuple[list[Row], list[Row]]:
    """A row a group of landmarks, and a row a point: where it is, and how far off it is.

    `correlation` is over all coordinates of all examples together, as pyfaceau has it: the mean
    face has a high one, too. `correlation_within`, `ccc_within` and `icc_within` are means of the
    coordinates' own over the examples, which only a network that sees how faces differ has. `x` and
    `y` of a point are px of the crop. Memory: about 50 bytes an example, besides the arguments.

    Args:
        found: (n, 68, 2) px of the crop.
        wanted: the same; NaN where a point is missing.
        means: (68, 2) mean labels of the training examples.
    """
    size = agreement.interocular(wanted)
    mean = np.full(wanted.shape[1:], np.nan) if means is None else means
    points = []
    there = np.zeros((len(GROUPS), len(wanted)), np.bool_)
    for i in range(wanted.shape[1]):
        x, y = found[:, i], wanted[:, i]
        off = agreement.distances(x, y)
        points.append(
            _Point(
                both=(Moments.of(x[:, 0], y[:, 0]), Moments.of(x[:, 1], y[:, 1])),
                place=(_mean(y[:, 0]), _mean(y[:, 1])),
                distance=_Mean.of(off),
                p95=_percentile(off, 95),
                of_size=_Mean.of(off / size),
                of_mean=_Mean.of(agreement.distances(mean[i], y)),
            )
        )
        for group, (start, stop) in enumerate(GROUPS.values()):
            if start <= i < stop:
                there[group] |= np.isfinite(off)
    groups = [
        _group(name, points[start:stop], int(seen.sum()))
        for (name, (start, stop)), seen in zip(GROUPS.items(), there, strict=True)
    ]
    of = {i: name for name in PARTS for i in range(*GROUPS[name])}
    rows = [
        {
            "point": i,
            "group": of[i],
            "x": one.place[0],
            "y": one.place[1],
            "distance": one.distance.value,
            "distance_p95": one.p95,
            "nme": 100 * one.of_size.value,
        }
        for i, one in enumerate(points)
    ]
    return groups, rows


def _group(name: str, points: Sequence[_Point], n: int) -> Row:
    each = [moments for point in points for moments in point.both]
    nothing = _Mean(0.0, 0)
    together = sum(each, Moments())
    return {
        "group": name,
        "points": len(points),
        "n": n,
        "mae": together.mean_absolute,
        "distance": sum((p.distance for p in points), nothing).value,
        "distance_of_mean": sum((p.of_mean for p in points), nothing).value,
        "nme": 100 * sum((p.of_size for p in points), nothing).value,
        "correlation": together.pearson,
        "correlation_within": mean_of([one.pearson for one in each]),
        "ccc_within": mean_of([one.concordance for one in each]),
        "icc_within": mean_of([one.icc_3_1 for one in each]),
    }


def pose(found: Mapping[str, Values], wanted: Mapping[str, Values]) -> list[Row]:
    """A row a global parameter, one of the head's turn, and one of the local parameters' mean."""
    x, y = found["global_params"], wanted["global_params"]
    rows = []
    for name, i, unit in POSE:
        a, b = (np.rad2deg(v[:, i]) if unit == "°" else v[:, i] for v in (x, y))
        rows.append(_parameter(name, unit, a, b))
    there = np.isfinite(y[:, 1:4]).all(axis=1)
    turned = agreement.turns(x[there, 1:4], y[there, 1:4])
    rows.append(
        {
            **_nothing("head turn", "°"),
            "n": len(turned),
            "mae": _mean(turned),
            "p95": _percentile(turned, 95),
        }
    )
    local = [
        _parameter("", "mm", a, b)
        for a, b in zip(found["local_params"].T, wanted["local_params"].T, strict=True)
    ]
    mean = {key: mean_of([row[key] for row in local]) for key in ("correlation", "ccc", "icc")}
    a, b = found["local_params"], wanted["local_params"]
    rows.append(
        {
            **_nothing("local parameters, mean", "mm"),
            **mean,
            "n": int(np.isfinite(b).all(axis=1).sum()),
            "mae": agreement.mean_absolute(a, b),
            "p95": _percentile(np.abs(a - b), 95),
        }
    )
    return rows


def videos(predictions: Sequence[Predictions]) -> list[Row]:
    """A row a video of the held-out examples: where it goes well, and where it does not."""
    rows: dict[str, Row] = {}
    for one in predictions:
        for name, mine in _rows_of_each(one.examples.videos):
            row = rows.setdefault(
                name,
                {
                    "video": name,
                    "subject": one.examples.subjects[mine[0]],
                    "n": len(mine),
                    **dict.fromkeys(
                        ("landmark_distance", "nme", "head_turn", "au_mae", "au_correlation"),
                        math.nan,
                    ),
                },
            )
            if one.network == "landmark_pose":
                x, y = one.found["landmarks"][mine], one.wanted["landmarks"][mine]
                off = agreement.distances(x, y)
                row["landmark_distance"] = _mean(off)
                row["nme"] = 100 * _mean(off / agreement.interocular(y)[:, None])
                a, b = (v["global_params"][mine, 1:4] for v in (one.found, one.wanted))
                there = np.isfinite(b).all(axis=1)
                row["head_turn"] = _mean(agreement.turns(a[there], b[there]))
            else:
                x, y = (v["au_intensities"][mine] for v in (one.found, one.wanted))
                row["au_mae"] = agreement.mean_absolute(x, y)
                if len(mine) >= LEAST_FOR_CORRELATION:
                    row["au_correlation"] = mean_of(
                        [agreement.pearson(a, b) for a, b in zip(x.T, y.T, strict=True)]
                    )
    return list(rows.values())


def _rows_of_each(names: Values) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Each name, in the order of its first row, and its rows, rising."""
    known: dict[str, int] = {}
    number = np.array([known.setdefault(name, len(known)) for name in names.tolist()], np.int64)
    order = np.argsort(number, kind="stable")
    edges = np.searchsorted(number[order], np.arange(1, len(known)))
    yield from zip(known, np.split(order, edges), strict=True)


def mean_row(rows: Sequence[Row], keys: Sequence[str]) -> dict[str, float]:
    """Means of columns over the rows that have a number there."""
    return {key: mean_of([row[key] for row in rows]) for key in keys}


def summary_of(one: Predictions) -> dict[str, float]:
    """The few numbers of a split that a model card shows."""
    if one.network == "au_prediction":
        (label,) = one.wanted
        rows = action_units(one.found[label], one.wanted[label], "network", "pipeline")
        return {
            "examples": len(one.rows),
            **mean_row(rows, ("correlation", "ccc", "icc", "mae")),
            "action_units_that_vary": sum(not math.isnan(row["correlation"]) for row in rows),
        }
    groups, _ = landmarks(one.found["landmarks"], one.wanted["landmarks"])
    everything = next(row for row in groups if row["group"] == "all")
    turn = next(row for row in pose(one.found, one.wanted) if row["parameter"] == "head turn")
    keys = ("mae", "distance", "nme", "correlation", "correlation_within")
    return {
        "examples": len(one.rows),
        **{f"landmark_{key}": everything[key] for key in keys},
        "head_turn": turn["mae"],
    }


def _parameter(name: str, unit: str, x: Values, y: Values) -> Row:
    both = Moments.of(x, y)
    return {
        **_nothing(name, unit),
        "n": both.n,
        "mae": both.mean_absolute,
        "p95": _percentile(np.abs(x - y), 95),
        "correlation": both.pearson,
        "ccc": both.concordance,
        "icc": both.icc_3_1,
    }


def _nothing(name: str, unit: str) -> Row:
    keys = ("mae", "p95", "correlation", "ccc", "icc")
    return {"parameter": name, "unit": unit, "n": 0, **dict.fromkeys(keys, math.nan)}


def _mean(values: Values) -> float:
    return _Mean.of(values).value


def _percentile(values: Values, which: float) -> float:
    there = np.asarray(values, np.float64)[np.isfinite(values)]
    return float(np.percentile(there, which)) if len(there) else math.nan
