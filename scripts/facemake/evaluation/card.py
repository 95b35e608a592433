"""The card of a trained model: what it is, what it learned from, how well, and what it cannot do.

`model_card.json` is for programs, `model_card.md` says the same to people (Mitchell et al., Model
Cards for Model Reporting, FAT* 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facemake.counting import counted
from facemake.evaluation import scores
from facemake.evaluation.predicting import Trained, examples, made_by
from facemake.evaluation.run import json_text
from facemake.nn.action_units import AU_NAMES
from facemake.nn.checkpoints import LAST
from facemake.nn.division import SPLITS
from facemake.provenance import file_sha256
from facemake.runtime.atomic import write_text
from facemake.version import __version__

JSON = "model_card.json"
MARKDOWN = "model_card.md"

AT_MOST = 20_000
"""Training examples that the card's numbers are of, spread evenly."""

_WHAT = {
    "landmark_pose": (
        "68 landmarks, head pose and shape parameters of one aligned face",
        "UnifiedLandmarkPoseNet, MobileNetV2 backbone",
        {
            "landmarks": "(n, 68, 2) px of the crop, iBUG-68",
            "global_params": "(n, 6) scale (px/mm), rx, ry, rz (rad, R = Rx Ry Rz), tx, ty (px)",
            "local_params": "(n, 34) mm along the modes of the point distribution model",
        },
        "load_predictor",
    ),
    "au_prediction": (
        "intensities of 17 action units of one aligned face",
        "AUPredictionNet, EfficientNet-Lite backbone",
        {"au_intensities": f"(n, 17) 0-5: {', '.join(AU_NAMES)}"},
        "load_au_predictor",
    ),
}
"""Network -> what it gives, what it is, its outputs, what loads it."""

_METRICS = {
    "examples": ("examples", 0),
    "landmark_mae": ("landmark MAE, px (over coordinates)", 3),
    "landmark_distance": ("landmark distance, px", 3),
    "landmark_nme": ("NME, % of the outer eye corners' distance", 2),
    "landmark_correlation": ("landmark correlation, all coordinates together", 4),
    "landmark_correlation_within": ("landmark correlation, mean of each coordinate's", 3),
    "head_turn": ("head pose off by, °", 2),
    "correlation": ("AU correlation, mean", 3),
    "ccc": ("AU concordance, mean", 3),
    "icc": ("AU ICC(3,1), mean", 3),
    "mae": ("AU MAE, mean (0-5)", 3),
    "action_units_that_vary": ("AUs that vary there, of 17", 0),
}


def write_card(folder: Path, data: Path, network: str, device: str = "cpu") -> dict[str, Any]:
    """Write the card of a training's folder into it.

    Args:
        folder: with `checkpoint_best.pt`.
        data: the training set that it was trained with.
        network: its name.
        device: of PyTorch, for the metrics.

    Returns:
        What `model_card.json` holds, with NaN in place of null.

    Raises:
        FacemakeError: the folder or the data are not what they must be.
    """
    card = make_card(folder, data, network, device)
    write_text(folder / JSON, json_text(card))
    write_text(folder / MARKDOWN, markdown(card))
    return card


def make_card(folder: Path, data: Path, network: str, device: str = "cpu") -> dict[str, Any]:
    """The card as a document; see `write_card`."""
    trained = Trained(folder, data, network, device)
    found = trained.checkpoint
    what, architecture, outputs, loads = _WHAT[network]
    made = made_by(data)
    recipes = {**made.get("upstream", {}), **_own(made)}
    return {
        "name": network,
        "what": what,
        "architecture": architecture,
        "parameters": trained.parameters,
        "input": "image (n, 3, 112, 112) float32 RGB in [0, 1]: facemake's aligned crop",
        "outputs": outputs,
        "load": f'from facemake.nn import {loads}; {loads}("models/{network}/")',
        "facemake_version": found.get("facemake_version", __version__),
        "data": {
            "file": data.name,
            "sha256": trained.sha256,
            "lineage": made.get("lineage"),
            "landmarks_in_crop": trained.dataset.in_crop,
            "divided_by": trained.dataset.division.by,
            **_counts(trained),
        },
        "training": {
            "config": found.get("config", {}),
            "epochs": len(found.get("val_history", ())),
            "best_epoch": int(found["epoch"]) + 1 if "epoch" in found else None,
            "best_val_loss": found.get("best_val_loss", math.nan),
        },
        "metrics": {
            split: scores.summary_of(trained.predict(split, AT_MOST if split == "train" else None))
            for split in trained.splits()
        },
        "limits": _limits(trained, recipes),
        "upstream_models": _models(recipes),
        "licence": "the weights are yours; what they learned from has the licences below",
        "files": {
            path.name: file_sha256(path)
            for path in sorted(folder.iterdir())
            if path.suffix in (".pt", ".onnx", ".json") and path.name not in (JSON, LAST)
        },
        "made_by": made,
    }


def _own(made: Mapping[str, Any]) -> dict[str, Any]:
    recipe = made.get("recipe")
    return {recipe["stage"]: recipe} if recipe else {}


def _counts(trained: Trained) -> dict[str, Any]:
    """Examples, videos and subjects, in all and by split."""
    everybody = examples(trained.dataset.path, np.arange(trained.dataset.total))
    parts: dict[str, Any] = {}
    for split in SPLITS:
        rows = getattr(trained.dataset.division, split)
        if len(rows):
            parts[split] = {
                "examples": len(rows),
                "videos": len(set(everybody.videos[rows].tolist())),
                "subjects": len(set(everybody.subjects[rows].tolist())),
            }
    return {
        "examples": trained.dataset.total,
        "videos": len(set(everybody.videos.tolist())),
        "subjects": len(set(everybody.subjects.tolist())),
        "splits": parts,
    }


def _limits(trained: Trained, recipes: Mapping[str, Any]) -> list[str]:
    """What whoever uses it must know."""
    division = trained.dataset.division
    said = [
        "Every number here is agreement with the labels of the pipeline that made the training "
        "set, whose errors it learned, too; none is accuracy against people's labels.",
    ]
    if trained.network == "au_prediction":
        backend = recipes.get("aus", {}).get("backend")
        if backend == "proxy":
            said.append(
                "The labels are facemake's proxy: intensities computed from localized expressions "
                "of the face's shape, not coded by a FACS coder, nor learned from one. What 68 "
                "points do not show (cheeks, wrinkles, lips that are pressed), they do not know."
            )
        elif backend:
            said.append(f"The labels are those of the backend {backend}.")
        varying = trained.checkpoint.get("metrics", {})
        still = [name for name in AU_NAMES if math.isnan(varying.get(f"corr_{name}", 0.0))]
        if still:
            said.append(
                "Not judged, since they did not vary in the validation examples: "
                f"{', '.join(still)}"
            )
    if not trained.dataset.in_crop:
        said.append("The landmarks of that training set are no pixels of its crops.")
    if division.loud:
        said.append(
            f"Examples were divided by {division.by}: validation saw who training saw, so it says "
            "nothing of anybody else."
        )
    elif known := trained.trained_with(trained.held_out()):
        said.append(
            f"{len(known)} of the people of split {trained.held_out()} are among those that it was "
            "trained with: its numbers say little of anybody else."
        )
    if "test" not in trained.splits():
        said.append("There was no test split: the epoch was chosen by what it is judged by.")
    said.append(
        "It takes the aligned crop of one face (facemake.FaceAligner); of other crops it was shown "
        "none. How well it does by age, skin, sex, glasses or light was not measured."
    )
    return said


def _models(recipes: Mapping[str, Any]) -> list[dict[str, str]]:
    """The models that made the labels, each once."""
    rows: dict[str, dict[str, str]] = {}
    for stage, recipe in recipes.items():
        for model in recipe.get("models", ()):
            row = rows.setdefault(model.get("sha256", model["name"]), {**model, "stages": ""})
            row["stages"] = ", ".join(filter(None, (row["stages"], recipe.get("stage", stage))))
    return list(rows.values())


def markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    data, training = card["data"], card["training"]
    lines = [
        f"# Model card: {card['name']}",
        f"{card['what'][:1].upper()}{card['what'][1:]}. {card['architecture']}, "
        f"{card['parameters']:,} parameters. Made by facemake {card['facemake_version']}.",
        "",
        "```python",
        *card["load"].split("; "),
        "```",
        "",
        f"Input: `{card['input']}`",
        "",
        *_table(("output", "shape and units"), card["outputs"].items()),
        "",
        "## How well",
        "Agreement with the labels of the training set's own pipeline.",
        "",
        *_metrics(card["metrics"]),
        "",
        "## Limits",
        *(f"- {line}" for line in card["limits"]),
        "",
        "## Data",
        f"`{data['file']}`, SHA-256 `{data['sha256']}`: "
        f"{counted(data['examples'], 'example')} of {counted(data['subjects'], 'subject')} in "
        f"{counted(data['videos'], 'video')}, divided by {data['divided_by']}.",
        "",
        *_table(
            ("split", "examples", "videos", "subjects"),
            (
                (name, part["examples"], part["videos"], part["subjects"])
                for name, part in data["splits"].items()
            ),
        ),
        "",
        "## Training",
        f"{training['epochs']} epochs until this checkpoint, which is of epoch "
        f"{training['best_epoch']}, the one with the lowest loss of validation "
        f"({_number(training['best_val_loss'], 5)}).",
        "",
        *_table(("option", "value"), training["config"].items()),
        "",
        "## Models and licences of what made the labels",
        *(
            _table(
                ("model", "stages", "licence", "SHA-256"),
                (
                    (m["name"], m["stages"], m.get("licence", "not said"), m.get("sha256", "–"))
                    for m in card["upstream_models"]
                ),
            )
            if card["upstream_models"]
            else ["The training set does not say."]
        ),
        "",
        "## Files",
        *_table(("file", "SHA-256"), card["files"].items()),
    ]
    return "\n".join(lines) + "\n"


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    keys = [key for key in _METRICS if any(key in found for found in metrics.values())]
    rows = []
    for key in keys:
        words, digits = _METRICS[key]
        rows.append((words, *(_number(found[key], digits) for found in metrics.values())))
    return _table(("", *metrics), rows)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _table(head: Sequence[str], rows: Any) -> list[str]:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + "---|" * len(head), *(line(row) for row in rows)]
