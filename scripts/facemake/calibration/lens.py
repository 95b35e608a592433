"""A calibrated camera: its numbers, and the lens that frames of a recording show.

A calibration is of the pixels as the sensor gives and the file stores them. Frames are upright: a
phone held upright stores its frames lying, with a word that says how to turn them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from facemake.calibration.distortion import Array, Distortion
from facemake.errors import FacemakeError
from facemake.geometry import Camera

_ROUNDING = 2.0
"""Pixels by which a scaled video may miss the exact aspect: encoders want even sizes."""


class MisfitError(FacemakeError):
    """Frames that the calibrated camera cannot have taken; the message says why, and the cure."""


@dataclass(frozen=True)
class Calibration:
    """A calibrated camera, in the pixels of the recordings that calibrated it.

    Attributes:
        width, height: of these recordings as stored, px.
        focal: fx, fy in px.
        principal: cx, cy in px; the centre of the top-left pixel is (0, 0).
        distortion: of one of `LENGTHS`, in OpenCV's order.
    """

    width: int
    height: int
    focal: tuple[float, float]
    principal: tuple[float, float]
    distortion: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """As numbers and plain lists, for a recipe: it names no file."""
        return {
            "width": self.width,
            "height": self.height,
            "focal": list(self.focal),
            "principal": list(self.principal),
            "distortion": list(self.distortion),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Calibration:
        """What `to_dict` gave."""
        return cls(
            width=int(document["width"]),
            height=int(document["height"]),
            focal=(float(document["focal"][0]), float(document["focal"][1])),
            principal=(float(document["principal"][0]), float(document["principal"][1])),
            distortion=tuple(float(k) for k in document["distortion"]),
        )

    def lens(self, size: tuple[int, int], rotation: int | None = 0) -> Lens:
        """The camera as frames of a recording show it.

        A recording of another size and the same aspect is taken for a scaled one.

        Args:
            size: width and height of its frames, upright, px.
            rotation: degrees clockwise that made the stored pixels upright: 0, 90, 180 or 270;
                None where frames differ in it.

        Raises:
            MisfitError: the frames cannot be this camera's.
        """
        if rotation not in (0, 90, 180, 270):
            raise MisfitError(
                "its frames are stored in several orientations, so that it is not known which way "
                "the calibrated camera was held: make each orientation a sample of its own"
            )
        width, height = size if rotation % 180 == 0 else size[::-1]
        sx, sy = width / self.width, height / self.height
        if abs(sx - sy) * max(self.width, self.height) > _ROUNDING:
            raise MisfitError(
                f"its frames are stored as {width}x{height} and the calibration is of "
                f"{self.width}x{self.height}, another aspect: record with the mode in which the "
                "camera was calibrated, or give the recordings of this camera a run and a "
                "calibration of their own"
            )
        return Lens(
            width=width,
            height=height,
            fx=self.focal[0] * sx,
            fy=self.focal[1] * sy,
            # pixel centres lie at whole numbers, so the corner of the picture at (-0.5, -0.5)
            cx=(self.principal[0] + 0.5) * sx - 0.5,
            cy=(self.principal[1] + 0.5) * sy - 0.5,
            distortion=Distortion(self.distortion),
            rotation=rotation,
        )


@dataclass(frozen=True)
class Lens:
    """A calibrated camera and its distortion, for frames of one size and orientation.

    Beside the frames' own pixels there are those of an ideal camera, without distortion and with
    square pixels, that stands in the same place and looks the same way: `camera`.

    Attributes:
        width, height: of the frames as stored, px.
        fx, fy, cx, cy: of the camera matrix, in stored pixels.
        distortion: of the stored pixels.
        rotation: degrees clockwise that make the stored pixels upright.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Distortion
    rotation: int

    @cached_property
    def camera(self) -> Camera:
        """The ideal camera, upright: focal length sqrt(fx fy), the calibrated principal point."""
        cx, cy = self._upright(np.float64(self.cx), np.float64(self.cy))
        return Camera(self._focal, float(cx), float(cy))

    @property
    def _focal(self) -> float:
        return math.sqrt(self.fx * self.fy)

    def undistort(self, points: ArrayLike) -> Array:
        """Pixels of upright frames, (..., 2), to pixels of the ideal camera, (..., 2).

        NaN where the distortion cannot be inverted: beyond the circle where the model turns back.
        """
        p = np.asarray(points, dtype=np.float64)
        x, y = self._stored(p[..., 0], p[..., 1])
        x, y = self.distortion.invert((x - self.cx) / self.fx, (y - self.cy) / self.fy)
        return np.stack(
            self._upright(x * self._focal + self.cx, y * self._focal + self.cy), axis=-1
        )

    def distort(self, points: ArrayLike) -> Array:
        """Pixels of the ideal camera, (..., 2), to pixels of upright frames, (..., 2).

        NaN beyond the circle where the model turns back: no lens puts a point there.
        """
        p = np.asarray(points, dtype=np.float64)
        x, y = self._stored(p[..., 0], p[..., 1])
        x, y = self.distortion.apply((x - self.cx) / self._focal, (y - self.cy) / self._focal)
        return np.stack(self._upright(x * self.fx + self.cx, y * self.fy + self.cy), axis=-1)

    def _upright(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Stored pixels as upright ones."""
        if self.rotation == 90:
            return self.height - 1 - y, x
        if self.rotation == 180:
            return self.width - 1 - x, self.height - 1 - y
        if self.rotation == 270:
            return y, self.width - 1 - x
        return x, y

    def _stored(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Upright pixels as stored ones."""
        if self.rotation == 90:
            return y, self.height - 1 - x
        if self.rotation == 180:
            return self.width - 1 - x, self.height - 1 - y
        if self.rotation == 270:
            return self.width - 1 - y, x
        return x, y
