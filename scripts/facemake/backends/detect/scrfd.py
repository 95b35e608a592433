"""SCRFD with key points (Guo et al. 2021, arXiv:2105.04714), in ONNX as insightface exports it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Picture
from facemake.backends.detect.boxes import Letterbox, above, best, letterbox, network_input
from facemake.backends.onnx_model import OnnxModel, open_network
from facemake.detections import Detections
from facemake.errors import ModelError

# insightface's: model_zoo/scrfd.py
_STRIDES = (8, 16, 32)
_ANCHORS = 2
_MEAN, _STD = 127.5, 128.0
_OVERLAP = 0.4
_INPUT = 640  # px, where the network leaves its size open

OUTPUTS = (1, 4, 10)
"""Numbers a row: of scores, of boxes, of key points; each of three strides."""

_WANTED = (
    "SCRFD with key points",
    "are three outputs of scores (…, 1), three of boxes (…, 4) and three of key points (…, 10)",
)


class Scrfd:
    """The detector. Its scores are sigmoid already; it has all five points.

    Args:
        network: that `open_scrfd` gives; it is closed with this.
        min_score: detections below it are left out (0-1).
    """

    def __init__(self, network: OnnxModel, min_score: float) -> None:
        self._network = network
        self.batch_size = network.batch_size
        _, height, width = network.input_shape
        self._decoder = Decoder(height, width, min_score)

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [found for some in self._network.portions(pictures) for found in self._look(some)]

    def _look(self, pictures: Sequence[Picture]) -> list[Detections]:
        boxed = [self._decoder.boxed(rgb) for rgb in pictures]
        outputs = self._network(
            network_input([pixels for pixels, _ in boxed], mean=_MEAN, std=_STD)
        )
        n = len(pictures)
        # a network of a free batch gives the rows of all pictures as one list
        by_picture = [o.reshape(n, -1, o.shape[-1]) for o in outputs]
        found = [rows.shape[1] for rows in by_picture]
        if found != self._decoder.rows * len(OUTPUTS):
            raise ModelError(
                f"{self._network.path} is no SCRFD with {_ANCHORS} anchors a cell at strides of "
                f"{', '.join(map(str, _STRIDES))} px: its outputs have {found} rows, wanted are "
                f"{self._decoder.rows} of scores, of boxes and of key points; name another file"
            )
        return [
            self._decoder([rows[i] for rows in by_picture], where)
            for i, (_, where) in enumerate(boxed)
        ]

    def close(self) -> None:
        """Free the model."""
        self._network.close()


def open_scrfd(model: str | Path, device: str, threads: int | None = None) -> OnnxModel:
    """The network: nine outputs, scores, boxes and key points of three strides with two anchors.

    Args:
        model: in the registry, or a file of the user's, or the path of one.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: see `OnnxModel`.

    Raises:
        DeviceError: the device is not to be had.
        ModelError: the file is missing or another network.
    """
    return open_network(model, device, *_WANTED, _fits, threads)


def _fits(network: OnnxModel) -> bool:
    widths = [shape[-1:] for shape in network.output_shapes]
    wanted = [(width,) for width in OUTPUTS for _ in _STRIDES]
    return network.input_shape[0] in (3, None) and widths == wanted


class Decoder:
    """What SCRFD's outputs say.

    Args:
        height: px of the network's input; None: 640.
        width: likewise.
        min_score: detections below it are left out (0-1).
    """

    def __init__(self, height: int | None, width: int | None, min_score: float) -> None:
        self._height, self._width = height or _INPUT, width or _INPUT
        self._min_score = min_score
        self._origins = [_origins(self._height, self._width, stride) for stride in _STRIDES]
        self.rows = [len(origins) for origins in self._origins]

    def boxed(self, rgb: Picture) -> tuple[Picture, Letterbox]:
        """(height, width, 3) uint8: a picture as the network is shown it, and where it is there."""
        return letterbox(rgb, self._height, self._width, centred=False, fill=0)

    def __call__(self, outputs: Sequence[NDArray[np.float32]], where: Letterbox) -> Detections:
        """The faces of a picture.

        Args:
            outputs: three of scores (rows, 1), of boxes (rows, 4), of key points (rows, 10).
            where: of `boxed`.
        """
        corners, scores, points = [], [], []
        for level, stride in enumerate(_STRIDES):
            score, distances, offsets = (outputs[kind * len(_STRIDES) + level] for kind in range(3))
            sure = np.flatnonzero(above(score[:, 0], self._min_score))
            origin = self._origins[level][sure]
            sides = distances[sure].astype(np.float64) * stride
            corners.append(np.concatenate([origin - sides[:, :2], origin + sides[:, 2:]], axis=1))
            moved = offsets[sure].astype(np.float64).reshape(-1, 5, 2) * stride
            points.append(origin[:, None] + moved)
            scores.append(score[sure, 0])
        boxes = where.back(np.concatenate(corners).reshape(-1, 2, 2)).reshape(-1, 4)
        return best(
            boxes, np.concatenate(scores), where.back(np.concatenate(points)), overlap=_OVERLAP
        )


def _origins(height: int, width: int, stride: int) -> NDArray[np.float64]:
    """(rows, 2) x, y in input pixels that the rows of a stride count from, anchors side by side."""
    # a size that a stride does not divide has a cell for what is left
    y, x = np.mgrid[: -(-height // stride), : -(-width // stride)]
    return np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2) * float(stride), _ANCHORS, axis=0)


def create(model: str, min_score: float, device: str) -> Scrfd:
    """What the registry calls."""
    return Scrfd(open_scrfd(model, device), min_score)
