"""dlib's two detectors: HOG with a linear SVM (King 2015), and the max-margin network (mmod)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dlib
import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Picture
from facemake.backends.detect.boxes import logit
from facemake.detections import Detections
from facemake.models import model_path

_UPSAMPLED = 1
"""Times that a picture is doubled for HOG, which sees no face below 80 px, and so none below 40.
The network finds faces of 80 px too, and all in the pictures that it was tried on; doubled, it
takes four times the seconds that it takes already (1.3 s for 640 x 360 px on one core)."""
_NARROWEST = 10
"""px: in a narrower picture the network's filters have no place, and there is no face for it."""
_LARGEST = 3000
"""px: a picture that would be longer when doubled is not."""


class DlibFaces:
    """One of the two. Its score is the distance to the margin s as 1 / (1 + exp(-s)).

    The margin itself, where dlib begins to call something a face, has .5; no probability is meant.
    dlib's five points come from its boxes: the middle of each eye's two corners, no mouth; the base
    of the nose is not its tip, and is left out.

    Args:
        model: `dlib_5_point_predictor` for HOG, which the library itself carries, or
            `dlib_mmod_human_face_detector`.
        min_score: detections below it are left out (0-1).

    Raises:
        ModelError: a file is missing or not the registered one.
    """

    batch_size = 1

    def __init__(self, model: str, min_score: float) -> None:
        # dlib-bin is built without type stubs
        library: Any = dlib
        self._rectangle = library.rectangle
        self._points = library.shape_predictor(str(model_path("dlib_5_point_predictor")))
        self._min_score = min_score
        if model == "dlib_mmod_human_face_detector":
            self._network = library.cnn_face_detection_model_v1(str(model_path(model)))
            self._hog = None
        else:
            self._network = None
            self._hog = library.get_frontal_face_detector()

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [self._detected(rgb) for rgb in pictures]

    def _detected(self, rgb: Picture) -> Detections:
        if self._hog is not None:
            doubled = _UPSAMPLED if max(rgb.shape[:2]) * 2**_UPSAMPLED <= _LARGEST else 0
            found, margins, _ = self._hog.run(rgb, doubled, logit(self._min_score))
            boxes = list(found)
        elif min(rgb.shape[:2]) < _NARROWEST:
            return Detections.none()
        else:
            faces = list(self._network(rgb, 0))
            boxes, margins = [face.rect for face in faces], [face.confidence for face in faces]
        score = 1 / (1 + np.exp(-np.array(list(margins), np.float64)))
        order = [i for i in np.argsort(-score, kind="stable") if score[i] >= self._min_score]
        bbox = np.array(
            # from dlib's inclusive corners to the sides of the pixels
            [(b.left() - 0.5, b.top() - 0.5, b.width(), b.height()) for b in boxes],
            np.float32,
        ).reshape(-1, 4)
        points = (
            np.stack([self._eyes(rgb, boxes[i]) for i in order])
            if order
            else np.zeros((0, 5, 2), np.float32)
        )
        return Detections(bbox[order], score[order].astype(np.float32), points)

    def _eyes(self, rgb: Picture, box: Any) -> NDArray[np.float32]:
        shape = self._points(rgb, box)
        found = np.array([(p.x, p.y) for p in shape.parts()], np.float32)
        points = np.full((5, 2), np.nan, np.float32)
        # 0 and 1 are the corners of the image-right eye, 2 and 3 of the image-left one
        points[0], points[1] = found[2:4].mean(axis=0), found[0:2].mean(axis=0)
        return points

    def close(self) -> None:
        """Free the models."""
        del self._points, self._network, self._hog


def create(model: str, min_score: float, device: str) -> DlibFaces:
    """What the registry calls."""
    return DlibFaces(model, min_score)
