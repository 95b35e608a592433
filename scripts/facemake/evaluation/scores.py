"""Predictions and labels to rows of tables: action units, groups of landmarks, poses, videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from facemake.evaluation import agreement
from facemake.evaluation.agreement import Values, mean_of
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
        found: (n, 17), 0-5.
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
        rows.append(
            {
                "au": name,
                "of": who,
                "against": against,
                "n": len(y),
                "present": int((y >= agreement.OCCURS).sum()),
                "label_mean": float(y.mean()) if len(y) else math.nan,
                "label_sd": float(y.std()) if len(y) else math.nan,
                "correlation": agreement.pearson(x, y),
                "ccc": agreement.concordance(x, y),
                "icc": agreement.icc_3_1(x, y),
                "mae": agreement.mean_absolute(x, y),
                "mae_of_mean": float(np.abs(y - always).mean()) if len(y) else math.nan,
                "f1": agreement.f1(x, y),
                "bias": bias,
                "lower_limit": lower,
                "upper_limit": upper,
            }
        )
    return rows


def landmark_groups(found: Values, wanted: Values, means: Values | None = None) -> list[Row]:
    """A row a group of landmarks.

    `correlation` is over all coordinates of all examples together, as pyfaceau has it: the mean
    face has a high one, too. `correlation_within`, `ccc_within` and `icc_within` are means of the
    coordinates' own over the examples, which only a network that sees how faces differ has.

    Args:
        found: (n, 68, 2) px of the crop.
        wanted: the same.
        means: (68, 2) mean labels of the training examples.
    """
    off = agreement.distances(found, wanted)
    size = agreement.interocular(wanted)[:, None]
    mean = np.full(wanted.shape[1:], np.nan) if means is None else means
    always = agreement.distances(np.broadcast_to(mean, wanted.shape), wanted)
    rows = []
    for name, (start, stop) in GROUPS.items():
        x, y = found[:, start:stop], wanted[:, start:stop]
        each = [*zip(_columns(x), _columns(y), strict=True)]
        rows.append(
            {
                "group": name,
                "points": stop - start,
                "n": int(np.isfinite(off[:, start:stop]).all(axis=1).sum()),
                "mae": agreement.mean_absolute(x, y),
                "distance": _mean(off[:, start:stop]),
                "distance_of_mean": _mean(always[:, start:stop]),
                "nme": 100 * _mean(off[:, start:stop] / size),
                "correlation": agreement.pearson(x, y),
                "correlation_within": mean_of([agreement.pearson(*pair) for pair in each]),
                "ccc_within": mean_of([agreement.concordance(*pair) for pair in each]),
                "icc_within": mean_of([agreement.icc_3_1(*pair) for pair in each]),
            }
        )
    return rows


def landmark_points(found: Values, wanted: Values) -> list[Row]:
    """A row a point: where it is on the mean face (px of the crop), and how far off it is."""
    off = agreement.distances(found, wanted)
    size = agreement.interocular(wanted)[:, None]
    group = {i: g for g in ("jaw", "brows", "nose", "eyes", "mouth") for i in range(*GROUPS[g])}
    return [
        {
            "point": i,
            "group": group[i],
            "x": _mean(wanted[:, i, 0]),
            "y": _mean(wanted[:, i, 1]),
            "distance": _mean(off[:, i]),
            "distance_p95": _percentile(off[:, i], 95),
            "nme": 100 * _mean(off[:, i : i + 1] / size),
        }
        for i in range(wanted.shape[1])
    ]


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
        names = one.examples.videos
        for name in dict.fromkeys(names.tolist()):
            mine = names == name
            row = rows.setdefault(
                name,
                {
                    "video": name,
                    "subject": one.examples.subjects[mine][0],
                    "n": int(mine.sum()),
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
                if mine.sum() >= LEAST_FOR_CORRELATION:
                    row["au_correlation"] = mean_of(
                        [agreement.pearson(a, b) for a, b in zip(x.T, y.T, strict=True)]
                    )
    return list(rows.values())


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
    (everything,) = (
        row
        for row in landmark_groups(one.found["landmarks"], one.wanted["landmarks"])
        if row["group"] == "all"
    )
    turn = next(row for row in pose(one.found, one.wanted) if row["parameter"] == "head turn")
    keys = ("mae", "distance", "nme", "correlation", "correlation_within")
    return {
        "examples": len(one.rows),
        **{f"landmark_{key}": everything[key] for key in keys},
        "head_turn": turn["mae"],
    }


def _parameter(name: str, unit: str, x: Values, y: Values) -> Row:
    return {
        **_nothing(name, unit),
        "n": int(np.isfinite(y).sum()),
        "mae": agreement.mean_absolute(x, y),
        "p95": _percentile(np.abs(x - y), 95),
        "correlation": agreement.pearson(x, y),
        "ccc": agreement.concordance(x, y),
        "icc": agreement.icc_3_1(x, y),
    }


def _nothing(name: str, unit: str) -> Row:
    keys = ("mae", "p95", "correlation", "ccc", "icc")
    return {"parameter": name, "unit": unit, "n": 0, **dict.fromkeys(keys, math.nan)}


def _columns(points: Values) -> Values:
    """(2K, n) of (n, K, 2)."""
    flat: Values = points.reshape(len(points), -1).T
    return flat


def _mean(values: Values) -> float:
    there = np.asarray(values, np.float64)[np.isfinite(values)]
    return float(there.mean()) if len(there) else math.nan


def _percentile(values: Values, which: float) -> float:
    there = np.asarray(values, np.float64)[np.isfinite(values)]
    return float(np.percentile(there, which)) if len(there) else math.nan
