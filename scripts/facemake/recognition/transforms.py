"""The four transforms of `torchvision.transforms.v2` that DINOv3 is shown pictures through.

Same names and arguments, for pictures of Pillow and arrays, with PyTorch and Pillow alone:
torchvision is compiled for one build of PyTorch and is not part of facemake's environments. The
same values, too, but for its resize, which is another on each kind of CPU: of 255 it is at most 1
away from Pillow's, which is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from facemake.backends.embed.dinov3 import CHIP, MEAN, STD


class Compose:
    """One transform after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)

    def __call__(self, picture: Any) -> Any:
        """The last one's result."""
        for transform in self.transforms:
            picture = transform(picture)
        return picture


class ToImage:
    """A picture of Pillow, or (H, W, C) or (H, W) uint8, to a (C, H, W) uint8 tensor."""

    def __call__(self, picture: Any) -> torch.Tensor:
        """The same values, colours first."""
        pixels = np.asarray(picture)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise ValueError(
                f"expected a picture as (H, W, C) uint8, got {pixels.shape} of {pixels.dtype}"
            )
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


class Resize:
    """Resize a (C, H, W) uint8 tensor, bilinear with antialiasing, in Pillow's fixed point.

    Args:
        size: height and width, px.
        antialias: True: nothing else is offered here.
    """

    def __init__(self, size: Sequence[int], antialias: bool = True) -> None:
        if not antialias:
            raise ValueError("antialias=False is not offered: it is another picture")
        height, width = size
        self.size = (int(height), int(width))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(C, height, width) uint8."""
        height, width = self.size
        planes = [
            Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)
            for plane in pixels.numpy()
        ]
        return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))


class ToDtype:
    """To another type of numbers.

    Args:
        dtype: of floating point.
        scale: whether 255 becomes 1.
    """

    def __init__(self, dtype: torch.dtype, scale: bool = False) -> None:
        if not dtype.is_floating_point:
            raise ValueError(f"expected a type of floating point, got {dtype}")
        self.dtype = dtype
        self.scale = scale

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        numbers = pixels.to(self.dtype)
        return numbers / 255 if self.scale and pixels.dtype == torch.uint8 else numbers


class Normalize:
    """Subtract a mean and divide by a deviation, a colour each."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = list(mean), list(std)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """The same shape and type."""
        mean, std = (
            torch.tensor(values, dtype=pixels.dtype).view(-1, 1, 1)
            for values in (self.mean, self.std)
        )
        return (pixels - mean) / std


TRANSFORM = Compose(
    [
        ToImage(),
        Resize((CHIP, CHIP), antialias=True),
        ToDtype(torch.float32, scale=True),
        Normalize(mean=MEAN, std=STD),
    ]
)
"""From a face's picture to (3, 256, 256) float32, as DINOv3 takes it."""
