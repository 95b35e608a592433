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
IMAGES = ["sif", "sandbox", "docker_image"]


@contextmanager
def serving(folder: Path, image: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """The command itself, with both engines in one image; its port, and its process."""
    for name in ("BITBOX_3DI", "BITBOX_3DI_LITE", "BITBOX_DOCKER", "FACEMAKE_3DI_RUNTIME"):
        os.environ.pop(name, None)
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
            yield int(found[1]), process
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("name", IMAGES)
def test_both_engines_behind_a_server(name: str, tmp_path: Path, request: pytest.FixtureRequest):
    image = str(request.getfixturevalue(name))
    clip = makemedia.write_video(tmp_path / "-é 'a'; $b.mp4", FRAMES)
    with serving(tmp_path / "ser ver", image) as (port, _):
        for kind in (FaceProcessor3DI, FaceProcessor3DIlite):
            there = kind(server={"host": "127.0.0.1", "port": port}, verbose=False)
            there.io(clip, tmp_path / f"there {kind.__name__}")
            here = kind(runtime=image, verbose=False)
            here.io(clip, tmp_path / f"here {kind.__name__}")
            remote, local = there.run_all(normalize=False), here.run_all(normalize=False)
            assert [t["frame count"] for t in remote] == [FRAMES] * 2 + [FRAMES - 1] * 4
            files = sorted((tmp_path / f"here {kind.__name__}").glob("*.3DI*"))
            raw = [path for path in files if path.suffix != ".json"]
            assert len(raw) >= 8
            for path in raw:
                twin = tmp_path / f"there {kind.__name__}" / path.name
                assert twin.read_bytes() == path.read_bytes(), path.name
                identities = {str(sidecar.read(one)[sidecar.IDENTITY]) for one in (path, twin)}
                assert len(identities) == 1 and identities != {""}
            assert [sorted(t) for t in remote] == [sorted(t) for t in local]
    assert not [p for p in psutil.process_iter() if _in(p, tmp_path)]


def _in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.pid != os.getpid() and Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False
