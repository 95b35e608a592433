"""From a picture and the faces in it to crops: who finds what a template needs, and what if not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import DETECTORS
from facemake.backends.eyes import EyeFinder, eye_finder
from facemake.backends.landmarks import LANDMARKERS, Face, Landmarker
from facemake.crops import Crop, cut_arcface, cut_box, cut_openface, cut_square, meets
from facemake.detections import landmark_box
from facemake.extraction.settings import CropSettings
from facemake.schemes import IBUG51, convert
from facemake.status import CropStatus

MIN_CONFIDENCE = 0.5
"""Of landmarks, as `landmarks.min_confidence` in the config has it."""


@dataclass(frozen=True)
class Cut:
    """What became of a face.

    Attributes:
        crop: None where no pixel of it is in the picture.
        status, reason: `ok`, or why it is not aligned.
        points: (5, 2) float32 px, what the detector and the finder of eyes know; NaN elsewhere.
        aligned_by: `detector`, the finder of eyes or the landmarks; "" where it is not aligned.
    """

    crop: Crop | None
    status: CropStatus
    reason: str
    points: NDArray[np.float32]
    aligned_by: str


class Cutter:
    """Cuts faces; models that it needs are loaded with the first face that does.

    Args:
        settings: how.
        face_box: from the boxes to those that landmark networks expect (`DetectorBackend`).
        eyes: who finds eyes where they are not known; "": nobody.
        landmarks: the network for `openface112`; "": landmarks are given.
        device: for networks that can compute on it.
    """

    def __init__(
        self,
        settings: CropSettings,
        face_box: Sequence[float],
        eyes: str,
        landmarks: str = "",
        device: str = "cpu",
    ) -> None:
        self._template = settings.rule
        self._face_box = list(face_box)
        self._eyes_by = eyes
        self._landmarks_by = landmarks
        self._device = device
        self._eyes: EyeFinder | None = None
        self._landmarks: Landmarker | None = None

    @classmethod
    def of(cls, backend: str, settings: CropSettings, device: str = "cpu") -> Cutter:
        """For the boxes and points of a detector by its name."""
        row = DETECTORS[backend]
        return cls(settings, row.face_box, settings.eyes(row), settings.landmarks, device)

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        bbox: NDArray[np.float32],
        points5: NDArray[np.float32],
        ibug51: NDArray[np.float32] | None = None,
    ) -> Cut:
        """Cut a face.

        Args:
            rgb: (H, W, 3) uint8.
            bbox: (4,) x, y, w, h px, the detector's.
            points5: (5, 2) px, the detector's; NaN where it has no such point.
            ibug51: (51, 2) px where its landmarks are known; else they are found when needed, if
                there is a network for it.

        Raises:
            ModelError: a model is missing or not the registered one.
        """
        points5 = np.asarray(points5, np.float32)
        if not meets(rgb.shape, bbox):
            return self._outside(points5)
        if self._template.needs == "eyes":
            return self._by_points(rgb, bbox, points5)
        if self._template.needs == "landmarks":
            found = self._ibug51(rgb, bbox, points5) if ibug51 is None else ibug51
            crop = None if found is None else cut_openface(rgb, found)
            if crop is not None:
                return Cut(crop, CropStatus.OK, "", points5, "landmarks")
            by = f" ({self._landmarks_by})" if self._landmarks_by else ""
            return self._square(
                rgb,
                bbox,
                points5,
                CropStatus.NO_LANDMARKS,
                f"no landmarks were found{by}",
            )
        assert self._template.padding is not None
        crop = cut_box(rgb, bbox, self._template.padding, self._template.size)
        if crop is None:
            return self._outside(points5)
        return Cut(crop, CropStatus.OK, "", points5, "")

    def _by_points(
        self, rgb: NDArray[np.uint8], bbox: NDArray[np.float32], points5: NDArray[np.float32]
    ) -> Cut:
        by = "detector"
        if not np.isfinite(points5[:2]).all() and self._eyes_by:
            by = self._eyes_by
            if self._eyes is None:
                self._eyes = eye_finder(by)
            eyes = self._eyes(rgb, landmark_box(bbox, self._face_box))
            if eyes is not None:
                points5 = points5.copy()
                points5[:2] = eyes
        crop = cut_arcface(rgb, points5)
        if crop is None:
            return self._square(
                rgb, bbox, points5, CropStatus.NO_EYES, f"no two eyes were found ({by})"
            )
        return Cut(crop, CropStatus.OK, "", points5, by)

    def _ibug51(
        self, rgb: NDArray[np.uint8], bbox: NDArray[np.float32], points5: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        if not self._landmarks_by:
            return None
        row = LANDMARKERS[self._landmarks_by]
        if self._landmarks is None:
            self._landmarks = row.network(self._device)
        face = Face.of(rgb, landmark_box(bbox, self._face_box), points5)
        (found,) = self._landmarks([face])
        if found is None or (found.confidence is not None and found.confidence < MIN_CONFIDENCE):
            return None
        return convert(found.points, row.scheme, IBUG51)

    def _square(
        self,
        rgb: NDArray[np.uint8],
        bbox: NDArray[np.float32],
        points5: NDArray[np.float32],
        status: CropStatus,
        reason: str,
    ) -> Cut:
        crop = cut_square(rgb, bbox)
        if crop is None:
            return self._outside(points5)
        return Cut(crop, status, f"{reason}: the crop is the square around the box", points5, "")

    @staticmethod
    def _outside(points5: NDArray[np.float32]) -> Cut:
        reason = "the box lies outside of the picture"
        return Cut(None, CropStatus.OUTSIDE, reason, points5, "")

    def close(self) -> None:
        """Free the models."""
        if self._landmarks is not None:
            self._landmarks.close()
        self._eyes = self._landmarks = None


def crop_columns(bbox: NDArray[np.float32], score: float | None, cut: Cut) -> Mapping[str, Any]:
    """What a table says of a crop: columns that all tables of crops have."""
    x, y, w, h = (float(v) for v in bbox)
    return {
        **{"x": x, "y": y, "w": w, "h": h, "score": score},
        "keypoints5": [float(v) for v in cut.points.ravel()],
        "affine": None if cut.crop is None else [float(v) for v in cut.crop.affine.ravel()],
        "aligned_by": cut.aligned_by,
        "status": str(cut.status),
        "reason": cut.reason,
    }
