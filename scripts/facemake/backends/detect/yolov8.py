"""YOLOv8-face: a YOLOv8 pose network with one class and five points, in ONNX.

Two forms go about, told apart by the shape of their outputs: three raw maps, (n, 80, h, w) of the
strides 8, 16 and 32, as github.com/hpc203/yolov8-face-landmarks-opencv-dnn has them, and one list
of decoded rows, (n, 20, rows), as `yolo export format=onnx` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Picture
from facemake.backends.detect.boxes import Letterbox, above, best, letterbox, logit, network_input
from facemake.backends.onnx_model import open_network
from facemake.detections import Detections
from facemake.errors import ModelError

_INPUT = 640  # px, where the network leaves its size open
_FILL = 114  # grey of what is padded (ultralytics' LetterBox)
_OVERLAP = 0.5
_BINS = 16  # of the distribution of each side's distance (Li et al. 2020, Generalized Focal Loss)
_POINTS = 3 * 5  # x, y and visibility of each
_RAW = 4 * _BINS + 1 + _POINTS
_DECODED = 4 + 1 + _POINTS


class Yolov8Face:
    """The detector. Its score is a sigmoid; it has all five points.

    Args:
        model: in the registry, or a file of the user's in one of the two forms.
        min_score: detections below it are left out (0-1).
        device: `cpu` or `cuda`.

    Raises:
        ModelError: the file is missing, a PyTorch file or another network, or the device is not
            to be had.
    """

    def __init__(self, model: str, min_score: float, device: str) -> None:
        path = Path(model)
        if path.suffix in (".pt", ".pth"):
            raise ModelError(
                f"{path} is a PyTorch file, which would run code of whoever made it: export it by "
                f"`yolo export model={path.name} format=onnx imgsz=640` (package ultralytics), and "
                "name the .onnx file"
            )
        self._network = open_network(
            model,
            device,
            "YOLOv8-face with five points",
            f"are three maps (n, {_RAW}, h, w) or one list (n, {_DECODED}, rows)",
            lambda it: it.input_shape[0] in (3, None) and _raw_form(it.output_shapes) is not None,
        )
        self.batch_size = self._network.batch_size
        self._min_score = min_score
        _, height, width = self._network.input_shape
        self._height, self._width = height or _INPUT, width or _INPUT
        self._is_raw = _raw_form(self._network.output_shapes)

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        """Detect in (H, W, 3) uint8 RGB pictures."""
        return [found for some in self._network.portions(pictures) for found in self._look(some)]

    def _look(self, pictures: Sequence[Picture]) -> list[Detections]:
        boxed = [
            letterbox(rgb, self._height, self._width, centred=True, fill=_FILL) for rgb in pictures
        ]
        outputs = self._network(network_input([rgb for rgb, _ in boxed], mean=0, std=255))
        decode = self._from_maps if self._is_raw else self._from_list
        return [
            decode([output[i] for output in outputs], where) for i, (_, where) in enumerate(boxed)
        ]

    def _from_maps(self, maps: Sequence[NDArray[np.float32]], where: Letterbox) -> Detections:
        least = logit(self._min_score)
        corners, scores, points = [], [], []
        for values in maps:
            stride = self._height / values.shape[1]
            y, x = np.nonzero(above(values[4 * _BINS], least))
            rows = values[:, y, x].T.astype(np.float64)
            cell = np.stack([x, y], axis=1).astype(np.float64)
            bins = rows[:, : 4 * _BINS].reshape(-1, 4, _BINS)
            weight = np.exp(bins - bins.max(axis=2, keepdims=True))
            sides = (weight * np.arange(_BINS)).sum(axis=2) / weight.sum(axis=2)
            middle = cell + 0.5
            ends = np.concatenate([middle - sides[:, :2], middle + sides[:, 2:]], axis=1)
            corners.append(ends * stride)
            scores.append(1 / (1 + np.exp(-rows[:, 4 * _BINS])))
            five = rows[:, 4 * _BINS + 1 :].reshape(-1, 5, 3)[:, :, :2]
            points.append((five * 2 + cell[:, None]) * stride)
        return self._best(np.concatenate(corners), np.concatenate(scores), points, where)

    def _from_list(self, outputs: Sequence[NDArray[np.float32]], where: Letterbox) -> Detections:
        every = outputs[0].T
        rows: NDArray[np.float64] = every[above(every[:, 4], self._min_score)].astype(np.float64)
        middle, half = rows[:, :2], rows[:, 2:4] / 2
        corners = np.concatenate([middle - half, middle + half], axis=1)
        return self._best(corners, rows[:, 4], [rows[:, 5:].reshape(-1, 5, 3)[:, :, :2]], where)

    def _best(
        self,
        corners: NDArray[np.float64],
        score: NDArray[np.float64],
        points: Sequence[NDArray[np.float64]],
        where: Letterbox,
    ) -> Detections:
        boxes = where.back(corners.reshape(-1, 2, 2)).reshape(-1, 4)
        five = where.back(np.concatenate(points))
        return best(boxes, score.astype(np.float32), five, overlap=_OVERLAP)

    def close(self) -> None:
        """Free the model."""
        self._network.close()


def _raw_form(shapes: Sequence[tuple[object, ...]]) -> bool | None:
    """Whether the outputs are raw maps; False: they are one decoded list; None: neither."""
    if len(shapes) == 3 and all(len(s) == 4 and s[1] == _RAW for s in shapes):
        return True
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][1] == _DECODED:
        return False
    return None


def create(model: str, min_score: float, device: str) -> Yolov8Face:
    """What the registry calls."""
    return Yolov8Face(model, min_score, device)
