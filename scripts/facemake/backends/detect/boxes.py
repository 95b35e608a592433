"""What networks that detect have in common: letterboxes, and of boxes that overlap the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.detections import Detections
from facemake.errors import ModelError


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in a network's input: scaled alike in both directions, then padded.

    Attributes:
        scale: input pixels a picture pixel, across and down: alike but for whole pixels.
        left, top: input pixels before the picture.
    """

    scale: tuple[float, float]
    left: int
    top: int

    def back(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 2) input pixels to picture pixels, both counted from a pixel's corner."""
        return (points - (self.left, self.top)) / self.scale


def letterbox(
    rgb: NDArray[np.uint8], height: int, width: int, *, centred: bool, fill: int
) -> tuple[NDArray[np.uint8], Letterbox]:
    """A picture in a network's input of (height, width).

    Args:
        rgb: (H, W, 3) uint8.
        height: px of the input.
        width: px of the input.
        centred: the picture in the middle; else at the top left.
        fill: value of what is padded.

    Returns:
        (height, width, 3) uint8, and where the picture lies in it.
    """
    scale = min(height / rgb.shape[0], width / rgb.shape[1])
    inner_w = max(1, min(width, round(rgb.shape[1] * scale)))
    inner_h = max(1, min(height, round(rgb.shape[0] * scale)))
    left = (width - inner_w) // 2 if centred else 0
    top = (height - inner_h) // 2 if centred else 0
    canvas = np.full((height, width, 3), fill, np.uint8)
    # reading area by area when a picture shrinks a lot would be another picture than the networks
    # were trained on, and than their own decoders make
    canvas[top : top + inner_h, left : left + inner_w] = cv2.resize(
        rgb, (inner_w, inner_h), interpolation=cv2.INTER_LINEAR
    )
    return canvas, Letterbox((inner_w / rgb.shape[1], inner_h / rgb.shape[0]), left, top)


def network_input(
    pictures: Sequence[NDArray[np.uint8]], *, mean: float, std: float
) -> NDArray[np.float32]:
    """Pictures as a network takes them: plane by plane, (value - mean) / std.

    Args:
        pictures: n of one size, (H, W, 3) uint8.
        mean: of 0-255.
        std: of 0-255.

    Returns:
        (n, 3, H, W) float32, C-contiguous.
    """
    # a table of all values takes half the time of computing with every pixel
    values = (np.arange(256, dtype=np.float32) - np.float32(mean)) / np.float32(std)
    height, width = pictures[0].shape[:2]
    result = np.empty((len(pictures), 3, height, width), np.float32)
    for planes, rgb in zip(result, pictures, strict=True):
        for channel, plane in enumerate(planes):
            cv2.LUT(cv2.extractChannel(rgb, channel), values, dst=plane)
    return result


def logit(score: float) -> float:
    """What a sigmoid makes `score` of: -inf of 0, inf of 1."""
    return float(np.log(score / (1 - score))) if 0 < score < 1 else np.inf * (2 * score - 1)


def above(values: NDArray[np.float32], least: float) -> NDArray[np.bool_]:
    """Where a network's values reach `least`.

    Raises:
        ModelError: one is no number, which would be no face anywhere.
    """
    if np.isnan(values).any():
        raise ModelError(
            "the detector's network gives scores that are no numbers: its file is damaged, or half "
            "precision does not suffice for it; get it again, or take one in float32"
        )
    return values >= least


def best(
    corners: NDArray[np.float64],
    score: NDArray[np.float32],
    points: NDArray[np.float64],
    *,
    overlap: float,
) -> Detections:
    """The faces, each once: of boxes that overlap by more than `overlap` the surest.

    Args:
        corners: (n, 4) x1 y1 x2 y2 picture pixels, counted from a pixel's corner.
        score: (n,) 0-1.
        points: (n, 5, 2) picture pixels, counted from a pixel's corner; NaN where there is none.
        overlap: intersection over union.

    Returns:
        By falling score; pixels counted from a pixel's centre, as everywhere here.
    """
    order = np.argsort(-score, kind="stable")
    corners, score, points = corners[order], score[order], points[order]
    kept = not_suppressed(corners, overlap)
    boxes = np.concatenate([corners[:, :2] - 0.5, corners[:, 2:] - corners[:, :2]], axis=1)
    return Detections(
        boxes[kept].astype(np.float32),
        score[kept].astype(np.float32),
        (points[kept] - 0.5).astype(np.float32),
    )


def not_suppressed(
    corners: NDArray[np.float64], overlap: float, groups: NDArray[Any] | None = None
) -> NDArray[np.intp]:
    """Which boxes stay, each the surest where it is (greedy non-maximum suppression).

    Args:
        corners: (n, 4) x1 y1 x2 y2, by falling score.
        overlap: intersection over union above which the less sure one goes.
        groups: (n,) where only boxes of one group are compared.

    Returns:
        (k,) indices, rising.
    """
    area = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    alive = np.ones(len(corners), bool)
    kept = []
    for i in range(len(corners)):
        if not alive[i]:
            continue
        kept.append(i)
        low = np.maximum(corners[i, :2], corners[i + 1 :, :2])
        high = np.minimum(corners[i, 2:], corners[i + 1 :, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        goes = common > overlap * (area[i] + area[i + 1 :] - common)
        alive[i + 1 :] &= ~goes if groups is None else ~(goes & (groups[i + 1 :] == groups[i]))
    return np.array(kept, np.intp)
