"""Rotations, projections and similarities, each on plain float64 arrays.

Axes. Camera: x right, y down, z forward (away from the lens), mm. A head's model axes are the
same three: x image-right, y down, z forward, so that a head that looks straight into the lens has
the identity as its rotation and its nose tip at negative z. Pixels: x right, y down, the centre of
the top-left pixel at (0, 0).

Signs, all with `R = Rz(roll) @ Ry(yaw) @ Rx(pitch)`, model axes to camera axes, in radians:

* pitch > 0: the nose points down, towards the bottom of the image;
* yaw > 0: the nose points towards the left edge of the image;
* roll > 0: the head is turned clockwise in the image (its image-right eye is the lower one).

Nothing here calls BLAS or LAPACK with the exception of `similarity3d`: results do not depend on
the number of BLAS threads, nor on how many items a call holds.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_TINY = 1e-12


def rotation_from_euler(angles: ArrayLike) -> Array:
    """Rotation matrices `Rz(roll) @ Ry(yaw) @ Rx(pitch)` from (pitch, yaw, roll).

    Args:
        angles: (..., 3) radians.

    Returns:
        (..., 3, 3) float64; columns are the model's axes in the camera's.
    """
    a = np.asarray(angles, dtype=np.float64)
    cx, cy, cz = (np.cos(a[..., i]) for i in range(3))
    sx, sy, sz = (np.sin(a[..., i]) for i in range(3))
    return _stack(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def euler_from_rotation(rotation: ArrayLike) -> Array:
    """(pitch, yaw, roll) of `Rz(roll) @ Ry(yaw) @ Rx(pitch)`; the inverse of rotation_from_euler.

    Args:
        rotation: (..., 3, 3).

    Returns:
        (..., 3) radians; yaw in [-pi/2, pi/2]. At |yaw| = pi/2 only pitch - roll (or their sum)
        is determined, and what is returned is one of the valid answers.
    """
    r = np.asarray(rotation, dtype=np.float64)
    pitch = _atan2(r[..., 2, 1], r[..., 2, 2])
    yaw = _atan2(-r[..., 2, 0], np.sqrt(r[..., 2, 1] ** 2 + r[..., 2, 2] ** 2))
    roll = _atan2(r[..., 1, 0], r[..., 0, 0])
    return np.stack([pitch, yaw, roll], axis=-1)


def rotation_from_euler_xyz(angles: ArrayLike) -> Array:
    """OpenFace's `Rx(rx) @ Ry(ry) @ Rz(rz)` from (rx, ry, rz), (..., 3) to (..., 3, 3).

    Source: Baltrusaitis et al., OpenFace 2.0, FG 2018; Euler2RotationMatrix in its code.
    """
    a = np.asarray(angles, dtype=np.float64)
    cx, cy, cz = (np.cos(a[..., i]) for i in range(3))
    sx, sy, sz = (np.sin(a[..., i]) for i in range(3))
    return _stack(
        [
            [cy * cz, -cy * sz, sy],
            [cx * sz + cz * sx * sy, cx * cz - sx * sy * sz, -cy * sx],
            [sx * sz - cx * cz * sy, cz * sx + cx * sy * sz, cx * cy],
        ]
    )


def euler_xyz_from_rotation(rotation: ArrayLike) -> Array:
    """(rx, ry, rz) of OpenFace's `Rx @ Ry @ Rz`; the inverse of rotation_from_euler_xyz."""
    r = np.asarray(rotation, dtype=np.float64)
    rx = _atan2(-r[..., 1, 2], r[..., 2, 2])
    ry = _atan2(r[..., 0, 2], np.sqrt(r[..., 1, 2] ** 2 + r[..., 2, 2] ** 2))
    rz = _atan2(-r[..., 0, 1], r[..., 0, 0])
    return np.stack([rx, ry, rz], axis=-1)


def rotation_from_vector(vector: ArrayLike) -> Array:
    """Rotation matrices of the rotation vector `v` by the Cayley map of `v / 2`.

    The Cayley map agrees with the exponential to second order in |v|, is a rotation for every
    finite v, and needs no trigonometry: what an iterated solver wants of an update.

    Args:
        vector: (..., 3).

    Returns:
        (..., 3, 3).
    """
    v = np.asarray(vector, dtype=np.float64) * 0.5
    x, y, z = v[..., 0], v[..., 1], v[..., 2]
    d = 1.0 / (1.0 + x * x + y * y + z * z)
    return _stack(
        [
            [(1 + x * x - y * y - z * z) * d, 2 * (x * y - z) * d, 2 * (x * z + y) * d],
            [2 * (x * y + z) * d, (1 - x * x + y * y - z * z) * d, 2 * (y * z - x) * d],
            [2 * (x * z - y) * d, 2 * (y * z + x) * d, (1 - x * x - y * y + z * z) * d],
        ]
    )


def compose(left: Array, right: Array) -> Array:
    """The product `left @ right` of (..., 3, 3) stacks, without BLAS."""
    columns = [
        left[..., :, 0] * right[..., 0, None, j]
        + left[..., :, 1] * right[..., 1, None, j]
        + left[..., :, 2] * right[..., 2, None, j]
        for j in range(3)
    ]
    return np.stack(columns, axis=-1)


def rotate(rotation: Array, points: Array) -> Array:
    """`R p` for each point: (..., 3, 3) and (..., K, 3) to (..., K, 3), without BLAS."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    rows = [
        rotation[..., i, 0, None] * x
        + rotation[..., i, 1, None] * y
        + rotation[..., i, 2, None] * z
        for i in range(3)
    ]
    return np.stack(rows, axis=-1)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion: focal length and principal point, in pixels."""

    focal: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        """Refuse what cannot project."""
        if not (np.isfinite([self.focal, self.cx, self.cy]).all() and self.focal > 0):
            raise ValueError(f"a camera needs a positive focal length, got {self}")

    @classmethod
    def from_fov(cls, width: int, height: int, fov: float) -> "Camera":
        """The camera of a picture whose **longer side** spans `fov` degrees.

        The longer side, so that a phone held upright and the same phone held sideways have the same
        focal length; in an ordinary landscape video it is the horizontal field of view. The
        principal point is the middle of the picture.

        Args:
            width: of the picture, px.
            height: of the picture, px.
            fov: degrees, in (0, 180).

        Raises:
            ValueError: for an empty picture or an impossible angle.
        """
        if width < 1 or height < 1 or not 0.0 < fov < 180.0:
            raise ValueError(
                f"no camera for a {width}x{height} picture with a fov of {fov} degrees"
            )
        focal = 0.5 * max(width, height) / np.tan(np.deg2rad(fov) / 2)
        return cls(float(focal), (width - 1) / 2, (height - 1) / 2)

    def project(self, points: ArrayLike) -> Array:
        """Pixels (..., 2) of points (..., 3) in camera axes; NaN for what is behind the lens."""
        p = np.asarray(points, dtype=np.float64)
        z = np.where(p[..., 2] > _TINY, p[..., 2], np.nan)
        return np.stack(
            [self.focal * p[..., 0] / z + self.cx, self.focal * p[..., 1] / z + self.cy], axis=-1
        )


def similarity(src: ArrayLike, dst: ArrayLike) -> Array:
    """The rotation, scale and shift, without reflection, that best takes `src` onto `dst`.

    Least squares (Umeyama, IEEE PAMI 13(4), 1991); in the plane the answer is closed, the complex
    regression of dst on src.

    Args:
        src: (..., K, 2), K >= 2.
        dst: (..., K, 2), or (K, 2) for all.

    Returns:
        (..., 2, 3) float64: `dst ~ A[:, :2] @ src + A[:, 2]`. All NaN where a point is not finite
        or all of `src` is one point: no transform is invented.

    Raises:
        ValueError: for arrays that are not point lists of equal length.
    """
    s, d = np.asarray(src, dtype=np.float64), np.asarray(dst, dtype=np.float64)
    if s.ndim < 2 or d.ndim < 2 or s.shape[-2:] != d.shape[-2:] or s.shape[-1] != 2:
        raise ValueError(
            f"similarity needs two (..., K, 2) point lists, got {s.shape} and {d.shape}"
        )
    ms, md = s.sum(axis=-2) / s.shape[-2], d.sum(axis=-2) / d.shape[-2]
    s0, d0 = s - ms[..., None, :], d - md[..., None, :]
    var = (s0**2).sum(axis=(-2, -1))
    extent = np.where(var > _TINY, var, np.nan)
    a = (s0 * d0).sum(axis=(-2, -1)) / extent
    b = (s0[..., 0] * d0[..., 1] - s0[..., 1] * d0[..., 0]).sum(axis=-1) / extent
    tx = md[..., 0] - (a * ms[..., 0] - b * ms[..., 1])
    ty = md[..., 1] - (b * ms[..., 0] + a * ms[..., 1])
    out = _stack([[a, -b, tx], [b, a, ty]])
    return np.where(np.isfinite(out).all(axis=(-2, -1), keepdims=True), out, np.nan)


def apply_affine(affine: ArrayLike, points: ArrayLike) -> Array:
    """(..., 2, 3) affines applied to (..., K, 2) points: (..., K, 2)."""
    m, p = np.asarray(affine, dtype=np.float64), np.asarray(points, dtype=np.float64)
    x, y = p[..., 0], p[..., 1]
    rows = [m[..., i, 0, None] * x + m[..., i, 1, None] * y + m[..., i, 2, None] for i in range(2)]
    return np.stack(rows, axis=-1)


def invert_affine(affine: ArrayLike) -> Array:
    """The inverse of (..., 2, 3) affines; NaN where there is none."""
    m = np.asarray(affine, dtype=np.float64)
    a, b, tx = m[..., 0, 0], m[..., 0, 1], m[..., 0, 2]
    c, d, ty = m[..., 1, 0], m[..., 1, 1], m[..., 1, 2]
    det = a * d - b * c
    f = 1.0 / np.where(np.abs(det) > _TINY, det, np.nan)
    return _stack([[d * f, -b * f, (b * ty - d * tx) * f], [-c * f, a * f, (c * tx - a * ty) * f]])


def similarity3d(src: ArrayLike, dst: ArrayLike) -> tuple[float, Array, Array]:
    """Scale, rotation (3, 3) and shift (3,) that best take `src` (K, 3) onto `dst` (K, 3).

    Least squares without reflection (Umeyama 1991). For preparing models and for tests; it calls
    LAPACK.
    """
    s, d = np.asarray(src, dtype=np.float64), np.asarray(dst, dtype=np.float64)
    ms, md = s.mean(axis=0), d.mean(axis=0)
    s0, d0 = s - ms, d - md
    u, sv, vt = np.linalg.svd(d0.T @ s0)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation: Array = (u * sign) @ vt
    scale = float((sv * sign).sum() / (s0**2).sum())
    return scale, rotation, md - scale * (rotation @ ms)


def nearest_scaled_rotation(linear: ArrayLike) -> tuple[Array, Array]:
    """The scale and the rotation of a scaled-orthographic camera nearest to affine cameras.

    Nearest in the least-squares sense: the polar factor (P Pt)^-1/2 P, whose 2x2 root is closed.

    Args:
        linear: (..., 2, 3), the linear part P of `pixels = P @ points + t`.

    Returns:
        scale (...,) in pixels a unit, rotation (..., 3, 3) whose first two rows are the camera's
        x and y axes; NaN where P has no two independent rows.
    """
    p = np.asarray(linear, dtype=np.float64)
    r0, r1 = p[..., 0, :], p[..., 1, :]
    a, b, d = (r0 * r0).sum(-1), (r0 * r1).sum(-1), (r1 * r1).sum(-1)
    root = np.sqrt(np.maximum(a * d - b * b, 0.0))
    root = np.where(root > _TINY, root, np.nan)
    trace = np.sqrt(a + d + 2 * root)
    # sqrt(M) = (M + root I) / trace, and its inverse by Cramer's rule; det(sqrt(M)) = root.
    f = 1.0 / (trace * root)
    q0 = ((d + root) * f)[..., None] * r0 - (b * f)[..., None] * r1
    q1 = ((a + root) * f)[..., None] * r1 - (b * f)[..., None] * r0
    q2 = np.stack(
        [
            q0[..., 1] * q1[..., 2] - q0[..., 2] * q1[..., 1],
            q0[..., 2] * q1[..., 0] - q0[..., 0] * q1[..., 2],
            q0[..., 0] * q1[..., 1] - q0[..., 1] * q1[..., 0],
        ],
        axis=-1,
    )
    # The least-squares scale is the mean singular value of P, trace / 2.
    return 0.5 * trace, np.stack([q0, q1, q2], axis=-2)


def _atan2(y: Array, x: Array) -> Array:
    """`atan2` of each pair, by the C library.

    Not numpy.arctan2: on processors with AVX-512 the last bit of what NumPy 1.26 gives for a
    strided array depends on where the array happens to lie in memory.
    """
    flat = [math.atan2(a, b) for a, b in zip(y.ravel().tolist(), x.ravel().tolist(), strict=True)]
    return np.array(flat, dtype=np.float64).reshape(y.shape)


def _stack(rows: list[list[Any]]) -> Array:
    """A stack of small matrices from its entries, each an array over the stack or a number."""
    stack = np.broadcast_shapes(*(np.shape(entry) for row in rows for entry in row))
    out = np.empty((*stack, len(rows), len(rows[0])))
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            out[..., i, j] = entry
    return out
