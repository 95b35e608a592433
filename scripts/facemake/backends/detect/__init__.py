"""Face detectors: the registry, and what each of them gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend
from facemake.detections import Detections


class Detector(Protocol):
    """Finds the faces of one picture; what it saw before makes no difference."""

    def __call__(self, rgb: NDArray[np.uint8]) -> Detections:
        """Detect in an (H, W, 3) uint8 RGB picture."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(frozen=True, kw_only=True)
class DetectorBackend(Backend):
    """A detector's row: a score means something else in each, so its thresholds stand here.

    Attributes:
        min_score: a track goes on at this score.
        start_score: a track starts at this score.
    """

    min_score: float
    start_score: float


# The scores of the two BlazeFaces are measured on recordings with and without faces: full range
# gives false faces up to .69 and true ones down to .30, so only a track that has once been sure may
# go on unsure. A face alone in a good picture can score as little as .74: "sure" lies between.
# Short range keeps the two apart by itself (false up to .61, true from .81).
DETECTORS: dict[str, DetectorBackend] = {
    "mediapipe": DetectorBackend(
        module="facemake.backends.detect.blazeface",
        models=("blazeface_full_range",),
        stack="mediapipe",
        use="the default: faces from close to about five metres from the camera",
        min_score=0.3,
        start_score=0.72,
    ),
    "mediapipe-short": DetectorBackend(
        module="facemake.backends.detect.blazeface",
        models=("blazeface_short_range",),
        stack="mediapipe",
        use="webcam and selfie recordings: faces within two metres or so; twice as fast",
        min_score=0.5,
        start_score=0.7,
    ),
}
