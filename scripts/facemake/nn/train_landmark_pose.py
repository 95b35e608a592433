"""python -m facemake.nn.train_landmark_pose: train `UnifiedLandmarkPoseNet`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from facemake.nn.command import main_of
from facemake.nn.options import LandmarkPoseOptions

if TYPE_CHECKING:
    from facemake.nn.training import Task

NETWORK = "landmark_pose"


def task() -> Task:
    """What is trained, and for what."""
    from facemake.nn.export import export_to_coreml, export_to_onnx
    from facemake.nn.landmark_pose_net import OUTPUTS, UnifiedLandmarkPoseNet
    from facemake.nn.losses import LandmarkPoseLoss
    from facemake.nn.metrics import landmark_metrics
    from facemake.nn.training import Outputs, Task

    def outputs(found: Mapping[str, object]) -> Outputs:
        return dict(found)

    def make(options: LandmarkPoseOptions) -> UnifiedLandmarkPoseNet:
        return UnifiedLandmarkPoseNet(width_mult=options.width_mult)

    def loss(options: LandmarkPoseOptions) -> LandmarkPoseLoss:
        return LandmarkPoseLoss(options.lm_weight, options.gp_weight, options.lp_weight)

    return Task(
        network=NETWORK,
        labels=OUTPUTS,
        make=make,
        loss=loss,
        outputs=outputs,
        losses={
            "landmark": "landmark_loss",
            "global_params": "global_params_loss",
            "local_params": "local_params_loss",
        },
        metrics=landmark_metrics,
        words=(
            ("landmark_mae", "landmarks off by {:.2f} px"),
            ("landmark_correlation", "correlation {:.4f}"),
        ),
        to_onnx=export_to_onnx,
        to_coreml=export_to_coreml,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by the options of a command line; returns the exit code."""
    return main_of(LandmarkPoseOptions, NETWORK, __name__, task, arguments)


if __name__ == "__main__":
    sys.exit(main())
