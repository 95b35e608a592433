"""What goes over the wire: names of classes, methods and options, and what each may be.

Whatever arrives is data to be checked against this page; nothing of it becomes a name that is
looked up, a path that is opened, or a part of a command that was not checked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from facemake.errors import FacemakeError
from facemake.provenance import digest

PROTOCOL = 1
"""Of `/jobs` and what belongs to it; raised when an older client would misread an answer."""

ProcessorClass = Literal["FaceProcessor", "FaceProcessor3DI", "FaceProcessor3DIlite"]
Method = Literal[
    "preprocess", "detect_faces", "detect_landmarks", "fit", "localized_expressions", "run_all"
]
PROCESSORS: tuple[str, ...] = get_args(ProcessorClass)
METHODS: tuple[str, ...] = get_args(Method)

BASE = "input_file"
"""What every file of a session is named after, whatever the video is called."""

EARLIER: Mapping[str, tuple[str, ...]] = {
    "detect_landmarks": ("detect_faces",),
    "fit": ("detect_faces", "detect_landmarks"),
    "localized_expressions": ("detect_faces", "detect_landmarks", "fit"),
}
"""What must have run before a method; from the session's cache where it has run."""

SUFFIXES = (
    *(".mp4", ".avi", ".mpeg", ".mpg", ".mov", ".m4v", ".mkv", ".webm", ".wmv", ".flv", ".ogv"),
    ".3gp",
)
"""Of videos that may be sent."""
CAMERA_SUFFIXES = (".txt", ".yml", ".yaml", ".xml", ".json")
"""Of calibration files that may be sent."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,99}", re.ASCII)
_NAMES_3DI = ("landmark_model", "morphable_model", "basis_model")
_NAMES_LITE = {"lite_morphable_model": "morphable_model", "lite_basis_model": "basis_model"}
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "preprocess": ("undistort",),
    "fit": ("normalize", "k"),
    "localized_expressions": ("normalize",),
    "run_all": ("normalize", "k"),
}
_OWN = frozenset(("runtime", "server", "output_dir", "input_file", "folder"))
_WIDEST = 180.0  # degrees, of a pinhole camera


class WireError(FacemakeError):
    """A request says what may not be said; the message names the field."""


def parse(field: str, text: str, max_bytes: int, max_depth: int) -> dict[str, Any]:
    """A JSON object from a form field; "" is an empty one.

    Args:
        field: its name, for messages.
        text: what came.
        max_bytes: limit of the text.
        max_depth: limit of lists and objects within each other.

    Raises:
        WireError: it is larger or deeper, no JSON, or no object.
    """
    if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise WireError(f"{field} is more than {max_bytes} bytes")
    if _depth(text) > max_depth:
        raise WireError(f"{field} has more than {max_depth} levels")
    try:
        document = json.loads(text or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise WireError(f"{field} is no JSON") from None
    if not isinstance(document, dict):
        raise WireError(f"{field} is no JSON object")
    return document


def _no_number(word: str) -> float:
    raise ValueError(word)


def _depth(text: str) -> int:
    """How deep brackets go, those in strings apart; an unfinished string ends the count."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*("|$)', "", text, flags=re.DOTALL)
    depth = most = 0
    for character in bare:
        if character in "[{":
            depth += 1
            most = max(most, depth)
        elif character in "]}":
            depth -= 1
    return most


def options(
    processor_class: str, config: Mapping[str, Any], *, has_camera: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """The constructor's options that a request may set.

    Clients of old send the locals of a constructor: `args` and `kwargs` hold what was meant for
    their own side (`server`, `return_output` …) and are not looked at; for 3DI-lite,
    `morphable_model` and `basis_model` are 3DI's and are not taken. `lite_morphable_model` and
    `lite_basis_model` are.

    Args:
        processor_class: one of `PROCESSORS`.
        config: what came.
        has_camera: whether the session has a calibration file; `camera_model` may then be a string,
            whose text is not used.

    Returns:
        The options (`camera_model` is True where it is the session's file), and the keys that were
        passed over.

    Raises:
        WireError: an option is not what it may be, or the server's own (`runtime` …).
    """
    taken: dict[str, Any] = {}
    passed = [key for key in config if not _known(processor_class, key)]
    for key in sorted(_OWN & config.keys()):
        if config[key] is not None:
            raise WireError(f"config: {key} is the server's own to choose")
    camera = config.get("camera_model")
    if camera is not None:
        taken["camera_model"] = _camera(camera, has_camera)
    if processor_class == "FaceProcessor":
        return taken, passed
    names = {"landmark_model": "landmark_model"}
    if processor_class == "FaceProcessor3DIlite":
        names |= _NAMES_LITE
    else:
        names |= {name: name for name in _NAMES_3DI}
        if (fast := config.get("fast")) is not None:
            if not isinstance(fast, bool):
                raise WireError("config: fast is true or false")
            taken["fast"] = fast
    for key, option in names.items():
        if (name := config.get(key)) is not None:
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise WireError(f"config: {key} is a name of letters, digits, dots, - and _")
            taken[option] = name
    return taken, passed


def _known(processor_class: str, key: str) -> bool:
    common = {"args", "kwargs", "camera_model", "fast", "return_output", "verbose", "debug"}
    lite = set(_NAMES_LITE) if processor_class == "FaceProcessor3DIlite" else set()
    return key in common | _OWN | set(_NAMES_3DI) | lite


def _camera(value: object, has_camera: bool) -> float | int | bool:
    if isinstance(value, str):
        if has_camera:
            return True
        raise WireError(
            "config: camera_model is a file, and a file of yours is not on the server. Send the "
            "calibration with the video (field camera_file), or give the field of view in degrees"
        )
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _WIDEST:
        raise WireError(f"config: camera_model is an angle between 0 and {_WIDEST:g} degrees")
    return value


def arguments(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a method.

    Raises:
        WireError: it has no such argument, or not such a value.
    """
    allowed = _ARGUMENTS.get(method, ())
    for key, value in given.items():
        if key not in allowed:
            raise WireError(f"arguments: {method} has no {key[:40]!r}")
        if key == "k":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 <= value <= 100):
                raise WireError("arguments: k is a number from 0 to 100")
        elif not isinstance(value, bool):
            raise WireError(f"arguments: {key} is true or false")
    return dict(given)


def suffix(file_name: str, allowed: tuple[str, ...]) -> str | None:
    """The suffix of a sent file's name, in lower case; None where it is none of `allowed`."""
    for known in allowed:
        if file_name.lower().endswith(known):
            return known
    return None


def request_digest(processor_class: str, method: str, *rest: Mapping[str, Any]) -> str:
    """SHA-256 that is the same for the same work."""
    return digest([processor_class, method, *map(dict, rest)])
