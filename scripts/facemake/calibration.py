"""The calibration of a camera: read from its file, checked, applied to points.

The model is OpenCV's pinhole camera with up to 14 coefficients of distortion (OpenCV, calib3d,
"Camera calibration and 3D reconstruction"): with `(x, y) = (X / Z, Y / Z)`, `u = x^2 + y^2`,

    radial = (1 + k1 u + k2 u^2 + k3 u^3) / (1 + k4 u + k5 u^2 + k6 u^3)
    x' = x radial + 2 p1 x y + p2 (u + 2 x^2) + s1 u + s2 u^2
    y' = y radial + p1 (u + 2 y^2) + 2 p2 x y + s3 u + s4 u^2

then a sensor tilted by (tx, ty), then `pixel = (fx x' + cx, fy y' + cy)`. The coefficients stand in
a file as k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4 [tx ty]]]].

A calibration is of the pixels as the sensor gives and the file stores them. Frames are upright: a
phone held upright stores its frames lying, with a word that says how to turn them.

Nothing here calls BLAS or LAPACK; a point's numbers do not depend on the points beside it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from facemake.errors import ConfigError, FacemakeError
from facemake.geometry import Camera

Array = NDArray[np.float64]

LENGTHS = (0, 4, 5, 8, 12, 14)
"""How many coefficients of distortion a file may have."""

_LARGEST_FILE = 1_000_000
"""Bytes; a calibration has a few thousand, with all its board's corners a hundred thousand."""

_MATRIX = ("camera_matrix", "cameraMatrix_preUndistort")
_DISTORTION = ("distortion_coefficients", "distCoeffs")
_PINHOLE = ("plumb_bob", "rational_polynomial", "pinhole", "")
"""What files of ROS call the distortion of this model."""

_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*')
"""A string of JSON, or a comment."""

_CURE = "OpenCV's calibration sample writes a file as it should be"

_MAX_STRETCH = 2.0
"""Of a pixel's height over its width: anamorphic lenses reach it, a failed calibration exceeds."""

_ROUNDING = 2.0
"""Pixels by which a scaled video may miss the exact aspect: encoders want even sizes."""

_WIDEST = math.tan(math.radians(85.0))
"""Of the angle from the optical axis up to which a pinhole model is followed."""
_WIDEST_VIEW = math.tan(math.radians(75.0))
"""Of half the field of view that a pinhole camera is believed to have."""

_STEPS = 4096
_NEWTON = 12
"""Steps of Newton from an interpolated start: it needs 3 to 5."""
_AT_REST = 1e-11
"""Largest miss, in units of the focal length: a ten-millionth of a pixel."""


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
            distortion=_Distortion(self.distortion),
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
    distortion: _Distortion
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


@dataclass(frozen=True)
class _Distortion:
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


def load_calibration(path: Path) -> Calibration:
    """The calibration in a file.

    Three forms are read, told apart by what is in them: what OpenCV's calibration sample writes
    (`camera_matrix`, `distortion_coefficients`, `image_width`, `image_height`; YAML, XML or JSON),
    the same keys as plain lists in YAML or JSON, and the camera files of 3DI
    (`cameraMatrix_preUndistort`, `distCoeffs`, `imageSize`, as its `src/lib/camera.h` writes them;
    the matrix of the undistorted video, which they hold too, is passed over). No object is made
    that a file names; what is not of these keys is passed over.

    Raises:
        ConfigError: all that is wrong with the file, and the cure.
    """
    document = _document(path)
    problems: list[str] = []

    def take(names: tuple[str, ...], what: str) -> tuple[tuple[int, ...], list[float]] | None:
        name = next((n for n in names if n in document), None)
        if name is None:
            problems.append(f"has no {names[0]} ({what})")
            return None
        try:
            shape, values = _numbers(document[name])
        except (TypeError, ValueError) as error:
            problems.append(f"has a {name} that is no {what} ({error})")
            return None
        if not all(map(math.isfinite, values)):
            problems.append(f"has a {name} with numbers that are not finite")
            return None
        return shape, values

    problems += _other_model(document)
    matrix = take(_MATRIX, "3x3 matrix of numbers")
    found = take(_DISTORTION, "list of numbers")
    size = _size(document)
    if size is None:
        problems.append(
            "does not say of which size the calibrated pictures are (image_width and image_height, "
            "whole numbers of pixels above 0)"
        )
    if matrix and matrix[0] != (3, 3):
        problems.append(f"has a camera matrix of shape {_by(matrix[0])}, not 3x3")
        matrix = None
    if matrix:
        problems += _matrix_problems(matrix[1], size)
    if found and (len(found[1]) not in LENGTHS or max(found[0], default=0) != len(found[1])):
        problems.append(
            f"has {_by(found[0])} coefficients of distortion, not 4, 5, 8, 12 or 14 in a row"
        )
        found = None
    if not problems and matrix and found and size:
        m = matrix[1]
        result = Calibration(*size, (m[0], m[4]), (m[2], m[5]), tuple(found[1]))
        problems += _distortion_problems(result)
        if not problems:
            return result
    raise ConfigError(f"{path} is no calibration to go by: it {'; it '.join(problems)}; {_CURE}")


def load_undistorted(path: Path) -> tuple[float, float, float, float]:
    """The camera that 3DI's undistorted video shows, of 3DI's own calibration file.

    Returns:
        fx, fy, cx, cy in px of that video (`cameraMatrix_postUndistort`).

    Raises:
        ConfigError: the file has no such matrix: 3DI could not read it either.
    """
    name = "cameraMatrix_postUndistort"
    try:
        shape, m = _numbers(_document(path)[name])
    except (KeyError, TypeError, ValueError):
        shape, m = (), []
    if shape != (3, 3) or not all(map(math.isfinite, m)) or not (m[0] > 0 and m[4] > 0):
        raise ConfigError(
            f"{path} has no {name} (a 3x3 matrix), which 3DI reads: for this engine the "
            "calibration must be a file that 3DI's calibrate_camera wrote"
        )
    return m[0], m[4], m[2], m[5]


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _matrix_problems(m: list[float], size: tuple[int, int] | None) -> list[str]:
    fx, skew, cx, low, fy, cy = m[:6]
    problems = []
    if m[6:] != [0.0, 0.0, 1.0] or low != 0.0:
        problems.append("has a camera matrix that is not of the form fx 0 cx, 0 fy cy, 0 0 1")
    if skew != 0.0:
        problems.append(
            f"has a skew of {skew:g}, which OpenCV's model has not: calibrate without it"
        )
    if fx <= 0 or fy <= 0:
        problems.append(f"has focal lengths {fx:g} and {fy:g}; they are above 0")
    elif not 1 / _MAX_STRETCH <= fx / fy <= _MAX_STRETCH:
        problems.append(
            f"has focal lengths {fx:g} and {fy:g} that differ more than any lens does: the "
            "calibration failed; show the board tilted, too"
        )
    elif size is not None:
        if 0.5 * max(size) > _WIDEST_VIEW * fx:
            problems.append(
                f"has a focal length of {fx:g} for a picture {max(size)} wide: it is in pixels, "
                "not in millimetres"
            )
        for value, length, axis in ((cx, size[0], "x"), (cy, size[1], "y")):
            if not -0.5 * length <= value <= 1.5 * length:
                problems.append(
                    f"has its principal point at {axis} = {value:g}, far outside a picture of "
                    f"{_by(size)}: are width and height swapped?"
                )
    return problems


def _distortion_problems(calibration: Calibration) -> list[str]:
    if any(abs(tilt) > 0.5 for tilt in calibration.distortion[12:]):
        return ["has a sensor tilted by more than half a radian: the calibration failed"]
    reach = _Distortion(calibration.distortion).reach
    reach_px = min(reach * focal for focal in calibration.focal)
    if reach_px < 0.25 * min(calibration.width, calibration.height):
        return [
            f"has a distortion that turns back {reach_px:.0f} px from the middle of the picture: "
            "the calibration failed; show the board out to the edges, with fewer coefficients"
        ]
    return []


def _other_model(document: Mapping[str, Any]) -> list[str]:
    """A word for each model of distortion that is not this one."""
    named = str(document.get("distortion_model", "")).strip().lower()
    try:
        fisheye = float(document.get("fisheye_model", 0)) != 0
    except (TypeError, ValueError):
        fisheye = True
    if fisheye or named not in _PINHOLE:
        return [
            f"is of a fisheye lens ({named or 'fisheye_model'}), which the pinhole model does not "
            "describe: undistort these videos first, and calibrate or set fov for the result"
        ]
    return []


def _size(document: Mapping[str, Any]) -> tuple[int, int] | None:
    pair = document.get("imageSize", [document.get("image_width"), document.get("image_height")])
    try:
        _, values = _numbers(pair)
    except (TypeError, ValueError):
        return None
    if len(values) != 2 or not all(0 < v < 1e6 and v == int(v) for v in values):
        return None
    return int(values[0]), int(values[1])


def _numbers(value: object) -> tuple[tuple[int, ...], list[float]]:
    """Shape and numbers of OpenCV's mapping (rows, cols, data), of nested lists, of a list."""
    if isinstance(value, Mapping):
        shape = (int(value["rows"]), int(value["cols"])) if "rows" in value else None
        flat = _numbers(value.get("data"))[1]
        if shape is None:
            return (len(flat),), flat
        if shape[0] * shape[1] != len(flat):
            raise ValueError(f"{len(flat)} numbers are not {_by(shape)}")
        return shape, flat
    if not isinstance(value, list):
        raise TypeError("neither a list nor a matrix of OpenCV")
    if value and all(isinstance(row, list) for row in value):
        rows = [[_number(v) for v in row] for row in value]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("rows of several lengths")
        return (len(rows), len(rows[0])), [v for row in rows for v in row]
    return (len(value),), [_number(v) for v in value]


def _number(value: object) -> float:
    # text: XML has nothing else, and YAML 1.1 takes 1e3 for text
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _document(path: Path) -> Mapping[str, Any]:
    """What is in the file, as mappings, lists and plain values."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path} is too large for a calibration; {_CURE}")
        text = path.read_text(encoding="utf-8-sig").lstrip()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): camera.calibration names the camera's "
            "calibration file, relative to the working directory, or is null"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text, and so no calibration; {_CURE}") from None
    try:
        if text.startswith("<"):
            document = _xml(text)
        elif text.startswith("{"):
            # OpenCV writes comments into JSON
            document = json.loads(_COMMENT.sub(lambda found: found[1] or "", text))
        else:
            document = _yaml(text)
    except (ValueError, RecursionError, yaml.YAMLError, ElementTree.ParseError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read as a calibration: {said}; {_CURE}") from None
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path} holds no named values, and so no calibration; {_CURE}")
    return document


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """YAML without objects: OpenCV's matrix is a mapping, any other tag of a program nothing."""


def _construct_matrix(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return None
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", _construct_matrix)
_Loader.add_multi_constructor("", lambda loader, tag, node: None)


def _yaml(text: str) -> Any:
    # OpenCV's first line, "%YAML:1.0", is not YAML
    if text.startswith("%YAML:"):
        text = text.partition("\n")[2]
    return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader that makes no object


def _xml(text: str) -> Any:
    if "<!" in text.replace("<!--", ""):
        raise ValueError("it has declarations, which OpenCV does not write")
    # without declarations there are no entities to expand
    return _element(ElementTree.fromstring(text))  # noqa: S314


def _element(element: ElementTree.Element) -> Any:
    """Of an element its children by name, or its words: one as text, several as a list."""
    if len(element):
        return {child.tag: _element(child) for child in element}
    words = (element.text or "").split()
    return words[0] if len(words) == 1 else words
