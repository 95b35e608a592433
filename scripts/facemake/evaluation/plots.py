"""Agreement as pictures: a panel an action unit, and the face with each point's error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.evaluation import agreement
from facemake.evaluation.agreement import Values
from facemake.evaluation.scores import Row
from facemake.nn.action_units import AU_DESCRIPTIONS
from facemake.runtime.atomic import replacing

PICTURES = {
    "au_scatter.png": "Action units: the network over the label",
    "au_bland_altman.png": "Action units: difference over mean, with bias and limits of agreement",
    "au_scatter_labels.png": "Action units: the network over your labels",
    "au_bland_altman_labels.png": "Action units: difference from your labels over the mean",
    "landmark_errors.png": "Landmarks: where the error is",
}
"""File -> what it shows, in the order in which the report has them."""

_POINTS = 4000
"""Of a panel, at most, spread evenly over the examples."""
_COLUMNS = 5
_HIGHEST = 5.0


def scatter(path: Path, found: Values, wanted: Values, rows: Sequence[Row], said_by: str) -> None:
    """Draw what the network says over the label, a panel an action unit that has labels.

    Args:
        path: of the PNG.
        found: (n, 17).
        wanted: (n, 17).
        rows: of `facemake.evaluation.scores.action_units`.
        said_by: whose labels, in words.
    """

    def panel(axes: Any, x: Values, y: Values, row: Row) -> None:
        axes.plot([0, _HIGHEST], [0, _HIGHEST], color="0.6", linewidth=0.8)
        axes.plot(y, x, ".", markersize=3, alpha=0.35)
        axes.set(xlim=(-0.2, 5.2), ylim=(-0.2, 5.2))
        axes.set_title(f"{_title(row)}\nr {_number(row['correlation'])}, MAE {_number(row['mae'])}")

    _panels(path, found, wanted, rows, panel, f"label ({said_by}), 0-5", "network, 0-5")


def bland_altman(
    path: Path, found: Values, wanted: Values, rows: Sequence[Row], said_by: str
) -> None:
    """Draw the difference over the mean of both, with bias and limits of agreement.

    Args:
        path: of the PNG.
        found: (n, 17).
        wanted: (n, 17).
        rows: of `facemake.evaluation.scores.action_units`.
        said_by: whose labels, in words.
    """

    def panel(axes: Any, x: Values, y: Values, row: Row) -> None:
        axes.plot((x + y) / 2, x - y, ".", markersize=3, alpha=0.35)
        for key, style in (("bias", "-"), ("lower_limit", "--"), ("upper_limit", "--")):
            if np.isfinite(row[key]):
                axes.axhline(row[key], color="0.4", linestyle=style, linewidth=0.8)
        axes.set_xlim(-0.2, 5.2)
        axes.set_title(
            f"{_title(row)}\n{_number(row['bias'])} ({_number(row['lower_limit'])} to "
            f"{_number(row['upper_limit'])})"
        )

    _panels(path, found, wanted, rows, panel, f"mean of network and {said_by}", "network - label")


def landmark_errors(path: Path, points: Sequence[Row]) -> None:
    """Draw the mean face, each point as large and dark as its mean error, and the errors as bars.

    Args:
        path: of the PNG.
        points: of `facemake.evaluation.scores.landmarks`, a row a point.
    """
    figure = _figure(9.0, 3.8)
    face, bars = figure.subplots(1, 2, width_ratios=(1, 1.7))
    errors = np.array([row["distance"] for row in points])
    drawn = face.scatter(
        [row["x"] for row in points],
        [row["y"] for row in points],
        s=8 + 40 * errors / max(1e-9, float(np.nanmax(errors, initial=0.0))),
        c=errors,
        cmap="viridis",
    )
    face.set(xlim=(0, 112), ylim=(112, 0), aspect="equal")
    face.set_title("mean distance (px) on the mean face", fontsize=9)
    figure.colorbar(drawn, ax=face, shrink=0.8)
    for name in dict.fromkeys(row["group"] for row in points):
        mine = [row for row in points if row["group"] == name]
        bars.bar(
            [row["point"] for row in mine], [row["distance"] for row in mine], width=0.8, label=name
        )
        bars.plot([row["point"] for row in mine], [row["distance_p95"] for row in mine], "_k")
    bars.set_title("mean of each point, and 95th percentile (px)", fontsize=9)
    bars.set_xlabel("point of iBUG-68")
    bars.legend(fontsize=8, ncols=5)
    _save(figure, path)


def _panels(
    path: Path,
    found: Values,
    wanted: Values,
    rows: Sequence[Row],
    panel: Callable[[Any, Values, Values, Row], None],
    below: str,
    beside: str,
) -> None:
    shown = [i for i, row in enumerate(rows) if row["n"]]
    n_rows = max(1, -(-len(shown) // _COLUMNS))
    figure = _figure(2.3 * _COLUMNS, 2.4 * n_rows)
    grid = figure.subplots(n_rows, _COLUMNS, squeeze=False).ravel()
    for axes, i in zip(grid, shown, strict=False):
        x, y = _spread(*agreement.paired(found[:, i], wanted[:, i]))
        panel(axes, x, y, rows[i])
        axes.title.set_fontsize(8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    figure.supxlabel(below, fontsize=9)
    figure.supylabel(beside, fontsize=9)
    _save(figure, path)


def _spread(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    if len(x) <= _POINTS:
        return x, y
    some = np.linspace(0, len(x) - 1, _POINTS).astype(int)
    return x[some], y[some]


def _title(row: Row) -> str:
    return f"{row['au'].removesuffix('_r')} {AU_DESCRIPTIONS[row['au']].lower()}"


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as beside:
        figure.savefig(beside, format="png", metadata={"Software": None})
