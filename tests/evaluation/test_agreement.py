"""The measures against other ways to compute them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from facemake.evaluation import agreement


@pytest.fixture
def pairs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    y = rng.uniform(0, 5, 200)
    x = 0.7 * y + 0.4 + rng.normal(0, 0.6, 200)
    return x.astype(np.float32), y.astype(np.float32)


def test_pearson_is_pandas(pairs):
    x, y = pairs
    assert agreement.pearson(x, y) == pytest.approx(pd.Series(x).corr(pd.Series(y)), abs=1e-6)


def test_concordance_is_lins_through_the_correlation(pairs):
    x, y = pairs
    r = np.corrcoef(x, y)[0, 1]
    sx, sy = pd.Series(x).std(ddof=0), pd.Series(y).std(ddof=0)
    # Lin's other form: r times how far scale and place are off
    v, u = sx / sy, (x.mean() - y.mean()) / math.sqrt(sx * sy)
    assert agreement.concordance(x, y) == pytest.approx(r * 2 / (v + 1 / v + u**2), abs=1e-6)
    assert agreement.concordance(y, y) == pytest.approx(1)
    assert agreement.concordance(y + 1, y) < 0.9


def test_icc_is_that_of_shrout_and_fleiss():
    # their table 2 has 4 raters; ICC(3,1) of 6 targets by 4 raters is 0.71, here in its two-rater
    # form against the covariance: consistency is 2 cov / (var + var)
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
                        [6, 2, 4, 7]], float)  # fmt: skip
    for i, j in ((0, 1), (0, 3), (2, 3)):
        x, y = ratings[:, i], ratings[:, j]
        expected = 2 * np.cov(x, y)[0, 1] / (x.var(ddof=1) + y.var(ddof=1))
        assert agreement.icc_3_1(x, y) == pytest.approx(expected)
        assert agreement.icc_3_1(x + 3, y) == pytest.approx(expected)  # consistency


def test_icc_by_the_analysis_of_variance(pairs):
    x, y = (v.astype(float) for v in pairs)
    long = pd.DataFrame({"t": [*range(200)] * 2, "r": [0] * 200 + [1] * 200, "v": [*x, *y]})
    means = long.v.mean()
    rows = 2 * ((long.groupby("t").v.mean() - means) ** 2).sum() / 199
    raters = 200 * ((long.groupby("r").v.mean() - means) ** 2).sum()
    error = (((long.v - means) ** 2).sum() - 199 * rows - raters) / 199
    assert agreement.icc_3_1(x, y) == pytest.approx((rows - error) / (rows + error))


def test_error_and_limits_of_agreement(pairs):
    x, y = pairs
    off = pd.Series(x.astype(float)) - pd.Series(y.astype(float))
    assert agreement.mean_absolute(x, y) == pytest.approx(off.abs().mean())
    mean, lower, upper = agreement.limits(x, y)
    assert (mean, upper - lower) == pytest.approx((off.mean(), 2 * 1.96 * off.std()))


def test_f1_counts_from_two_on():
    x = np.array([2.0, 1.9, 3.0, 0.0, 5.0])
    y = np.array([2.0, 2.0, 1.0, 0.0, 4.0])
    # 2 true, 1 false alarm, 1 missed
    precision, recall = 2 / 3, 2 / 3
    assert agreement.f1(x, y) == pytest.approx(2 * precision * recall / (precision + recall))
    assert math.isnan(agreement.f1(x, np.zeros(5)))
    assert agreement.f1(np.zeros(5), y) == 0


def test_what_is_missing_counts_for_nothing_and_what_does_not_vary_has_no_correlation(pairs):
    x, y = pairs
    gaps = y.copy()
    gaps[::3] = np.nan
    kept = np.arange(200) % 3 > 0
    for measure in (agreement.pearson, agreement.concordance, agreement.icc_3_1):
        assert measure(x, gaps) == pytest.approx(measure(x[kept], y[kept]))
        assert math.isnan(measure(x, np.full(200, 2, np.float32)))
        assert math.isnan(measure(x[:1], y[:1]))
    assert math.isnan(agreement.pearson(np.full(200, 2, np.float32), y))
    assert math.isnan(agreement.pearson(np.full(200, 0.1), y))  # whose mean is not quite itself
    assert math.isnan(agreement.mean_absolute(x, np.full(200, np.nan)))


def test_what_one_of_two_does_not_know_counts_for_nothing(pairs):
    x, y = pairs
    unknown = x.copy()
    unknown[:50] = np.nan
    for measure in ("pearson", "concordance", "icc_3_1", "mean_absolute", "f1", "limits"):
        found = getattr(agreement, measure)
        assert found(unknown, y) == pytest.approx(found(x[50:], y[50:])), measure


@pytest.mark.parametrize("cuts", [(0,), (1,), (7, 7, 150), (200,)])
def test_moments_of_parts_add_up_to_those_of_all(pairs, cuts: tuple[int, ...]):
    x, y = (v.astype(float) + 1e4 for v in pairs)
    parts = zip(np.split(x, cuts), np.split(y, cuts), strict=True)
    found = sum((agreement.Moments.of(*part) for part in parts), agreement.Moments())
    assert vars(found) == pytest.approx(vars(agreement.Moments.of(x, y)))


def test_the_turn_between_two_poses_is_the_angle_of_one_rotation():
    def turn(axis: int, angle: float) -> np.ndarray:
        out = np.zeros((1, 3))
        out[0, axis] = math.radians(angle)
        return out

    for axis in range(3):
        off = agreement.turns(turn(axis, 25.0), turn(axis, 5.0))
        assert off == pytest.approx([20.0])
    # by quaternions: 90 degrees about x, then 90 about z, is 120 degrees about a diagonal
    both = np.array([[math.pi / 2, 0, math.pi / 2]])
    assert agreement.turns(both, np.zeros((1, 3))) == pytest.approx([120.0])


def test_distances_and_the_size_of_a_face():
    rng = np.random.default_rng(0)
    y = rng.uniform(0, 112, (5, 68, 2))
    x = y + np.array([3.0, 4.0])
    assert agreement.distances(x, y) == pytest.approx(np.full((5, 68), 5.0))
    expected = [math.dist(face[36], face[45]) for face in y]
    assert agreement.interocular(y) == pytest.approx(expected)
