"""From raw files of 3DI and 3DI-lite to the columns of facemake's tables.

3DI's axes are ours: a camera with x right, y down, z forward, in mm; the turn
`R = Rz(roll) Ry(yaw) Rx(pitch)` of a head with x to the image's right, y down and z forward. So its
numbers stand in the tables as they are. (Its public source: `rotation_header.cu` has the angles,
`video_from_saved_identity.cu` the camera, whose field of view spans the picture's width,
`produce_canonicalized_3Dlandmarks.py` the axes of the head.) 3DI-lite's turn is that of a crop;
`lite_pose` takes it back to the picture's. It says nothing of where the head is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.archives import Archive
from facemake.backends.fit import linalg, pdm
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.threedi import Engine, rawfiles
from facemake.backends.threedi.lite_pose import lite_angles, rotations
from facemake.backends.threedi.offer import Offer
from facemake.backends.threedi.turns import rotation_from_vector
from facemake.calibration.lens import Calibration, Lens, MisfitError
from facemake.geometry import Camera

Array = NDArray[np.float64]

logger = logging.getLogger(__name__)

_ANGLES = [7, 6, 8]
"""Columns of a pose file of 3DI: pitch, yaw and roll, rad."""

_LEAST_WIDTH = 10.0
"""px: of a narrower rectangle the engines look for no landmarks (`input_data.cu`)."""

_SAME_TURN = 1e-3
"""Largest difference of the entries of two rotation matrices that are one, as files round them."""

_RIDGE = 1e-3
"""mm^2 on the diagonal: settles what 51 points cannot tell of modes that move the jaw alone."""


def across(fov: float, width: int, height: int) -> float:
    """The field of view across a picture, which 3DI wants, of ours along its longer side."""
    if width >= height:
        return fov
    focal = 0.5 * height / math.tan(math.radians(fov) / 2)
    return math.degrees(2 * math.atan(0.5 * width / focal))


def there(rects: Array) -> NDArray[np.bool_]:
    """(n,) the rectangles (n, 4) that hold a face; the others are empty."""
    return np.asarray((rects[:, 2] > _LEAST_WIDTH) & (rects[:, 3] > 0))


@dataclass(frozen=True, eq=False)
class Poses:
    """Where heads are, a row a frame; NaN where that is not known.

    Attributes:
        translation: (n, 3) mm, camera axes; NaN throughout for 3DI-lite.
        euler: (n, 3) rad: pitch, yaw, roll.
    """

    translation: Array
    euler: Array


def poses(pose: Array, landmarks: Array, engine: Engine) -> Poses:
    """What a pose file says.

    Args:
        pose: (n, 9) of 3DI, (n, 6) of 3DI-lite.
        landmarks: (n, 102) px; 3DI-lite's turn is relative to them.
        engine: whose file it is.
    """
    if engine is Engine.LITE:
        euler = geometry.euler_from_rotation(rotations(pose[:, 3:6], landmarks))
        # beyond its limits 3DI-lite is not believed; they are of angles in its own order
        euler[np.isnan(lite_angles(pose[:, 3:6], landmarks)).any(axis=1)] = np.nan
        return Poses(np.full((len(pose), 3), np.nan), euler)
    return Poses(pose[:, :3], pose[:, _ANGLES])


def vectors_are_turns(raw: Array) -> bool:
    """Whether the rotation vectors of 3DI's raw poses (n, 9) are the turns of their angles."""
    known = raw[np.isfinite(raw).all(axis=1)]
    if not len(known):
        return True
    angles = geometry.rotation_from_euler(known[:, _ANGLES])
    return bool(np.abs(angles - rotation_from_vector(known[:, 3:6])).max() <= _SAME_TURN)


def smoothed_poses(smooth: Array, engine: Engine, landmarks: Array, by_vector: bool) -> Poses:
    """What a file of smoothed poses says.

    3DI smooths the rotation vector and copies the angles as they were (its public
    `total_variance_rec_pose.py`): the turn is then that of the vector. Where the raw vectors of a
    recording are not the turns of its raw angles, this install's numbers are others, and its angles
    are taken.

    Args:
        smooth: (n, 9) of 3DI's smoothing.
        engine: whose file it is.
        landmarks: (n, 102) px.
        by_vector: whether the raw vectors are turns (`vectors_are_turns`), of the whole recording:
            a table does not change its source from one frame to the next.
    """
    found = poses(smooth, landmarks, engine)
    if engine is Engine.LITE or not by_vector:
        return found
    turned = geometry.euler_from_rotation(rotation_from_vector(smooth[:, 3:6]))
    return Poses(found.translation, turned)


class PdmOf51:
    """The parameters of a point distribution model for shapes that are known at 51 points.

    The modes are those of a face model of 68 points; the jaw's points are left out, so that the
    parameters are the least squares ones of the inner face. Where the head lies is no part of a
    shape: both are centred.
    """

    def __init__(self, model: LinearFaceModel) -> None:
        modes = model.pdm if model.pdm is not None else pdm.derive_pdm(model)
        k = modes.shape[1]
        inner = modes.reshape(3, model.n_points, k)[:, model.inner].transpose(1, 0, 2)  # 51, 3, k
        self._modes = np.ascontiguousarray((inner - inner.mean(axis=0)).reshape(-1, k).T)
        mean = model.mean[model.inner]
        self._mean = mean - mean.mean(axis=0)
        gram = (self._modes[:, None, :] * self._modes[None, :, :]).sum(axis=-1)
        self._gram = gram + _RIDGE * np.eye(k)

    def local_params(self, shapes: Array) -> Array:
        """(n, 34) of shapes (n, 51, 3) in mm."""
        centred = shapes - shapes.mean(axis=1)[:, None, :]
        change = (centred - self._mean).reshape(len(shapes), -1)
        # two rows at least: see `linalg` on arrays of length 1
        rows = np.zeros((len(shapes) + 2, change.shape[1]))
        rows[: len(shapes)] = change
        right = np.stack([(rows * mode).sum(axis=1) for mode in self._modes], axis=1)[:, :, None]
        gram = np.broadcast_to(self._gram, (len(rows), *self._gram.shape))
        return np.asarray(linalg.cholesky_solve(gram.copy(), right)[: len(shapes), :, 0])


@dataclass(frozen=True)
class View:
    """The camera that an engine took a recording for.

    Attributes:
        camera: without distortion.
        lens: what takes its pixels to the recording's; None where they are the same.
        undistorted: fx, fy, cx, cy of 3DI's undistorted video, px; None where there is none.
    """

    camera: Camera
    lens: Lens | None = None
    undistorted: tuple[float, float, float, float] | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], probe: Mapping[str, Any], offered: Offer) -> View:
        """Of a sample.

        Args:
            settings: of a recipe: `fov` in degrees, or `calibration` and `undistorted`.
            probe: the sample's row of the probe table.
            offered: what the engine was given.

        Raises:
            MisfitError: the recording cannot be the calibrated camera's.
        """
        calibration = settings.get("calibration")
        if calibration is None:
            fov = across(float(settings["fov"]), offered.width, offered.height)
            focal = 0.5 * offered.width / math.tan(math.radians(fov) / 2)
            return cls(Camera(focal, offered.width / 2, offered.height / 2))
        if offered.prepared and probe["rotation"] != 0:
            raise MisfitError(
                "its pixels are stored turned, and 3DI's calibration is of a camera that is not: "
                "turn the recording first"
            )
        shown = (probe["width"] or 0, probe["height"] or 0)
        lens = Calibration.from_dict(calibration).lens(shown)
        size = (int(calibration["width"]), int(calibration["height"]))
        if (lens.width, lens.height) != size:
            raise MisfitError(
                f"its frames are {lens.width}x{lens.height} and the calibration is of "
                f"{size[0]}x{size[1]}: 3DI undistorts recordings of the calibrated size only"
            )
        if offered.prepared and (offered.width, offered.height) != size:
            raise MisfitError(
                f"its frames are {size[0]}x{size[1]} and were padded to {offered.width}x"
                f"{offered.height}, since videos have even sides: 3DI cannot undistort them"
            )
        fx, fy, cx, cy = settings["undistorted"]
        return cls(lens.camera, lens, (fx, fy, cx, cy))

    def to_picture(self, points: Array) -> Array:
        """Pixels (..., 2) of the video that the engine saw as pixels of the recording."""
        if self.lens is None or self.undistorted is None:
            return points
        fx, fy, cx, cy = self.undistorted
        ideal = self.lens.camera
        x = (points[..., 0] - cx) / fx * ideal.focal + ideal.cx
        y = (points[..., 1] - cy) / fy * ideal.focal + ideal.cy
        return self.lens.distort(np.stack([x, y], axis=-1))

    def boxes(self, rects: Array) -> Array:
        """(n, 4) rectangles x, y, w, h as boxes around them in the recording.

        Around what of them the lens shows: NaN where that is nothing.
        """
        if self.lens is None:
            return rects
        x, y, w, h = rects.T
        # lenses bend edges outwards or inwards most at their middles
        along = [(a, b) for a in (0, 0.5, 1) for b in (0, 0.5, 1)]
        seen = self.to_picture(
            np.stack([np.stack([x + a * w, y + b * h], axis=-1) for a, b in along], axis=1)
        )
        low, high = np.fmin.reduce(seen, axis=1), np.fmax.reduce(seen, axis=1)
        return np.concatenate([low, high - low], axis=1)


def view_of(
    settings: Mapping[str, Any], probe: Mapping[str, Any], videos: Archive, sample: str
) -> View | None:
    """The camera that the engine took a sample for; None where it is not the calibrated one.

    Args:
        settings: of a recipe.
        probe: the sample's row of the probe table.
        videos: what the engine was given.
        sample: its name.
    """
    try:
        return View.of(settings, probe, Offer.read(videos, sample))
    except MisfitError as error:
        logger.warning("%s was not given to 3DI: %s", sample, error)
        return None


def reprojection(shapes: Array, where: Poses, points: Array, view: View) -> Array:
    """(n,) px: root mean square distance of a posed shape's points from landmarks (n, 51, 2).

    Args:
        shapes: (n, 51, 3) mm, with identity and expression.
        where: their poses.
        points: px of the recording.
        view: its camera.
    """
    rotation = geometry.rotation_from_euler(where.euler)
    seen = view.camera.project(geometry.rotate(rotation, shapes) + where.translation[:, None, :])
    if view.lens is not None:
        seen = view.lens.distort(seen)
    return np.asarray(np.sqrt(((seen - points) ** 2).sum(axis=-1).mean(axis=-1)))


def landmark_points(values: Array) -> NDArray[np.float64]:
    """(n, 51, 2) px of (n, 102); NaN where there are none."""
    points = values.reshape(len(values), schemes.N_POINTS[schemes.IBUG51], 2).copy()
    points[~rawfiles.seen_in(values)] = np.nan
    return points
