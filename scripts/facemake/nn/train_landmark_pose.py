"""python -m facemake.nn.train_landmark_pose: train `UnifiedLandmarkPoseNet`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from facemake.nn.command import main_of
from facemake.nn.options import LandmarkPoseOptions
from facemake.nn.tasks import landmark_pose as task

NETWORK = "landmark_pose"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by the options of a command line; returns the exit code."""
    return main_of(LandmarkPoseOptions, NETWORK, __name__, task, arguments)


if __name__ == "__main__":
    sys.exit(main())
