"""The calibration of a camera: read from its file, and checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from facemake.calibration.distortion import LENGTHS, Distortion
from facemake.calibration.lens import Calibration
from facemake.errors import ConfigError

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

_WIDEST_VIEW = math.tan(math.radians(75.0))
"""Of half the field of view that a pinhole camera is believed to have."""


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
    reach = Distortion(calibration.distortion).reach
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
