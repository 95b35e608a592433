"""The history of a training, as a file and as curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facemake.runtime.atomic import replacing, write_text

HISTORY = "training_history.json"
CURVES = "training_curves.png"

Epochs = Sequence[Mapping[str, float]]

_PANELS = (
    ("loss", "loss"),
    ("landmark_mae", "MAE of landmarks (px)"),
    ("landmark_correlation", "correlation of landmarks"),
    ("mean_mae", "mean MAE of action units (0-5)"),
    ("mean_correlation", "mean correlation of action units"),
    ("lr", "learning rate"),
)
"""Key of an epoch -> what stands above its curve."""


def write_history(
    path: Path, train: Epochs, val: Epochs, best_val_loss: float, au_names: Sequence[str] | None
) -> None:
    """Write `{train, val, best_val_loss, au_names}` as JSON.

    Args:
        path: of the file.
        train: a dict an epoch; what is NaN there (the correlation of an action unit that does not
            vary) is null in the file, since JSON has no NaN.
        val: the same.
        best_val_loss: the lowest one.
        au_names: of the network of action units; None leaves the key away.
    """
    content: dict[str, Any] = {
        "train": [_finite(epoch) for epoch in train],
        "val": [_finite(epoch) for epoch in val],
        "best_val_loss": best_val_loss if math.isfinite(best_val_loss) else None,
    }
    if au_names is not None:
        content["au_names"] = list(au_names)
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _finite(epoch: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in epoch.items()}


def draw_curves(path: Path, train: Epochs, val: Epochs) -> None:
    """Draw loss, metrics and learning rate over the epochs, as a PNG.

    Args:
        path: of the file.
        train: a dict an epoch.
        val: the same.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [row for row in _PANELS if any(row[0] in epochs[0] for epochs in (train, val))]
    figure = Figure(figsize=(4.0 * len(panels), 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, title) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for label, epochs in (("training", train), ("validation", val)):
            if key in epochs[0]:
                values = [epoch[key] for epoch in epochs]
                numbers = range(1, len(values) + 1)
                axes.plot(numbers, values, label=label, marker="." if len(values) < 20 else None)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if key in ("loss", "lr") and min(epoch[key] for epoch in train) > 0:
            axes.set_yscale("log")
        if len(axes.lines) > 1:
            axes.legend(fontsize=8)
    with replacing(path) as beside:
        # without a date, the same history gives the same bytes
        figure.savefig(beside, format="png", metadata={"Software": None})
