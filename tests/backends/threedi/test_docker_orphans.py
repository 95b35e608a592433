"""Containers whose process was killed go, those of others stay: Docker's double, as before."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dockerdouble import Double, call, image
from facemake.backends.threedi.runtimes import docker


@pytest.fixture
def engine(docker_engine: Double) -> Double:
    return docker_engine


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
