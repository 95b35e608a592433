"""Singularity without one: what spython is asked for, by a recording double of its client.

`tests/containers` has the real thing.
"""

from __future__ import annotations

import csv
import inspect
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from facemake.backends.threedi import Engine
from facemake.backends.threedi.install import Form, Install, find_install
from facemake.backends.threedi.runtimes import (
    Call,
    Input,
    Output,
    Own,
    RunError,
    Runtime,
    TimeLimitError,
    runtime,
    singularity,
)
from facemake.backends.threedi.runtimes.identity import folder_identity
from facemake.provenance import file_sha256
from standin3di import build as standin

RECORDER = """#!{python}
# A double of `singularity`: it writes down what it was started with, and does what it is told to.
import json, os, sys, time
if sys.argv[1:] == ["--version"]:
    print("apptainer version 1.4.5")
    sys.exit(0)
told = json.load(open({told!r}))
with open({record!r}, "w") as file:
    json.dump({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}, file)
if told.get("fork") and os.fork() == 0:
    time.sleep(600)
sys.stdout.buffer.write(bytes(told["says"]))
sys.stdout.flush()
sys.stderr.write("on standard error\\n")
sys.stderr.flush()
time.sleep(told.get("seconds", 0))
sys.exit(told["code"])
"""


class Double:
    """A `singularity` on PATH that writes down how it was started."""

    def __init__(self, folder: Path, name: str = "singularity") -> None:
        self.told, self.record = folder / "told.json", folder / "record.json"
        self.bin = folder / "bin"
        self.bin.mkdir()
        program = self.bin / name
        program.write_text(
            RECORDER.format(python=sys.executable, told=str(self.told), record=str(self.record))
        )
        program.chmod(0o755)
        self.will()

    def will(self, code: int = 0, says: bytes = b"hello\n", **more: Any) -> None:
        self.told.write_text(json.dumps({"code": code, "says": list(says), **more}))

    def started(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.record.read_text())
        return found


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    made = Double(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(singularity, "has_nvidia", lambda: False)
    yield made
    for one in psutil.process_iter():
        try:
            if any(str(made.bin) in word for word in one.cmdline()):
                one.kill()
        except psutil.Error:
            continue


@pytest.fixture
def image(tmp_path: Path, double: Double) -> Runtime:
    (tmp_path / "an image.sif").write_bytes(b"an image")
    return runtime(find_install(Engine.FULL, tmp_path / "an image.sif", {}))


def call(tmp_path: Path, video: str = "a b.mp4", limit: float | None = 30) -> Call:
    (tmp_path / "in").mkdir(exist_ok=True)
    (tmp_path / "out put").mkdir(exist_ok=True)
    path = tmp_path / "in" / video
    path.touch()
    words = [Input(path), Output("v_rects.3DI"), Own("configs/c.txt"), "30"]
    return Call("video_detect_face", words, tmp_path / "out put", limit)


def options(arguments: list[str], name: str) -> list[str]:
    return [b for a, b in itertools.pairwise(arguments) if a == name]


# --- what it is started with ----------------------------------------------------------------------


def test_the_whole_command(image: Runtime, double: Double, tmp_path: Path) -> None:
    ended = image.run(call(tmp_path))
    assert (ended.code, ended.said[0]) == (0, "hello")
    found = double.started()["arguments"]
    assert found == [
        "exec",
        "--containall",
        "--no-home",
        "--net",
        "--network",
        "none",
        "--pwd",
        "/app/3DI",
        "--mount",
        f"type=bind,source={tmp_path}/in/a b.mp4,destination=/app/input/a b.mp4,ro",
        "--mount",
        f"type=bind,source={tmp_path}/out put,destination=/app/output",
        f"{tmp_path}/an image.sif",
        "/app/3DI/video_detect_face",
        "/app/input/a b.mp4",
        "/app/output/v_rects.3DI",
        "/app/3DI/configs/c.txt",
        "30",
    ]
    assert "--writable" not in found and "--fakeroot" not in found
    # as people read it
    assert ended.command == ["singularity", *found]


def test_a_gpu_where_there_is_one(
    image: Runtime, double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singularity, "has_nvidia", lambda: True)
    ended = image.run(call(tmp_path))
    assert double.started()["arguments"][:3] == ["exec", "--nv", "--containall"]
    assert ended.command[:4] == ["singularity", "exec", "--nv", "--containall"]


@pytest.mark.parametrize(
    "name",
    [
        "a,b.mp4",
        "a:b:ro.mp4",
        'the "film".mp4',
        "it's.mp4",
        "all, \"of\" it: 'ro', rw.mp4",
        "-leading.mp4",
        "$(touch x) `id`;&|.mp4",
        "new\nline.mp4",
        "ü 顔.mp4",
        "type=bind,ro.mp4",
        "back\\slash.mp4",
    ],
)
def test_paths_that_mounts_trip_over(
    image: Runtime, double: Double, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / f'of "{name}", all'
    folder.mkdir()
    (folder / name).touch()
    image.run(Call("x", [Input(folder / name)], folder, 30))
    arguments = double.started()["arguments"]
    video, output = options(arguments, "--mount")
    # a row of CSV, as Singularity reads it
    assert next(csv.reader([*video.splitlines(keepends=True)])) == [
        "type=bind",
        f"source={folder}/{name}",
        f"destination=/app/input/{name}",
        "ro",
    ]
    assert next(csv.reader([*output.splitlines(keepends=True)])) == [
        "type=bind",
        f"source={folder}",
        "destination=/app/output",
    ]
    assert arguments[-1] == f"/app/input/{name}"


def test_what_a_link_leads_to_is_mounted(image: Runtime, double: Double, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "film.mp4").touch()
    (tmp_path / "link.mp4").symlink_to(tmp_path / "disk" / "film.mp4")
    image.run(Call("x", [Input(tmp_path / "link.mp4")], tmp_path / "disk", 30))
    video, _ = options(double.started()["arguments"], "--mount")
    source = f"source={tmp_path}/disk/film.mp4"
    assert video == f"type=bind,{source},destination=/app/input/link.mp4,ro"


def test_two_inputs_of_one_name(image: Runtime, double: Double, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").touch()
    words = [Input(tmp_path / "a" / "x"), Input(tmp_path / "b" / "x")]
    image.run(Call("x", words, tmp_path, 30))
    arguments = double.started()["arguments"]
    assert arguments[-2:] == ["/app/input/x", "/app/input1/x"]
    assert len(options(arguments, "--mount")) == 3


@pytest.mark.parametrize("devices", ["1", "0,2", "", None])
def test_the_environment_in_the_image(
    image: Runtime,
    double: Double,
    tmp_path: Path,
    devices: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if devices is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    image.run(call(tmp_path))
    found = double.started()["environment"]
    for prefix in ("APPTAINERENV_", "SINGULARITYENV_"):
        assert found.get(f"{prefix}CUDA_VISIBLE_DEVICES") == devices
        assert found[f"{prefix}MPLCONFIGDIR"] == "/tmp"
        assert found[f"{prefix}PYTHONUNBUFFERED"] == "1"


def test_what_is_set_for_other_images_is_not_ours(
    image: Runtime, double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ("CACHEDIR", "TMPDIR", "CONFIGDIR")
    left_out = ("BIND", "BINDPATH", "MOUNT", "OVERLAY", "OVERLAYIMAGE", "WRITABLE_TMPFS", "HOME")
    for tool in ("APPTAINER", "SINGULARITY"):
        for name in (*kept, *left_out):
            monkeypatch.setenv(f"{tool}_{name}", str(tmp_path))
        monkeypatch.setenv(f"{tool}ENV_LD_PRELOAD", "/x.so")
        monkeypatch.setenv(f"{tool}ENV_PREPEND_PATH", "/x")
    image.run(call(tmp_path))
    found = double.started()["environment"]
    ours = {k for k in found if k.startswith(("APPTAINER", "SINGULARITY"))}
    inside = ("MPLCONFIGDIR", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    assert ours == {
        name
        for tool in ("APPTAINER", "SINGULARITY")
        for name in (*(f"{tool}_{n}" for n in kept), *(f"{tool}ENV_{n}" for n in inside))
    }


def test_apptainer_by_its_own_name(
    tmp_path: Path, double: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    """spython knows `singularity` alone."""
    (double.bin / "singularity").rename(double.bin / "apptainer")
    monkeypatch.setenv("PATH", f"{double.bin}{os.pathsep}{Path(sys.executable).parent}")
    (tmp_path / "x.sif").touch()
    image = runtime(find_install(Engine.FULL, tmp_path / "x.sif", {}))
    assert image.run(call(tmp_path)).code == 0
    assert double.started()["arguments"][0] == "exec"


def test_modules_of_the_output_folder_are_not_ours(
    image: Runtime, double: Double, tmp_path: Path
) -> None:
    """It is the working directory, and others write there."""
    made = call(tmp_path)
    for name in ("json", "spython", "tempfile", "subprocess", "facemake"):
        (made.output / f"{name}.py").write_text("raise SystemExit('somebody else')\n")
    ended = image.run(made)
    assert (ended.code, ended.said[0]) == (0, "hello")


# --- how it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 3, 97, 255])
def test_exit_codes(image: Runtime, double: Double, tmp_path: Path, code: int) -> None:
    double.will(code)
    ended = image.run(call(tmp_path))
    assert ended.code == code
    assert ended.said == ["hello", "on standard error"]


def test_what_it_says(image: Runtime, double: Double, tmp_path: Path) -> None:
    """Not UTF-8, and lines that are written over: as of a program in a folder."""
    progress = b"".join(b"\r %d%% ###" % i for i in range(100))
    double.will(1, b"caf\xe9 \xff\n" + progress + b"\nlast\n")
    ended = image.run(call(tmp_path))
    assert ended.code == 1
    assert ended.said == ["caf\ufffd \ufffd", "99% ###", "last", "on standard error"]


def test_the_time_limit(image: Runtime, double: Double, tmp_path: Path) -> None:
    double.will(0, b"begun\n", seconds=600, fork=True)
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"video_detect_face was ended after 4 s") as error:
        image.run(call(tmp_path, limit=4))
    assert time.monotonic() - began < 60 and "begun" in str(error.value)
    assert gone(double)


def gone(double: Double, seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while left(double):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def left(double: Double) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter():
        try:
            words = one.cmdline()
            if any(str(double.bin) in word for word in words) and "-c" not in words[:2]:
                found.append(one)
        except psutil.Error:
            continue
    return [one for one in found if one.pid != os.getpid()]


RUN = """
import sys
from pathlib import Path
from facemake.backends.threedi import Engine
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.runtimes import Call, Input, runtime
image = runtime(find_install(Engine.FULL, sys.argv[1], {}))
image.run(Call("x", [Input(Path(sys.argv[1]))], Path(sys.argv[2])))
"""


def test_nothing_outlives_a_killed_job(image: Runtime, double: Double, tmp_path: Path) -> None:
    """A set-uid `singularity` gets no signal of its parent's death: its parent ends it."""
    double.will(0, seconds=600, fork=True)
    words = [str(tmp_path / "an image.sif"), str(tmp_path)]
    job = subprocess.Popen([sys.executable, "-c", RUN, *words])
    until = time.monotonic() + 120
    while not double.record.exists():
        assert time.monotonic() < until and job.poll() is None
        time.sleep(0.05)
    job.kill()
    job.wait()
    assert gone(double)


# --- what is missing -----------------------------------------------------------------------------


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.sif").touch()
    monkeypatch.setattr(singularity, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"x\.sif is run by spython.*pip install -e '\.\[3di\]'"):
        runtime(find_install(Engine.FULL, tmp_path / "x.sif", {}))


def test_without_singularity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.sif").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"Singularity or Apptainer, and neither is on PATH"):
        runtime(find_install(Engine.FULL, tmp_path / "x.sif", {}))


def test_identities(double: Double, tmp_path: Path) -> None:
    (tmp_path / "x.sif").write_bytes(b"an image")
    image = runtime(find_install(Engine.FULL, tmp_path / "x.sif", {}))
    assert image.identity() == file_sha256(tmp_path / "x.sif")
    root = standin.build(tmp_path / "my_sandbox" / "app" / "3DI", "3di")
    sandbox = runtime(find_install(Engine.FULL, tmp_path / "my_sandbox", {}))
    assert sandbox.identity() == folder_identity(root, Engine.FULL)
    folder = runtime(Install(Engine.FULL, Form.FOLDER, str(root), str(root)))
    assert sandbox.identity() == folder.identity()


def test_the_call_of_spython_is_one_that_it_takes() -> None:
    """The double stands behind spython, not in its place; this is what we rely on of it."""
    from spython.main import Client

    wanted = {"options", "nv", "stream", "stream_type", "quiet"}
    assert wanted <= set(inspect.signature(Client.execute).parameters)
