"""Crops of faces: where a face lies in its crop, and how the crop is cut.

Some are similarities, by points: the face is turned upright. Others cut the box as it is. What lies
outside of the picture is black in the former; the latter end with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facemake.alignment import align
from facemake.geometry import apply_affine, invert_affine, similarity
from facemake.template import CROP_SIZE, crop_affine

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Width and height, px."""

SQUARE: Size = (CROP_SIZE, CROP_SIZE)

# insightface's, of ArcFace (Deng et al. 2019); image-left eye, image-right eye, tip of the nose,
# image-left and image-right corner of the mouth, px of a crop of 112 x 112.
ARCFACE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)


@dataclass(frozen=True)
class Crop:
    """A crop.

    Attributes:
        pixels: (h, w, 3) uint8 RGB.
        affine: (2, 3) float64, pixels of the picture to pixels of the crop.
    """

    pixels: Pixels
    affine: NDArray[np.float64]


def crop_face_from_frame(
    frame_bgr: Pixels, bbox_xyxy: NDArray[np.float32] | list[float], padding: float = 0.2
) -> Image.Image:
    """The box of a face with some of what is around it.

    Args:
        frame_bgr: (H, W, 3) uint8 BGR, as OpenCV reads it.
        bbox_xyxy: left, top, right, bottom px, counted from the corner of the first pixel (as
            slices are, and as YOLO gives boxes); whole pixels count.
        padding: share of the box's width and height that is added on each side.

    Returns:
        RGB, at most the picture.

    Raises:
        ValueError: no pixel of the box is in the picture, its numbers are not finite, or the frame
            is none.
    """
    if np.ndim(frame_bgr) != 3 or frame_bgr.shape[2] != 3 or frame_bgr.dtype != np.uint8:
        raise ValueError(
            f"expected a frame as (H, W, 3) uint8 BGR, got {np.shape(frame_bgr)} of "
            f"{getattr(frame_bgr, 'dtype', type(frame_bgr).__name__)}: cv2.imread and VideoCapture "
            "give one, and cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR) makes one of a grey picture"
        )
    rows, columns = padded(frame_bgr.shape[:2], bbox_xyxy, padding)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        height, width = frame_bgr.shape[:2]
        raise ValueError(
            f"the box {[float(v) for v in bbox_xyxy]} has no pixel in a picture of "
            f"{width} x {height} px"
        )
    return Image.fromarray(np.ascontiguousarray(frame_bgr[rows, columns, ::-1]))


def padded(
    shape: tuple[int, ...], bbox_xyxy: NDArray[np.float32] | list[float], padding: float
) -> tuple[slice, slice]:
    """Rows and columns of a box with padding, within a picture of `shape` (H, W); see above.

    Raises:
        ValueError: the box's numbers are not finite.
    """
    height, width = shape[:2]
    if not np.isfinite(np.asarray(bbox_xyxy, np.float64)).all():
        raise ValueError(f"a box of {[float(v) for v in bbox_xyxy]} is none: not finite")
    left, top, right, bottom = (int(v) for v in bbox_xyxy)
    across, down = int((right - left) * padding), int((bottom - top) * padding)
    return (
        slice(max(0, top - down), min(height, bottom + down)),
        slice(max(0, left - across), min(width, right + across)),
    )


def cut_box(
    rgb: Pixels, bbox: NDArray[np.float32], padding: float, size: int | None
) -> Crop | None:
    """A cut of the box; None where no pixel of it is there.

    Args:
        rgb: (H, W, 3) uint8.
        bbox: (4,) x, y, w, h px, counted from the middle of the first pixel.
        padding: share of the box's width and height that is added on each side.
        size: px, of the square that it is squashed to; None: it stays as it is.
    """
    x, y, w, h = (float(v) for v in bbox)
    corners = [x + 0.5, y + 0.5, x + w + 0.5, y + h + 0.5]
    rows, columns = padded(rgb.shape, corners, padding)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    pixels = np.ascontiguousarray(rgb[rows, columns])
    if size is None:
        affine = np.array([(1.0, 0.0, -columns.start), (0.0, 1.0, -rows.start)])
        return Crop(pixels, affine)
    return Crop(squashed(pixels, size), _squash(rows, columns, size, size))


def squashed(pixels: Pixels, size: int) -> Pixels:
    """A picture squashed to a square: Pillow's bilinear resize.

    A triangle filter whose support grows with the scale, in fixed point. torchvision's antialiased
    resize of stored values is made after it, and is at most 1 of 255 away.
    """
    small = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small)


def _squash(rows: slice, columns: slice, height: int, width: int) -> NDArray[np.float64]:
    across = width / (columns.stop - columns.start)
    down = height / (rows.stop - rows.start)
    # edges go to edges, and a pixel's edge is half a pixel before its middle
    return np.array(
        [
            (across, 0.0, (0.5 - columns.start) * across - 0.5),
            (0.0, down, (0.5 - rows.start) * down - 0.5),
        ]
    )


def cut_square(rgb: Pixels, bbox: NDArray[np.float32]) -> Crop | None:
    """The upright square around a box, 112 x 112 px: of a face that cannot be aligned.

    None where no pixel of the box is in the picture.
    """
    if not meets(rgb.shape, bbox):
        return None
    x, y, w, h = (float(v) for v in bbox)
    side = max(w, h)
    scale = CROP_SIZE / side
    left, top = x + (w - side) / 2, y + (h - side) / 2
    affine = np.array(
        [(scale, 0.0, -left * scale - 0.5), (0.0, scale, -top * scale - 0.5)], np.float64
    )
    return Crop(align(rgb, affine), affine)


def meets(shape: tuple[int, ...], bbox: NDArray[np.float32]) -> bool:
    """Whether a box x, y, w, h has pixels of a picture of `shape` (H, W)."""
    height, width = shape[:2]
    x, y, w, h = (float(v) for v in bbox)
    edges = -0.5
    return bool(
        np.isfinite([x, y, w, h]).all()
        and w > 0
        and h > 0
        and x + w > edges
        and y + h > edges
        and x < width + edges
        and y < height + edges
    )


def in_size(affine: NDArray[np.float64], size: Size) -> NDArray[np.float64]:
    """(2, 3): the same face in a crop of another size than 112 x 112 px, as insightface has it.

    A height that is a multiple of 128 px shows more of the picture around the face; a crop narrower
    than high, as those of 96 x 112 px are, less of it at both sides.
    """
    width, height = size
    side = 128 if height % CROP_SIZE and height % 128 == 0 else CROP_SIZE
    scale = height / side
    scaled = affine * scale
    scaled[0, 2] += (width - CROP_SIZE * scale) / 2
    return scaled


def cut_arcface(rgb: Pixels, points5: NDArray[np.float32], size: Size = SQUARE) -> Crop | None:
    """Upright on `ARCFACE`; None where the points are no face.

    Args:
        rgb: (H, W, 3) uint8.
        points5: (5, 2) px, image-left eye first; those that are NaN do not count, and both eyes
            must be there.
        size: of the crop.
    """
    there = np.isfinite(points5).all(axis=1)
    if not there[:2].all():
        return None
    affine = similarity(points5[there].astype(np.float64), ARCFACE[there])
    return cut_affine(rgb, in_size(affine, size), size)


def cut_openface(rgb: Pixels, ibug51: NDArray[np.float32]) -> Crop | None:
    """Upright as OpenFace 2.0 has it; None where the landmarks are no face.

    Args:
        rgb: (H, W, 3) uint8.
        ibug51: (51, 2) px.
    """
    return cut_affine(rgb, crop_affine(ibug51))


def cut_affine(rgb: Pixels, affine: NDArray[np.float64], size: Size = SQUARE) -> Crop | None:
    """By a similarity; None where the crop would see nothing of the picture.

    Args:
        rgb: (H, W, 3) uint8.
        affine: (2, 3), pixels of the picture to pixels of the crop.
        size: of the crop.
    """
    if not np.isfinite(affine).all() or not np.hypot(affine[0, 0], affine[1, 0]) > 0:
        return None
    x, y = (side - 0.5 for side in size)
    corners = apply_affine(invert_affine(affine), [(-0.5, -0.5), (x, -0.5), (-0.5, y), (x, y)])
    low, high = corners.min(axis=0), corners.max(axis=0)
    box = np.array([*low, *(high - low)], np.float32)
    if not meets(rgb.shape, box):
        return None
    return Crop(align(rgb, affine, size), affine)
