"""The rows of a track as smoothing takes them, and in the form that it works on.

**Pose** is what the picture shows: the direction of sight tx/tz, ty/tz, which is known to a
fraction of a pixel, apart from the distance tz, whose noise is tenfold and would be in tx and ty
too; and the rotation as its unit quaternion, continuous in sign. That is smooth for any head, where
angles wrap at 180 degrees and two of them become one at yaw 90, and smoothing it part by part is
the same to third order as smoothing on the rotations themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import geometry

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]
Index = NDArray[np.intp]

FRAME = 1.0 / 30.0
"""s; the unit of time of the penalties. They are integrals over time, so what is smoothed is motion
in seconds: at 60 frames a second about twice as many frames count as at 30."""

N_POSE = 7
"""Columns of the pose: the direction of sight (x/z, y/z), the distance z, a unit quaternion."""

MAX_VALUE = 1e7
"""mm, radians, coefficients: more belongs to no face."""

_MIN_DEPTH = 1e-6
"""mm in front of the lens, to divide by."""


@dataclass(frozen=True)
class TrackRows:
    """Consecutive rows of one track, raw or smoothed.

    Raises:
        ValueError: for arrays whose shapes do not agree.
    """

    frame: Ints
    """(n,) rising; numbers that are left out are missing frames."""
    time: Array
    """(n,) s, of presentation. One that does not rise counts as the track's median step later."""
    ok: Mask
    """(n,) rows with numbers. A row that has one that is not finite, or is absurd, or a head that
    is not in front of the lens, is taken for missing."""
    translation: Array
    """(n, 3) mm, tx ty tz in camera axes, tz > 0."""
    euler: Array
    """(n, 3) radians: pitch, yaw, roll, as in `facemake.geometry`."""
    expression: Array
    """(n, E) coefficients."""
    cut: Mask | None = None
    """(n,) where known: whether the film was cut between the row before and this one."""

    def __post_init__(self) -> None:
        n = len(self.frame)
        width = self.expression.shape[-1] if self.expression.ndim == 2 else -1
        shapes = {"time": (n,), "ok": (n,), "translation": (n, 3), "euler": (n, 3)}
        for name, shape in {**shapes, "expression": (n, width), "cut": (n,)}.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"{n} rows of a track have {name} of shape {value.shape}")


@dataclass(frozen=True)
class Rows:
    """Rows as they are worked on; `result`, `place` and `smooth` are filled in as it goes."""

    frame: Ints
    time: Array
    clock: Array
    """(n,) s, rising without fail."""
    cuts: Ints
    """(n,) how many cuts the caller has named up to this row."""
    present: Mask
    translation: Array
    euler: Array
    values: Array
    """(n, 7 + E) what is to be smoothed; columns as in `Noise.sigma`."""
    result: Array
    """(n, 7 + E) what came of it, where `smooth` says so."""
    place: Ints
    """(n,) place of a present row in its segment, from 0; -1 as long as that is not known."""
    smooth: Mask

    def take(self, index: Index) -> Rows:
        """Copies of these rows."""
        return Rows(*(getattr(self, name)[index] for name in Rows.__dataclass_fields__))


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of several pieces, one after the other."""
    names = Rows.__dataclass_fields__
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def nothing(n_expression: int) -> TrackRows:
    """No rows, of so many coefficients."""
    none = np.empty(0)
    vectors = np.empty((0, 3))
    return TrackRows(
        none.astype(np.int64),
        none,
        none.astype(bool),
        vectors,
        vectors,
        np.empty((0, n_expression)),
    )


def bounds(n: int, lower: ArrayLike, upper: ArrayLike) -> tuple[Array, Array]:
    """(n,) lower and (n,) upper bounds of coefficients.

    Raises:
        ValueError: for a lower bound above its upper bound.
    """
    low = np.broadcast_to(np.asarray(lower, dtype=np.float64), (n,))
    high = np.broadcast_to(np.asarray(upper, dtype=np.float64), (n,))
    if not (low <= high).all():
        raise ValueError("smoothing: a lower bound lies above its upper bound")
    return low, high


@dataclass
class Intake:
    """Brings the rows of a track, piece by piece, into the form that is worked on."""

    n_expression: int
    step: float
    """s that a frame takes where the stamps do not say."""
    frame: int | None = None
    clock: float = 0.0
    cuts: int = 0
    quaternion: Array = field(default_factory=lambda: np.array([1.0, 0.0, 0.0, 0.0]))

    def __call__(self, rows: TrackRows) -> Rows:
        """The track's next rows.

        Raises:
            ValueError: for frames that do not rise, or another number of coefficients.
        """
        n = len(rows.frame)
        translation = np.array(rows.translation, dtype=np.float64)
        euler = np.array(rows.euler, dtype=np.float64)
        expression = np.asarray(rows.expression, dtype=np.float64)
        if expression.shape[1] != self.n_expression:
            raise ValueError(
                f"smoothing: a track of {self.n_expression} coefficients, and rows of "
                f"{expression.shape[1]}"
            )
        frame, time = np.array(rows.frame, np.int64), np.array(rows.time, np.float64)
        present = np.array(rows.ok, dtype=bool)
        for part in (translation, euler, expression):
            present &= (np.abs(part) < MAX_VALUE).all(axis=1)  # False for NaN
        present &= translation[:, 2] > _MIN_DEPTH
        at = np.flatnonzero(present)
        values = np.zeros((n, N_POSE + self.n_expression))
        values[at, :3] = translation[at]
        values[at, :2] /= translation[at, 2:3]
        values[at, 3:N_POSE] = self._continuous(quaternions_of(euler[at]))
        values[at, N_POSE:] = expression[at]
        cuts = np.zeros(n, np.int64) if rows.cut is None else rows.cut.astype(np.int64)
        cuts = self.cuts + np.cumsum(cuts)
        self.cuts = int(cuts[-1]) if n else self.cuts
        return Rows(
            frame=frame,
            time=time,
            clock=self._clocked(frame, time),
            cuts=cuts,
            present=present,
            translation=translation,
            euler=euler,
            values=values,
            result=np.zeros_like(values),
            place=np.full(n, -1, np.int64),
            smooth=np.zeros(n, dtype=bool),
        )

    def _clocked(self, frame: Ints, time: Array) -> Array:
        """(n,) s: the stamps where they rise, and a usual step further where they do not."""
        out = []
        for f, t in zip(frame.tolist(), time.tolist(), strict=True):
            passed = self.step if self.frame is None else (f - self.frame) * self.step
            if passed <= 0:
                raise ValueError(f"smoothing: frame {f} follows frame {self.frame}")
            if math.isfinite(t) and (self.frame is None or t - self.clock >= 0.25 * passed):
                self.clock = t
            else:
                self.clock += passed
            self.frame = f
            out.append(self.clock)
        return np.array(out, dtype=np.float64)

    def _continuous(self, quaternions: Array) -> Array:
        """The same rotations, with the sign by which each is near the one before."""
        if len(quaternions):
            before = np.concatenate([self.quaternion[None], quaternions[:-1]])
            product = before * quaternions
            dot = product[:, 0] + product[:, 1] + product[:, 2] + product[:, 3]
            quaternions = quaternions * np.cumprod(np.where(dot < 0, -1.0, 1.0))[:, None]
            self.quaternion = quaternions[-1].copy()
        return quaternions


def quaternions_of(euler: Array) -> Array:
    """(n, 4) unit quaternions w x y z of (n, 3) pitch, yaw, roll, radians.

    By the C library's sine and cosine, for the reason that `geometry` gives.
    """
    halves = [(0.5 * euler[:, axis]).tolist() for axis in range(3)]
    cx, cy, cz = (np.array([math.cos(v) for v in half], np.float64) for half in halves)
    sx, sy, sz = (np.array([math.sin(v) for v in half], np.float64) for half in halves)
    return np.stack(
        [
            cx * cy * cz + sx * sy * sz,
            sx * cy * cz - cx * sy * sz,
            cx * sy * cz + sx * cy * sz,
            cx * cy * sz - sx * sy * cz,
        ],
        axis=1,
    )


def euler_of(quaternions: Array) -> Array:
    """(n, 3) pitch, yaw, roll of (n, 4) quaternions of any length above 0."""
    w, x, y, z = np.ascontiguousarray(quaternions.T)
    f = 2.0 / (w * w + x * x + y * y + z * z)
    entries = [
        [1 - f * (y * y + z * z), f * (x * y - w * z), f * (x * z + w * y)],
        [f * (x * y + w * z), 1 - f * (x * x + z * z), f * (y * z - w * x)],
        [f * (x * z - w * y), f * (y * z + w * x), 1 - f * (x * x + y * y)],
    ]
    rotation = np.stack([np.stack(row, axis=-1) for row in entries], axis=-2)
    return geometry.euler_from_rotation(rotation)
