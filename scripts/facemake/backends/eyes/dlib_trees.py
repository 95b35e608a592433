"""dlib's regression trees (Kazemi & Sullivan 2014) for 5 points: the corners of the eyes.

The fifth, under the nose, is not the tip of the nose of other schemes and is left out.
"""

from __future__ import annotations

from typing import Any

import dlib
import numpy as np
from numpy.typing import NDArray

from facemake.detections import landmark_box
from facemake.models import model_path

# dlib's own box on BlazeFace's square: see backends/landmarks/dlib_trees.py
_SQUARE = (0.0, 0.0, 0.92)


class DlibEyes:
    """The trees; they see eyes in everything."""

    def __init__(self) -> None:
        # dlib-bin is built without type stubs
        predictor: Any = dlib.shape_predictor  # type: ignore[attr-defined, unused-ignore]
        self._predictor = predictor(str(model_path("dlib_5_point_predictor")))

    def __call__(
        self, rgb: NDArray[np.uint8], bbox: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:
        """The middle of the two corners of each eye."""
        rectangle: Any = dlib.rectangle  # type: ignore[attr-defined, unused-ignore]
        x, y, side, _ = (float(v) for v in landmark_box(bbox, _SQUARE))
        sides = [round(v) for v in (x + 0.5, y + 0.5, x + side - 0.5, y + side - 0.5)]
        shape = self._predictor(rgb, rectangle(*sides))
        corners = np.array([(p.x, p.y) for p in shape.parts()], np.float32)[:4]
        eyes = corners.reshape(2, 2, 2).mean(axis=1)
        found: NDArray[np.float32] = eyes[np.argsort(eyes[:, 0], kind="stable")]
        return found


def create() -> DlibEyes:
    """What the registry calls."""
    return DlibEyes()
