"""facemake provenance: what made a file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facemake.backends.threedi import FACTS, sidecar
from facemake.errors import FacemakeError
from facemake.models import registry
from facemake.shards import read_metadata


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "provenance",
        help="print what made a table, an HDF5 file or one of 3DI's raw files",
        description="Print what made a file: the settings, each model with its SHA-256, licence "
        "and citation, and the fingerprint of the code. For one of 3DI's raw files, print its "
        "sidecar.",
        epilog="examples: facemake provenance results/aus/anna_01.parquet; "
        "facemake provenance --models results/dataset/training_data.h5",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a table, an HDF5 file or one of 3DI's raw files"
    )
    parser.add_argument(
        "--models",
        action="store_true",
        help="print only the models, each with its licence, citation and the stages that used it",
    )
    parser.set_defaults(function=_provenance)


def _provenance(options: argparse.Namespace, rest: list[str]) -> int:
    if options.file.is_dir():
        raise FacemakeError(f"{options.file} is a folder; name a file in it")
    if not options.file.is_file():
        raise FacemakeError(f"there is no file {options.file}")
    if options.file.suffix in {facts.suffix for facts in FACTS.values()}:
        word = sidecar.read(options.file)
        if word is None:
            raise FacemakeError(f"{options.file} has no {sidecar.sidecar_of(options.file).name}")
        if options.models:
            raise FacemakeError(
                f"the sidecar of {options.file} has no licences and citations: name a table of the "
                "run, or leave --models out"
            )
        print(json.dumps(word, indent=2, ensure_ascii=False))
        return 0
    if (beside := options.file.with_name(f"{options.file.name}.json")).is_file():
        return _print_word(options.file, beside, options.models)
    if options.file.suffix not in (".parquet", ".h5", ".zip"):
        raise FacemakeError(
            f"{options.file} is no table (.parquet), no HDF5 file (.h5) and no file of 3DI's"
        )
    document = read_metadata(options.file)
    if options.models:
        own = document["recipe"]
        return _print_models({**document["upstream"], own["stage"]: own})
    rows = registry()
    for recipe in [document["recipe"], *document["upstream"].values()]:
        for model in recipe["models"]:
            if model["name"] in rows:
                model["citation"] = rows[model["name"]].citation
    print(json.dumps(document, indent=2, ensure_ascii=False))
    return 0


def _print_models(recipes: Mapping[str, Any]) -> int:
    """What a paper has to name: a model a line, and below it what to cite."""
    stages: dict[str, list[str]] = {}
    models: dict[str, Any] = {}
    for stage, recipe in recipes.items():
        for model in recipe["models"]:
            stages.setdefault(model["name"], []).append(stage)
            models[model["name"]] = model
    rows = registry()
    for name, model in models.items():
        print(f"{name} ({', '.join(stages[name])}): {model.get('licence') or 'no licence known'}")
        print(f"  {rows[name].citation if name in rows else 'a file of your own'}")
    if not models:
        print("no models")
    return 0


def _print_word(file: Path, beside: Path, models: bool) -> int:
    """Of an exported file, what the JSON beside it says."""
    try:
        word = json.loads(beside.read_text(encoding="utf-8"))
        made = word["made_by"].startswith("facemake") and "stages" in word
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        made = False
    if not made:
        raise FacemakeError(f"{file} was not exported by facemake")
    if models:
        return _print_models(word["stages"])
    print(json.dumps(word, indent=2, ensure_ascii=False))
    return 0
