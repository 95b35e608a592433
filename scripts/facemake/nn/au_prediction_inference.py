"""Intensities of action units of aligned faces by a trained `AUPredictionNet`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from facemake.nn.action_units import AU_NAMES, NUM_AUS
from facemake.nn.predicting import Predictor
from facemake.nn.runners import Network

NETWORK = Network(
    name="au_prediction",
    outputs={"au_intensities": (NUM_AUS,)},
    module="facemake.nn.au_prediction_net",
    kind="AUPredictionNet",
    loader="load_au_predictor",
)


class AUPredictor(Predictor):
    """A trained `AUPredictionNet`; see `Predictor`."""

    network = NETWORK

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        device: str | None = None,
        width_mult: float = 1.0,
        dropout: float = 0.3,
    ) -> Self:
        """Of a checkpoint, facemake's or pyfaceau's; no code of it is run.

        Args:
            path: of the file.
            device: `mps`, `cuda` or `cpu`; None: the first of them that is there.
            width_mult: the file says it; another one than its own is refused.
            dropout: of training; a prediction does not hang on it.

        Raises:
            ModelError: the file or PyTorch is missing, it is another network, or of another width.
            DeviceError: the device is not there.
        """
        return cls._from_checkpoint(path, device, width_mult, dropout=dropout)

    def predict(self, face_bgr: NDArray[np.uint8], return_dict: bool = True) -> dict[str, Any]:
        """Of one aligned face.

        Args:
            face_bgr: (112, 112, 3) uint8, as `facemake.FaceAligner` cuts it.
            return_dict: with `au_dict`.

        Returns:
            `au_intensities` (17,) float32 in [0, 5], in the order of `get_au_names`; `au_dict`, the
            same by name.

        Raises:
            ValueError: it is no such picture.
        """
        (values,) = self._run(face_bgr, one=True)["au_intensities"]
        return {"au_intensities": values, **({"au_dict": _named(values)} if return_dict else {})}

    def predict_batch(
        self,
        faces: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        return_dict: bool = True,
    ) -> dict[str, Any]:
        """Of any number of aligned faces.

        Args:
            faces: (n, 112, 112, 3) uint8 BGR, or a list of (112, 112, 3).
            return_dict: with `au_dicts`.

        Returns:
            `au_intensities` (n, 17) float32 in [0, 5]; `au_dicts`, a list of n, the same by name.

        Raises:
            ValueError: they are no such pictures.
        """
        values = self._run(faces, one=False)["au_intensities"]
        dicts = {"au_dicts": [_named(row) for row in values]} if return_dict else {}
        return {"au_intensities": values, **dicts}

    @staticmethod
    def get_au_names() -> list[str]:
        """The names of the 17 action units, in the order of `au_intensities`."""
        return list(AU_NAMES)


def _named(values: NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(AU_NAMES, values.tolist(), strict=True))


def load_au_predictor(model_path: str | Path, backend: str | None = None) -> AUPredictor:
    """A predictor of action units, of a folder that training wrote or of one of its files.

    Args:
        model_path: the folder or the file.
        backend: `coreml`, `onnx` or `pytorch`; None: the best one that is to be had here
            (`facemake.nn.predicting`), or the file's.

    Raises:
        ValueError: no such backend.
        ModelError: nothing can be loaded; the message says why and what cures it.
    """
    return AUPredictor.load(model_path, backend)
