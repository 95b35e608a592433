"""Face detectors: the registry, and what each of them gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facemake.backends import Backend
from facemake.detections import Detections

Picture = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB, C-contiguous."""


class Detector(Protocol):
    """Finds the faces of pictures; what it saw before, or sees beside it, makes no difference.

    Attributes:
        batch_size: how many pictures it wants at once; 1 where more at once are no gain.
    """

    batch_size: int

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in each of at most `batch_size` pictures, which may differ in size."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


AS_EXPECTED = (0.0, 0.0, 1.0)
"""The boxes of BlazeFace, which landmark networks are told of every face."""


@dataclass(frozen=True, kw_only=True)
class DetectorBackend(Backend):
    """A detector's row: a score means something else in each, so its thresholds stand here.

    Its module's `create(model, min_score, device)` makes the detector: from the name of the first
    of its models, detections below `min_score` left out, on a device of `devices`.

    Attributes:
        min_score: a track goes on at this score.
        start_score: a track starts at this score.
        scores: what its score is, in words.
        points: which of the five points it has, in words.
        face_box: from its boxes to those that landmark networks expect: dx, dy, scale.
            See `facemake.detections.landmark_box`.
        eyes: who finds the eyes of its faces where it does not (`facemake.backends.eyes`).
    """

    min_score: float
    start_score: float
    scores: str
    points: str
    face_box: tuple[float, float, float] = AS_EXPECTED
    eyes: str = ""

    def create(self, model: str, min_score: float, device: str) -> Detector:
        """The detector.

        Args:
            model: its first model's name, or a file of the user's where `own_model` allows it.
            min_score: detections below are left out (0-1).
            device: of `devices`.

        Raises:
            ModelError: a model is missing or not the registered one, or the device is not there.
        """
        detector: Detector = self.load().create(model, min_score, device)
        return detector


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
        scores="sigmoid of the network",
        points="eyes, nose",
    ),
    "mediapipe-short": DetectorBackend(
        module="facemake.backends.detect.blazeface",
        models=("blazeface_short_range",),
        stack="mediapipe",
        use="webcam and selfie recordings: faces within two metres or so; twice as fast",
        min_score=0.5,
        start_score=0.7,
        scores="sigmoid of the network",
        points="eyes, nose",
    ),
    "scrfd": DetectorBackend(
        module="facemake.backends.detect.scrfd",
        models=("scrfd_2.5g_kps",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        use="small and turned faces, crowds; five points; non-commercial research",
        devices=("cpu", "cuda"),
        own_model=True,
        min_score=0.5,
        start_score=0.5,
        scores="sigmoid of the network",
        points="all five",
        face_box=(0.0, 0.066, 1.03),
    ),
    "scrfd-500m": DetectorBackend(
        module="facemake.backends.detect.scrfd",
        models=("scrfd_500m_kps",),
        stack="onnx",
        gpu_stack="onnx-gpu",
        use="as scrfd, four times as fast, less sure of small faces",
        devices=("cpu", "cuda"),
        own_model=True,
        min_score=0.5,
        start_score=0.5,
        scores="sigmoid of the network",
        points="all five",
        face_box=(0.0, 0.07, 1.04),
    ),
}
