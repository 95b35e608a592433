"""Crops by their templates, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facemake.backends.detect import DETECTORS
from facemake.backends.eyes import EYE_FINDERS
from facemake.crops import (
    ARCFACE,
    crop_face_from_frame,
    cut_arcface,
    cut_box,
    cut_openface,
    cut_square,
    padded,
    squashed,
)
from facemake.errors import ConfigError
from facemake.extraction.cutting import Cutter
from facemake.extraction.settings import TEMPLATES, CropSettings
from facemake.geometry import apply_affine
from facemake.status import CropStatus
from facemake.template import RIGID_POINTS, TEMPLATE


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture whose red says where x is, and whose green where y is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 7)], axis=-1).astype(np.uint8)


def triangle_weights(length: int, size: int) -> np.ndarray:
    """(size, length): an antialiased bilinear resize of one axis, as torchvision defines it."""
    scale = length / size
    reach = max(scale, 1.0)
    middles = (np.arange(size) + 0.5) * scale
    distance = np.abs(np.arange(length) + 0.5 - middles[:, None]) / reach
    weights = np.clip(1 - distance, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


# larger and smaller than the square, and far from one
@pytest.mark.parametrize("shape", [(300, 517), (90, 41), (256, 256), (1500, 900), (1, 3)])
def test_squashing_is_the_antialiased_triangle_filter(shape: tuple[int, int]):
    pixels = noise(*shape)
    ours = squashed(pixels, 256)
    down, across = (triangle_weights(n, 256) for n in shape)
    exact = np.einsum("yh,xw,hwc->yxc", down, across, pixels.astype(float), optimize=True)
    errors = np.abs(ours - exact)
    assert ours.shape == (256, 256, 3)
    # both round to whole values after each of the two passes
    assert errors.max() < 1.01 and errors.mean() < 0.35


def test_the_padded_box_is_whole_pixels_within_the_frame():
    frame = noise(100, 200)
    # int(10.9) = 10 … int(60.2) = 60: 50 wide, 20 high; 20 % are 10 and 4
    crop = np.asarray(crop_face_from_frame(frame, [10.9, 30.5, 60.2, 50.9]))
    assert np.array_equal(crop, frame[26:54, 0:70, ::-1])
    corner = np.asarray(crop_face_from_frame(frame, [150, 60, 230, 120], padding=0.5))
    assert np.array_equal(corner, frame[30:100, 110:200, ::-1])
    assert crop_face_from_frame(frame, np.array([0, 0, 4, 4], np.float32), 0.2).size == (4, 4)
    assert padded((100, 200), [10, 10, 14, 20], 0.2) == (slice(8, 22), slice(10, 14))
    with pytest.raises(ValueError, match="has no pixel in a picture of 200 x 100"):
        crop_face_from_frame(frame, [300, 10, 400, 50])


def test_boxes_are_cut_where_they_are():
    rgb = smooth(120, 160)
    box = np.array([19.5, 29.5, 40, 60], np.float32)  # edges of pixels 20 and 59, 30 and 89
    raw = cut_box(rgb, box, 0.0, None)
    assert raw is not None and np.array_equal(raw.pixels, rgb[30:90, 20:60])
    assert np.allclose(apply_affine(raw.affine, [(20, 30)]), [(0, 0)])

    dino = cut_box(rgb, box, 0.2, 256)
    assert dino is not None
    part = Image.fromarray(rgb[18:102, 12:68]).resize((256, 256), Image.Resampling.BILINEAR)
    assert np.array_equal(dino.pixels, np.asarray(part))
    (where,) = apply_affine(dino.affine, [(40, 60)])
    x, y = where.round().astype(int)
    assert dino.pixels[y, x, :2].tolist() == [40, 60]
    assert cut_box(rgb, np.array([500, 1, 9, 9], np.float32), 0.0, None) is None


def test_arcface_puts_the_points_on_its_template():
    turn, scale = np.deg2rad(25), 2.3
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (ARCFACE @ linear.T + (300, 200)).astype(np.float32)
    crop = cut_arcface(noise(600, 800), points)
    assert crop is not None and crop.pixels.shape == (112, 112, 3)
    assert np.abs(apply_affine(crop.affine, points) - ARCFACE).max() < 1e-3

    points[2:] = np.nan  # eyes are enough
    eyes = cut_arcface(noise(600, 800), points)
    assert eyes is not None and np.allclose(eyes.affine, crop.affine, atol=1e-3)
    points[1] = np.nan
    assert cut_arcface(noise(600, 800), points) is None
    assert cut_arcface(noise(600, 800), np.full((5, 2), 9, np.float32)) is None


def test_openface_puts_rigid_points_on_the_template():
    landmarks = np.random.default_rng(1).normal(150, 40, (51, 2)).astype(np.float32)
    landmarks[list(RIGID_POINTS)] = TEMPLATE * 2 + 50
    crop = cut_openface(noise(400, 400), landmarks)
    assert crop is not None
    assert np.abs(apply_affine(crop.affine, landmarks[list(RIGID_POINTS)]) - TEMPLATE).max() < 1e-3


def test_a_square_is_the_box_and_nothing_is_squashed():
    rgb = smooth(200, 250)
    crop = cut_square(rgb, np.array([49.5, 39.5, 56, 112], np.float32))
    assert crop is not None
    # 112 px high: pixel by pixel, the middle of the box in the middle of the crop
    assert np.array_equal(crop.pixels, rgb[40:152, 22:134])
    assert cut_square(rgb, np.array([260, 0, 20, 20], np.float32)) is None
    assert cut_square(rgb, np.array([10, 10, 0, 20], np.float32)) is None


BOX = np.array([40, 30, 80, 100], np.float32)
NO_POINTS = np.full((5, 2), np.nan, np.float32)


def settings(template: str, padding: float | None = None, **other: object) -> CropSettings:
    return CropSettings(template, padding, **{"format": "jpg", "quality": 95, **other})


def test_a_face_without_eyes_is_a_square_and_says_so():
    cut = Cutter.of("mediapipe", settings("arcface112"))(noise(200, 200), BOX, NO_POINTS)
    assert cut.status is CropStatus.NO_EYES and "square around the box" in cut.reason
    assert cut.crop is not None and cut.crop.pixels.shape == (112, 112, 3)
    assert cut.aligned_by == ""


def test_who_finds_the_eyes_is_the_detectors_row():
    for name, row in DETECTORS.items():
        assert settings("arcface112").eyes(row) == row.eyes
        assert settings("raw").backends(name) == ()
    assert settings("arcface112").backends("opencv") == (EYE_FINDERS["haar"],)
    assert settings("arcface112").backends("scrfd") == ()


@pytest.mark.parametrize(
    "box",
    [
        (940, 30, 80, 100),
        (-300, 30, 80, 100),
        (40, 199.6, 80, 100),
        (40, 30, 80, 0),
        (-1.6e12, -3e4, 3.2e12, 0),  # as a network may dream them
    ],
)
def test_a_box_without_a_pixel_of_the_picture_has_no_crop(box: tuple[float, ...]):
    points = (ARCFACE + 60).astype(np.float32)
    for template in TEMPLATES:
        cutter = Cutter.of("mediapipe", settings(template))
        cut = cutter(noise(200, 200), np.array(box, np.float32), points)
        assert cut.crop is None and cut.status is CropStatus.OUTSIDE
        cutter.close()


@pytest.mark.parametrize("far", [(2000, 0), (0, -900), (1e13, 1e13), (-2e30, 5)])
def test_points_far_outside_align_nothing(far: tuple[float, float]):
    points = (ARCFACE + far).astype(np.float32)
    points[0, 0] += np.float32(abs(far[0]) / 1000)
    cut = Cutter.of("scrfd", settings("arcface112"))(noise(200, 200), BOX, points)
    assert cut.status is CropStatus.NO_EYES and cut.crop is not None
    assert cut.crop.pixels.any()


def test_openface_without_landmarks_says_so():
    cutter = Cutter.of("mediapipe", settings("openface112"))
    cut = cutter(noise(200, 200), BOX, NO_POINTS)  # noise is no face
    cutter.close()
    assert cut.status is CropStatus.NO_LANDMARKS and cut.crop is not None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"template": "arcface"}, "there is no template arcface; there are arcface112, "),
        ({"template": "arcface112", "padding": 0.1}, "fixes how large a face is"),
        ({"template": "raw", "padding": -1.0}, "0 to 10, not -1"),
        ({"template": "openface112", "landmarks": "3di"}, "no landmarks 3di; there are mediapipe"),
        ({"template": "raw", "format": "gif"}, "jpg or png, not gif"),
        ({"template": "raw", "quality": 0}, "1 to 100, not 0"),
    ],
)
def test_settings_that_make_no_crop_are_refused(wrong: dict[str, object], words: str):
    with pytest.raises(ConfigError, match=words):
        settings(**wrong)
