"""Checkpoints of training: files of `torch.save` that hold tensors, numbers and words alone.

They are read with `weights_only=True`, so that no code of a file is run. The keys are pyfaceau's,
and ours beside them:

| key | what |
|---|---|
| `model_state_dict` | the weights to predict with: the moving average of those that are trained |
| `optimizer_state_dict`, `scheduler_state_dict` | of AdamW, and of the learning rate |
| `epoch` | the last one that is done, from 0 |
| `best_val_loss` | the lowest one until then |
| `train_history`, `val_history` | a dict an epoch |
| `config` | `network`, and every option that decides what comes out |
| `metrics` | of that epoch, on the validation examples |
| `data` | SHA-256 of the training set, how many examples of it were used, how it was split |
| `facemake_version` | what wrote it |
| `training` | what an exact resumption needs: trained weights, random numbers, scaler, steps |
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemake.backends.torch_model import load_weights
from facemake.errors import ModelError
from facemake.runtime.atomic import replacing

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"
"""After each epoch: where an interrupted training goes on."""
BEST = "checkpoint_best.pt"
FINAL = "checkpoint_final.pt"

_STEMS = {
    "landmark_pose": "backbone.first_conv.0.weight",
    "au_prediction": "backbone.stem.0.weight",
}
"""Network -> its first convolution, which only that one has."""

_STEM_CHANNELS = 32

# Numbers of NumPy, which pyfaceau's histories have, are numbers: their classes run nothing.
_SCALAR: Any = np.core.multiarray.scalar  # type: ignore[attr-defined]
_NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]


def epoch_file(epoch: int) -> str:
    """Name of the checkpoint of the epoch'th epoch, counted from 1."""
    return f"checkpoint_epoch_{epoch:03d}.pt"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    with replacing(path) as beside, beside.open("wb") as file:
        torch.save(dict(content), file)


def read(path: Path, network: str | None = None) -> dict[str, Any]:
    """A checkpoint, ours or pyfaceau's, on the CPU. Of a bare state dict it is the one key.

    Args:
        path: of the file.
        network: `landmark_pose` or `au_prediction`, which it must be of; None: any.

    Raises:
        ModelError: it is not there, is damaged, holds something else, or is of another network.
    """
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"there is no checkpoint {path}") from None
    except pickle.UnpicklingError:
        # PyTorch's own words advise to run what is in it
        raise ModelError(
            f"{path} is no checkpoint of facemake.nn or pyfaceau.nn, or is cut short: it holds "
            "something else than tensors, numbers and words, and nothing of it was run"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        said = str(error).strip().split("\n")[0]
        raise ModelError(
            f"{path} is no checkpoint of facemake.nn or pyfaceau.nn, or is cut short: {said[:300]}"
        ) from None
    if _is_state(found):
        found = {"model_state_dict": found}
    if not isinstance(found, dict) or not _is_state(found.get("model_state_dict")):
        raise ModelError(f"{path} is no checkpoint: it has no model_state_dict of tensors")
    kind = network_of(found["model_state_dict"])
    if kind is None or network not in (None, kind):
        raise ModelError(
            f"{path} has the weights of {kind or 'another network'}, not of "
            f"{network or 'landmark_pose or au_prediction'}"
        )
    plain: dict[str, Any] = _plain(found)
    return plain


def network_of(weights: Mapping[str, Any]) -> str | None:
    """Of which network a state dict is: `landmark_pose`, `au_prediction`; None of another one."""
    return next((name for name, stem in _STEMS.items() if stem in weights), None)


def width_of(checkpoint: Mapping[str, Any]) -> float:
    """The width_mult of a checkpoint's network: as it says, or as its first convolution shows.

    Widths between two that give the same number of channels there cannot be told apart by it.
    """
    weights = checkpoint["model_state_dict"]
    width = checkpoint.get("config", {}).get("width_mult")
    if width is not None:
        return float(width)
    return float(weights[_STEMS[str(network_of(weights))]].shape[0] / _STEM_CHANNELS)


def give_weights(network: torch.nn.Module, path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Give a network the weights of a checkpoint.

    Raises:
        ModelError: they are of another width, or of another network; the message says of which.
    """
    weights = checkpoint["model_state_dict"]
    mine = network.state_dict()
    stem = _STEMS.get(network_of(weights) or "")
    if stem in mine and mine[stem].shape != weights[stem].shape:
        raise ModelError(
            f"{path} has a network with a width_mult of {width_of(checkpoint):g}, not of "
            f"{mine[stem].shape[0] / _STEM_CHANNELS:g}: give the width that it was trained with"
        )
    load_weights(network, path, weights)


def _is_state(found: object) -> bool:
    return (
        isinstance(found, Mapping)
        and bool(found)
        and all(isinstance(value, torch.Tensor) for value in found.values())
    )


def _plain(value: Any) -> Any:
    """With numbers of Python in place of NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return type(value)((key, _plain(one)) for key, one in value.items())
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value
