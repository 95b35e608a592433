"""Landmark networks: the registry, and what each of them gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The landmarks of one face.

    Attributes:
        points: (K, 2) float32 pixels of the frame.
        depth: (K,) float32 pixels of the frame, away from the camera; NaN where there is none.
        confidence: 0-1, the network's belief that there is a face.
    """

    points: NDArray[np.float32]
    depth: NDArray[np.float32]
    confidence: float


class Landmarker(Protocol):
    """Finds the landmarks of one face in one picture; what it saw before makes no difference."""

    scheme: str

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        bbox: NDArray[np.float32],
        keypoints5: NDArray[np.float32],
    ) -> Landmarks | None:
        """Landmarks of the face at `bbox` (x, y, w, h px) with the detector's five points.

        None where the network gives nothing.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(frozen=True, kw_only=True)
class LandmarkBackend(Backend):
    """A landmark network's row.

    Attributes:
        scheme: the scheme of its points (`facemake.schemes`).
    """

    scheme: str


LANDMARKERS: dict[str, LandmarkBackend] = {
    "mediapipe478": LandmarkBackend(
        module="facemake.backends.landmarks.facemesh",
        models=("facemesh_attention",),
        stack="mediapipe",
        use="the default: 468 points of the face and 10 of the irises, on a CPU",
        scheme="mediapipe478",
    ),
}
