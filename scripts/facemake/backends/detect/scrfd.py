"""SCRFD with key points (Guo et al. 2021, arXiv:2105.04714), in ONNX as insightface exports it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Picture
from facemake.backends.detect.boxes import Letterbox, best, letterbox, network_input
from facemake.backends.onnx_model import open_network
from facemake.detections import Detections

# insightface's: model_zoo/scrfd.py
_STRIDES = (8, 16, 32)
_ANCHORS = 2
_MEAN, _STD = 127.5, 128.0
_OVERLAP = 0.4
_INPUT = 640  # px, where the network leaves its size open


class Scrfd:
    """The detector. Its scores are sigmoid already; it has all five points.

    Args:
        model: in the registry, or a file of the user's: nine outputs, scores, boxes and key points
            of three strides with two anchors.
        min_score: detections below it are left out (0-1).
        device: `cpu` or `cuda`.

    Raises:
        ModelError: the file is missing or another network, or the device is not to be had.
    """

    def __init__(self, model: str, min_score: float, device: str) -> None:
        self._network = open_network(
            model,
            device,
            "SCRFD with key points",
            "are three outputs of scores (…, 1), three of boxes (…, 4) and three of key points "
            "(…, 10)",
            lambda it: (
                it.input_shape[0] in (3, None)
                and [s[-1] for s in it.output_shapes] == [1] * 3 + [4] * 3 + [10] * 3
            ),
        )
        self.batch_size = self._network.batch_size
        self._min_score = min_score
        _, height, width = self._network.input_shape
        self._height, self._width = height or _INPUT, width or _INPUT
        self._origins = [_origins(self._height, self._width, stride) for stride in _STRIDES]

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        boxed = [
            letterbox(rgb, self._height, self._width, centred=False, fill=0) for rgb in pictures
        ]
        inputs = network_input([pixels for pixels, _ in boxed], mean=_MEAN, std=_STD)
        outputs = self._network(inputs)
        n = len(pictures)
        # a network of a free batch gives the rows of all pictures as one list
        by_picture = [o.reshape(n, -1, o.shape[-1]) for o in outputs]
        return [
            self._decoded([rows[i] for rows in by_picture], where)
            for i, (_, where) in enumerate(boxed)
        ]

    def _decoded(self, outputs: Sequence[NDArray[np.float32]], where: Letterbox) -> Detections:
        corners, scores, points = [], [], []
        for level, stride in enumerate(_STRIDES):
            score, distances, offsets = (outputs[kind * len(_STRIDES) + level] for kind in range(3))
            sure = np.flatnonzero(score[:, 0] >= self._min_score)
            origin = self._origins[level][sure]
            sides = distances[sure].astype(np.float64) * stride
            corners.append(np.concatenate([origin - sides[:, :2], origin + sides[:, 2:]], axis=1))
            moved = offsets[sure].astype(np.float64).reshape(-1, 5, 2) * stride
            points.append(origin[:, None] + moved)
            scores.append(score[sure, 0])
        boxes = where.back(np.concatenate(corners).reshape(-1, 2, 2)).reshape(-1, 4)
        return best(
            boxes, np.concatenate(scores), where.back(np.concatenate(points)), overlap=_OVERLAP
        )

    def close(self) -> None:
        """Free the model."""
        self._network.close()


def _origins(height: int, width: int, stride: int) -> NDArray[np.float64]:
    """(rows, 2) x, y in input pixels that the rows of a stride count from, anchors side by side."""
    y, x = np.mgrid[: height // stride, : width // stride]
    return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2) * float(stride), _ANCHORS, axis=0)


def create(model: str, min_score: float, device: str) -> Scrfd:
    """What the registry calls."""
    return Scrfd(model, min_score, device)
