"""Small networks as training leaves them, but for the training: weights are random.

The landmark network's last bias is the mean face, so that its points lie about where a face has
them, and hang on what is seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

WIDTH = 0.25


def mean_face() -> np.ndarray:
    """(68, 2) crop pixels of the built-in model's mean."""
    from facemake.backends.fit import load
    from facemake.template import CROP_SIZE

    xy = 0.7 * load("builtin").mean[:, :2]
    return xy - (xy.min(axis=0) + xy.max(axis=0)) / 2 + (CROP_SIZE - 1) / 2


def _save(folder: Path, network, config: dict | None) -> None:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "epoch": 3,
        "model_state_dict": network.state_dict(),
        "optimizer_state_dict": {"state": {}, "param_groups": []},
        "scheduler_state_dict": {},
        "best_val_loss": np.float64(1.5),  # pyfaceau has numbers of NumPy there
        "train_history": [{"loss": 2.0}],
        "val_history": [{"loss": np.float64(1.5)}],
        **({} if config is None else {"config": config}),
    }
    torch.save(content, folder / "checkpoint_best.pt")


def landmark_pose(folder: Path, *, theirs: bool = False, width: float = WIDTH, bias: float = 1.0):
    """`checkpoint_best.pt` and `landmark_pose.onnx` of a UnifiedLandmarkPoseNet.

    Args:
        folder: is made.
        theirs: a checkpoint as pyfaceau writes it, without our keys.
        width: `width_mult`.
        bias: how much of the mean face is in it; 0: all points lie about the middle.
    """
    import torch

    from facemake import nn

    torch.set_num_threads(1)
    torch.manual_seed(1)
    network = nn.UnifiedLandmarkPoseNet(width_mult=width).eval()
    last = network.landmark_head.fc[5]
    place = torch.tensor(mean_face().ravel() / 112, dtype=torch.float32)
    last.bias.data = bias * torch.logit(place)
    _save(folder, network, None if theirs else {"network": "landmark_pose", "width_mult": width})
    nn.export_to_onnx(network, folder / "landmark_pose.onnx")
    return network


def au_prediction(folder: Path, *, theirs: bool = False, width: float = WIDTH):
    """`checkpoint_best.pt` and `au_prediction.onnx` of an AUPredictionNet; see `landmark_pose`."""
    import torch

    from facemake import nn

    torch.set_num_threads(1)
    torch.manual_seed(2)
    network = nn.AUPredictionNet(width_mult=width).eval()
    last = network.au_head.fc[6]
    last.bias.data = torch.linspace(0.2, 4.0, nn.NUM_AUS)
    _save(folder, network, None if theirs else {"network": "au_prediction", "width_mult": width})
    nn.export_au_to_onnx(network, folder / "au_prediction.onnx")
    return network
