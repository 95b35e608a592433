"""What a detector says of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one frame, by falling score.

    Attributes:
        bbox: (n, 4) float32 x, y, w, h in pixels, top-left origin.
        score: (n,) float32, 0-1, the detector's own.
        keypoints5: (n, 5, 2) float32 pixels: image-left eye, image-right eye, nose, image-left and
            image-right mouth corner; NaN where the detector has no such point.
    """

    bbox: NDArray[np.float32]
    score: NDArray[np.float32]
    keypoints5: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.score)
        if self.bbox.shape != (n, 4) or self.keypoints5.shape != (n, 5, 2):
            raise ValueError(
                f"expected bbox ({n}, 4) and keypoints5 ({n}, 5, 2), got {self.bbox.shape} and "
                f"{self.keypoints5.shape}"
            )
