"""Faces cut out of pictures, for what benchmarks compose of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facemake.backends.detect import DETECTORS
from facemake.media.images import read_picture

AROUND = 1.8
"""Sides of BlazeFace's square that are cut around a face, so that hair and neck are there."""


def cut_out(path: Path) -> list[np.ndarray]:
    """The faces of a picture, squares of `AROUND` sides, by falling score."""
    rgb = read_picture(path)[0]
    row = DETECTORS["mediapipe"]
    (found,) = row.create(row.models[0], row.start_score, "cpu")([rgb])
    faces = []
    for x, y, w, h in found.bbox.tolist():
        half = AROUND * max(w, h) / 2
        left, top = round(x + w / 2 - half), round(y + h / 2 - half)
        right, bottom = round(x + w / 2 + half), round(y + h / 2 + half)
        padded = cv2.copyMakeBorder(rgb, *[round(2 * half)] * 4, cv2.BORDER_REPLICATE)
        shift = round(2 * half)
        faces.append(padded[top + shift : bottom + shift, left + shift : right + shift])
    return faces


def sized(face: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A face `length` px wide, and the oval of it that is to be seen, (length, length, 1) bool."""
    kind = cv2.INTER_AREA if length < len(face) else cv2.INTER_CUBIC
    small = cv2.resize(face, (length, length), interpolation=kind)
    yy, xx = (np.mgrid[:length, :length] + 0.5) / length - 0.5
    return small, ((xx / 0.42) ** 2 + (yy / 0.5) ** 2 < 1)[..., None]
