"""UnifiedLandmarkPoseNet in ONNX: 68 points on the aligned crop, in two looks.

The network was trained on crops that lie on their face by its landmarks (`facemake.template`). So
the first look is at a crop that lies by the detector's box, turned by the line of the eyes where
the detector has them; the second at the crop that lies by the first one's landmarks, as those of
the training set do. Its pose and shape parameters are not used: the fit makes its own.

How many looks was tried with a network of width 0.25 that 400 frames of one recording had trained,
on 52 frames of that recording, another one and a portrait in motion, against the workflow's points
in distances of the outer eye corners (median and 95 % of a recording, without the jaw): with one
look .058, .124 on its own recording and .088, .115 on the portrait; with two .058, .120 and .082,
.112; with three .058, .119 and .076, .110; with four .065 on its own. What a network does not see,
each look adds to: two it is.

The network says nothing of how sure it is. A look after which the crop would lie elsewhere by more
than half of its side, or be more than twice as large or small, has seen no face: there are no
landmarks then.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake import schemes
from facemake.alignment import align
from facemake.backends.detect.boxes import network_input
from facemake.backends.landmarks import Face, Landmarks
from facemake.backends.onnx_model import open_network
from facemake.backends.outputs import finite
from facemake.geometry import apply_affine, invert_affine
from facemake.schemes import IBUG51
from facemake.template import CROP_SIZE, affine_of_square, crop_affine

_LOOKS = 2
_OUTPUT = "landmarks"
_TINY = 1e-9


class Unified:
    """The landmark network. It says nothing of depth or confidence.

    Args:
        model: in the registry, or a file of the user's, or the path of one.
        device: `cpu` or `cuda`.

    Raises:
        ModelError: its file is missing or another network, or the device is not to be had.
    """

    scheme = schemes.IBUG68

    def __init__(self, model: str | Path, device: str) -> None:
        wanted = (3, CROP_SIZE, CROP_SIZE)
        self._network = open_network(
            model,
            device,
            "UnifiedLandmarkPoseNet (facemake.nn.export_to_onnx writes one)",
            f"are pictures {wanted} and an output {_OUTPUT} (n, 68, 2)",
            lambda it: (
                it.input_shape == wanted
                and _OUTPUT in it.output_names
                and it.output_shapes[it.output_names.index(_OUTPUT)][1:] == (68, 2)
            ),
        )
        self._at = self._network.output_names.index(_OUTPUT)
        self._name = str(model)
        self.batch_size = self._network.batch_size

    def __call__(self, faces: Sequence[Face]) -> list[Landmarks | None]:
        """Landmarks of faces."""
        return [found for some in self._network.portions(faces) for found in self._found(some)]

    def _found(self, faces: Sequence[Face]) -> list[Landmarks | None]:
        affines = [affine_of_square(face.bbox, _tilt(face.keypoints5)) for face in faces]
        lost: set[int] = set()
        for _ in range(_LOOKS):
            points = self._look(faces, affines)
            for k, mine in enumerate(points):
                after = crop_affine(schemes.convert(mine, self.scheme, IBUG51))
                if _same_place(affines[k], after):
                    affines[k] = after
                else:
                    lost.add(k)
        return [None if k in lost else Landmarks(mine, None, None) for k, mine in enumerate(points)]

    def _look(
        self, faces: Sequence[Face], affines: Sequence[NDArray[np.float64]]
    ) -> list[NDArray[np.float32]]:
        """(68, 2) px of the frame for each face."""
        crops = [align(f.frame.rgb, a) for f, a in zip(faces, affines, strict=True)]
        found = self._network(network_input(crops, mean=0, std=255))[self._at]
        finite(found, self._name, "landmarks")
        return [
            apply_affine(invert_affine(affine), mine.astype(np.float64)).astype(np.float32)
            for affine, mine in zip(affines, found, strict=True)
        ]

    def close(self) -> None:
        """Free the model."""
        self._network.close()


def _same_place(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    sizes = [float(np.hypot(affine[0, 0], affine[1, 0])) for affine in (before, after)]
    if not np.isfinite(after).all() or not 0.5 <= sizes[0] / max(sizes[1], _TINY) <= 2:
        return False
    middle = (CROP_SIZE - 1) / 2
    (moved,) = apply_affine(after, apply_affine(invert_affine(before), [(middle, middle)]))
    return bool(np.hypot(*(moved - middle)) <= CROP_SIZE / 2)


def _tilt(keypoints5: NDArray[np.float32]) -> float:
    dx, dy = (float(v) for v in keypoints5[1] - keypoints5[0])
    return atan2(dy, dx) if isfinite(dx + dy) else 0.0


def create(device: str, model: str | Path) -> Unified:
    """What the registry calls."""
    return Unified(model, device)
