"""dlib's regression trees (Kazemi & Sullivan 2014) for 68 points, trained on iBUG 300-W.

The trees start from a box like that of dlib's own detector. Of 63 faces that both detectors found,
dlib's box has its middle where BlazeFace's square has it (within .015 of its side) and .92 of its
side, and on that square the points come nearest to those of FaceMesh as well: .034 of the distance
of the outer eye corners (median of 51 points, without the jaw).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dlib
import numpy as np

from facemake import schemes
from facemake.backends.landmarks import Face, Landmarks
from facemake.detections import landmark_box
from facemake.models import model_path

_SQUARE = (0.0, 0.0, 0.92)


class DlibTrees:
    """The trees. They say nothing of depth or confidence, and give whole pixels."""

    scheme = schemes.IBUG68
    batch_size = 1

    def __init__(self) -> None:
        # dlib-bin is built without type stubs
        predictor: Any = dlib.shape_predictor  # type: ignore[attr-defined, unused-ignore]
        self._predictor = predictor(str(model_path("dlib_68_point_predictor")))

    def __call__(self, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Landmarks of faces."""
        return [self._found(face) for face in faces]

    def _found(self, face: Face) -> Landmarks:
        rectangle: Any = dlib.rectangle  # type: ignore[attr-defined, unused-ignore]
        x, y, side, _ = (float(v) for v in landmark_box(face.bbox, _SQUARE))
        sides = [round(v) for v in (x + 0.5, y + 0.5, x + side - 0.5, y + side - 0.5)]
        shape = self._predictor(face.frame.rgb, rectangle(*sides))
        points = np.array([(p.x, p.y) for p in shape.parts()], np.float32)
        return Landmarks(points, None, None)

    def close(self) -> None:
        """Free the model."""
        del self._predictor


def create(device: str) -> DlibTrees:
    """What the registry calls."""
    return DlibTrees()
