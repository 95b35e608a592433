"""The images themselves, run without facemake: the stand-in works in them and sees faults.

Each image is started once as it should be and once with each fault that the stand-in must see, so
that tests of facemake's own runtimes may rely on its exit codes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import makemedia

pytestmark = pytest.mark.containers

FRAMES = 6
CAN_WRITE_BESIDE_VIDEO, HAS_NETWORK, IS_ANOTHER_USER = 97, 96, 95


@dataclass(frozen=True)
class Start:
    """How a program is started."""

    video: Path
    output: Path
    root: str = "/app/3DI"
    program: str = "video_detect_face"
    read_only: bool = True
    network: bool = False

    @property
    def command(self) -> list[str]:
        name = self.video.name
        return [f"{self.root}/{self.program}", f"/app/input/{name}", "/app/output/rects"]


Ran = tuple[int, str]
"""Exit code, and what was said."""


@pytest.fixture
def start(tmp_path: Path) -> Start:
    (tmp_path / "in put").mkdir()
    (tmp_path / "out").mkdir()
    video = makemedia.write_video(tmp_path / "in put" / "-é; $x.mp4", FRAMES)
    return Start(video, tmp_path / "out")


def by_apptainer(program: str, image: Path, how: Start) -> Ran:
    command = [program, "exec", "--containall", "--no-home", "--pwd", how.root]
    if not how.network:
        command += ["--net", "--network", "none"]
    source = f"type=bind,source={how.video.parent},destination=/app/input"
    command += ["--mount", f"{source},ro" if how.read_only else source]
    command += ["--mount", f"type=bind,source={how.output},destination=/app/output"]
    env = {**os.environ, "APPTAINERENV_CUDA_VISIBLE_DEVICES": "1"}
    done = subprocess.run(
        [*command, str(image), *how.command], capture_output=True, text=True, timeout=60, env=env
    )
    return done.returncode, done.stdout + done.stderr


def by_docker(image: str, how: Start, user: str) -> Ran:
    import docker
    from docker.types import Mount

    client = docker.from_env()
    container = client.containers.create(
        image,
        how.command,
        working_dir=how.root,
        user=user,
        network_mode="host" if how.network else "none",
        environment={"CUDA_VISIBLE_DEVICES": "1"},
        mounts=[
            Mount("/app/input", str(how.video.parent), type="bind", read_only=how.read_only),
            Mount("/app/output", str(how.output), type="bind"),
        ],
    )
    try:
        container.start()
        code = container.wait(timeout=60)["StatusCode"]
        return code, container.logs().decode()
    finally:
        container.remove(force=True)
        client.close()


@pytest.fixture(params=["sif", "sandbox", "docker"])
def run(request: pytest.FixtureRequest) -> Callable[[Start], Ran]:
    """What runs a program in each of the images."""
    if request.param == "docker":
        image = request.getfixturevalue("docker_image")
        return lambda how: by_docker(image, how, f"{os.getuid()}:{os.getgid()}")
    command = request.getfixturevalue("apptainer")
    path = request.getfixturevalue(request.param)
    return lambda how: by_apptainer(command, path, how)


@pytest.mark.parametrize("root", ["/app/3DI", "/app/3DI_lite"])
def test_a_program_runs(run: Callable[[Start], Ran], start: Start, root: str) -> None:
    code, said = run(replace(start, root=root))
    assert code == 0, said
    assert "stand-in for 3DI, no measurement" in said
    assert "CUDA_VISIBLE_DEVICES=1" in said
    rects = start.output / "rects"
    assert np.loadtxt(rects).shape == (FRAMES, 4)
    assert rects.stat().st_uid == os.getuid()
    assert [p.name for p in start.video.parent.iterdir()] == [start.video.name]


def test_writing_beside_the_video_is_seen(run: Callable[[Start], Ran], start: Start) -> None:
    code, said = run(replace(start, read_only=False))
    assert (code, list(start.output.iterdir())) == (CAN_WRITE_BESIDE_VIDEO, []), said


def test_a_network_is_seen(run: Callable[[Start], Ran], start: Start) -> None:
    code, said = run(replace(start, network=True))
    assert (code, list(start.output.iterdir())) == (HAS_NETWORK, []), said


def test_another_user_is_seen(run: Callable[[Start], Ran], start: Start) -> None:
    shutil.chown(start.output, 1234, 1234)
    start.output.chmod(0o777)
    code, said = run(start)
    assert (code, list(start.output.iterdir())) == (IS_ANOTHER_USER, []), said


def test_a_program_that_is_not_there(run: Callable[[Start], Ran], start: Start) -> None:
    try:
        code, said = run(replace(start, program="video_detect_nothing"))
    except Exception as error:  # Docker refuses to start it
        code, said = 127, str(error)
    assert code in (127, 255) and "video_detect_nothing" in said


def test_docker_runs_it_as_any_user(docker_image: str, start: Start) -> None:
    shutil.chown(start.output, 4321, 8765)
    code, said = by_docker(docker_image, start, "4321:8765")
    assert code == 0, said
    made = (start.output / "rects").stat()
    assert (made.st_uid, made.st_gid) == (4321, 8765)
