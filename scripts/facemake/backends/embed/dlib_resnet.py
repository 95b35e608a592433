"""dlib's 128-d ResNet (King 2017, `dlib_face_recognition_resnet_model_v1`) on dlib's own chip.

The network was trained on 150-px chips that dlib cuts by the eye corners and the base of the nose,
as its 5-point predictor finds them; on another chip its distances lose much of their meaning. The
predictor wants a box like that of dlib's own detector. A square around our 68 landmarks is one: of
41 faces of six recordings the vectors are 0.027 from those of dlib's own whole path (its detector,
5 points, chip), in L2 after normalisation, which is as far as dlib's path is from itself when its
detector sees the picture at another scale. Measured beside it on the same faces:

* the detector's box (BlazeFace) instead of the square: 0.028, but another detector has other boxes;
* the tight box of the landmarks: 0.034;
* the chip cut by our 68 landmarks directly: 0.090, with same-person distances a little larger.

The raw vectors have a norm of about 1.4; these have 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed import Face, Pixels
from facemake.backends.embed.chips import check_box, outside
from facemake.backends.embed.vectors import unit_or_refused
from facemake.models import model_path
from facemake.template import face_square

_CHIP = 150
_LONGEST_SIDE = 1600
"""px of a picture that a face is looked for in: larger ones are made smaller for that."""


class DlibEmbedder:
    """dlib's network and its 5-point predictor; the same bits for the same picture, always."""

    batch_size = 1  # a face takes 60 ms, alone or among others

    def __init__(self, model: str) -> None:
        # dlib-bin is built without type stubs
        network: Any = dlib.face_recognition_model_v1  # type: ignore[attr-defined, unused-ignore]
        predictor: Any = dlib.shape_predictor  # type: ignore[attr-defined, unused-ignore]
        self._path = model_path(model)
        self._network = network(str(self._path))
        self._predictor = predictor(str(model_path("dlib_5_point_predictor")))

    def chip(self, rgb: Pixels, face: Face) -> Pixels:
        """Cut the face out by dlib's own five points; see `Embedder`."""
        if face.ibug is None:
            x, y, w, h = face.square.tolist()
            return self._cut(rgb, [x, y, x + w, y + h])
        centre, half = face_square(face.ibug)
        return self._cut(rgb, [*(centre - half), *(centre + half)])

    def chip_of_only_face(self, rgb: Pixels) -> Pixels:
        """Find the face of a picture by dlib's HOG detector and cut it out.

        Args:
            rgb: (H, W, 3) uint8, C-contiguous.

        Returns:
            (150, 150, 3) uint8 RGB.

        Raises:
            ValueError: not one face is found there, but so many.
        """
        detector: Any = dlib.get_frontal_face_detector  # type: ignore[attr-defined, unused-ignore]
        scale = min(1.0, _LONGEST_SIDE / max(rgb.shape[:2]))
        size = [max(1, round(side * scale)) for side in rgb.shape[1::-1]]
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
        # once enlarged: faces from 40 px instead of 80
        boxes = detector()(small, 0) or detector()(small, 1)
        if len(boxes) != 1:
            raise ValueError(f"{len(boxes)} faces")
        box = boxes[0]
        sides = [box.left(), box.top(), box.right(), box.bottom()]
        return self._cut(rgb, [side / scale for side in sides])

    def __call__(self, chips: Sequence[Pixels]) -> NDArray[np.float32]:
        """Embed chips; see `Embedder`."""
        raw = np.array([self._network.compute_face_descriptor(chip) for chip in chips], np.float64)
        return unit_or_refused(raw.reshape(len(chips), -1), self._path)

    def close(self) -> None:
        """Free the network."""
        del self._network, self._predictor

    def _cut(self, rgb: Pixels, sides: Sequence[float]) -> Pixels:
        """Of a face in a box: left, top, right, bottom, px."""
        left, top, right, bottom = (float(v) for v in sides)
        box = left, top, right - left, bottom - top
        check_box(box)
        height, width = rgb.shape[:2]
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            raise outside(box, rgb.shape)
        rectangle: Any = dlib.rectangle  # type: ignore[attr-defined, unused-ignore]
        cut: Any = dlib.get_face_chip  # type: ignore[attr-defined, unused-ignore]
        face = self._predictor(rgb, rectangle(*(round(float(v)) for v in sides)))
        # the size and padding that compute_face_descriptor has for a whole picture
        chip: Pixels = cut(rgb, face, size=_CHIP, padding=0.25)
        return chip


def create(model: str, device: str) -> DlibEmbedder:
    """What the registry calls; it computes on a CPU alone."""
    return DlibEmbedder(model)
