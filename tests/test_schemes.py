"""The landmark table: its shape, its symmetry, and its fit to a real face."""

import numpy as np
import pytest

from facemake import schemes


def test_the_table_is_a_choice_of_distinct_facemesh_points() -> None:
    table = schemes.MEDIAPIPE478_TO_IBUG68
    assert table.shape == (68,)
    assert len(set(table.tolist())) == 68
    assert table.min() >= 0 and table.max() < 468  # no iris point: the table serves 468 too


def test_groups_cover_each_point_once() -> None:
    parts = ("jaw", "brow_l", "brow_r", "nose", "eye_l", "eye_r", "mouth")
    joined = np.concatenate([schemes.IBUG68_GROUPS[p] for p in parts])
    assert sorted(joined.tolist()) == list(range(68))
    joined = np.concatenate(list(schemes.IBUG51_GROUPS.values()))
    assert sorted(joined.tolist()) == list(range(51))


def test_ibug51_is_ibug68_without_the_jaw() -> None:
    points = np.arange(136.0).reshape(68, 2)
    assert np.array_equal(schemes.convert(points, "ibug68", "ibug51"), points[17:])
    full = np.random.default_rng(0).normal(size=(3, 478, 2))
    via68 = schemes.convert(schemes.convert(full, "mediapipe478", "ibug68"), "ibug68", "ibug51")
    assert np.array_equal(schemes.convert(full, "mediapipe478", "ibug51"), via68)


def test_mirroring_twice_is_nothing_and_swaps_the_sides() -> None:
    mirror = schemes.MIRROR_IBUG68
    assert np.array_equal(mirror[mirror], np.arange(68))
    groups = schemes.IBUG68_GROUPS
    for left, right in (("brow_l", "brow_r"), ("eye_l", "eye_r")):
        assert set(mirror[groups[left]].tolist()) == set(groups[right].tolist())
    for both in ("jaw", "bridge", "nostrils", "outer_lip", "inner_lip"):
        assert set(mirror[groups[both]].tolist()) == set(groups[both].tolist())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ibug51.*ibug68"):
        schemes.subset("ibug51", "ibug68")
    with pytest.raises(ValueError, match="68 points"):
        schemes.convert(np.zeros((5, 67, 2)), "ibug68", "ibug51")
    with pytest.raises(ValueError, match="nonsense"):
        schemes.subset("nonsense", "ibug68")


def test_five_points_of_ibug51_are_eyes_nose_and_mouth():
    points = np.arange(102, dtype=np.float32).reshape(51, 2)
    points[19:25] = (30, 50)  # iBUG-68: 36-41, the image-left eye
    points[25:31] = (80, 51)
    points[13], points[31], points[37] = (55, 70), (40, 90), (70, 91)  # 30, 48, 54
    wanted = [(30, 50), (80, 51), (55, 70), (40, 90), (70, 91)]
    assert schemes.five_points(points).tolist() == [list(point) for point in wanted]
