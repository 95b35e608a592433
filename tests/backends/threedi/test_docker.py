"""Docker without an engine: the real SDK against a double of the engine's API on a socket.

`tests/containers` has the real thing.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dockerdouble import ID, IMAGE, Double
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
    docker,
    runtime,
)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
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


def image(engine: Engine = Engine.FULL, name: str = IMAGE) -> Runtime:
    return runtime(find_install(engine, name, {}))


def call(folder: Path, video: str = "a b.mp4", limit: float | None = 20) -> Call:
    (folder / "in").mkdir(exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    path = folder / "in" / video
    path.touch()
    words = [Input(path), Output("v_rects.3DI"), Own("configs/c.txt"), "30"]
    return Call("video_detect_face", words, folder / "out", limit)


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


@pytest.mark.parametrize("how", [404, 500, "hang up"])
@pytest.mark.parametrize("at", BROKEN)
def test_an_engine_that_fails(engine: Double, tmp_path: Path, at: str, how: int | str) -> None:
    """Whatever the SDK raises is said in words, at once, and the container goes."""
    if (at, how) == ("POST create", 404):
        pytest.skip("is what is said of an image that is not there")
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


# --- what a killed process left -------------------------------------------------------------------


def label(
    host: str | None = None,
    pid: int | None = None,
    began: str | None = None,
    user: int | None = None,
    namespace: str | None = None,
) -> dict[str, str]:
    pid = os.getpid() if pid is None else pid
    if began is None:
        began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    words = [
        host or socket.gethostname(),
        str(os.getuid() if user is None else user),
        namespace or str(Path("/proc/self/ns/pid").readlink()),
        str(pid),
        began,
    ]
    return {"facemake.owner": " ".join(words)}


def test_orphans_go_and_others_stay(engine: Double, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    was = label(pid=ended.pid)
    ended.wait()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        orphans = [
            engine.add(was),
            engine.add(label(began="1")),  # our number belonged to another one then
        ]
        kept = [
            engine.add(label()),
            engine.add(label(pid=other.pid)),
            engine.add(label(host="another-machine", began="1")),
            # what is no process of ours here may be one there
            engine.add(label(user=os.getuid() + 1, began="1")),
            engine.add(label(namespace="pid:[1]", began="1")),
            # without a word of user and namespace nothing is known
            engine.add({"facemake.owner": f"{socket.gethostname()} 1 1.00"}),
            engine.add({}),
            engine.add({"facemake.owner": ""}),
            engine.add({"facemake.owner": "nonsense"}),
        ]
        image().run(call(tmp_path))
        assert set(orphans) <= set(engine.removed)
        assert set(engine.containers) == set(kept)
        assert engine.requests.count("GET list") == 1
    finally:
        other.kill()
        other.wait()


def test_a_process_that_cannot_be_looked_at_is_no_dead_one(
    engine: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.add(label())

    def refused(pid: int) -> str:
        raise PermissionError

    owner = docker._owner()
    monkeypatch.setattr(docker, "_began", refused)
    monkeypatch.setattr(docker, "_owner", lambda: owner)
    image().run(call(tmp_path))
    assert len(engine.containers) == 1


def test_a_clock_that_is_set_makes_no_orphan(
    engine: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What psutil says of a start is by the clock, whose steps move it."""
    ours = label()
    engine.add(ours)
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: 1e9)
    image().run(call(tmp_path))
    assert [c.labels for c in engine.containers.values()] == [ours]


@pytest.mark.parametrize(("seconds", "kept"), [(5.0, True), (500.0, False)])
def test_where_only_the_clock_tells_a_start(
    engine: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, kept: bool
) -> None:
    monkeypatch.setattr(docker.sys, "platform", "darwin")
    was = psutil.Process().create_time()
    engine.add(label(began=f"{was + seconds:.2f}"))
    image().run(call(tmp_path))
    assert bool(engine.containers) == kept


def test_an_orphan_that_goes_by_itself_hides_no_other(engine: Double, tmp_path: Path) -> None:
    engine.add({**label(began="1"), "gone": "while it is listed"})
    orphan = engine.add(label(began="1"))
    image().run(call(tmp_path))
    assert orphan in engine.removed


def test_whose_a_container_is(engine: Double, tmp_path: Path) -> None:
    image().run(call(tmp_path))
    (made,) = engine.made
    assert made["Labels"] == label()


RUN = """
import sys
from pathlib import Path
from facemake.backends.threedi import Engine
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.runtimes import Call, runtime
from facemake.runtime import parent
parent._SECONDS_BETWEEN_LOOKS = 0.05
parent.end_with_parent()
runtime(find_install(Engine.FULL, "bitbox:latest", {})).run(Call("x", [], Path(sys.argv[1])))
"""


def test_the_container_goes_with_the_run(engine: Double, tmp_path: Path) -> None:
    """It is no child of the process that started it."""
    engine.seconds = None  # type: ignore[assignment]
    words = f"[sys.executable, '-c', {RUN!r}, {str(tmp_path)!r}]"
    run = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run({words})"]
    )
    until = time.monotonic() + 120
    while "POST start" not in engine.requests:
        assert time.monotonic() < until and run.poll() is None
        time.sleep(0.02)
    run.kill()
    run.wait()
    while not engine.removed:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert not engine.containers


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
