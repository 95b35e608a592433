"""How well both networks learn the labels of a training set, on examples that are held out of it.

Frames are held out in one of two ways, of each video by itself:

* `blocks`: every fifth block of 24 consecutive frames; the 8 frames before and behind it are in
  neither part, since neighbouring frames are nearly one;
* `frames`: every sixth frame. Its neighbours are trained with, so that this says little of faces
  that were not seen.

What is printed is of the last epoch, which nothing was chosen by, and beside it that of the epoch
with the lowest loss, which the held-out examples chose. An action unit varies where its labels'
standard deviation over the held-out examples is 0.3 and more. Everything is agreement with the
labels of the training set, on people that the network has seen.

What can be expected of so few examples is said by ridge regression from the landmarks themselves,
which no network finds so exactly, trained and held out alike.
"""

from __future__ import annotations

import json
import os
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from facemake.nn.action_units import AU_NAMES
from facemake.nn.metrics import au_metrics
from facemake.runtime.job import THREAD_VARIABLES

_EVERY_BLOCK, _BLOCK, _GAP = 5, 24, 8
_EVERY_FRAME = 6
_RIDGE = 10.0
_HIGHEST = 5.0
VARIES = 0.3
"""Standard deviation of an intensity (0-5) from which on its correlation counts."""


def run(
    folder: Path, data: Path, hold_out: str, network: str, width_mult: float, epochs: int
) -> None:
    """Train the networks, and print how far they agree with the labels of held-out examples.

    Args:
        folder: for what is made.
        data: a training set.
        hold_out: `blocks` or `frames`.
        network: `landmark_pose`, `au_prediction` or `both`.
        width_mult: of the networks.
        epochs: of each training.
    """
    import torch

    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    torch.set_num_threads(1)
    divided = folder / "divided.h5"
    shutil.copyfile(data, divided)
    spread = divide(divided, hold_out)
    for name in ("landmark_pose", "au_prediction") if network == "both" else (network,):
        output = folder / name
        words = ["--data", divided, "--output", output, "--epochs", epochs, "--patience", epochs]
        words += ["--width-mult", width_mult, "--num-workers", 0, "--device", "cpu"]
        words += ["--save-every", epochs]
        if import_module(f"facemake.nn.train_{name}").main([str(word) for word in words]):
            raise SystemExit(f"{name} was not trained")
        history = json.loads((output / "training_history.json").read_text(encoding="utf-8"))
        val = history["val"]
        best = min(range(len(val)), key=lambda i: val[i]["loss"])
        print(f"{name}, width_mult {width_mult:g}, {data.name} held out in {hold_out}:")
        for epoch in dict.fromkeys((len(val) - 1, best)):
            print(f"  epoch {epoch + 1} of {len(val)}: {_words(val[epoch], spread)}")
        if name == "au_prediction":
            print(f"  ridge regression from exact landmarks: {_words(_ridge(divided), spread)}")


def divide(path: Path, hold_out: str) -> dict[str, float]:
    """Write into a training set which examples are for what; the labels' spread over those held.

    Args:
        path: of the file, which is changed.
        hold_out: `blocks` or `frames`.
    """
    with h5py.File(path, "r+") as file:
        videos = file["metadata/video_names"].asstr()[:]
        frames = file["metadata/frame_indices"][:]
        splits = np.full(len(videos), "train", object)
        for video in dict.fromkeys(videos):
            rows = np.flatnonzero(videos == video)
            rows = rows[np.argsort(frames[rows], kind="stable")]
            splits[rows] = _parts(len(rows), hold_out)
        file["metadata/split"][:] = splits
        held = splits == "val"
        print(
            f"{path.name}: {(splits == 'train').sum()} examples to train with, {held.sum()} held "
            f"out, {(splits == '').sum()} in neither"
        )
        spread = np.nanstd(file["au_intensities"][:][held].astype(np.float64), axis=0)
    return dict(zip(AU_NAMES, spread.tolist(), strict=True))


def _parts(n: int, hold_out: str) -> np.ndarray[Any, Any]:
    """(n,) of consecutive frames: `train`, `val`, or an empty text for neither."""
    parts = np.full(n, "train", object)
    if hold_out == "frames":
        parts[_EVERY_FRAME // 2 :: _EVERY_FRAME] = "val"
        return parts
    held = np.arange(n) // _BLOCK % _EVERY_BLOCK == _EVERY_BLOCK // 2
    near = np.convolve(held, np.ones(2 * _GAP + 1), "same") > 0
    parts[near] = ""
    parts[held] = "val"
    return parts


def _ridge(path: Path) -> dict[str, Any]:
    """The metrics of action units that are a linear function of the labelled landmarks."""
    with h5py.File(path, "r") as file:
        splits = file["metadata/split"].asstr()[:]
        points = file["landmarks"][:].reshape(len(splits), -1).astype(np.float64)
        wanted = file["au_intensities"][:].astype(np.float64)
    train, held = splits == "train", splits == "val"
    middle, spread = points[train].mean(axis=0), points[train].std(axis=0)
    x = np.column_stack([(points - middle) / spread, np.ones(len(points))])
    square = x[train].T @ x[train] + _RIDGE * np.eye(x.shape[1])
    found = x[held] @ np.linalg.solve(square, x[train].T @ wanted[train])
    return au_metrics(np.clip(found, 0.0, _HIGHEST), wanted[held])


def _words(epoch: dict[str, Any], spread: dict[str, float]) -> str:
    if "landmark_mae" in epoch:
        return (
            f"landmarks off by {epoch['landmark_mae']:.2f} px, correlation "
            f"{epoch['landmark_correlation']:.4f}, of each coordinate by itself "
            f"{epoch['landmark_correlation_within']:.3f}"
        )
    vary = [name for name, sd in spread.items() if sd >= VARIES]
    each = {name: epoch[f"corr_{name}"] for name in vary}
    mae = np.mean([epoch[f"mae_{name}"] for name in vary])
    return (
        f"of {len(vary)} action units that vary, mean correlation "
        f"{np.mean(list(each.values())):.3f}, MAE {mae:.3f} (of all 17: {epoch['mean_mae']:.3f}): "
        + ", ".join(f"{name[:4]} {r:.2f}" for name, r in each.items())
    )
