"""OpenCV's face detector in its dnn samples: SSD on ResNet-10 at 300 px, by cv2.dnn."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Picture
from facemake.backends.detect.boxes import above
from facemake.detections import Detections
from facemake.errors import ModelError
from facemake.models import model_path

# opencv/samples/dnn/face_detector: BGR, this mean, no scale
_SIZE = 300
_MEAN = (104.0, 177.0, 123.0)
PROTOTXT = "res10_ssd_prototxt"


class Ssd:
    """The detector. Its score is a softmax; it has no points.

    Pictures are squeezed to 300 x 300 whatever their shape, as the network was trained.

    Args:
        model: the weights (a Caffe model) in the registry.
        min_score: detections below it are left out (0-1).

    Raises:
        ModelError: a file is missing or another network.
    """

    batch_size = 1

    def __init__(self, model: str, min_score: float) -> None:
        cv2.setNumThreads(1)
        weights, prototxt = model_path(model), model_path(PROTOTXT)
        self._min_score = min_score
        try:
            self._network = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
            rows = self._rows(np.zeros((_SIZE, _SIZE, 3), np.uint8))
        except cv2.error as error:
            raise ModelError(
                f"{weights} and {prototxt} cannot be loaded as a Caffe network by OpenCV "
                f"{cv2.__version__}; if one is cut off, get it again: {error.err}"
            ) from None
        if rows.shape[1] != 7:
            raise ModelError(
                f"{weights} is no SSD: its detections have {rows.shape[1]} values, wanted are 7"
            )

    def _rows(self, rgb: Picture) -> NDArray[np.float32]:
        """(n, 7): picture, class, score, and the corners x1 y1 x2 y2 in parts of the picture."""
        small = cv2.resize(rgb, (_SIZE, _SIZE))
        self._network.setInput(cv2.dnn.blobFromImage(small, 1.0, None, _MEAN, swapRB=True))
        found = self._network.forward()
        return np.asarray(found.reshape(-1, found.shape[-1]), np.float32)

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [self._detected(rgb) for rgb in pictures]

    def _detected(self, rgb: Picture) -> Detections:
        height, width = rgb.shape[:2]
        rows = self._rows(rgb)
        # what it is not sure of at all it gives with corners outside of the picture
        low, high = rows[:, 3:5], rows[:, 5:7]
        rows = rows[
            above(rows[:, 2], self._min_score) & (low < 1).all(axis=1) & (high > low).all(1)
        ]
        rows = rows[np.argsort(-rows[:, 2], kind="stable")]
        corners = rows[:, 3:7].astype(np.float64) * (width, height, width, height)
        boxes = np.concatenate([corners[:, :2] - 0.5, corners[:, 2:] - corners[:, :2]], axis=1)
        return Detections(
            boxes.astype(np.float32),
            rows[:, 2].copy(),
            np.full((len(rows), 5, 2), np.nan, np.float32),
        )

    def close(self) -> None:
        """Free the model."""
        del self._network


def create(model: str, min_score: float, device: str) -> Ssd:
    """What the registry calls."""
    return Ssd(model, min_score)
