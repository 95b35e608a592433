from __future__ import annotations

import numpy as np
import pytest

from facemake.dataset.crop import global_params_in_crop, landmarks_in_crop
from facemake.geometry import apply_affine, rotation_from_euler_xyz

N = 200


def project(params: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """OpenFace's weak perspective: (n, 6) and (K, 3) to (n, K, 2)."""
    rotation = rotation_from_euler_xyz(params[:, 1:4])
    turned = np.einsum("nij,kj->nki", rotation[:, :2], shape)
    return params[:, 0, None, None] * turned + params[:, None, 4:]


@pytest.fixture
def random() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities of any turn and scale, global parameters of any head, and a shape."""
    rng = np.random.default_rng(1)
    turn, scale = rng.uniform(-np.pi, np.pi, N), rng.uniform(0.1, 3, N)
    affine = np.empty((N, 2, 3), np.float32)
    affine[:, 0, 0] = affine[:, 1, 1] = scale * np.cos(turn)
    affine[:, 1, 0] = scale * np.sin(turn)
    affine[:, 0, 1] = -affine[:, 1, 0]
    affine[:, :, 2] = rng.uniform(-500, 500, (N, 2))
    params = np.empty((N, 6), np.float32)
    params[:, 0] = rng.uniform(0.5, 6, N)
    params[:, 1:4] = rng.uniform(-1, 1, (N, 3))
    params[:, 4:] = rng.uniform(0, 2000, (N, 2))
    return affine, params, rng.uniform(-80, 80, (68, 3))


def test_the_model_in_the_crop_is_the_model_in_the_frame_moved_by_the_affine(random):
    affine, params, shape = random
    moved = apply_affine(affine, project(params.astype(float), shape))
    inside = project(global_params_in_crop(affine, params).astype(float), shape)
    # float32 parameters: a shift of thousands of pixels is known to some ten-thousandths
    assert np.abs(moved - inside).max() < 5e-3


def test_a_roll_of_the_picture_is_not_just_added_to_rz(random):
    affine, params, _ = random
    naive = params.astype(float).copy()
    naive[:, 3] += np.arctan2(affine[:, 1, 0], affine[:, 0, 0])
    wrong = rotation_from_euler_xyz(naive[:, 1:4])
    right = rotation_from_euler_xyz(global_params_in_crop(affine, params)[:, 1:4].astype(float))
    assert np.abs(wrong - right).max() > 0.5


def test_the_frame_itself_changes_nothing(random):
    _, params, _ = random
    same = np.tile(np.eye(2, 3, dtype=np.float32), (N, 1, 1))
    np.testing.assert_allclose(global_params_in_crop(same, params), params, atol=1e-6)


def test_a_frontal_head_gets_the_roll_of_the_crop():
    affine = np.array([[[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]]], np.float32)  # a quarter turn, doubled
    frontal = np.array([[3.0, 0, 0, 0, 10, 20]], np.float32)
    found = global_params_in_crop(affine, frontal)[0]
    np.testing.assert_allclose(found, [6, 0, 0, np.pi / 2, -35, 27], atol=1e-5)


def test_landmarks_go_through_the_affine():
    affine = np.array([[[2.0, 0, -1], [0, 2, 3]]], np.float32)
    points = np.array([[[0.0, 0], [10, 20]]], np.float32)
    assert landmarks_in_crop(affine, points).tolist() == [[[-1, 3], [19, 43]]]
