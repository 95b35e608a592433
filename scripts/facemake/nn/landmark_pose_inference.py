"""Landmarks, pose and shape of aligned faces by a trained `UnifiedLandmarkPoseNet`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from facemake.nn.predicting import Predictor
from facemake.nn.runners import Network
from facemake.template import CROP_SIZE

NETWORK = Network(
    name="landmark_pose",
    outputs={"landmarks": (68, 2), "global_params": (6,), "local_params": (34,)},
    module="facemake.nn.landmark_pose_net",
    kind="UnifiedLandmarkPoseNet",
    loader="load_predictor",
)


class LandmarkPosePredictor(Predictor):
    """A trained `UnifiedLandmarkPoseNet`; see `Predictor`."""

    network = NETWORK

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, device: str | None = None, width_mult: float = 1.0
    ) -> Self:
        """Of a checkpoint, facemake's or pyfaceau's; no code of it is run.

        Args:
            path: of the file.
            device: `mps`, `cuda` or `cpu`; None: the first of them that is there.
            width_mult: the file says it; another one than its own is refused.

        Raises:
            ModelError: the file or PyTorch is missing, it is another network, or of another width.
            DeviceError: the device is not there.
        """
        return cls._from_checkpoint(path, device, width_mult)

    def predict(
        self, face_bgr: NDArray[np.uint8], return_normalized: bool = False
    ) -> dict[str, NDArray[np.float32]]:
        """Of one aligned face.

        Args:
            face_bgr: (112, 112, 3) uint8, as `facemake.FaceAligner` cuts it.
            return_normalized: landmarks in parts of the crop's side, 0-1, not in its pixels.

        Returns:
            `landmarks` (68, 2) px of the crop, iBUG-68; `global_params` (6,) scale (px/mm), rx, ry,
            rz (rad), tx, ty (crop px); `local_params` (34,) mm along the modes of the training
            set's model; float32.

        Raises:
            ValueError: it is no such picture.
        """
        found = self._marked(face_bgr, return_normalized, one=True)
        return {name: values[0] for name, values in found.items()}

    def predict_batch(
        self,
        faces: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        return_normalized: bool = False,
    ) -> dict[str, NDArray[np.float32]]:
        """Of any number of aligned faces.

        Args:
            faces: (n, 112, 112, 3) uint8 BGR, or a list of (112, 112, 3).
            return_normalized: see `predict`.

        Returns:
            As `predict`, each with the axis of faces before.

        Raises:
            ValueError: they are no such pictures.
        """
        return self._marked(faces, return_normalized, one=False)

    def _marked(
        self, faces: object, return_normalized: bool, one: bool
    ) -> dict[str, NDArray[np.float32]]:
        found = self._run(faces, one)
        if return_normalized:
            found["landmarks"] = found["landmarks"] / np.float32(CROP_SIZE)
        return found


def load_predictor(model_path: str | Path, backend: str | None = None) -> LandmarkPosePredictor:
    """A predictor of landmarks and pose, of a folder that training wrote or of one of its files.

    Args:
        model_path: the folder or the file.
        backend: `coreml`, `onnx` or `pytorch`; None: the best one that is to be had here
            (`facemake.nn.predicting`), or the file's.

    Raises:
        ValueError: no such backend.
        ModelError: nothing can be loaded; the message says why and what cures it.
    """
    return LandmarkPosePredictor.load(model_path, backend)
