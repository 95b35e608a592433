"""The two functions of torchvision that facenet-pytorch calls, where that cannot be imported.

facenet-pytorch 2.6.0 wants torchvision for non-maximum suppression and for pictures as tensors, and
imports it for nothing else here. torchvision is compiled against one build of torch; on another (a
CPU build of torch beside PyPI's torchvision, say) it does not import at all.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch

from facemake.backends.detect.boxes import not_suppressed


def provide() -> None:
    """Let `torchvision` be imported: the real one, or in its place these two functions."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # the latter where it does not fit torch
        names = ("", ".transforms", ".transforms.functional", ".ops", ".ops.boxes")
        modules = {name: ModuleType(f"torchvision{name}") for name in names}
        for name, module in modules.items():
            module.__doc__ = "facemake.backends.torchvision_parts in place of torchvision"
            sys.modules[f"torchvision{name}"] = module
            parent, _, own = name.rpartition(".")
            if own:
                setattr(modules[parent], own, module)
        functional: Any = modules[".transforms.functional"]
        functional.to_tensor = to_tensor
        boxes: Any = modules[".ops.boxes"]
        boxes.batched_nms = batched_nms


def to_tensor(picture: Any) -> torch.Tensor:
    """(H, W, C) uint8 picture (Pillow's or an array) to (C, H, W) float32 of 0 to 1.

    An array of float32 keeps its values, as in torchvision.
    """
    pixels = np.atleast_3d(np.asarray(picture))
    if pixels.dtype not in (np.uint8, np.float32):
        raise TypeError(f"expected a picture of uint8 or an array of float32, got {pixels.dtype}")
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float()
    return planes / 255 if pixels.dtype == np.uint8 else planes


def batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Greedy non-maximum suppression within each group.

    Args:
        boxes: (n, 4) x1 y1 x2 y2.
        scores: (n,).
        idxs: (n,) the group of each box.
        iou_threshold: of two boxes of a group that overlap by more, the surer stays.

    Returns:
        (k,) int64 indices of those that stay, by falling score.
    """
    corners = boxes.detach().cpu().numpy().astype(np.float64)
    order = np.argsort(-scores.detach().cpu().numpy(), kind="stable")
    groups = idxs.detach().cpu().numpy()[order]
    kept = order[not_suppressed(corners[order], iou_threshold, groups)]
    return torch.as_tensor(kept.astype(np.int64), device=boxes.device)
