"""The distortion of a lens as OpenCV models it, and its inverse.

The model is OpenCV's pinhole camera with up to 14 coefficients of distortion (OpenCV, calib3d,
"Camera calibration and 3D reconstruction"): with `(x, y) = (X / Z, Y / Z)`, `u = x^2 + y^2`,

    radial = (1 + k1 u + k2 u^2 + k3 u^3) / (1 + k4 u + k5 u^2 + k6 u^3)
    x' = x radial + 2 p1 x y + p2 (u + 2 x^2) + s1 u + s2 u^2
    y' = y radial + p1 (u + 2 y^2) + 2 p2 x y + s3 u + s4 u^2

then a sensor tilted by (tx, ty), then `pixel = (fx x' + cx, fy y' + cy)`. The coefficients stand in
a file as k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]].

Nothing here calls BLAS or LAPACK; a point's numbers do not depend on the points beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0, 4, 5, 8, 12, 14)
"""How many coefficients of distortion a file may have."""

_WIDEST = math.tan(math.radians(85.0))
"""Of the angle from the optical axis up to which a pinhole model is followed."""

_STEPS = 4096
_NEWTON = 12
"""Steps of Newton from an interpolated start: it needs 3 to 5."""
_AT_REST = 1e-11
"""Largest miss, in units of the focal length: a ten-millionth of a pixel."""


@dataclass(frozen=True)
class Distortion:
    """OpenCV's distortion, and its inverse, on coordinates in units of the focal length."""

    coefficients: tuple[float, ...]

    @cached_property
    def _k(self) -> tuple[float, ...]:
        return self.coefficients + (0.0,) * (LENGTHS[-1] - len(self.coefficients))

    @cached_property
    def _tilt(self) -> tuple[tuple[float, ...], ...] | None:
        """The homography of a tilted sensor, by rows; None where it is not tilted."""
        tx, ty = self._k[12:]
        if not (tx or ty):
            return None
        a, b, c, d = math.cos(tx), math.sin(tx), math.cos(ty), math.sin(ty)
        turn = ((c, d * b, -d * a), (0.0, a, b), (d, -c * b, c * a))
        return (
            tuple(turn[2][2] * turn[0][j] - turn[0][2] * turn[2][j] for j in range(3)),
            tuple(turn[2][2] * turn[1][j] - turn[1][2] * turn[2][j] for j in range(3)),
            turn[2],
        )

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """Radii from 0 up to where the radial part turns back, and where it takes them."""
        fine = np.linspace(0.0, _WIDEST, 1 << 16)
        _, slope = self._radial(fine * fine)
        back = np.flatnonzero(~(slope > 0))
        reach = fine[back[0] - 1] if len(back) else fine[-1]
        radius = np.linspace(0.0, reach, _STEPS)
        return radius, radius * self._radial(radius * radius)[0]

    @property
    def reach(self) -> float:
        """The largest radius of the picture that the inverse reaches, over the focal length."""
        return float(self._table[1][-1])

    def _radial(self, u: Array) -> tuple[Array, Array]:
        """The radial factor at squared radii, and d(r radial)/dr; NaN beyond a pole."""
        k1, k2, _, _, k3, k4, k5, k6 = self._k[:8]
        above, below = 1 + u * (k1 + u * (k2 + u * k3)), 1 + u * (k4 + u * (k5 + u * k6))
        with np.errstate(all="ignore"):
            factor = above / np.where(below > 0, below, np.nan)
            change = (k1 + u * (2 * k2 + u * 3 * k3)) - factor * (k4 + u * (2 * k5 + u * 3 * k6))
            return factor, factor + 2 * u * change / below

    def _lens(self, x: Array, y: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        """All but the tilt: x', y', and dx'/dx, dx'/dy, dy'/dx, dy'/dy."""
        _, _, p1, p2 = self._k[:4]
        s1, s2, s3, s4 = self._k[8:12]
        u = x * x + y * y
        factor, slope = self._radial(u)
        xd = x * factor + 2 * p1 * x * y + p2 * (u + 2 * x * x) + u * (s1 + u * s2)
        yd = y * factor + p1 * (u + 2 * y * y) + 2 * p2 * x * y + u * (s3 + u * s4)
        bend = np.where(u > 0, (slope - factor) / np.where(u > 0, u, 1.0), 0.0)
        both = bend * x * y + 2 * p1 * x + 2 * p2 * y
        prism_x, prism_y = 2 * s1 + 4 * s2 * u, 2 * s3 + 4 * s4 * u
        xx = factor + bend * x * x + 2 * p1 * y + 6 * p2 * x + prism_x * x
        yy = factor + bend * y * y + 6 * p1 * y + 2 * p2 * x + prism_y * y
        return xd, yd, (xx, both + prism_x * y, both + prism_y * x, yy)

    def _inside(self, x: Array, y: Array, derivatives: tuple[Array, ...]) -> Any:
        """Where the model does not fold: seen from the axis, before it turns back."""
        xx, xy, yx, yy = derivatives
        edge = self._table[0][-1]
        return (x * x + y * y <= edge * edge) & (xx * yy - xy * yx > 0) & (xx + yy > 0)

    def apply(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Undistorted to distorted coordinates; NaN beyond the circle where the model turns."""
        with np.errstate(all="ignore"):
            xd, yd, derivatives = self._lens(x, y)
            if self._tilt is not None:
                xd, yd = _homography(self._tilt, xd, yd)
            inside = self._inside(x, y, derivatives)
        return np.where(inside, xd, np.nan), np.where(inside, yd, np.nan)

    def invert(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Distorted to undistorted coordinates; NaN where there is no inverse."""
        with np.errstate(all="ignore"):
            if self._tilt is not None:
                x, y = _homography(_inverse(self._tilt), x, y)
            radius = np.sqrt(x * x + y * y)
            start = np.interp(radius, self._table[1], self._table[0])
            scale = np.where(radius > 0, start / np.where(radius > 0, radius, 1.0), 1.0)
            a, b = x * scale, y * scale
            for _ in range(_NEWTON):
                xd, yd, (xx, xy, yx, yy) = self._lens(a, b)
                det = xx * yy - xy * yx
                miss_x, miss_y = x - xd, y - yd
                a = a + (yy * miss_x - xy * miss_y) / det
                b = b + (xx * miss_y - yx * miss_x) / det
            xd, yd, derivatives = self._lens(a, b)
            found = (np.abs(x - xd) < _AT_REST) & (np.abs(y - yd) < _AT_REST)
            found = found & self._inside(a, b, derivatives)
        return np.where(found, a, np.nan), np.where(found, b, np.nan)


def _homography(rows: tuple[tuple[float, ...], ...], x: Array, y: Array) -> tuple[Array, Array]:
    depth = rows[2][0] * x + rows[2][1] * y + rows[2][2]
    depth = np.where(depth > 0, depth, np.nan)
    return (
        (rows[0][0] * x + rows[0][1] * y + rows[0][2]) / depth,
        (rows[1][0] * x + rows[1][1] * y + rows[1][2]) / depth,
    )


def _inverse(m: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
    """Of a 3x3 matrix, but for a positive factor: the adjugate, its sign that of the determinant.

    Of no interest to a homography is the factor; the sign is, since depth must be positive.
    """
    minor = [
        [
            m[(i + 1) % 3][(j + 1) % 3] * m[(i + 2) % 3][(j + 2) % 3]
            - m[(i + 1) % 3][(j + 2) % 3] * m[(i + 2) % 3][(j + 1) % 3]
            for j in range(3)
        ]
        for i in range(3)
    ]
    sign = math.copysign(1.0, sum(m[0][j] * minor[0][j] for j in range(3)))
    return tuple(tuple(sign * minor[j][i] for j in range(3)) for i in range(3))
