"""Stand-in installs of 3DI and recordings that the stand-in sees faces in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import makemedia
from facemake.server.settings import FACTORIES
from processing import processor
from serving import Served, serving, settings
from standin3di import build

FRAMES = 12
ENGINES = ("3di", "3dilite")
VARIABLES = {"3di": "BITBOX_3DI", "3dilite": "BITBOX_3DI_LITE"}
OF_THE_MACHINE = (
    *VARIABLES.values(),
    "BITBOX_DOCKER",
    "FACEMAKE_3DI_RUNTIME",
    "FACEMAKE_3DI_NOISE",
)


@dataclass(frozen=True)
class Installs:
    """A stand-in install of each engine, of the test's own."""

    folders: dict[str, Path]

    def play(self, **modes: str) -> None:
        """Have programs fail: file name -> mode (`standin3di.programs.MODES`)."""
        for folder in self.folders.values():
            (folder / "standin.json").write_text(json.dumps(modes))

    def break_all(self) -> None:
        """Have every program fail, so that what is not run shows."""
        names = {Path(name).name for folder in build.PROGRAMS.values() for name in folder}
        self.play(**dict.fromkeys(names, "exit"))


@pytest.fixture(autouse=True)
def no_install_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OF_THE_MACHINE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("standins")
    return {engine: build.build(folder / engine, engine) for engine in ENGINES}


@pytest.fixture
def installs(built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installs:
    """Copies, named by the environment."""
    folders = {}
    for engine, folder in built.items():
        folders[engine] = Path(shutil.copytree(folder, tmp_path / "installs" / engine))
        monkeypatch.setenv(VARIABLES[engine], str(folders[engine]))
    return Installs(folders)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return makemedia.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", FRAMES)


@pytest.fixture(scope="session")
def filled(built: dict[str, Path], clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with all that 3DI makes of the clip; for copies."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        for name in OF_THE_MACHINE:
            patch.delenv(name, raising=False)
        processor(clip, folder, runtime=str(built["3di"])).run_all(normalize=False)
    return folder


def table_of_noise(folder: Path, engine: str = "3di") -> Path:
    """A made up table in bitbox's layout: ends of the band, and sigma."""
    k = np.arange(79)
    low, high, sigma = -20 - k, 30 + 0.5 * k, 5 + 0.1 * k
    name = {"3di": "3DI", "3dilite": "3DIl"}[engine]
    path = folder / f"expression_noise_signal_stats_{name}.csv"
    np.savetxt(path, np.stack([low, high, sigma], axis=1), delimiter=",", fmt="%.6f")
    return path


@pytest.fixture
def noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table of each engine, named by the environment."""
    folder = tmp_path / "noise"
    folder.mkdir()
    for engine in ENGINES:
        table_of_noise(folder, engine)
    monkeypatch.setenv("FACEMAKE_3DI_NOISE", str(folder))
    return folder


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps whose programs were run, in order."""
    from facemake.processors import threedi

    steps: list[str] = []
    real: Callable[..., object] = threedi.run_program

    def counted(program: object, *arguments: object) -> object:
        steps.append(program.step)  # type: ignore[attr-defined]
        return real(program, *arguments)

    monkeypatch.setattr(threedi, "run_program", counted)
    return steps


@pytest.fixture
def server(tmp_path: Path, installs: Installs) -> Iterator[Served]:
    """A real server with the processors themselves, whose engines are the stand-ins."""
    what = settings(tmp_path / "server")
    hosts = (what.hosts or frozenset()) | {"api.bitbox.local"}  # what 3DI's page calls it
    what = replace(what, factories=FACTORIES, runtimes={}, hosts=hosts)
    with serving(what) as served:
        yield served
