"""Pictures that a caller has in memory."""

from __future__ import annotations

import numpy as np
from PIL import Image

from facemake.backends.embed import Pixels
from facemake.backends.embed.chips import check_picture

_MODES = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"))
"""Pillow's pictures of 8 bits a colour."""


def as_rgb(image: Image.Image | Pixels) -> Pixels:
    """A picture as networks here take it; grey ones of Pillow's become RGB, alpha is left out.

    Args:
        image: (H, W, 3) uint8 RGB, or a picture of Pillow's of 8 bits a colour.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        ValueError: it is none; the message says what to do.
    """
    if isinstance(image, Image.Image):
        if image.mode not in _MODES:
            raise ValueError(
                f"a picture of mode {image.mode} has other numbers than 8 bits a colour: scale it "
                "to 0 to 255 and make it uint8 first"
            )
        image = np.asarray(image.convert("RGB"))
    check_picture(image)
    return np.ascontiguousarray(image)
