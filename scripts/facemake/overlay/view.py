"""How the fit saw a frame: from millimetres to pixels and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from facemake.calibration.lens import Calibration, Lens, MisfitError
from facemake.geometry import Camera
from facemake.overlay.rows import Array, Face


@dataclass(frozen=True)
class View:
    """How the fit projected into a frame: a camera of its size, or its calibrated lens."""

    lens: Camera | Lens | None
    """None: not known; the scaled-orthographic parameters are then used."""

    @classmethod
    def of(cls, settings: Mapping[str, Any], size: tuple[int, int], rotation: int | None) -> View:
        """Of the fit's settings.

        Args:
            settings: of its recipe.
            size: the frame's, upright, px.
            rotation: degrees that made its pixels upright, of a calibrated camera.
        """
        known = settings.get("calibration")
        if known is None:
            fov = settings.get("fov")
            return cls(Camera.from_fov(*size, fov) if fov else None)
        try:
            return cls(Calibration.from_dict(known).lens(size, rotation))
        except MisfitError:
            return cls(None)  # nothing was fitted there

    def project(self, points: Array) -> Array:
        """(V, 3) mm in camera axes to (V, 2) px."""
        assert self.lens is not None
        if isinstance(self.lens, Lens):
            return self.lens.distort(self.lens.camera.project(points))
        return self.lens.project(points)

    def place(self, points: Array, face: Face) -> Array | None:
        """(V, 2) px of a turned head's points (V, 3) mm about its origin; None if not known.

        By the head's place in space; where that is not known, by the scaled-orthographic
        parameters.
        """
        if self.lens is not None and face.pose is not None and np.isfinite(face.pose[3:]).all():
            pixels = self.project(points + face.pose[3:])
        elif face.weak is not None:
            pixels = face.weak[0] * points[:, :2] + face.weak[4:]
        else:
            return None
        return pixels if np.isfinite(pixels).all() else None

    def lift(self, pixel: Array, depth: float) -> Array:
        """(3,) mm in camera axes of the point at a pixel, at a distance along the axis."""
        camera = self.lens.camera if isinstance(self.lens, Lens) else self.lens
        assert camera is not None
        x, y = self.lens.undistort(pixel) if isinstance(self.lens, Lens) else pixel
        return np.array(
            [(x - camera.cx) * depth / camera.focal, (y - camera.cy) * depth / camera.focal, depth]
        )
