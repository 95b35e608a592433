"""Eyes of a face that a detector gave only a box of: the registry.

A detector's row names one of these (`DetectorBackend.eyes`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend


class EyeFinder(Protocol):
    """Finds the eyes of a face; what it saw before makes no difference."""

    def __call__(
        self, rgb: NDArray[np.uint8], bbox: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """The middles of both eyes.

        Args:
            rgb: (H, W, 3) uint8 RGB.
            bbox: (4,) x, y, w, h px of the face, as BlazeFace draws it (`detections.landmark_box`).

        Returns:
            (2, 2) float32 px, the image-left eye first; None where it does not see both.
        """
        ...


EYE_FINDERS: dict[str, Backend] = {
    "haar": Backend(
        module="facemake.backends.eyes.haar",
        models=("haar_eye",),
        stack="opencv",
        use="OpenCV's cascade of Haar features: near frontal faces with open eyes",
    ),
}


def eye_finder(name: str) -> EyeFinder:
    """The finder of that name.

    Raises:
        ModelError: its model is missing or not the registered one.
    """
    finder: EyeFinder = EYE_FINDERS[name].load().create()
    return finder
