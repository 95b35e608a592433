"""Docker without an engine: the real SDK against a double of the engine's API on a socket.

`tests/containers` has the real thing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockerdouble import ID, IMAGE, Double, call, image
from facemake.backends.threedi import Engine
from facemake.backends.threedi.install import Form, Install, find_install
from facemake.backends.threedi.runtimes import (
    RunError,
    Runtime,
    TimeLimitError,
    docker,
    runtime,
)


@pytest.fixture
def engine(docker_engine: Double) -> Double:
    return docker_engine


# --- what a container is made with ----------------------------------------------------------------


def test_the_whole_container(engine: Double, tmp_path: Path) -> None:
    engine.said = [(1, b"hello\n"), (2, b"on standard error\n")]
    ended = image().run(call(tmp_path))
    assert (ended.code, ended.said) == (0, ["hello", "on standard error"])
    (made,) = engine.made
    assert made["Image"] == f"sha256:{ID}"
    assert made["Entrypoint"] == ["/app/3DI/video_detect_face"]
    assert made["Cmd"] == [
        "/app/input/a b.mp4",
        "/app/output/v_rects.3DI",
        "/app/3DI/configs/c.txt",
        "30",
    ]
    assert made["WorkingDir"] == "/app/3DI"
    assert made["User"] == f"{os.getuid()}:{os.getgid()}"
    host = made["HostConfig"]
    assert host["NetworkMode"] == "none" and host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert not host.get("Privileged") and not host.get("Binds") and not host.get("CapAdd")
    assert host["Mounts"] == [
        {
            "Type": "bind",
            "Source": f"{tmp_path}/in/a b.mp4",
            "Target": "/app/input/a b.mp4",
            "ReadOnly": True,
        },
        {
            "Type": "bind",
            "Source": f"{tmp_path}/out",
            "Target": "/app/output",
            "ReadOnly": False,
        },
    ]
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert sorted(made["Env"]) == ["HOME=/tmp", "MPLCONFIGDIR=/tmp", "PYTHONUNBUFFERED=1"]
    assert host.get("DeviceRequests") in (None, [])
    assert engine.removed and not engine.containers
    # as people read it
    assert ended.command[:8] == [
        *("docker", "run", "--rm", "--network", "none", "--user"),
        *(f"{os.getuid()}:{os.getgid()}", "-w"),
    ]
    assert f"{tmp_path}/in/a b.mp4:/app/input/a b.mp4:ro" in ended.command
    assert f"{tmp_path}/out:/app/output" in ended.command
    assert ended.command[-5:] == [IMAGE, *made["Cmd"]]


@pytest.mark.parametrize(
    "name",
    ["a,b:ro.mp4", 'the "film", it\'s.mp4', "-x $(id)`id`;&|.mp4", "new\nline.mp4", "ü 顔.mp4"],
)
def test_paths_that_mounts_trip_over(engine: Double, tmp_path: Path, name: str) -> None:
    image(Engine.LITE).run(call(tmp_path, name))
    (made,) = engine.made
    assert made["HostConfig"]["Mounts"][0]["Source"] == f"{tmp_path}/in/{name}"
    assert made["HostConfig"]["Mounts"][0]["Target"] == f"/app/input/{name}"
    assert made["Cmd"][0] == f"/app/input/{name}"
    assert made["WorkingDir"] == "/app/3DI_lite"


@pytest.mark.parametrize(
    ("visible", "with_gpu", "without"),
    [
        (None, {"Count": -1}, None),
        ("0", {"DeviceIDs": ["0"]}, "0"),
        ("2, 3", {"DeviceIDs": ["2", "3"]}, "2, 3"),
        ("GPU-8f6e,GPU-12ab", {"DeviceIDs": ["GPU-8f6e", "GPU-12ab"]}, "GPU-8f6e,GPU-12ab"),
        ("", None, ""),
        ("-1", None, "-1"),
        ("NoDevFiles", None, "NoDevFiles"),
        ("1,-1,2", {"DeviceIDs": ["1"]}, "1,-1,2"),
    ],
)
def test_the_schedulers_gpus(
    engine: Double,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    with_gpu: dict[str, Any] | None,
    without: str | None,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for there in (True, False):
        monkeypatch.setattr(docker, "has_nvidia", lambda there=there: there)
        image().run(call(tmp_path))
        made = engine.made.pop()
        requests = made["HostConfig"].get("DeviceRequests") or []
        variables = dict(line.split("=", 1) for line in made["Env"])
        if there and with_gpu:
            (request,) = requests
            assert request["Capabilities"] == [["gpu"]]
            assert {
                k: v for k, v in request.items() if v and k in ("Count", "DeviceIDs")
            } == with_gpu
            # they are numbered anew in the container
            assert "CUDA_VISIBLE_DEVICES" not in variables
        else:
            assert requests == []
            assert variables.get("CUDA_VISIBLE_DEVICES") == (visible if there else without)


# --- how it ends ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 97, 137])
def test_exit_codes(engine: Double, tmp_path: Path, code: int) -> None:
    engine.code = code
    assert image().run(call(tmp_path)).code == code
    assert len(engine.removed) == 1 and not engine.containers


def test_what_it_says(engine: Double, tmp_path: Path) -> None:
    engine.said = [
        (1, b"caf\xe9 "),
        (1, b"\xff\n"),
        *((1, b"Processing frame #%d/99\r" % i) for i in range(99)),
        (2, b"terminate called\n"),
        (2, b"x" * 100_000),
    ]
    engine.code = 134
    ended = image().run(call(tmp_path))
    assert ended.code == 134
    assert ended.said[:2] == ["caf\ufffd \ufffd", "terminate called"]
    assert set("".join(ended.said[2:])) == {"x"} and max(map(len, ended.said)) <= 2000


def test_the_time_limit(engine: Double, tmp_path: Path) -> None:
    engine.seconds = None  # type: ignore[assignment]
    engine.said = [(1, b"begun\n")]
    began = time.monotonic()
    with pytest.raises(TimeLimitError, match=r"video_detect_face was ended after 0\.5 s") as error:
        image().run(call(tmp_path, limit=0.5))
    assert time.monotonic() - began < 60
    assert str(error.value).endswith("It said last:\n  begun")
    assert "POST kill" in engine.requests and len(engine.removed) == 1


def test_a_program_that_outlasts_a_request(
    engine: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to `wait` takes as long as the program: it is asked again and again."""
    monkeypatch.setattr(docker, "_SECONDS_TO_ANSWER", 0.3)
    engine.seconds = 1.0
    assert image().run(call(tmp_path, limit=None)).code == 0
    assert engine.requests.count("POST wait") > 1 and len(engine.removed) == 1


BROKEN = {
    "POST create": "cannot start video_detect_face",
    "POST attach": "failed while video_detect_face",
    "POST start": "failed while video_detect_face",
    "POST wait": "failed while video_detect_face",
}


@pytest.mark.parametrize(
    ("at", "how"),
    # a 404 of the first one is what is said of an image that is not there
    [(at, how) for at in BROKEN for how in (404, 500, "hang up")][1:],
)
def test_an_engine_that_fails(engine: Double, tmp_path: Path, at: str, how: int | str) -> None:
    """Whatever the SDK raises is said in words, at once, and the container goes."""
    engine.break_at = {at: how}
    if how == "hang up":  # for good
        engine.break_at["GET _ping"] = how
        one = runtime(find_install(Engine.FULL, IMAGE, {}))
        del engine.break_at["GET _ping"]
        assert isinstance(one, docker.DockerRuntime)
        one._docker()
        engine.break_at["GET _ping"] = how
    else:
        one = image()
    with pytest.raises(RunError, match=f"Docker {BROKEN[at]} of {IMAGE}"):
        one.run(call(tmp_path))
    assert not engine.containers


def test_a_container_that_somebody_removes(engine: Double, tmp_path: Path) -> None:
    engine.seconds = None  # type: ignore[assignment]
    one = image()

    def remove() -> None:
        until = time.monotonic() + 120
        while "POST wait" not in engine.requests and time.monotonic() < until:
            time.sleep(0.02)
        engine.code = 137
        for name in list(engine.containers):
            engine.containers.pop(name).over.set()

    removing = threading.Thread(target=remove)
    removing.start()
    began = time.monotonic()
    assert one.run(call(tmp_path)).code == 137
    assert time.monotonic() - began < 20
    removing.join()


def test_an_engine_that_goes_while_a_program_runs(engine: Double, tmp_path: Path) -> None:
    engine.seconds = None  # type: ignore[assignment]
    one = image()
    assert isinstance(one, docker.DockerRuntime)
    one._docker()
    everything = ("GET _ping", "POST wait", "DELETE container", "POST kill")
    engine.break_at = dict.fromkeys(everything, "hang up")
    began = time.monotonic()
    with pytest.raises(
        RunError, match="Docker failed while video_detect_face of bitbox:latest ran"
    ):
        one.run(call(tmp_path, limit=None))
    assert time.monotonic() - began < 20


def test_a_container_that_cannot_be_removed(engine: Double, tmp_path: Path) -> None:
    for how in (404, 409, 500, "hang up"):
        engine.break_at = {"DELETE container": how}
        assert image().run(call(tmp_path)).code == 0
    engine.break_at = {}


def test_an_interrupt_removes_the_container(
    engine: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    one = image()
    monkeypatch.setattr(docker.DockerRuntime, "_to_the_end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        one.run(call(tmp_path))
    assert len(engine.removed) == 1 and not engine.containers


# --- what is missing -----------------------------------------------------------------------------


def test_identity(engine: Double) -> None:
    assert image().identity() == ID


def test_what_is_checked_is_what_runs(engine: Double, tmp_path: Path) -> None:
    """Somebody builds the image again while a run goes on: the tag is then another image's."""
    one = image()
    assert one.identity() == ID
    engine.images = {IMAGE: "d0" * 32, "the-old-one": ID}
    one.run(call(tmp_path))
    assert one.identity() == ID
    assert [made["Image"] for made in engine.made] == [f"sha256:{ID}"]
    assert image().identity() == "d0" * 32


@pytest.mark.parametrize(
    "ask", [lambda one, folder: one.identity(), lambda one, folder: one.run(call(folder))]
)
def test_no_such_image(
    engine: Double, tmp_path: Path, ask: Callable[[Runtime, Path], object]
) -> None:
    one = image(name="org/none:1")
    with pytest.raises(
        RunError, match=r"no image org/none:1: build it \(containers/3di/README\.md"
    ):
        ask(one, tmp_path)
    assert not engine.containers


def test_an_image_that_cannot_be_looked_at(engine: Double) -> None:
    one = image()
    engine.break_at = {"GET json": 500}
    with pytest.raises(RunError, match=f"cannot look at the image {IMAGE}"):
        one.identity()


@pytest.mark.parametrize("host", ["unix:///no/such/engine.sock", "tcp://127.0.0.1:1", "nonsense"])
def test_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    words = r"Docker engine does not answer, so bitbox:latest cannot be run: start it.*DOCKER_HOST"
    for ask in (lambda one: one.identity(), lambda one: one.run(call(tmp_path))):
        with pytest.raises(RunError, match=words):
            ask(image())


def test_an_engine_that_is_ill(engine: Double) -> None:
    engine.break_at = {"GET version": 500}
    with pytest.raises(RunError, match="Docker engine does not answer"):
        image().identity()
    engine.break_at = {"GET _ping": "hang up"}
    with pytest.raises(RunError, match="Docker engine does not answer"):
        image().identity()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "find_spec", lambda name: None)
    with pytest.raises(
        RunError, match=r"bitbox:latest is run by the Docker SDK.*pip install -e '\.\[3di\]'"
    ):
        image()


def test_a_folder_needs_neither_package(installs: dict[Engine, Path], tmp_path: Path) -> None:
    """Nor is either imported: an environment without the extra runs 3DI in a folder."""
    code = f"""
import sys
from facemake.backends.threedi import Engine
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.runtimes import runtime
runtime(find_install(Engine.FULL, {str(installs[Engine.FULL])!r}, {{}})).identity()
print([name for name in ("docker", "spython", "requests", "cv2") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_another_form_is_another_runtime(tmp_path: Path) -> None:
    made = runtime(Install(Engine.FULL, Form.DOCKER, IMAGE, "/app/3DI"))
    assert type(made).__name__ == "DockerRuntime"
