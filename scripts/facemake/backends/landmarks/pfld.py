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
from facemake.backends.detect.boxes import network_input
from facemake.backends.landmarks import Face, Landmarks
from facemake.backends.onnx_model import open_network
from facemake.backends.outputs import finite
from facemake.detections import landmark_box
from facemake.geometry import apply_affine, invert_affine
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
        wanted = (3, CROP_SIZE, CROP_SIZE)
        self._network = open_network(
            "pfld",
            device,
            "PFLD of 68 points",
            f"are pictures {wanted} and one output (n, 136)",
            lambda it: it.input_shape == wanted and it.output_shapes[0][-1] == 136,
        )
        self.batch_size = self._network.batch_size

    def __call__(self, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Landmarks of faces."""
        return [found for some in self._network.portions(faces) for found in self._look(some)]

    def _look(self, faces: Sequence[Face]) -> list[Landmarks]:
        affines = [_crop_affine(face.bbox) for face in faces]
        crops = [align(f.frame.rgb, a) for f, a in zip(faces, affines, strict=True)]
        (found,) = self._network(network_input(crops, mean=0, std=255))
        finite(found, "pfld", "landmarks")
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
