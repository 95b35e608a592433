"""What tests of 3DI's backend share: stand-in installs and a clip."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import makemedia
from dockerdouble import Double
from facemake.backends.threedi import Engine, Options, rawfiles
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.programs import program, programs
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import docker, runtime
from standin3di import build as standin
from threedibench import CLIP, DARK, Bench, copy


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


@pytest.fixture
def docker_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """The real SDK finds a double of the engine, and no GPU."""
    # a short path: a socket's name has 107 characters at most
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        path = Path(folder) / "s"
        made = Double(path)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        for name in ("DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "CUDA_VISIBLE_DEVICES"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(docker, "has_nvidia", lambda: False)
        yield made
        for one in made.containers.values():
            one.started.set()
            one.over.set()
        made.shutdown()
        made.server_close()


@pytest.fixture(scope="module")
def ran(
    installs: dict[Engine, Path], clip: Path, raw_files: dict[Engine, Path]
) -> dict[Engine, Bench]:
    """All programs of each engine have run."""
    return {e: Bench(e, installs[e], clip, raw_files[e]) for e in Engine}


@pytest.fixture
def bench(
    ran: dict[Engine, Bench], installs: dict[Engine, Path], clip: Path, tmp_path: Path
) -> Callable[..., Bench]:
    """A bench of its own with the files that a step reads."""

    def make(engine: Engine, step: str) -> Bench:
        mine = Bench(engine, installs[engine], clip, tmp_path / "out")
        for kind in {*program(engine, step).reads, "landmarks"} - {"landmarks", "rects"}:
            copy(ran[engine], mine, kind)
        for kind in ("rects", "landmarks"):
            if step != "detect" and not (step == "landmarks" and kind == "landmarks"):
                copy(ran[engine], mine, kind)
        return mine

    return make
