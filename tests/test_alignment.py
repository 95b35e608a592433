"""The aligned crop: where its template comes from, and where its pixels go."""

from __future__ import annotations

import numpy as np
import pytest

from facemake.alignment import align
from facemake.backends.fit import load
from facemake.geometry import apply_affine
from facemake.template import (
    CROP_SIZE,
    FACE_SIDES,
    RIGID_POINTS,
    TEMPLATE,
    crop_affine,
    face_square,
)


def mean_face() -> np.ndarray:
    """(68, 2) crop pixels of the built-in model's mean."""
    xy = 0.7 * load("builtin").mean[:, :2]
    return xy - (xy.min(axis=0) + xy.max(axis=0)) / 2 + (CROP_SIZE - 1) / 2


def inner(points: np.ndarray) -> np.ndarray:
    """iBUG-51 of iBUG-68."""
    return points[17:]


def test_the_square_around_a_face_is_nearly_the_same_without_the_jaw():
    turned = mean_face() @ np.array([[1.6, 0.9], [-0.9, 1.6]]) + (300, 200)
    sides = mean_face().max(axis=0) - mean_face().min(axis=0)
    assert np.allclose(sides, FACE_SIDES, atol=0.006)
    upright = 2.5 * mean_face() + (40, -7)
    whole, half = face_square(upright.astype(np.float32))
    guessed, half_guessed = face_square(inner(upright).astype(np.float32))
    assert np.allclose(whole, guessed, atol=0.05)
    assert np.isclose(half, half_guessed, rtol=1e-3)
    # a turned head's bounding box is another one; the guess turns with the face
    centre, _ = face_square(inner(turned).astype(np.float32))
    middle = np.array([[1.6, 0.9], [-0.9, 1.6]]).T @ np.full(2, (CROP_SIZE - 1) / 2) + (300, 200)
    assert np.allclose(centre, middle, atol=0.05)


def test_the_template_is_the_mean_face():
    assert np.allclose(TEMPLATE, inner(mean_face())[list(RIGID_POINTS)], atol=0.006)


def test_the_whole_mean_face_lies_in_the_crop():
    assert mean_face().min() > 5
    assert mean_face().max() < CROP_SIZE - 6


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.3, 9.0])
@pytest.mark.parametrize("roll", [0.0, 0.5, -2.0])
def test_a_face_of_any_size_and_roll_lands_on_the_template(scale: float, roll: float):
    c, s = scale * np.cos(roll), scale * np.sin(roll)
    centre = np.full(2, 56 * scale + 10)
    points = (mean_face() - 55.5) @ np.array([[c, s], [-s, c]]) + centre
    affine = crop_affine(inner(points).astype(np.float32))
    assert np.allclose(apply_affine(affine, points), mean_face(), atol=0.01)

    # blobs in the frame at four rigid points are found in the crop where the template has them
    size = int(2 * centre[0]) + 40
    grid_y, grid_x = np.mgrid[:size, :size]
    for k in (36, 45, 30):
        blob = np.exp(
            -((grid_x - points[k, 0]) ** 2 + (grid_y - points[k, 1]) ** 2)
            / (2 * (2.5 * max(scale, 1)) ** 2)
        )
        rgb = np.repeat((255 * blob).astype(np.uint8)[..., None], 3, axis=2)
        weights = align(rgb, affine)[..., 0].astype(float) ** 2
        found = [
            (np.arange(CROP_SIZE) * weights.sum(axis=axis)).sum() / weights.sum() for axis in (0, 1)
        ]
        assert np.allclose(found, mean_face()[k], atol=0.15), k


def test_outside_of_the_frame_is_black():
    affine = crop_affine((inner(mean_face()) - 200).astype(np.float32))
    crop = align(np.full((60, 60, 3), 255, np.uint8), affine)
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert crop.max() == 0
