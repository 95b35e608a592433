"""ArcFace (Deng et al. 2019, arXiv:1801.07698) and its kind, in ONNX as insightface exports them.

One picture of the network's size, 112 px where it says none, RGB as (x - 127.5) / 127.5, in float32
or float16; its last output is the vector. Older networks, converted from MXNet, begin with that
subtraction and product themselves, and are given 0-255.

The chip lies on ArcFace's template by the best that is known of a face: its landmarks, else what
follows. Measured on 29 faces of eight pictures and films, as the mean distance of the five points
from where the landmarks of FaceMesh put them, px of a chip of 112 (median, 95th percentile):

* a detector's five points (SCRFD): 1.0, 1.5;
* a detector's eyes without the corners of the mouth (BlazeFace): they turn the square that it
  draws: 3.5, 7.1. Put on the template with its nose, which is another point than ArcFace's, they
  are 5.5, 8.4 off;
* the square alone, upright: 3.5, 10.8.

Of a face that is more than twice as large as the chip, pixels are averaged before they are
interpolated (`facemake.alignment`); insightface leaves pixels out there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect.boxes import network_input
from facemake.backends.embed import Face, Pixels
from facemake.backends.embed.vectors import unit_or_refused
from facemake.backends.onnx_file import GRAPH, NAME, NODE, fields, message
from facemake.backends.onnx_model import OnnxModel
from facemake.crops import SQUARE, Size, cut_affine, cut_arcface, in_size
from facemake.errors import ModelError
from facemake.models import model_path
from facemake.schemes import IBUG68, IBUG68_TO_IBUG51, N_POINTS, five_points
from facemake.template import CROP_SIZE

_MEAN = _STD = 127.5
_FIRST_NODES = 8
"""So many are looked at for a normalisation, as insightface's `arcface_onnx.py` does."""
_SQUARE = (-0.18, 1.21)
"""What the template's chip shows of the square that BlazeFace draws: how far below its middle the
chip's is, and the chip's side, in sides of the square. Medians of the faces above."""


def arcface_chip(rgb: Pixels, face: Face, size: Size = SQUARE) -> Pixels:
    """A face upright on ArcFace's template, by the best points that are known of it.

    Args:
        rgb: (H, W, 3) uint8 frame, C-contiguous.
        face: where it is.
        size: of the chip.

    Returns:
        (height, width, 3) uint8 RGB, black where the frame has ended.

    Raises:
        ValueError: no pixel of the face is in the frame, or its place is not finite.
    """
    points = _points(face)
    if points is None:
        crop = cut_affine(rgb, in_size(_of_square(face), size), size)
    else:
        crop = cut_arcface(rgb, points, size)
    if crop is None:
        height, width = rgb.shape[:2]
        raise ValueError(
            f"no pixel of a face at x, y, w, h = {np.round(face.square, 1).tolist()} is in the "
            f"picture of {width} x {height} px"
        )
    return crop.pixels


def _points(face: Face) -> NDArray[np.float32] | None:
    """(5, 2) px; None where not all of them are known."""
    if face.ibug is not None:
        whole = len(face.ibug) == N_POINTS[IBUG68]
        return five_points(face.ibug[IBUG68_TO_IBUG51] if whole else face.ibug)
    if face.keypoints5 is not None and np.isfinite(face.keypoints5).all():
        return np.asarray(face.keypoints5, np.float32)
    return None


def _of_square(face: Face) -> NDArray[np.float64]:
    """(2, 3) px of the frame to px of a chip of 112: by the square, turned by the eyes if known."""
    if not np.isfinite(face.square).all():
        return np.full((2, 3), np.nan)
    x, y, w, h = (float(v) for v in face.square)
    below, sides = _SQUARE
    cos, sin = 1.0, 0.0
    if face.keypoints5 is not None and np.isfinite(face.keypoints5[:2]).all():
        across, down = (float(v) for v in face.keypoints5[1] - face.keypoints5[0])
        if length := math.hypot(across, down):
            cos, sin = across / length, down / length
    side = math.sqrt(max(w, 0.0) * max(h, 0.0))
    if not side > 0:
        return np.full((2, 3), np.nan)
    scale = CROP_SIZE / (sides * side)
    linear = scale * np.array([(cos, sin), (-sin, cos)])
    middle = np.array((x + w / 2 - sin * below * side, y + h / 2 + cos * below * side))
    return np.column_stack([linear, (CROP_SIZE - 1) / 2 - linear @ middle])


class ArcFace:
    """A recognition network.

    Args:
        path: its file.
        device: `cpu`, `cuda` or `cuda:N`.
        largest: so many chips at once at most.
        threads: see `OnnxModel`.

    Attributes:
        size: of its chips.
        dim: length of its vectors; None where the file leaves it open.
        provider: what computes it, in onnxruntime's word.

    Raises:
        DeviceError: the device is not to be had.
        ModelError: the file is no recognition network.
    """

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        largest: int | None = None,
        threads: int | None = None,
    ) -> None:
        self._path = path
        self._network = OnnxModel(path, device, largest, threads)
        self.batch_size = self._network.batch_size
        self.provider = self._network.provider
        channels, height, width = self._network.input_shape
        self.size = (width or SQUARE[0], height or SQUARE[1])
        # the real ones say (1, 512) and take a free number of pictures
        rows, *values = self._network.output_shapes[-1] or (None,)
        known = [n for n in values if isinstance(n, int)]
        fixed = isinstance(rows, int) and rows > 1 and rows != self._network.fixed_batch
        if channels not in (3, None) or not values or any(n != 1 for n in known[1:]) or fixed:
            raise ModelError(
                f"{path} is no network that embeds faces: it takes (n, "
                f"{', '.join(map(str, self._network.input_shape))}) and gives "
                f"{self._network.output_shapes[-1]} last; wanted are (n, 3, height, width) and one "
                "vector a picture, (n, length)"
            )
        self._scale = (0.0, 1.0) if _normalises(path) else (_MEAN, _STD)
        self.dim = math.prod(known) if len(known) == len(values) else None

    def chip(self, rgb: Pixels, face: Face) -> Pixels:
        """Cut the face out on ArcFace's template; see `Embedder`."""
        return arcface_chip(rgb, face, self.size)

    def __call__(self, chips: Sequence[Pixels]) -> NDArray[np.float32]:
        """Embed chips; see `Embedder`.

        Raises:
            ModelError: the network gives no vector of them.
        """
        mean, std = self._scale
        vectors = [
            self._network(network_input(some, mean=mean, std=std))[-1].reshape(len(some), -1)
            for some in self._network.portions(chips)
        ]
        return unit_or_refused(np.concatenate(vectors), self._path)

    def close(self) -> None:
        """Free the network."""
        self._network.close()


def _normalises(path: Path) -> bool:
    """Whether a network's first nodes are a subtraction and a product, by name, as MXNet's are."""
    names: list[str] = []
    for field, value in fields(message(path)):
        if field == GRAPH:
            for inner, node in fields(value):
                if inner == NODE and len(names) < _FIRST_NODES:
                    names += [
                        bytes(v).decode(errors="replace") for f, v in fields(node) if f == NAME
                    ]
                if len(names) == _FIRST_NODES:
                    break
    return any(name.startswith(("Sub", "_minus")) for name in names) and any(
        name.startswith(("Mul", "_mul")) for name in names
    )


def create(model: str, device: str) -> ArcFace:
    """What the registry calls."""
    return ArcFace(model_path(model), device)
