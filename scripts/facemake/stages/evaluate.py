"""The evaluation of the trained networks, and its page in the report."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from facemake import h5
from facemake.evaluation.agreement import FORMULAS
from facemake.evaluation.plots import PICTURES
from facemake.evaluation.run import evaluate as evaluated
from facemake.provenance import Recipe
from facemake.report import render
from facemake.runtime.atomic import write_text
from facemake.shards import metadata

PAGE = "networks.html"


def evaluate(
    data: Path,
    models: Mapping[str, Path],
    output: Path,
    page: Path,
    recipe: Recipe,
    labels: Path | None = None,
) -> None:
    """Compare both networks with the held-out examples' labels; tables, pictures and a page.

    Args:
        data: the merged training set.
        models: `landmark_pose` and `au_prediction` -> folder of the training.
        output: `evaluation/`.
        page: `report/networks.html`.
        recipe: of the stage `evaluate`.
        labels: of people, where the config names a file.

    Raises:
        FacemakeError: see `facemake.evaluation.evaluate`.
    """
    made = h5.read_metadata(data)
    document = evaluated(
        data,
        models["landmark_pose"],
        models["au_prediction"],
        output=output,
        labels=labels,
        device=recipe.settings.get("device", "cpu"),
        metadata=metadata(recipe, recipe.lineage([made["lineage"]], ""), [made]),
    )
    curves = {name: folder / "training_curves.png" for name, folder in models.items()}
    write_text(page, _page(document, output, curves))


def _page(document: Mapping[str, Any], folder: Path, curves: Mapping[str, Path]) -> str:
    found = [(text, folder / name) for name, text in PICTURES.items()]
    found += [(f"Training of {name}", path) for name, path in curves.items()]
    return render.page(
        "networks.html",
        version=document["facemake_version"],
        networks=document["networks"],
        targets=document["targets"],
        labels=document.get("labels"),
        aus=_by_reference(document["action_units"]),
        groups=document["landmark_groups"],
        pose=document["pose"],
        videos=sorted(document["videos"], key=lambda row: row["video"]),
        pictures=[(text, _inline(path)) for text, path in found if path.is_file()],
        formulas=FORMULAS,
        data=document["data"],
    )


def _by_reference(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Rows of action units under their titles."""
    titles = {
        ("network", "pipeline"): "The network against this pipeline’s labels",
        ("network", "labels"): "The network against your labels",
        ("pipeline", "labels"): "This pipeline’s labels against yours",
    }
    parts = [
        (title, [row for row in rows if (row["of"], row["against"]) == key])
        for key, title in titles.items()
    ]
    return [(title, part) for title, part in parts if part]


def _inline(path: Path) -> str:
    """A picture as an address that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
