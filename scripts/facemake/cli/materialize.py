"""facemake materialize: results that are links into the cache become files."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

from facemake.cli.run import live_owner
from facemake.errors import FacemakeError
from facemake.samples import WORK
from facemake.store import lock, users
from facemake.store.materialize import check, materialize
from facemake.store.words import size_text
from facemake.watch import run as runs


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "materialize",
        help="replace results that are links into the artifact cache with files",
        description="Replace each result that is a link into the artifact cache with a copy, so "
        "that the folder can be archived or moved to another machine and the cache deleted. No "
        "result is made again because of it. If interrupted, it continues where it stopped.",
        epilog="example: facemake materialize -d my_study --dry-run",
    )
    parser.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="the run's folder (default: this one)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show how much would be copied")
    parser.set_defaults(function=_materialize)


def _places(folder: Path) -> list[Path]:
    """The folder, and its last run's results where they lie elsewhere or are a link themselves."""
    try:
        results = (folder / runs.read(folder / WORK).outdir).resolve()
    except FacemakeError:
        return [folder]
    return [folder] if results.is_relative_to(folder.resolve()) else [folder, results]


def _materialize(options: argparse.Namespace, rest: list[str]) -> int:
    folder: Path = options.directory
    if not folder.is_dir():
        raise FacemakeError(f"there is no folder {folder}")
    if any((folder / ".snakemake" / "locks").glob("*")):
        owner = live_owner(folder)
        if owner is not None:
            raise FacemakeError(f"{owner} runs the workflow in {folder}; wait for it, or end it")
    found = [link for place in _places(folder) for link in users.links(place)]
    if not found:
        print(f"no result in {folder.resolve()} is a link into the cache")
        return 0
    stores = {link.target.parent.resolve() for link in found}
    for store in stores:
        if store.is_dir():
            lock.hold(store)
    size = check(found)
    if options.dry_run:
        print(f"{len(found)} links would become files of {size_text(size)}")
        return 0
    logger = logging.getLogger("facemake")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(sys.stderr))
    materialize(found)
    for store in stores:
        users.note_again(store, folder)
    print(f"{len(found)} links are files of {size_text(size)} now")
    return 0
