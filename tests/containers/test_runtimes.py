"""Runtimes of 3DI against a real Apptainer and a real Docker engine, on the stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import makemedia
from debian import waited
from facemake.backends.threedi import Engine, Options, rawfiles
from facemake.backends.threedi.install import Form, Install, find_install
from facemake.backends.threedi.model import learn
from facemake.backends.threedi.programs import program, programs
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import RunError, Runtime, TimeLimitError, runtime
from facemake.backends.threedi.runtimes.docker import _OWNER
from facemake.errors import InstallError
from standin3di import programs as standin

pytestmark = pytest.mark.containers

FRAMES = 8
NAMES = [
    "plain.mp4",
    "two words, \"quoted\" 'twice' $HOME `id`;&|.mp4",
    "-leading dash = {é} ü 顔 :ro,rw.mp4",
    "a\\back\\slash 100% #1 *?.mp4",
]
"""File names that shells, CSV and mount options trip over."""
IMAGES = ["sif", "sandbox", "docker_image"]
ENGINES = [Engine.FULL, Engine.LITE]


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    """What `threedi.runtime` would be, for each kind of image."""
    return str(request.getfixturevalue(request.param))


class Bench:
    """An install in an image, and a recording to run its programs on."""

    def __init__(self, engine: Engine, image: str, folder: Path, name: str = "v.mp4") -> None:
        self.install = find_install(engine, image)
        self.runtime: Runtime = runtime(self.install)
        self.options = Options(engine=engine)
        (folder / "in").mkdir()
        (folder / "out, of 'this'").mkdir()
        video = makemedia.write_video(folder / "in" / name, FRAMES)
        self.recording = Recording(video, video.stem, folder / "out, of 'this'", FRAMES)

    def run(self, step: str, limit: float | None = 60) -> list[str]:
        """Run one program; the lines that it said last."""
        one = program(self.options.engine, step)
        ended, _ = run_program(one, self.recording, self.options, self.runtime, self.install, limit)
        return ended.said

    def run_all(self) -> dict[str, bytes]:
        """Run every program; kind -> what it wrote."""
        made = {}
        for one in programs(self.options.engine, self.options.undistorts):
            self.run(one.step)
            for kind in one.writes:
                if kind != "undistorted":
                    made[kind] = self.recording.file(kind, self.options).read_bytes()
        return made

    def play(self, mode: str) -> None:
        """Let the face detection fail in some way."""
        play = self.recording.folder / "standin.json"
        play.write_text(json.dumps({"video_detect_face": mode}))

    def left(self) -> list[str]:
        """Command lines of programs on this recording that still run, in images too."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            ours = f"/{self.recording.video.name}" in line
            if ours and "/app/3DI" in line and "video_detect_face" in line:
                found.append(line)
        return found

    def has_begun(self) -> bool:
        """Whether one of them runs, at the latest after half a minute."""
        return waited(lambda: bool(self.left()), 30)

    def has_ended(self) -> bool:
        """Whether none is left, at the latest after a quarter of a minute."""
        return waited(lambda: not self.left(), 15)


@pytest.fixture
def bench(image: str, tmp_path: Path) -> Bench:
    return Bench(Engine.FULL, image, tmp_path)


@pytest.mark.parametrize(
    ("image", "name"),
    # a sandbox is given its mounts as an image file is
    [(image, name) for image in ("sif", "docker_image") for name in NAMES]
    + [("sandbox", NAMES[1])],
    indirect=["image"],
)
def test_programs_run_whatever_the_name(image: str, name: str, tmp_path: Path) -> None:
    bench = Bench(Engine.LITE, image, tmp_path, name)
    before = bench.recording.video.read_bytes()
    for step in ("detect", "landmarks", "fit"):
        bench.run(step)
    files = list(bench.recording.folder.iterdir())
    assert len(files) == 7
    assert {f.stat().st_uid for f in files} == {os.getuid()}
    assert bench.recording.video.read_bytes() == before
    assert [p.name for p in bench.recording.video.parent.iterdir()] == [name]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_image_gives_what_the_folder_gives(
    engine: Engine, sif: Path, sandbox: Path, docker_image: str, tmp_path: Path
) -> None:
    from standin3di.build import build

    folder = build(tmp_path / "install", str(engine))
    made = []
    for number, image in enumerate([folder, sif, sandbox, docker_image]):
        own = tmp_path / str(number)
        own.mkdir()
        made.append(Bench(engine, str(image), own).run_all())
    assert set(made[0]) == {kind for one in programs(engine, False) for kind in one.writes}
    assert made[0] == made[1] == made[2] == made[3]


def test_forms(sif: Path, sandbox: Path, docker_image: str) -> None:
    for engine in ENGINES:
        forms = [find_install(engine, str(image)).form for image in (sif, sandbox, docker_image)]
        assert forms == [Form.SINGULARITY, Form.SINGULARITY, Form.DOCKER]


def test_identities_are_of_the_content(
    sif: Path, sandbox: Path, docker_image: str, tmp_path: Path
) -> None:
    import docker

    def identity(image: object) -> str:
        return runtime(find_install(Engine.FULL, str(image))).identity()

    found = [identity(image) for image in (sif, sandbox, docker_image)]
    assert len(set(found)) == 3 and all(len(one) == 64 for one in found)
    assert found == [identity(image) for image in (sif, sandbox, docker_image)]
    client = docker.from_env()
    client.images.get(docker_image).tag("facemake-standin3di", "another-name")
    try:
        assert identity("facemake-standin3di:another-name") == found[2]
    finally:
        client.images.remove("facemake-standin3di:another-name")
        client.close()
    other = tmp_path / "other_sandbox"
    subprocess.run(["cp", "-a", sandbox, other], check=True)
    before = identity(other)
    (other / "app" / "3DI" / "configs" / "more.txt").write_text("something else")
    assert identity(other) != before


def test_calibrated_camera_is_a_second_input(image: str, tmp_path: Path) -> None:
    bench = Bench(Engine.FULL, image, tmp_path)
    camera = tmp_path / "in" / "v.mp4.yml"
    matrix = "data: [ 60., 0., 32., 0., 60., 24., 0., 0., 1. ]"
    camera.write_text(f"%YAML:1.0\ncameraMatrix_postUndistort: !!opencv-matrix\n   {matrix}\n")
    bench.options = Options(engine=Engine.FULL, camera=str(camera))
    bench.run("undistort")
    bench.recording = Recording(bench.recording.undistorted, "v", bench.recording.folder, FRAMES)
    for one in programs(Engine.FULL, True)[1:]:
        bench.run(one.step)
    pose = rawfiles.read(bench.recording.file("pose", bench.options), "pose", Engine.FULL)
    assert np.allclose(pose[:, 2], 60 * 190 / (0.4 * 48), rtol=0.06)


def test_face_model_is_learnt_from_an_image(bench: Bench) -> None:
    folder = bench.recording.folder
    model = learn(bench.runtime, bench.install, bench.options, folder, 60)
    assert np.array_equal(model.mean, np.array(standin.MEAN))
    assert model.vertices.tolist() == standin.landmark_vertices(19830)


def test_schedulers_gpu_is_passed_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert "CUDA_VISIBLE_DEVICES=2" in bench.run("detect")  # the one that it leased
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert "CUDA_VISIBLE_DEVICES=" in bench.run("detect")


def test_failure_has_the_exit_code_and_the_last_words(bench: Bench) -> None:
    bench.play("exit")
    with pytest.raises(RunError, match=r"exit code 1 [\s\S]*told to fail"):
        bench.run("detect")


def test_megabytes_on_standard_error_do_not_stop_it(bench: Bench) -> None:
    bench.play("noise")
    with pytest.raises(RunError, match=r"exit code 3 [\s\S]*told to fail loudly"):
        bench.run("detect")


@pytest.mark.parametrize(
    ("image", "mode"),
    # whatever ran the program, one piece of code looks at what it wrote
    [("sif", mode) for mode in ("nothing", "empty", "half", "nan", "inf", "columns", "frames")]
    + [(image, mode) for image in ("sandbox", "docker_image") for mode in ("nothing", "half")],
    indirect=["image"],
)
def test_bad_output_is_refused_and_removed(bench: Bench, mode: str) -> None:
    bench.play(mode)
    with pytest.raises(RunError, match=r"ended well, but .*v_rects\.3DI"):
        bench.run("detect")
    assert [p.name for p in bench.recording.folder.iterdir()] == ["standin.json"]


def test_time_limit_ends_it_and_leaves_nothing(bench: Bench) -> None:
    bench.play("sleep")
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"after 3 s, its time limit"):
        bench.run("detect", limit=3)
    # Docker is asked every 30 s whether it has ended
    assert time.monotonic() - began < (40 if bench.install.form is Form.DOCKER else 15)
    assert bench.has_ended()
    bench.play("")
    bench.run("detect")


KILLED = """
import sys
from pathlib import Path
from facemake.backends.threedi import Engine, Options
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.programs import program
from facemake.backends.threedi.run import Recording, run_program
from facemake.backends.threedi.runtimes import runtime
image, video, folder = sys.argv[1:]
install = find_install(Engine.FULL, image)
recording = Recording(Path(video), "v", Path(folder), 8)
options = Options(engine=Engine.FULL)
run_program(program(Engine.FULL, "detect"), recording, options, runtime(install), install)
"""


def test_nothing_outlives_a_killed_process(bench: Bench) -> None:
    bench.play("sleep")
    words = [bench.install.location, str(bench.recording.video), str(bench.recording.folder)]
    child = subprocess.Popen([sys.executable, "-c", KILLED, *words])
    try:
        assert bench.has_begun() and child.poll() is None
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    if bench.install.form is Form.DOCKER:  # the engine does not know: the next run clears up
        bench.play("")
        bench.runtime = runtime(bench.install)
        bench.run("detect")
    assert bench.has_ended()


def test_terminated_process_takes_its_container_along(docker_image: str, tmp_path: Path) -> None:
    bench = Bench(Engine.FULL, docker_image, tmp_path)
    bench.play("sleep")
    words = [docker_image, str(bench.recording.video), str(bench.recording.folder)]
    end = "from facemake.runtime import parent; parent.end_with_parent()\n"
    # what a shell starts behind it is told to ignore the signal
    end += "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    child = subprocess.Popen([sys.executable, "-c", end + KILLED, *words])
    try:
        assert bench.has_begun()
        child.send_signal(signal.SIGINT)
        child.wait(20)
    finally:
        child.kill()
        child.wait()
    assert bench.has_ended()


def test_no_container_is_left(docker_image: str, tmp_path: Path) -> None:
    import docker

    Bench(Engine.FULL, docker_image, tmp_path).run("detect")
    client = docker.from_env()
    owners = [one.labels.get(_OWNER, "") for one in client.containers.list(all=True)]
    assert str(os.getpid()) not in " ".join(owners).split()
    client.close()


def test_missing_docker_image(docker_image: str, tmp_path: Path) -> None:
    bench = Bench(Engine.FULL, "facemake-standin3di:none", tmp_path)
    for ask in (bench.runtime.identity, lambda: bench.run("detect")):
        with pytest.raises(RunError, match=r"no image facemake-standin3di:none"):
            ask()


def test_docker_engine_that_does_not_run(
    docker_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    bench = Bench(Engine.FULL, docker_image, tmp_path)
    with pytest.raises(RunError, match=r"Docker engine does not answer"):
        bench.run("detect")


def test_file_that_is_no_image(apptainer: str, tmp_path: Path) -> None:
    (tmp_path / "no.sif").write_bytes(b"this is no image")
    bench = Bench(Engine.FULL, str(tmp_path / "no.sif"), tmp_path)
    with pytest.raises(RunError, match=r"video_detect_face ended with exit code 255"):
        bench.run("detect")
    with pytest.raises(InstallError, match=r"no such image file"):
        find_install(Engine.FULL, str(tmp_path / "none.sif"))


def test_image_without_the_engine(docker_image: str, tmp_path: Path) -> None:
    bench = Bench(Engine.FULL, docker_image, tmp_path)
    bench.install = Install(Engine.FULL, Form.DOCKER, docker_image, "/app/nothing")
    bench.runtime = runtime(bench.install)
    with pytest.raises(RunError, match=r"video_detect_face"):
        bench.run("detect")


def test_singularity_that_is_not_installed(
    sif: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunError, match=r"Singularity or Apptainer, and neither is on PATH"):
        runtime(find_install(Engine.FULL, str(sif)))
