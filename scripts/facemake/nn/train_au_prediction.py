"""python -m facemake.nn.train_au_prediction: train `AUPredictionNet`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from facemake.nn.command import main_of
from facemake.nn.options import AUPredictionOptions

if TYPE_CHECKING:
    from facemake.nn.training import Task

NETWORK = "au_prediction"


def task() -> Task:
    """What is trained, and for what."""
    from facemake.nn.action_units import AU_NAMES
    from facemake.nn.au_prediction_net import OUTPUTS, AUPredictionNet
    from facemake.nn.export import export_au_to_coreml, export_au_to_onnx
    from facemake.nn.losses import AUPredictionLoss
    from facemake.nn.metrics import au_metrics
    from facemake.nn.training import Arrays, Outputs, Task

    (label,) = OUTPUTS

    def outputs(found: Any) -> Outputs:
        return {label: found}

    def metrics(found: Arrays, wanted: Arrays) -> dict[str, float]:
        return au_metrics(found[label], wanted[label])

    def make(options: AUPredictionOptions) -> AUPredictionNet:
        return AUPredictionNet(width_mult=options.width_mult, dropout=options.dropout)

    def loss(options: AUPredictionOptions) -> AUPredictionLoss:
        return AUPredictionLoss(options.l1_weight, options.ccc_weight)

    return Task(
        network=NETWORK,
        labels=OUTPUTS,
        make=make,
        loss=loss,
        outputs=outputs,
        losses={"smooth_l1": "smooth_l1", "ccc_loss": "ccc_loss"},
        metrics=metrics,
        words=(
            ("mean_mae", "intensities off by {:.3f}"),
            ("mean_correlation", "correlation {:.3f}"),
        ),
        to_onnx=export_au_to_onnx,
        to_coreml=export_au_to_coreml,
        au_names=AU_NAMES,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train by the options of a command line; returns the exit code."""
    return main_of(AUPredictionOptions, NETWORK, __name__, task, arguments)


if __name__ == "__main__":
    sys.exit(main())
