"""3DI-lite's pose: what was turned into its crop is turned back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facemake import geometry
from facemake.backends.threedi import lite_pose, turns

RNG = np.random.default_rng(5)


def face(roll: float, n: int = 1) -> np.ndarray:
    """(n, 102) landmarks whose five points are the template's, turned by `roll`, px."""
    template = lite_pose._TEMPLATE
    points = np.full((51, 2), 100.0)
    points[[19, 22, 25, 28]] = template[[0, 0, 1, 1]] + [[-9, 1], [9, -1], [-9, 1], [9, -1]]
    points[[13, 31, 37]] = template[2:]
    c, s = np.cos(roll), np.sin(roll)
    turned = 3.0 * points @ np.array([[c, -s], [s, c]]).T + [400, -30]
    return np.tile(turned.ravel(), (n, 1))


def ry_rx_rz(pitch: float, yaw: float, roll: float) -> np.ndarray:
    def about(axis: int, angle: float) -> np.ndarray:
        return geometry.rotation_from_euler(np.eye(3)[axis] * angle)

    return about(1, yaw) @ about(0, pitch) @ about(2, roll)


def test_rotation_vectors_are_opencvs():
    vectors = RNG.normal(size=(50, 3))
    vectors *= (np.linspace(1e-12, 3.1, 50) / np.linalg.norm(vectors, axis=1))[:, None]
    made = turns.rotation_from_vector(vectors)
    wanted = np.stack([cv2.Rodrigues(v)[0] for v in vectors])
    np.testing.assert_allclose(made, wanted, atol=1e-12)
    np.testing.assert_allclose(turns.vector_from_rotation(made), vectors, atol=1e-11)


def test_the_pose_is_recovered():
    angles = RNG.uniform(-1, 1, (40, 3)) * [0.7, 1.4, 0.7]
    rolls = RNG.uniform(-0.6, 0.6, 40)
    vectors, landmarks = [], []
    for (pitch, yaw, roll), crop in zip(angles, rolls, strict=True):
        in_crop = geometry.rotation_from_euler([0, 0, -crop]) @ ry_rx_rz(pitch, yaw, roll)
        vectors.append(turns.vector_from_rotation(in_crop[None])[0] * [-1, 1, 1])
        landmarks.append(face(crop)[0])
    vectors, landmarks = np.array(vectors), np.array(landmarks)
    np.testing.assert_allclose(lite_pose.lite_angles(vectors, landmarks), angles, atol=1e-9)
    wanted = np.stack([ry_rx_rz(*a) for a in angles])
    np.testing.assert_allclose(lite_pose.rotations(vectors, landmarks), wanted, atol=1e-9)
    # one frame by itself is the same to the bit
    alone = np.concatenate(
        [lite_pose.lite_angles(vectors[i : i + 1], landmarks[i : i + 1]) for i in range(40)]
    )
    np.testing.assert_array_equal(alone, lite_pose.lite_angles(vectors, landmarks))


def test_a_face_that_is_turned_in_the_picture_alone_has_that_roll():
    angles = lite_pose.lite_angles(np.zeros((2, 3)), face(0.3, 2))
    np.testing.assert_allclose(angles, [[0, 0, 0.3]] * 2, atol=1e-12)


def test_each_angle_beyond_its_limit_is_nan_by_itself():
    cases = [(0.8, 0.1, 0.1), (0.1, 0.1, -0.8), (0.2, 1.575, 0.1), (0.7, -1.5, 0.7)]
    vectors = np.array([turns.vector_from_rotation(ry_rx_rz(*c)[None])[0] for c in cases])
    angles = lite_pose.lite_angles(vectors * [-1, 1, 1], face(0.0, 4))
    assert np.isnan(angles).tolist() == [
        [True, False, False],
        [False, False, True],
        [False, True, False],
        [False, False, False],
    ]


def test_no_landmarks_and_no_vector_are_nan():
    landmarks = face(0.1, 3)
    landmarks[1] = 0
    vectors = np.zeros((3, 3))
    vectors[2] = np.nan
    angles = lite_pose.lite_angles(vectors, landmarks)
    assert np.isnan(angles).all(axis=1).tolist() == [False, True, True]


def test_landmarks_may_have_a_frame_more_but_not_fewer():
    assert lite_pose.lite_angles(np.zeros((2, 3)), face(0.1, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match="1 rows of landmarks for 2"):
        lite_pose.lite_angles(np.zeros((2, 3)), face(0.1, 1))
    assert lite_pose.lite_angles(np.zeros((0, 3)), np.zeros((0, 102))).shape == (0, 3)
