"""Arguments that several commands take alike."""

from __future__ import annotations

import argparse
from pathlib import Path


def count(text: str) -> int:
    """A number from 1 on, of an argument."""
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Where networks compute."""
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)"
    )


def add_models_dir(
    parser: argparse.ArgumentParser, words: str = "a folder of models to search first"
) -> None:
    """A folder for `facemake.models.use_models_dir`."""
    parser.add_argument("--models-dir", type=Path, metavar="DIR", help=words)


def add_results(parser: argparse.ArgumentParser) -> None:
    """Which finished run."""
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="the results of a run (default: results)",
    )


def add_models_dir_of_run(parser: argparse.ArgumentParser) -> None:
    """The same of a command that looks at a finished run."""
    add_models_dir(parser, "the run's models_dir, if it has one")
