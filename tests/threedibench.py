"""What tests run a program of 3DI on: an install, a recording, and a double of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from facemake.backends.threedi import Engine, Options, rawfiles
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.programs import program
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import Call, Ended, runtime

CLIP = 10
DARK = (0, 6)
"""Frames of the clip, and those of them without contrast: the stand-in sees no face in them."""


class Bench:
    """An install and a recording."""

    def __init__(self, engine: Engine, folder: Path, video: Path, out: Path) -> None:
        self.install = find_install(engine, folder, {})
        self.runtime = runtime(self.install)
        self.options = Options(engine=engine)
        self.recording = Recording(video, "v", out, CLIP)
        out.mkdir(exist_ok=True)

    def run(self, step: str, limit: float | None = 30) -> tuple[Ended, dict[str, Path]]:
        one = program(self.options.engine, step)
        landmarks = self.recording.file("landmarks", self.options)
        seen = None
        if landmarks.exists() and step != "landmarks":
            seen = rawfiles.seen(landmarks, self.options.engine)
        ended, files = run_program(
            one, self.recording, self.options, self.runtime, self.install, limit, seen
        )
        return ended, dict(files)

    def numbers(self, kind: str) -> np.ndarray:
        return rawfiles.read(self.recording.file(kind, self.options), kind, self.options.engine)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.recording.folder.iterdir())


def copy(source: Bench, target: Bench, kind: str) -> None:
    path = source.recording.file(kind, source.options)
    (target.recording.folder / path.name).write_bytes(path.read_bytes())


class Double:
    """A runtime that stands in for one: its program is a function of the output folder."""

    def __init__(self, writes: Callable[[Path], int], said: str = "as it is") -> None:
        self._writes, self._said = writes, said
        self.calls: list[Call] = []

    def run(self, call: Call) -> Ended:
        self.calls.append(call)
        return Ended([call.executable], self._writes(call.output), [self._said])

    def identity(self) -> str:
        return "0" * 64
