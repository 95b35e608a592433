"""ArcFace networks compiled for the NPU of a Rockchip board: one chip at a time.

The chip is that of the backend `onnx`, 112 px. What that one computes of its values, (x - 127.5) /
127.5, is compiled into the file: `mean_values=[[127.5] * 3], std_values=[[127.5] * 3]` in
rknn-toolkit2's `config`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed import Face, Pixels
from facemake.backends.embed.arcface import arcface_chip
from facemake.backends.embed.vectors import unit_or_refused
from facemake.backends.rknn_model import Board, RknnModel
from facemake.crops import SQUARE, Size
from facemake.models import model_path


class RknnArcFace:
    """A recognition network.

    Args:
        path: its file.
        board: on which it runs.
        size: width and height that it was compiled for.

    Attributes:
        size: of its chips.
        dim: None: only its vectors tell.
        provider: what computes it.

    Raises:
        DeviceError: Rockchip's package is not installed, or there is no such NPU.
        ModelError: the file is no such network.
    """

    batch_size = 1
    dim: int | None = None

    def __init__(self, path: Path, board: Board, size: Size = SQUARE) -> None:
        self._path = path
        self.size = size
        self._network = RknnModel(path, board)
        self.provider = self._network.provider

    def chip(self, rgb: Pixels, face: Face) -> Pixels:
        """Cut the face out on ArcFace's template; see `Embedder`."""
        return arcface_chip(rgb, face, self.size)

    def __call__(self, chips: Sequence[Pixels]) -> NDArray[np.float32]:
        """Embed chips; see `Embedder`.

        Raises:
            ModelError: the network gives no vector of them.
        """
        raw = np.array([self._network(chip)[-1].ravel() for chip in chips], np.float32)
        return unit_or_refused(raw.reshape(len(chips), -1), self._path)

    def close(self) -> None:
        """Free the network."""
        self._network.close()


def create(model: str, device: str) -> RknnArcFace:
    """What the registry calls; it computes on the NPU, whatever the device of a run is."""
    return RknnArcFace(model_path(model), Board())
