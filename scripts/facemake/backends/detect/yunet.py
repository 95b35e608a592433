"""YuNet (Wu et al. 2023), by OpenCV's FaceDetectorYN."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from facemake.backends.detect import Picture
from facemake.detections import Detections
from facemake.errors import ModelError
from facemake.models import model_path
from facemake.pins import again

_OVERLAP = 0.3  # OpenCV's own
_MOST = 5000
_LONGEST = 640
"""px: a larger picture is made this small first. The file that is registered was made for 640, and
what the network sees of faces of thousands of pixels is nothing that it was trained on."""
_SMALLEST = 10
"""px: the smallest faces that it was made for (OpenCV's face_detection_yunet). In a strip that is
narrower it sees faces at the rim of the padding."""
_NARROWEST = 64
"""px: what is narrower stands in black of this size. Up to 32 px, one row of the network's coarsest
cells, FaceDetectorYN of OpenCV 4.11 reads memory that is not its own: faces that differ from call
to call, some at infinity."""


class YuNet:
    """The detector. Its score is the root of class score times objectness; it has all five points.

    Args:
        model: in the registry, or a file of the user's that FaceDetectorYN reads.
        min_score: detections below it are left out (0-1).

    Raises:
        ModelError: the file is missing or another network.
    """

    batch_size = 1

    def __init__(self, model: str, min_score: float) -> None:
        cv2.setNumThreads(1)
        path = model_path(model)
        try:
            self._network = cv2.FaceDetectorYN.create(
                str(path), "", (_LONGEST, _LONGEST), min_score, _OVERLAP, _MOST
            )
            self._network.detect(np.zeros((_LONGEST, _LONGEST, 3), np.uint8))
        except cv2.error as error:
            raise ModelError(
                f"{path} cannot be loaded as a YuNet by OpenCV {cv2.__version__}; if it is cut "
                f"off, {again(path)}; if it is another network, name another file: {error.err}"
            ) from None

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [self._detected(rgb) for rgb in pictures]

    def _detected(self, rgb: Picture) -> Detections:
        height, width = rgb.shape[:2]
        scale = min(1.0, _LONGEST / max(height, width))
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        if min(bgr.shape[:2]) < _SMALLEST:
            return Detections.none()
        seen = bgr.shape[:2]
        if min(seen) < _NARROWEST:
            black = [max(0, _NARROWEST - side) for side in seen]
            bgr = cv2.copyMakeBorder(bgr, 0, black[0], 0, black[1], cv2.BORDER_CONSTANT)
        self._network.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, found = self._network.detect(bgr)
        rows = np.zeros((0, 15), np.float32) if found is None else found
        rows = rows[np.argsort(-rows[:, 14], kind="stable")]
        middles = rows[:, :2] + rows[:, 2:4] / 2
        rows = rows[(middles < seen[::-1]).all(axis=1)]
        back = (width / seen[1], height / seen[0])
        boxes = rows[:, :4] * np.tile(back, 2)
        boxes[:, :2] -= 0.5  # from the corner of the first pixel to its centre
        # it names points by the person's side; the right eye is the image's left one
        points = rows[:, 4:14].reshape(-1, 5, 2) * back - 0.5
        return Detections(
            boxes.astype(np.float32), rows[:, 14].astype(np.float32), points.astype(np.float32)
        )

    def close(self) -> None:
        """Free the model."""
        del self._network


def create(model: str, min_score: float, device: str) -> YuNet:
    """What the registry calls."""
    return YuNet(model, min_score)
