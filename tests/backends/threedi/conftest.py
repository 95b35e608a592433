"""What tests of 3DI's backend share: stand-in installs and a clip."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import makemedia
from facemake.backends.threedi import Engine, Options, rawfiles
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.programs import programs
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import runtime
from standin3di import build as standin

CLIP = 10
DARK = (0, 6)
"""Frames of the clip without contrast: the stand-in sees no face in them."""


@pytest.fixture(scope="session")
def installs(tmp_path_factory: pytest.TempPathFactory) -> dict[Engine, Path]:
    """A stand-in install of each engine; nobody may change them: see `playing`."""
    folder = tmp_path_factory.mktemp("an install's folder")
    return {
        engine: standin.build(folder / standin.FOLDER[engine], str(engine)) for engine in Engine
    }


@pytest.fixture
def playing(installs: dict[Engine, Path]) -> Iterator[Callable[..., None]]:
    """Has programs of the stand-in fail until the test ends: `playing(video_detect_face="nan")`."""
    files = [folder / "standin.json" for folder in installs.values()]

    def play(**modes: str) -> None:
        for file in files:
            file.write_text(json.dumps(modes))

    yield play
    for file in files:
        file.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few frames, two of them dark; a name that a shell would trip over."""
    frames = [makemedia.pattern(i, 320, 240) for i in range(CLIP)]
    for i in DARK:
        frames[i] = np.zeros_like(frames[i])
    return makemedia.write_video(tmp_path_factory.mktemp("clip") / "-a b;$'c.mp4", frames)


@pytest.fixture(scope="session")
def raw_files(
    installs: dict[Engine, Path], clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[Engine, Path]:
    """A folder of each engine with all raw files of the clip, by the name of `v`."""
    folders = {}
    for engine in Engine:
        folders[engine] = tmp_path_factory.mktemp("raw")
        install, options = find_install(engine, installs[engine], {}), Options(engine=engine)
        started, recording = runtime(install), Recording(clip, "v", folders[engine], CLIP)
        for one in programs(engine, False):
            seen = None
            if one.step not in ("detect", "landmarks"):
                seen = rawfiles.seen(recording.file("landmarks", options), engine)
            run_program(one, recording, options, started, install, 60, seen)
    return folders
