"""The programs of 3DI and 3DI-lite: what each is called with, what it reads and writes.

Of compsygroup/3DI v0.3 and sariyanidi/FacialBasis. An argument is the kind of a raw file
(`rawfiles.KINDS`), one of the words below, or a literal after `=`.

| word | argument |
|---|---|
| `video` | the recording, undistorted where the camera is calibrated |
| `recording` | the recording as it is |
| `undistorted` | where the undistorted recording goes |
| `config` | the landmark configuration, in the install |
| `camera` | field of view in degrees, or the calibration file |
| `model`, `basis` | names of models in the install |
| `normalize` | 0 or 1 |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from facemake.backends.threedi import Engine


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program of an install.

    Attributes:
        step: its name here, and its rule's.
        executable: relative to the install folder, which is its working directory.
        does: in words.
        arguments: see the module.
        writes: kinds of files that it makes.
        gpu: whether it computes on a GPU.
        codes: exit codes with which it may have done what it should. 3DI's public source ends the
            `main` of some programs with `return 1`, where all went well as where a file is missing:
            of these what they wrote tells, which is looked at in any case.
    """

    step: str
    executable: str
    does: str
    arguments: tuple[str, ...]
    writes: tuple[str, ...]
    gpu: bool = False
    codes: tuple[int, ...] = (0,)

    @property
    def reads(self) -> tuple[str, ...]:
        """Kinds of raw files that it is given."""
        words = {"video", "recording", "undistorted", "config", "camera", "model", "basis"}
        return tuple(
            a
            for a in self.arguments
            if a not in words | {"normalize"} and not a.startswith("=") and a not in self.writes
        )


_ONE_TOO = (0, 1)

_UNDISTORT = Program(
    step="undistort",
    executable="video_undistort",
    does="undistort the recording",
    arguments=("recording", "camera", "undistorted"),
    writes=("undistorted",),
    codes=_ONE_TOO,
)
_DETECT = Program(
    step="detect",
    executable="video_detect_face",
    does="detect the face",
    arguments=("video", "rects"),
    writes=("rects",),
    gpu=True,
)
_LANDMARKS = Program(
    step="landmarks",
    executable="video_detect_landmarks",
    does="find landmarks",
    arguments=("video", "rects", "landmarks", "config"),
    writes=("landmarks",),
    gpu=True,
    codes=_ONE_TOO,
)

FULL = (
    _UNDISTORT,
    _DETECT,
    _LANDMARKS,
    Program(
        step="identity",
        executable="video_learn_identity",
        does="learn the identity",
        arguments=("video", "landmarks", "config", "camera", "shape_coeff", "texture_coeff"),
        writes=("shape_coeff", "texture_coeff"),
        gpu=True,
        codes=_ONE_TOO,
    ),
    Program(
        step="shape",
        executable="scripts/save_identity_and_shape.py",
        does="make the person's shape and texture",
        arguments=("shape_coeff", "texture_coeff", "=1", "=0.4", "shape", "texture", "model"),
        writes=("shape", "texture"),
    ),
    Program(
        step="fit",
        executable="video_from_saved_identity",
        does="fit pose and expression",
        arguments=(
            *("video", "landmarks", "config", "camera", "shape", "texture"),
            *("expression", "pose", "illumination"),
        ),
        writes=("expression", "pose", "illumination"),
        gpu=True,
    ),
    Program(
        step="smooth_expression",
        executable="scripts/total_variance_rec.py",
        does="smooth the expression",
        arguments=("expression", "expression_smooth", "model"),
        writes=("expression_smooth",),
    ),
    Program(
        step="smooth_pose",
        executable="scripts/total_variance_rec_pose.py",
        does="smooth the pose",
        arguments=("pose", "pose_smooth"),
        writes=("pose_smooth",),
    ),
    Program(
        step="canonical",
        executable="scripts/produce_canonicalized_3Dlandmarks.py",
        does="make canonical landmarks",
        arguments=("expression_smooth", "landmarks_canonicalized", "model"),
        writes=("landmarks_canonicalized",),
    ),
    Program(
        step="localized",
        executable="scripts/compute_local_exp_coefficients.py",
        does="localize the expression",
        arguments=("expression_smooth", "expression_localized", "model", "basis", "normalize"),
        writes=("expression_localized",),
    ),
)

LITE = (
    _UNDISTORT,
    _DETECT,
    _LANDMARKS,
    Program(
        step="fit",
        executable="process_video.py",
        does="fit identity, pose and expression",
        arguments=(
            *("video", "landmarks", "expression_smooth", "pose_smooth"),
            *("shape_coeff", "texture_coeff", "illumination"),
        ),
        writes=("expression_smooth", "pose_smooth", "shape_coeff", "texture_coeff", "illumination"),
        gpu=True,
    ),
    Program(
        step="canonical",
        executable="produce_canonicalized_3Dlandmarks.py",
        does="make canonical landmarks",
        arguments=("expression_smooth", "landmarks_canonicalized", "model"),
        writes=("landmarks_canonicalized",),
    ),
    Program(
        step="localized",
        executable="compute_local_exp_coefficients.py",
        does="localize the expression",
        arguments=("expression_smooth", "expression_localized", "normalize"),
        writes=("expression_localized",),
    ),
)

PROGRAMS: Mapping[Engine, tuple[Program, ...]] = MappingProxyType(
    {Engine.FULL: FULL, Engine.LITE: LITE}
)
"""In the order in which they run; `undistort` where the camera is calibrated only."""


def program(engine: Engine, step: str) -> Program:
    """The program of a step.

    Raises:
        KeyError: the engine has no such step.
    """
    for one in PROGRAMS[engine]:
        if one.step == step:
            return one
    raise KeyError(f"{engine} has no step {step}")


def needs(engine: Engine, one: Program, undistorts: bool) -> tuple[str, ...]:
    """The steps whose raw files a program reads, or needs to be judged by, in order.

    That landmarks were found in a frame says whether there must be a fit of it.
    """
    kinds = {*one.reads, *(("landmarks",) if one.step not in ("undistort", "detect") else ())}
    if undistorts and "video" in one.arguments:
        kinds.add("undistorted")
    return tuple(
        p.step for p in PROGRAMS[engine] if p.step != one.step and kinds.intersection(p.writes)
    )


def programs(engine: Engine, undistorts: bool) -> tuple[Program, ...]:
    """Those that run, in order."""
    return tuple(p for p in PROGRAMS[engine] if undistorts or p.step != "undistort")
