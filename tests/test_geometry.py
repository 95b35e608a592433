"""Signs, inverses and least squares of the geometry kernel."""

import numpy as np
import pytest

from facemake import geometry as g

# A head of four points in model axes, mm: x image-right, y down, z away from the camera.
NOSE, CHIN = np.array([0.0, 0.0, -41.0]), np.array([0.0, 70.0, -10.0])
EYE_L, EYE_R = np.array([-45.0, -30.0, 0.0]), np.array([45.0, -30.0, 0.0])
HEAD = np.stack([NOSE, CHIN, EYE_L, EYE_R])
CAMERA = g.Camera.from_fov(640, 480, 30)


def seen(pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    rotation = g.rotation_from_euler([pitch, yaw, roll])
    return CAMERA.project(g.rotate(rotation, HEAD) + np.array([0.0, 0.0, 900.0]))


def test_a_head_that_looks_into_the_lens_is_upright_and_centred() -> None:
    nose, chin, eye_l, eye_r = seen()
    assert nose == pytest.approx([319.5, 239.5])
    assert chin[1] > nose[1] > eye_l[1]
    assert eye_l[0] < nose[0] < eye_r[0]


def test_pitch_above_zero_points_the_nose_down() -> None:
    assert seen(pitch=0.3)[0, 1] > seen()[0, 1] + 10


def test_yaw_above_zero_points_the_nose_to_the_left_edge_of_the_image() -> None:
    assert seen(yaw=0.3)[0, 0] < seen()[0, 0] - 10


def test_roll_above_zero_turns_the_head_clockwise_in_the_image() -> None:
    _, chin, eye_l, eye_r = seen(roll=0.3)
    assert eye_r[1] > eye_l[1] + 20
    assert chin[0] < 319.5 - 10


def test_euler_angles_come_back() -> None:
    angles = np.random.default_rng(1).uniform(-1.4, 1.4, size=(200, 3))
    rotation = g.rotation_from_euler(angles)
    one_by_one = [
        g.rotation_from_euler([0, 0, r])
        @ g.rotation_from_euler([0, y, 0])
        @ g.rotation_from_euler([p, 0, 0])
        for p, y, r in angles
    ]
    assert np.allclose(rotation, one_by_one, atol=1e-14)
    assert np.allclose(np.linalg.det(rotation), 1)
    assert np.allclose(g.euler_from_rotation(rotation), angles, atol=1e-12)
    xyz = g.rotation_from_euler_xyz(angles)
    assert np.allclose(g.euler_xyz_from_rotation(xyz), angles, atol=1e-12)
    for axis in range(3):  # about one axis alone, both orders are the same rotation
        single = np.zeros(3)
        single[axis] = 0.4
        assert np.allclose(g.rotation_from_euler_xyz(single), g.rotation_from_euler(single))


def test_angles_have_the_same_bits_wherever_the_arrays_lie() -> None:
    rng = np.random.default_rng(8)
    rotation = g.rotation_from_euler(rng.uniform(-1.4, 1.4, size=(150, 3)))
    first = g.euler_from_rotation(rotation)
    for _ in range(50):
        junk = np.empty(rng.integers(1, 5000))
        start = int(rng.integers(0, 149))
        again = g.euler_from_rotation(rotation[start:].copy())
        assert np.array_equal(again, first[start:]), junk.size


def test_the_cayley_map_is_a_rotation_near_the_exponential() -> None:
    small = g.rotation_from_vector([0.02, 0, 0])
    assert np.allclose(small, g.rotation_from_euler([0.02, 0, 0]), atol=1e-6)
    big = g.rotation_from_vector([5.0, -3.0, 2.0])
    assert np.allclose(big @ big.T, np.eye(3), atol=1e-12)


def test_compose_and_rotate_agree_with_matmul() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 5, 3, 3))
    assert np.allclose(g.compose(a, b), a @ b)
    points = rng.normal(size=(5, 7, 3))
    assert np.allclose(g.rotate(a, points), points @ a.transpose(0, 2, 1))


def test_the_field_of_view_spans_the_longer_side() -> None:
    landscape, portrait = g.Camera.from_fov(640, 360, 40), g.Camera.from_fov(360, 640, 40)
    assert landscape.focal == portrait.focal
    edge = landscape.project([1000 * np.tan(np.deg2rad(20)), 0, 1000])
    assert edge[0] == pytest.approx(319.5 + 320)
    assert (landscape.cx, landscape.cy) == (319.5, 179.5)
    assert np.isnan(landscape.project([1.0, 1.0, -5.0])).all()
    for bad in ((0, 10, 30), (10, 10, 0), (10, 10, 180)):
        with pytest.raises(ValueError, match="no camera"):
            g.Camera.from_fov(*bad)


def test_similarity_finds_scale_roll_and_shift() -> None:
    rng = np.random.default_rng(3)
    src = rng.normal(size=(4, 9, 2))
    angle = np.deg2rad(25)
    truth = np.array(
        [[2 * np.cos(angle), -2 * np.sin(angle), 7], [2 * np.sin(angle), 2 * np.cos(angle), -3]]
    )
    dst = g.apply_affine(truth, src)
    assert np.allclose(g.similarity(src, dst), truth)
    back = g.apply_affine(g.invert_affine(truth), dst)
    assert np.allclose(back, src)


def test_similarity_is_the_least_squares_one_and_never_a_reflection() -> None:
    rng = np.random.default_rng(4)
    src, dst = rng.normal(size=(2, 12, 2))
    best = g.similarity(src, dst)
    error = ((g.apply_affine(best, src) - dst) ** 2).sum()
    basis = np.array(
        [
            [[1, 0, 0], [0, 1, 0]],
            [[0, -1, 0], [1, 0, 0]],
            [[0, 0, 1], [0, 0, 0]],
            [[0, 0, 0], [0, 0, 1]],
        ]
    )
    for step in np.concatenate([basis, -basis]) * 1e-3:
        assert ((g.apply_affine(best + step, src) - dst) ** 2).sum() > error
    mirrored = g.similarity(src, src * [-1, 1])
    assert np.linalg.det(mirrored[:, :2]) >= 0


def test_similarity_invents_nothing() -> None:
    good = np.random.default_rng(5).normal(size=(6, 2))
    broken = good.copy()
    broken[2, 1] = np.nan
    assert np.isnan(g.similarity(np.ones((6, 2)), good)).all()
    out = g.similarity(np.stack([good, broken]), good)
    assert np.isfinite(out[0]).all() and np.isnan(out[1]).all()
    with pytest.raises(ValueError, match="point lists"):
        g.similarity(good, good[:4])


def test_similarity3d_comes_back() -> None:
    rng = np.random.default_rng(6)
    src = rng.normal(size=(20, 3))
    rotation = g.rotation_from_euler([0.4, -0.8, 1.1])
    scale, found, shift = g.similarity3d(src, 1.7 * src @ rotation.T + [1, 2, 3])
    assert scale == pytest.approx(1.7)
    assert np.allclose(found, rotation)
    assert np.allclose(shift, [1, 2, 3])


def test_the_nearest_scaled_rotation_is_the_polar_factor() -> None:
    rotation = g.rotation_from_euler([0.3, 0.5, -0.2])
    scale, found = g.nearest_scaled_rotation(2.5 * rotation[:2])
    assert scale == pytest.approx(2.5)
    assert np.allclose(found, rotation)
    noisy = rotation[:2] + np.random.default_rng(7).normal(scale=0.1, size=(2, 3))
    u, s, vt = np.linalg.svd(noisy, full_matrices=False)
    scale, found = g.nearest_scaled_rotation(noisy)
    assert np.allclose(found[:2], u @ vt)
    assert scale == pytest.approx(s.mean())
    assert np.isnan(g.nearest_scaled_rotation(np.zeros((2, 3)))[1]).all()
