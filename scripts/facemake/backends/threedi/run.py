"""Run one program of an install, and believe nothing of it that was not looked at.

Success is: an exit code of success, every output there, of the right shape, with the right number
of frames, finite where it must be. An output that was there before is out of the way first, so that
an old file is never taken for a new one; what a failed program left is removed.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.backends.threedi import Options, rawfiles
from facemake.backends.threedi.install import BFM, Install
from facemake.backends.threedi.programs import Program
from facemake.backends.threedi.rawfiles import RawFileError, file_name
from facemake.backends.threedi.runtimes import (
    Argument,
    Call,
    Ended,
    Input,
    Output,
    Own,
    PassingRunError,
    RunError,
    Runtime,
    SampleError,
)
from facemake.backends.threedi.runtimes.process import last_words
from facemake.runtime.gpu import lease

_FROM_OUTSIDE = frozenset(
    code for number in (signal.SIGKILL, signal.SIGTERM) for code in (-number, 128 + number)
)
"""Codes of a program that others ended; a shell or a container between adds 128."""

_HOLDS_XVID = (".mp4", ".avi", ".mpeg")

UNDISTORTED = "_preprocessed"
"""What an undistorted recording's name ends in, before its suffix."""


@dataclass(frozen=True)
class Recording:
    """What an engine is given to look at.

    Attributes:
        video: the file, undistorted already where the camera is calibrated.
        base: what the names of its raw files begin with.
        folder: where they are and go.
        n_frames: frames in it.
    """

    video: Path
    base: str
    folder: Path
    n_frames: int

    def file(self, kind: str, options: Options) -> Path:
        """A raw file of this recording."""
        return self.folder / file_name(self.base, kind, options.engine)

    @property
    def undistorted(self) -> Path:
        """Where the undistorted recording goes: under a suffix that holds what 3DI writes, XVID."""
        suffix = self.video.suffix if self.video.suffix.lower() in _HOLDS_XVID else ".avi"
        return self.folder / f"{self.base}{UNDISTORTED}{suffix}"


def arguments(program: Program, recording: Recording, options: Options) -> list[Argument]:
    """The arguments of a program, in order; see `programs` for the words."""
    made: list[Argument] = []
    for word in program.arguments:
        if word.startswith("="):
            made.append(word[1:])
        elif word in ("video", "recording"):
            made.append(_place(recording.video, recording.folder))
        elif word == "undistorted":
            made.append(Output(recording.undistorted.name))
        elif word == "config":
            made.append(Own(options.config_file))
        elif word == "camera":
            camera = options.camera
            made.append(Input(Path(camera)) if isinstance(camera, str) else f"{camera:.10g}")
        elif word == "model":
            made.append(options.morphable_model)
        elif word == "basis":
            made.append(options.basis)
        elif word == "normalize":
            made.append(str(int(options.normalize)))
        else:
            made.append(Output(recording.file(word, options).name))
    return made


def _place(path: Path, folder: Path) -> Argument:
    """An undistorted recording is in the output folder; any other is read-only, wherever it is."""
    ours = path.stem.endswith(UNDISTORTED) and path.parent.resolve() == folder.resolve()
    return Output(path.name) if ours else Input(path)


def run_program(
    program: Program,
    recording: Recording,
    options: Options,
    runtime: Runtime,
    install: Install,
    limit: float | None = None,
    seen: NDArray[np.bool_] | None = None,
) -> tuple[Ended, Mapping[str, Path]]:
    """Run a program on a recording and check all that it wrote.

    Args:
        program: of `programs.PROGRAMS`.
        recording: with what it reads already in its folder.
        options: how the engine is run.
        runtime: of the install.
        install: for messages.
        limit: seconds that it may take.
        seen: (n_frames,) frames with landmarks, where that is known.

    Returns:
        How it ended, and kind -> file of what it wrote.

    Raises:
        SampleError: it failed, or did not write what it should; its outputs are then gone.
        PassingRunError: it was ended from outside, or memory was short.
        RunError: it cannot be started, or the machine lacks what it needs.
    """
    files = {
        kind: recording.undistorted if kind == "undistorted" else recording.file(kind, options)
        for kind in program.writes
    }
    for path in files.values():
        path.unlink(missing_ok=True)
    call = Call(program.executable, arguments(program, recording, options), recording.folder, limit)
    try:
        with lease(int(program.gpu)):
            ended = runtime.run(call)
        if ended.code not in program.codes:
            raise failure(program, install, ended, rawfiles.too_long(recording.n_frames))
        try:
            _look(program, files, options, recording, seen)
        except RawFileError as error:
            if ended.code != 0:
                raise failure(program, install, ended, f", and {error}") from None
            raise SampleError(
                f"{program.executable} ended well, but {error} ({install}, to {program.does})."
                f" It said last:\n{last_words(ended.said)}"
            ) from None
    except BaseException:
        for path in files.values():
            path.unlink(missing_ok=True)
        raise
    return ended, files


def failure(program: Program, install: Install, ended: Ended, also: str = "") -> RunError:
    """What to say of a program that ended badly; a `SampleError` where the machine is not known to
    be at fault.
    """
    kind, hint = _hint(ended, install)
    return kind(
        f"{program.executable} ended with {_code(ended.code)}{also} ({install}, to {program.does})"
        f"{hint}. It said last:\n{last_words(ended.said)}"
    )


def _look(
    program: Program,
    files: Mapping[str, Path],
    options: Options,
    recording: Recording,
    seen: NDArray[np.bool_] | None,
) -> None:
    """Look at all that a program wrote.

    Raises:
        RawFileError: a file is not whole, or has rows for other frames than those beside it.
    """
    rows: dict[str, int] = {}
    for kind, path in files.items():
        if kind == "undistorted":
            _look_at_video(path, recording.n_frames)
            continue
        count = rawfiles.check(path, kind, options, recording.n_frames, seen)
        if rawfiles.KINDS[kind].rows == "fitted":
            rows[kind] = count
    for kind in program.reads:
        if rawfiles.KINDS[kind].rows != "fitted":
            continue
        wanted = rawfiles.count(recording.file(kind, options))
        for made, count in rows.items():
            if count != wanted:
                raise RawFileError(
                    f"{files[made]} has {count} rows, and {recording.file(kind, options).name}, "
                    f"which it was made of, has {wanted}"
                )
    # of one program that counts frames, one file may have the last one, which others lack
    if rows and max(rows.values()) > min(rows.values()) + 1:
        counted = ", ".join(f"{files[kind].name} {count}" for kind, count in rows.items())
        raise RawFileError(f"its files have rows for different frames: {counted}")


def _look_at_video(path: Path, n_frames: int) -> None:
    from facemake.backends.threedi.offer import as_opencv_sees  # loads OpenCV

    if not path.is_file():
        raise RawFileError(f"{path} is missing: nothing was written under this name")
    seen = as_opencv_sees(path)
    if seen.frames != n_frames:
        raise RawFileError(
            f"{path} has {seen.frames} frames that can be decoded, wanted {n_frames}; the program "
            "stopped before its end, or could not write a video of this kind"
        )


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _hint(ended: Ended, install: Install) -> tuple[type[RunError], str]:
    """What how it ended, or the end of its words, tells a person who has seen it before."""
    said = "\n".join(ended.said).lower()
    if ended.code in _FROM_OUTSIDE:
        return PassingRunError, (
            ": it was ended from outside, as a rule because memory ran out; give the job more, or "
            "run fewer at once"
        )
    if "models/mms" in said or "01_morphablemodel" in said:
        return RunError, f": it lacks its face model. {BFM[install.engine]}"
    if "out of memory" in said or "memory allocation" in said:
        return PassingRunError, ": the GPU has no memory left; run fewer at once"
    if "no cuda" in said or "cuda driver" in said or "cuda-capable" in said:
        return RunError, ": it found no usable GPU; run it where nvidia-smi lists one"
    return SampleError, ""
