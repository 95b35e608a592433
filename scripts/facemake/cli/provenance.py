"""facemake provenance: what made a file."""

from __future__ import annotations

import argparse
import json
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
        help="what made a table, an HDF5 file or a raw file of 3DI",
        description="Prints what made a file: settings, each model with its SHA-256, licence and "
        "citation, the fingerprint of the code. Of a raw file of 3DI, the word beside it.",
        epilog="example: facemake provenance results/aus/anna_01.parquet",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
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
        print(json.dumps(word, indent=2, ensure_ascii=False))
        return 0
    if (beside := options.file.with_name(f"{options.file.name}.json")).is_file():
        return _print_word(options.file, beside)
    if options.file.suffix not in (".parquet", ".h5", ".zip"):
        raise FacemakeError(
            f"{options.file} is no table (.parquet), no HDF5 file (.h5) and no file of 3DI's"
        )
    document = read_metadata(options.file)
    rows = registry()
    for recipe in [document["recipe"], *document["upstream"].values()]:
        for model in recipe["models"]:
            if model["name"] in rows:
                model["citation"] = rows[model["name"]].citation
    print(json.dumps(document, indent=2, ensure_ascii=False))
    return 0


def _print_word(file: Path, beside: Path) -> int:
    """Of an exported file, what the JSON beside it says."""
    try:
        word = json.loads(beside.read_text(encoding="utf-8"))
        made = word["made_by"].startswith("facemake") and "stages" in word
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        made = False
    if not made:
        raise FacemakeError(f"{file} was not exported by facemake")
    print(json.dumps(word, indent=2, ensure_ascii=False))
    return 0
