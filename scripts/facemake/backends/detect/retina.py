"""RetinaFace on ResNet-50 (Deng et al. 2020), by the package retina-face on ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Picture
from facemake.backends.onnx_model import open_network
from facemake.backends.outputs import finite
from facemake.detections import Detections
from facemake.errors import ModelError

# the package's names are by the person's side; the image's left comes first here
_POINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
_NUMBERS = (4, 8, 20)
"""Of scores, boxes and points of two anchors, (n, h, w, numbers); of each of three strides."""

_SHORT, _LONG = 1024, 1980
"""px: the package makes the sides of a picture so long, whichever comes first."""
_NARROWEST = 8
"""px: a cell of its finest outputs. A picture that is narrower then has no face, or no pixel."""


class Retina:
    """The detector. Its score is a softmax; it has all five points.

    The package would download its weights by itself; it is given the verified file's network.

    Args:
        model: in the registry, or a file of the user's: nine outputs as the package has them.
        min_score: detections below it are left out (0-1).
        device: `cpu` or `cuda`.

    Raises:
        ModelError: the file is missing or another network, or the device is not to be had.
    """

    batch_size = 1

    def __init__(self, model: str, min_score: float, device: str) -> None:
        self._network = open_network(
            model,
            device,
            "RetinaFace of the package retina-face",
            f"are pictures (n, H, W, 3) and three times outputs (n, h, w, k), k {_NUMBERS}",
            lambda it: it.input_shape[2] in (3, None) and _fits(it.output_shapes),
            largest=self.batch_size,  # the package gives it a picture, of whatever size
        )
        self._name = model
        self._min_score = min_score
        os.environ["DEEPFACE_BACKEND_ENGINE"] = "onnx"  # read once, when the package is imported
        from retinaface import RetinaFace
        from retinaface.commons import backend_utils

        if not backend_utils.is_onnx():
            raise ModelError(
                "retina-face was imported before, and took another engine than ONNX: set "
                "DEEPFACE_BACKEND_ENGINE=onnx before this process imports it"
            )
        self._detect_faces = RetinaFace.detect_faces

    def _outputs(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs = self._network(np.ascontiguousarray(picture, np.float32))
        # a score that is none, the package would take for that of no face
        return [finite(output, self._name, "scores, boxes or points") for output in outputs]

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [self._detected(rgb) for rgb in pictures]

    def _detected(self, rgb: Picture) -> Detections:
        short, long = sorted(rgb.shape[:2])
        if short * min(_SHORT / short, _LONG / long) < _NARROWEST:
            return Detections.none()
        bgr = np.ascontiguousarray(rgb[:, :, ::-1])
        found = self._detect_faces(bgr, threshold=self._min_score, model=self._outputs)
        faces = sorted(found.values(), key=lambda face: -face["score"]) if found else []
        corners = np.array([face["facial_area"] for face in faces], np.float64).reshape(-1, 4)
        points = [[face["landmarks"][name] for name in _POINTS] for face in faces]
        bbox = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        return Detections(
            bbox.astype(np.float32),
            np.array([face["score"] for face in faces], np.float32),
            np.array(points, np.float32).reshape(-1, 5, 2),
        )

    def close(self) -> None:
        """Free the model."""
        self._network.close()


def _fits(shapes: Sequence[tuple[object, ...]]) -> bool:
    """Whether they are those outputs; what a file leaves open may be."""
    return len(shapes) == 3 * len(_NUMBERS) and all(
        len(shape) == 4 and (shape[-1] == wanted or not isinstance(shape[-1], int))
        for shape, wanted in zip(shapes, 3 * _NUMBERS, strict=True)
    )


def create(model: str, min_score: float, device: str) -> Retina:
    """What the registry calls."""
    return Retina(model, min_score, device)
