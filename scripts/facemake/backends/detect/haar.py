"""OpenCV's Haar cascade for frontal faces (Viola & Jones 2001; Lienhart & Maydt 2002)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facemake.backends.detect import Picture
from facemake.detections import Detections
from facemake.errors import ModelError
from facemake.models import packaged_model

# OpenCV's own defaults of detectMultiScale but for the steps between sizes, which are half as large
_SCALE, _NEIGHBOURS = 1.1, 3
_SMALLEST = 24  # px: the cascade's own window
_HALF_SURE = 4.0
"""The cascade's last stage gives a sum without an upper end; one of this size gets the score .5."""


class HaarCascade:
    """The detector. It has no points, and its score is no probability.

    A score is the weight of the last stage w >= 0 as w / (w + 4): it rises with it and stays below
    1, which is all that a cascade knows.

    Args:
        model: the cascade's file in the registry.
        min_score: detections below it are left out (0-1).

    Raises:
        ModelError: the cascade is missing or not the registered one.
    """

    batch_size = 1

    def __init__(self, model: str, min_score: float) -> None:
        cv2.setNumThreads(1)
        path = packaged_model(model)
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ModelError(f"{path} cannot be loaded as a cascade by OpenCV {cv2.__version__}")
        self._min_score = min_score

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [self._detected(rgb) for rgb in pictures]

    def _detected(self, rgb: Picture) -> Detections:
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=_SCALE,
            minNeighbors=_NEIGHBOURS,
            minSize=(_SMALLEST, _SMALLEST),
            outputRejectLevels=True,
        )
        bbox = np.array(boxes, np.float32).reshape(-1, 4)
        weight = np.maximum(np.array(weights, np.float64).reshape(-1), 0)
        score = weight / (weight + _HALF_SURE)
        order = np.argsort(-score, kind="stable")
        order = order[score[order] >= self._min_score]
        bbox[:, :2] -= 0.5  # from the corner of the first pixel to its centre
        return Detections(
            bbox[order],
            score[order].astype(np.float32),
            np.full((len(order), 5, 2), np.nan, np.float32),
        )

    def close(self) -> None:
        """Free the model."""
        del self._cascade


def create(model: str, min_score: float, device: str) -> HaarCascade:
    """What the registry calls."""
    return HaarCascade(model, min_score)
