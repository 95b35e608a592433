"""`facemake serve` with 3DI in real images of the stand-in, and the processors as its clients."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import makemedia
from facemake import FaceProcessor3DI, FaceProcessor3DIlite
from facemake.backends.threedi import sidecar

pytestmark = pytest.mark.containers

FRAMES = 8


@pytest.fixture(autouse=True)
def no_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BITBOX_3DI", "BITBOX_3DI_LITE", "BITBOX_DOCKER", "FACEMAKE_3DI_RUNTIME"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(folder: Path, image: str) -> Iterator[int]:
    """The command itself, with both engines in one image; its port."""
    command = [sys.executable, "-m", "facemake", "serve", "--port", "0", "--folder", str(folder)]
    command += ["--runtime-3di", image, "--runtime-3dilite", image]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"listens on http://127\.0\.0\.1:(\d+)", line)
            assert found, line + process.stdout.read()
            assert process.stdout.readline().count(image) == 2
            yield int(found[1])
            process.terminate()
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sif", FaceProcessor3DI),
        ("sandbox", FaceProcessor3DIlite),
        ("docker_image", FaceProcessor3DI),
    ],
)
def test_what_a_server_gives_is_what_a_run_here_gives(
    name: str, kind: type, tmp_path: Path, request: pytest.FixtureRequest
):
    image = str(request.getfixturevalue(name))
    clip = makemedia.write_video(tmp_path / "-é 'a'; $b.mp4", FRAMES)
    here = kind(runtime=image, verbose=False)
    here.io(clip, tmp_path / "here")
    here.run_all(normalize=False)
    with serving(tmp_path / "ser ver", image) as port:
        there = kind(server={"host": "127.0.0.1", "port": port}, verbose=False)
        there.io(clip, tmp_path / "there")
        tables = there.run_all(normalize=False)
    assert [t["frame count"] for t in tables] == [FRAMES] * 2 + [FRAMES - 1] * 4
    raw = [path for path in (tmp_path / "here").glob("*.3DI*") if path.suffix != ".json"]
    assert len(raw) >= 8
    for path in raw:
        twin = tmp_path / "there" / path.name
        assert twin.read_bytes() == path.read_bytes(), path.name
        said = [sidecar.read(one) or {} for one in (path, twin)]
        assert said[0][sidecar.IDENTITY] == said[1][sidecar.IDENTITY] != ""
    assert not [process for process in psutil.process_iter() if _is_in(process, tmp_path)]


def _is_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False
