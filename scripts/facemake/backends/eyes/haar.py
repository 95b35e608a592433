"""OpenCV's Haar cascade for eyes (Lienhart's, in the package of OpenCV 4)."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.alignment import around
from facemake.detections import landmark_box
from facemake.errors import ModelError
from facemake.models import model_path

_SIDE = 200
"""px: every face is looked at in this size, so that large and small ones are seen alike."""
_STEP, _NEIGHBOURS = 1.1, 4
# In sides of the face's square: where eyes are, how large, and how far from each other.
_LOWEST = 0.62
_SMALLEST, _LARGEST = 0.12, 0.45
_NEAREST, _FARTHEST = 0.22, 0.65
_STEEPEST = 0.6  # height over width of the line through both


class HaarEyes:
    """The cascade."""

    def __init__(self) -> None:
        path = model_path("haar_eye")
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ModelError(f"{path} is no cascade that OpenCV reads")

    def __call__(
        self, rgb: NDArray[np.uint8], bbox: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """The pair that most of the cascade's windows agree on."""
        x, y, side, _ = (float(v) for v in landmark_box(bbox, (0.0, 0.0, 1.0)))
        if not side > 0:
            return None
        rgb, (left, top) = around(rgb, (x + side / 2, y + side / 2), side)
        x, y = x - left, y - top
        scale = _SIDE / side
        # from the middle of the picture's first pixel to that of the face's
        affine = np.array([[scale, 0, (scale - 1) / 2 - scale * (x + 0.5)]] * 2, np.float64)
        affine[1] = (0, scale, (scale - 1) / 2 - scale * (y + 0.5))
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        face = cv2.equalizeHist(
            cv2.warpAffine(
                grey, affine, (_SIDE, round(_SIDE * 0.75)), borderMode=cv2.BORDER_REPLICATE
            )
        )
        boxes, _, weights = self._cascade.detectMultiScale3(
            face,
            _STEP,
            _NEIGHBOURS,
            minSize=(round(_SMALLEST * _SIDE),) * 2,
            maxSize=(round(_LARGEST * _SIDE),) * 2,
            outputRejectLevels=True,
        )
        pair = _best_pair(np.asarray(boxes, np.float64).reshape(-1, 4), np.ravel(weights))
        if pair is None:
            return None
        eyes = (pair - affine[:, 2]) / scale
        return np.asarray(eyes + np.array((left, top)), np.float32)


def _best_pair(
    boxes: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """(2, 2) px, the left one first: the two that could be eyes of a face and are surest."""
    # a box x, y, w, h has its middle at x + (w - 1) / 2
    middles = boxes[:, :2] + (boxes[:, 2:] - 1) / 2
    best, most = None, -np.inf
    for i, j in combinations(range(len(boxes)), 2):
        left, right = sorted((i, j), key=lambda k: (middles[k, 0], k))
        across, down = (middles[right] - middles[left]) / _SIDE
        if not _NEAREST <= across <= _FARTHEST or abs(down) > _STEEPEST * across:
            continue
        if max(middles[i, 1], middles[j, 1]) > _LOWEST * _SIDE:
            continue
        if not middles[left, 0] < _SIDE * 0.6 or not middles[right, 0] > _SIDE * 0.4:
            continue
        # both must be sure, and of about one size
        alike = min(boxes[i, 2], boxes[j, 2]) / max(boxes[i, 2], boxes[j, 2])
        worth = float(min(weights[i], weights[j])) * alike
        if worth > most:
            best, most = np.stack([middles[left], middles[right]]), worth
    return best


def create() -> HaarEyes:
    """What the registry calls."""
    return HaarEyes()
