"""What embedders that cut boxes have in common: pictures and places that are none are refused."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facemake.backends.embed import Pixels


def check_picture(rgb: Pixels) -> None:
    """Refuse what is no picture of three colours and 8 bits, or has no pixel.

    Raises:
        ValueError: with the cure.
    """
    shape, dtype = np.shape(rgb), getattr(rgb, "dtype", type(rgb).__name__)
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
        raise ValueError(
            f"expected a picture as (H, W, 3) uint8 RGB, got {shape} of {dtype}: a grey one by "
            "np.repeat(grey[..., None], 3, axis=2), one with alpha as rgba[..., :3], one of 0 to 1 "
            "times 255 and rounded, a file by Image.open"
        )
    if 0 in shape:
        raise ValueError(f"a picture of {shape[1]} x {shape[0]} px has no pixel")


def outside(box: Sequence[float], shape: tuple[int, ...]) -> ValueError:
    """The error of a box x, y, w, h without a pixel of a picture of `shape`."""
    height, width = shape[:2]
    numbers = [round(float(v), 2) for v in box]
    return ValueError(f"the box {numbers} has no pixel in a picture of {width} x {height} px")


def check_box(box: Sequence[float]) -> None:
    """Refuse a box x, y, w, h that is none.

    Raises:
        ValueError: its numbers are not finite, or it has no size.
    """
    numbers = [float(v) for v in box]
    if not np.isfinite(numbers).all():
        raise ValueError(f"a box of {numbers} is none: its numbers are not finite")
    if numbers[2] <= 0 or numbers[3] <= 0:
        raise ValueError(f"a box of {numbers} is none: its width and height are not above 0")
