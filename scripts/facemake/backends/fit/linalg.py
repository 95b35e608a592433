"""Small dense linear algebra over many frames at once, with the same bits however it is called.

A frame's numbers must not depend on how many frames share its batch, on where in the batch it lies,
nor on how many threads BLAS may use. What is used here keeps to that:

* element-wise operations, and sums over an axis that is not the frames';
* `numpy.matmul` over a stack, one BLAS call of the same shape a frame, with each call kept below
  the size from which OpenBLAS splits a product between threads.

Callers pad batches so that the frame axis never has length 1 (see `solver.PAD`): NumPy drops axes
of length 1 and may then sum in another order.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Single = NDArray[np.float32]

_MAX_GEMM = 262_144
"""m * n * k of one matrix product; OpenBLAS threads above 4 * 65536 (interface/gemm.c)."""

_MAX_GEMV = 9_000
"""m * n of one matrix-vector product; OpenBLAS threads from 4 * 2304 on (interface/gemv.c)."""


def weighted_gram(left: Array | Single, right: Array | Single) -> Array:
    """`left @ right.T` a frame: (n, a, k) and (n, b, k) to (n, a, b), in float64."""
    _, a, k = left.shape
    b = right.shape[1]
    out = np.zeros((left.shape[0], a, b))
    if not (a and b):
        return out
    turned = right.transpose(0, 2, 1)
    if min(a, b) > 1 and 3 * b * k <= _MAX_GEMM:
        # Blocks of rows, as even as can be: none is left with a single one, a matrix-vector product
        blocks = -(-a // (_MAX_GEMM // (b * k)))
        edges = [a * i // blocks for i in range(blocks + 1)]
        for start, stop in pairwise(edges):
            out[:, start:stop] = np.matmul(left[:, start:stop], turned)
        return out
    step = max(
        1,
        min(k, _MAX_GEMM // (a * b), _MAX_GEMV // max(a, b))
        if min(a, b) == 1
        else min(k, _MAX_GEMM // (a * b)),
    )
    for start in range(0, k, step):
        stop = min(k, start + step)
        out += np.matmul(left[:, :, start:stop], turned[:, start:stop])
    return out


def combine(coefficients: Array, basis: Array) -> Array:
    """Sums of basis shapes: coefficients (n, E) and basis (E, L, 3) to (n, L, 3)."""
    n, e = coefficients.shape
    length = basis.shape[1]
    out = np.zeros((n, length, 3))
    if e == 0:
        return out
    row = np.ascontiguousarray(coefficients)[:, None, :]
    step = max(1, _MAX_GEMV // e)
    for axis in range(3):
        plane = np.ascontiguousarray(basis[:, :, axis])
        for start in range(0, length, step):
            part = np.ascontiguousarray(plane[:, start : start + step])
            out[:, start : start + step, axis] = np.matmul(row, part)[:, 0]
    return out


def cholesky_solve(matrix: Array, rhs: Array) -> Array:
    """Solutions of symmetric positive definite systems, (n, k, k) and (n, k, m) to (n, k, m).

    Element-wise over the stack (Golub & Van Loan, Matrix Computations, alg. 4.2.1). A matrix that
    is not positive definite gives NaN for its own item and no other.
    """
    k = matrix.shape[-1]
    a = matrix.copy()
    x = rhs.copy()
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for j in range(k):
            pivot = a[:, j, j]
            root = np.sqrt(np.where(pivot > 0, pivot, np.nan))
            a[:, j:, j] /= root[:, None]
            x[:, j] /= a[:, j, j][:, None]
            if j + 1 < k:
                column = a[:, j + 1 :, j]
                a[:, j + 1 :, j + 1 :] -= column[:, :, None] * column[:, None, :]
                x[:, j + 1 :] -= column[:, :, None] * x[:, j, None, :]
        for j in range(k - 1, -1, -1):
            x[:, j] /= a[:, j, j][:, None]
            if j:
                x[:, :j] -= a[:, j, :j, None] * x[:, j, None, :]
    return x


def box_quadratic(
    hessian: Array | Single,
    gradient: Array | Single,
    lower: Array,
    upper: Array,
    sweeps: int,
) -> Array:
    """Minimise `d'Hd/2 - g'd` within `lower <= d <= upper` by cyclic coordinate descent.

    Each step is the exact minimum along one coordinate, so the value never rises and no bound is
    ever left; the convergence for strictly convex H is Luo & Tseng's (SIAM J. Control Optim. 30,
    1992). Coordinates with a diagonal of 0 stay where they are.

    Args:
        hessian: (n, e, e), symmetric positive semi-definite; its precision is that of the work.
        gradient: (n, e).
        lower: (n, e), at most 0.
        upper: (n, e), at least 0.
        sweeps: passes over the coordinates.

    Returns:
        (n, e) steps.
    """
    n, e = gradient.shape
    h: NDArray[Any] = np.ascontiguousarray(hessian.transpose(1, 2, 0))
    g: NDArray[Any] = np.array(gradient.T, dtype=h.dtype, order="C")
    lo = np.ascontiguousarray(lower.T, dtype=h.dtype)
    hi = np.ascontiguousarray(upper.T, dtype=h.dtype)
    diagonal = np.stack([h[k, k] for k in range(e)]) if e else np.zeros((0, n), dtype=h.dtype)
    inverse = np.where(diagonal > 0, 1.0 / np.where(diagonal > 0, diagonal, 1.0), 0.0)
    d = np.zeros((e, n), dtype=h.dtype)
    product = np.empty((e, n), dtype=h.dtype)
    for _ in range(sweeps):
        for k in range(e):
            new = np.minimum(np.maximum(d[k] + g[k] * inverse[k], lo[k]), hi[k])
            np.multiply(h[k], new - d[k], out=product)
            g -= product
            d[k] = new
    return np.ascontiguousarray(d.T, dtype=np.float64)
