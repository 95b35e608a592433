"""facemake provenance: what made a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError
from facemake.models import registry
from facemake.shards import read_metadata


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "provenance", help="what made a table or HDF5 file, with each model's licence and citation"
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.set_defaults(function=_provenance)


def _provenance(options: argparse.Namespace, rest: list[str]) -> int:
    if options.file.is_dir():
        raise FacemakeError(f"{options.file} is a folder; name a file in it")
    if not options.file.is_file():
        raise FacemakeError(f"there is no file {options.file}")
    if options.file.suffix not in (".parquet", ".h5"):
        raise FacemakeError(f"{options.file} is neither a Parquet table nor an HDF5 file")
    document = read_metadata(options.file)
    rows = registry()
    for recipe in [document["recipe"], *document["upstream"].values()]:
        for model in recipe["models"]:
            if model["name"] in rows:
                model["citation"] = rows[model["name"]].citation
    print(json.dumps(document, indent=2, ensure_ascii=False))
    return 0
