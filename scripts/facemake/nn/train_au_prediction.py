"""python -m facemake.nn.train_au_prediction: train `AUPredictionNet`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from facemake.nn.command import main_of
from facemake.nn.options import AUPredictionOptions
from facemake.nn.tasks import au_prediction as task

NETWORK = "au_prediction"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by the options of a command line; returns the exit code."""
    return main_of(AUPredictionOptions, NETWORK, __name__, task, arguments)


if __name__ == "__main__":
    sys.exit(main())
