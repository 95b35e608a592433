"""Ultra-Light-Fast-Generic-Face-Detector-1MB, version RFB-320 (Linzaer 2019), in ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facemake.backends.detect import Picture
from facemake.backends.detect.boxes import above, best, network_input
from facemake.backends.onnx_model import open_network
from facemake.detections import Detections

# its maker's: vision/ssd/config/fd_config.py, and the run of its ONNX file
_MEAN, _STD = 127.0, 128.0
_OVERLAP = 0.3


class UltraLight:
    """The detector. Its score is a softmax; it has no points.

    Pictures are squeezed to 320 x 240 whatever their shape, as the network was trained.

    Args:
        model: in the registry, or a file of the user's: scores (n, rows, 2), and boxes (n, rows, 4)
            as corners in parts of the picture.
        min_score: detections below it are left out (0-1).
        device: `cpu` or `cuda`.

    Raises:
        ModelError: the file is missing or another network, or the device is not to be had.
    """

    def __init__(self, model: str, min_score: float, device: str) -> None:
        self._network = open_network(
            model,
            device,
            "Ultra-Light detector",
            "are pictures of one size, scores (n, rows, 2) and boxes (n, rows, 4)",
            lambda it: (
                it.input_shape[0] in (3, None)
                and None not in it.input_shape[1:]
                and [(len(s), *s[-1:]) for s in it.output_shapes] == [(3, 2), (3, 4)]
                and it.output_shapes[0][1] == it.output_shapes[1][1]
            ),
        )
        self.batch_size = self._network.batch_size
        self._min_score = min_score
        _, height, width = self._network.input_shape
        self._size = (int(width or 0), int(height or 0))

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [found for some in self._network.portions(pictures) for found in self._look(some)]

    def _look(self, pictures: Sequence[Picture]) -> list[Detections]:
        small = [cv2.resize(rgb, self._size) for rgb in pictures]
        inputs = network_input(small, mean=_MEAN, std=_STD)
        scores, boxes = self._network(inputs)
        result = []
        for i, rgb in enumerate(pictures):
            sure = above(scores[i, :, 1], self._min_score)
            height, width = rgb.shape[:2]
            corners = boxes[i, sure].astype(np.float64) * (width, height, width, height)
            nowhere = np.full((len(corners), 5, 2), np.nan)
            result.append(best(corners, scores[i, sure, 1], nowhere, overlap=_OVERLAP))
        return result

    def close(self) -> None:
        """Free the model."""
        self._network.close()


def create(model: str, min_score: float, device: str) -> UltraLight:
    """What the registry calls."""
    return UltraLight(model, min_score, device)
