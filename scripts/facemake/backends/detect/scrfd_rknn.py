"""SCRFD compiled for the NPU of a Rockchip board: of packs alone, one picture at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facemake.backends.detect import Picture
from facemake.backends.detect.scrfd import OUTPUTS, Decoder
from facemake.backends.rknn_model import Board, RknnModel
from facemake.detections import Detections
from facemake.errors import ModelError


class RknnScrfd:
    """The detector; (x - 127.5) / 128 is compiled into its file.

    Args:
        path: of the .rknn file.
        board: on which it runs.
        size: height and width that it was compiled for.
        min_score: detections below it are left out (0-1).

    Raises:
        DeviceError: Rockchip's package is not installed, or there is no such NPU.
        ModelError: the file is no such network.
    """

    batch_size = 1

    def __init__(self, path: Path, board: Board, size: tuple[int, int], min_score: float) -> None:
        self._path = path
        self._decoder = Decoder(*size, min_score)
        self._network = RknnModel(path, board)

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [self._in(rgb) for rgb in pictures]

    def _in(self, rgb: Picture) -> Detections:
        pixels, where = self._decoder.boxed(rgb)
        outputs = self._network(pixels)
        wanted = [rows * width for width in OUTPUTS for rows in self._decoder.rows]
        if [output.size for output in outputs] != wanted:
            raise ModelError(
                f"{self._path} is no SCRFD with key points of {pixels.shape[1]} x "
                f"{pixels.shape[0]} px: its outputs are {[output.shape for output in outputs]}"
            )
        widths = [width for width in OUTPUTS for _ in self._decoder.rows]
        rows = [out.reshape(-1, width) for out, width in zip(outputs, widths, strict=True)]
        return self._decoder(rows, where)

    def close(self) -> None:
        """Free the model."""
        self._network.close()
