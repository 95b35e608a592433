"""Batched linear algebra: right, and the same for every batch."""

import numpy as np
import pytest

from facemake.backends.fit import linalg

RNG = np.random.default_rng(0)


def positive(n: int, k: int) -> np.ndarray:
    a = RNG.normal(size=(n, k, k + 3))
    return a @ a.transpose(0, 2, 1)


def test_products_agree_with_numpy() -> None:
    left, right = RNG.normal(size=(16, 7, 700)), RNG.normal(size=(16, 50, 700))
    assert np.allclose(linalg.weighted_gram(left, right), left @ right.transpose(0, 2, 1))
    one = linalg.weighted_gram(left[:, :1], right)
    assert np.allclose(one, left[:, :1] @ right.transpose(0, 2, 1))
    coefficients, basis = RNG.normal(size=(16, 40)), RNG.normal(size=(40, 478, 3))
    wanted = np.tensordot(coefficients, basis, 1)
    assert np.allclose(linalg.combine(coefficients, basis), wanted)
    assert np.array_equal(
        linalg.combine(np.zeros((4, 0)), np.zeros((0, 5, 3))), np.zeros((4, 5, 3))
    )


def test_cholesky_solves_and_keeps_trouble_to_itself() -> None:
    a, b = positive(5, 9), RNG.normal(size=(5, 9, 3))
    good = linalg.cholesky_solve(a, b)
    assert np.allclose(a @ good, b)
    broken = a.copy()
    broken[2] = -np.eye(9)
    broken[3, 0, 0] = np.nan
    mixed = linalg.cholesky_solve(broken, b)
    assert np.isnan(mixed[2]).any() and np.isnan(mixed[3]).any()
    assert np.array_equal(mixed[[0, 1, 4]], good[[0, 1, 4]])


def test_the_bounded_quadratic_meets_the_optimality_conditions() -> None:
    h, g = positive(6, 8), RNG.normal(size=(6, 8)) * 20
    lower, upper = np.full((6, 8), -0.3), np.full((6, 8), 0.5)
    d = linalg.box_quadratic(h, g, lower, upper, sweeps=500)
    pull = g - (h @ d[..., None])[..., 0]  # minus the gradient
    inside = (d > lower) & (d < upper)
    assert 0 < inside.sum() < inside.size, "both kinds of coordinates must be tested"
    assert np.abs(pull[inside]).max() < 1e-6
    assert (pull[d == upper] >= 0).all() and (pull[d == lower] <= 0).all()
    few = linalg.box_quadratic(h, g, lower, upper, sweeps=1)
    assert (few >= lower).all() and (few <= upper).all()


def test_without_bounds_it_is_the_linear_solution() -> None:
    h, g = positive(3, 5), RNG.normal(size=(3, 5))
    wide = np.full((3, 5), 1e9)
    d = linalg.box_quadratic(h, g, -wide, wide, sweeps=3000)
    assert np.allclose(d, np.linalg.solve(h, g[..., None])[..., 0], atol=1e-6)


@pytest.mark.parametrize("a", [2, 27, 28, 79, 138, 200])
@pytest.mark.parametrize("b", [2, 31, 138])
@pytest.mark.parametrize("k", [3, 51, 68, 478])
def test_no_product_is_so_large_that_blas_may_split_it(
    a: int, b: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """138 rows in 5 blocks are 28 in the largest, and 28 * 138 * 68 is too much."""
    sizes: list[int] = []
    real = np.matmul

    def matmul(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        sizes.append(left.shape[1] * left.shape[2] * right.shape[2])
        return real(left, right)

    left, right = np.ones((2, a, k)), np.ones((2, b, k))
    monkeypatch.setattr(np, "matmul", matmul)
    found = linalg.weighted_gram(left, right)
    assert (found == k).all() and found.shape == (2, a, b)
    assert max(sizes) <= linalg._MAX_GEMM
