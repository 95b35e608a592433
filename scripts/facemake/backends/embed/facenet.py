"""FaceNet (Schroff et al. 2015) as Inception-ResNet-v1, by facenet-pytorch: 512-d.

The network and its weights are facenet-pytorch's, which took them over from David Sandberg's
facenet. Its chip is the box that its MTCNN draws, without margin, squashed to 160 px: nothing is
turned upright. It is cut as that package cuts pictures of Pillow, by which the weights were trained
(arrays it resizes by OpenCV's INTER_AREA, which gives another picture).

Who looks with another detector has other boxes, so MTCNN's is drawn from the square that stands for
it: of 48 faces in 53 pictures and frames of five recordings, the box drawn here has an overlap
(IoU, median) with MTCNN's own of .86 from BlazeFace's, .93 from those of SCRFD, .92 from those of
YOLOv8-face and YuNet; BlazeFace's box as it is has .72.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facemake.backends.embed import Face, Pixels
from facemake.backends.embed.chips import check_box, check_picture, outside
from facemake.backends.embed.vectors import unit_or_refused
from facemake.crops import squashed
from facemake.detections import landmark_box
from facemake.errors import ModelError
from facemake.models import model_path

if TYPE_CHECKING:
    import torch

CHIP = 160

MTCNN = (0.0, 0.072, 1.04)
"""`face_box` of the detector mtcnn: not its row itself, which is in no recipe of an embedder."""

_ASPECT = 0.71
"""Width over height of MTCNN's boxes: the median of 48 faces; nine of ten lie in .66 to .75."""


class Facenet:
    """The network.

    Args:
        model: name of its weights.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        ModelError: PyTorch, the package, the weights or the device are not there, or the weights
            are of another network.
    """

    def __init__(self, model: str, device: str) -> None:
        self._path = path = model_path(model)
        from facemake.backends import torch_model, torchvision_parts

        torchvision_parts.provide()
        try:
            from facenet_pytorch import InceptionResnetV1
        except ImportError as error:
            raise ModelError(
                f"facenet-pytorch cannot be imported ({error}): `make facenet` installs it"
            ) from None
        weights = torch_model.read_weights(path)
        # those of the classes that it was trained on: of no use here
        kept = {name: tensor for name, tensor in weights.items() if not name.startswith("logits.")}
        network = InceptionResnetV1(pretrained=None, classify=False)
        torch_model.load_weights(network, path, kept)
        self._network = torch_model.TorchModel(network, _standardized, device, convolutions=True)
        self.batch_size = self._network.batch_size

    def chip(self, rgb: Pixels, face: Face) -> Pixels:
        """Cut MTCNN's box as facenet-pytorch's `extract_face` does; see `Embedder`."""
        check_picture(rgb)
        box = mtcnn_box(face)
        check_box(box)
        x, y, w, h = box
        height, width = rgb.shape[:2]
        left, top = int(max(x, 0)), int(max(y, 0))
        right, bottom = int(min(x + w, width)), int(min(y + h, height))
        if left >= right or top >= bottom:
            raise outside(box, rgb.shape)
        return squashed(rgb[top:bottom, left:right], CHIP)

    def __call__(self, chips: Sequence[Pixels]) -> NDArray[np.float32]:
        """Embed chips; see `Embedder`."""
        return unit_or_refused(self._network(np.stack(chips)), self._path)

    def close(self) -> None:
        """Free the network."""
        self._network.close()


def mtcnn_box(face: Face) -> tuple[float, float, float, float]:
    """x, y, w, h px of the box that MTCNN draws around a face, or would.

    A box of which the square is made as of MTCNN's is MTCNN's; else it is drawn from the square.
    """
    if face.bbox is not None and np.array_equal(landmark_box(face.bbox, MTCNN), face.square):
        x, y, w, h = (float(v) for v in face.bbox)
        return x, y, w, h
    x, y, w, h = (float(v) for v in face.square)
    dx, dy, scale = MTCNN
    side = np.sqrt(max(w * h, 0.0)) / scale  # a square, but for what its numbers were rounded by
    width, height = side * np.sqrt(_ASPECT), side / np.sqrt(_ASPECT)
    left = x + w / 2 - dx * side - width / 2
    return float(left), float(y + h / 2 - dy * side - height / 2), float(width), float(height)


def _standardized(pixels: torch.Tensor) -> torch.Tensor:
    """facenet-pytorch's `fixed_image_standardization`."""
    return (pixels - 127.5) / 128


def create(model: str, device: str) -> Facenet:
    """What the registry calls."""
    return Facenet(model, device)
