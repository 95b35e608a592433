"""Crops as files: JPEG or PNG by Pillow, the same bytes for the same pixels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemake.extraction.settings import QUALITY


def encoded(pixels: NDArray[np.uint8], kind: str, quality: int = QUALITY) -> bytes:
    """A picture's file.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        kind: of `settings.FORMATS`.
        quality: of JPEG, 1-100; colours have the full resolution (4:4:4).
    """
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    if kind == "png":
        picture.save(file, "PNG")
    else:
        picture.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
