"""PFLD (Guo et al. 2019, arXiv:1902.10859): 68 points on an upright crop of 112 px, in ONNX.

The network and its weights are those of github.com/cunjian/pytorch_face_landmark. Its maker gives
it RGB in [0, 1] and a square around the face. Which square was measured on 67 faces of five
recordings, against the points of FaceMesh: 1.15 sides of BlazeFace's, a tenth of one lower, gives
.031 of the distance of the outer eye corners (median of 51 points, without the jaw), and no other
one that was tried gives less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facemake import schemes
from facemake.alignment import align
from facemake.backends.landmarks import Face, Landmarks
from facemake.backends.onnx_model import OnnxModel
from facemake.detections import landmark_box
from facemake.errors import ModelError
from facemake.geometry import apply_affine, invert_affine
from facemake.models import model_path
from facemake.template import CROP_SIZE

_SQUARE = (0.0, 0.1, 1.15)


class Pfld:
    """The landmark network. It says nothing of depth or confidence.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        ModelError: its file is missing or another network, or the device is not to be had.
    """

    scheme = schemes.IBUG68

    def __init__(self, device: str) -> None:
        path = model_path("pfld")
        self._network = OnnxModel(path, device)
        self.batch_size = self._network.batch_size
        shape, outputs = self._network.input_shape, self._network.output_shapes
        if shape != (3, CROP_SIZE, CROP_SIZE) or outputs[0][-1] != 136:
            raise ModelError(f"{path} is no PFLD of 68 points: it takes {shape}, gives {outputs}")

    def __call__(self, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Landmarks of faces."""
        affines = [_crop_affine(face.bbox) for face in faces]
        crops = np.stack([align(f.frame.rgb, a) for f, a in zip(faces, affines, strict=True)])
        inputs = crops.transpose(0, 3, 1, 2).astype(np.float32) / 255
        (found,) = self._network(inputs)
        # of the crop's width, counted from the corner of its first pixel
        points = found.reshape(len(faces), 68, 2).astype(np.float64) * CROP_SIZE - 0.5
        return [
            Landmarks(apply_affine(invert_affine(affine), mine).astype(np.float32), None, None)
            for affine, mine in zip(affines, points, strict=True)
        ]

    def close(self) -> None:
        """Free the model."""
        self._network.close()


def _crop_affine(bbox: NDArray[np.float32]) -> NDArray[np.float64]:
    x, y, side, _ = (float(v) for v in landmark_box(bbox, _SQUARE))
    scale = CROP_SIZE / side
    # the square's left side is that of the crop's first pixel, whose centre is half a pixel inside
    return np.array([[scale, 0.0, -scale * x - 0.5], [0.0, scale, -scale * y - 0.5]])


def create(device: str) -> Pfld:
    """What the registry calls."""
    return Pfld(device)
