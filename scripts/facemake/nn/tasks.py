"""The two trainings: which network, on which labels, by which loss and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from facemake.nn.options import AUPredictionOptions, LandmarkPoseOptions

if TYPE_CHECKING:
    import torch

Outputs = dict[str, "torch.Tensor"]
Arrays = dict[str, NDArray[np.float32]]


_SLIGHT: Mapping[str, float] = MappingProxyType(
    {"turn": 4.0, "zoom": 0.04, "shift": 2.0, "blur": 0.1, "occlusion": 0.1, "covered": 0.25}
)
"""For action units. One of little movement lowers a brow by less than a pixel of the crop, and what
is covered cannot be told from a label that stays. A shift of 2 px is about what crops of
`FaceAligner` are off (`facemake.nn.face_aligner`)."""


@dataclass(frozen=True)
class Task:
    """One of the networks, and what it is trained for.

    Attributes:
        network: its name, of files and in checkpoints.
        labels: of the training set.
        make: from options.
        loss: from options; a module that takes outputs and labels and gives losses by name.
        outputs: what the network gives, by the labels' names.
        losses: name of a loss -> its key in the history.
        metrics: of all predictions and labels of an epoch.
        words: metrics as a line says them: key, words with its place.
        to_onnx: model and path.
        to_coreml: model and path.
        au_names: of the history; None: none.
        augmentation: fields of `facemake.nn.augment.Augmentation` that are not as by default.
        leave_out: has a loss leave out what does not move, by the labels' standard deviations, and
            says which of `au_names` these are; None: nothing is left out.
    """

    network: str
    labels: tuple[str, ...]
    make: Callable[[Any], torch.nn.Module]
    loss: Callable[[Any], torch.nn.Module]
    outputs: Callable[[Any], Outputs]
    losses: Mapping[str, str]
    metrics: Callable[[Arrays, Arrays], dict[str, float]]
    words: Sequence[tuple[str, str]]
    to_onnx: Callable[[torch.nn.Module, Path], Path]
    to_coreml: Callable[[torch.nn.Module, Path], Path]
    au_names: Sequence[str] | None = None
    augmentation: Mapping[str, float] = field(default_factory=dict)
    leave_out: Callable[[Any, Outputs], list[int]] | None = None


def landmark_pose() -> Task:
    """Of `UnifiedLandmarkPoseNet`."""
    from facemake.nn.export import export_to_coreml, export_to_onnx
    from facemake.nn.landmark_pose_net import OUTPUTS, UnifiedLandmarkPoseNet
    from facemake.nn.losses import LandmarkPoseLoss
    from facemake.nn.metrics import landmark_metrics

    def outputs(found: Mapping[str, object]) -> Outputs:
        return dict(found)

    def make(options: LandmarkPoseOptions) -> UnifiedLandmarkPoseNet:
        return UnifiedLandmarkPoseNet(width_mult=options.width_mult)

    def loss(options: LandmarkPoseOptions) -> LandmarkPoseLoss:
        return LandmarkPoseLoss(options.lm_weight, options.gp_weight, options.lp_weight)

    return Task(
        network="landmark_pose",
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


def au_prediction() -> Task:
    """Of `AUPredictionNet`."""
    from facemake.nn.action_units import AU_NAMES
    from facemake.nn.au_prediction_net import OUTPUTS, AUPredictionNet
    from facemake.nn.export import export_au_to_coreml, export_au_to_onnx
    from facemake.nn.losses import AUPredictionLoss
    from facemake.nn.metrics import au_metrics

    (label,) = OUTPUTS

    def outputs(found: Any) -> Outputs:
        return {label: found}

    def metrics(found: Arrays, wanted: Arrays) -> dict[str, float]:
        return au_metrics(found[label], wanted[label])

    def make(options: AUPredictionOptions) -> AUPredictionNet:
        return AUPredictionNet(width_mult=options.width_mult, dropout=options.dropout)

    def loss(options: AUPredictionOptions) -> AUPredictionLoss:
        return AUPredictionLoss(options.l1_weight, options.ccc_weight)

    def leave_out(criterion: AUPredictionLoss, spreads: Outputs) -> list[int]:
        return criterion.leave_out(spreads[label])

    return Task(
        network="au_prediction",
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
        augmentation=_SLIGHT,
        leave_out=leave_out,
    )


TASKS: dict[str, Callable[[], Task]] = {
    "landmark_pose": landmark_pose,
    "au_prediction": au_prediction,
}
"""By network, which is also the name of its files."""
