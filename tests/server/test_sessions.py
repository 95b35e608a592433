"""Sessions of the service: whose they are, how they end, what a restart leaves of them."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

from facemake.server.refusal import RefusedError
from facemake.server.store import key_of
from serving import (
    ANNA,
    BOB,
    VIDEO,
    Served,
    contents,
    serving,
    settings,
    sha256,
)


def test_a_sessions_folder_is_private_and_goes_with_it(tmp_path: Path):
    with serving(settings(tmp_path / "s")) as server:
        session = server.session()
        job = server.job(session)
        server.until(job, "done")
        for path in [tmp_path / "s", *(tmp_path / "s").rglob("*")]:
            if path.is_dir():
                assert stat.S_IMODE(path.stat().st_mode) == 0o700 & path.stat().st_mode, path
                assert session not in path.name and job not in path.name
        videos = [path.name for path in (tmp_path / "s").rglob("*.mp4")]
        assert videos == ["input_file.mp4"]
        assert server.ask("DELETE", f"sessions/{session}").status_code == 204
        assert not list((tmp_path / "s" / "sessions").iterdir())
        assert server.ask("DELETE", f"sessions/{session}").status_code == 404
        assert server.get(f"jobs/{job}").status_code == 404
        assert server.call("execute", session).status_code == 404


def test_a_session_that_is_removed_ends_its_jobs(tmp_path: Path):
    with serving(settings(tmp_path)) as server:
        session = server.session()
        server.until(server.job(session, landmark_model="spawn"), "running")
        server.job(session)
        end = time.monotonic() + 10
        while not (found := list(tmp_path.rglob("child.txt"))) and time.monotonic() < end:
            time.sleep(0.02)
        child = int(found[0].read_text())
        assert server.ask("DELETE", f"sessions/{session}").status_code == 204
        assert not list((tmp_path / "sessions").iterdir())
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"
        assert server.queue.length() == (0, 0)


def test_a_session_that_is_being_removed_takes_no_jobs(tmp_path: Path):
    with serving(settings(tmp_path)) as server:
        session = server.session()
        server.until(server.job(session, landmark_model="spawn"), "running")
        thread = threading.Thread(target=server.ask, args=("DELETE", f"sessions/{session}"))
        with server.queue.store.lock:  # the worker cannot say yet that its job has ended
            thread.start()
            time.sleep(0.3)
            server.queue._changed.wait(0.3)  # what `drop` waits in
            with pytest.raises(RefusedError, match="no such session"):
                server.queue.submit(session, "", "FaceProcessor3DI", "fit", {}, {})
        thread.join()
        assert server.queue.length() == (0, 0)
        server.until(server.job(server.session()), "done")


def test_sessions_expire_when_nobody_uses_them_and_nothing_runs(tmp_path: Path):
    with serving(settings(tmp_path, session_seconds=3)) as server:
        idle, used, busy = (server.session() for _ in range(3))
        job = server.job(busy, landmark_model="wait")
        end = time.monotonic() + 60
        while (tmp_path / "sessions" / key_of(idle)).exists() and time.monotonic() < end:
            time.sleep(0.3)
            assert server.call("jobs", used, fast=0).status_code == 422  # uses it all the same
        assert server.call("execute", idle).status_code == 404
        store = server.queue.store
        store.sessions[key_of(busy)].used -= 60  # nobody asks for it
        time.sleep(1)  # sessions that have expired are looked for
        (running,) = store.jobs.values()
        assert running.state == "running"
        assert server.ask("DELETE", f"sessions/{used}").status_code == 204
        server.let_go(busy)
        server.until(job, "done")
        store.sessions[key_of(busy)].used -= 60
        while list((tmp_path / "sessions").iterdir()) and time.monotonic() < end:
            time.sleep(0.05)
        assert not list((tmp_path / "sessions").iterdir())


def test_there_are_so_many_sessions_and_no_more(tmp_path: Path):
    with serving(settings(tmp_path, sessions=2)) as server:
        session = server.session()
        server.session()
        answer = server.prepare()
        assert answer.status_code == 503 and answer.headers["Retry-After"].isdecimal()
        server.ask("DELETE", f"sessions/{session}")
        assert server.prepare().status_code == 200


def test_an_upload_that_was_refused_leaves_nothing(server: Served):
    before = set((server.settings.folder / "sessions").iterdir())
    assert server.prepare(file_hash="0" * 64).status_code == 422
    assert server.prepare(name="x.exe").status_code == 415
    assert set((server.settings.folder / "sessions").iterdir()) == before


def test_the_same_video_of_the_same_token_may_be_the_same_session(tmp_path: Path):
    with serving(settings(tmp_path, tokens=True)) as server:
        first = server.session(ANNA)
        assert server.session(ANNA, reuse="1") == first
        assert server.session(ANNA) != first
        assert server.session(BOB, reuse="1") != first
        files = {"camera_file": ("c.txt", b"1")}
        assert server.session(ANNA, reuse="1", files=files) != first
    with serving(settings(tmp_path / "anonymous")) as server:
        assert server.session(reuse="1") != server.session(reuse="1")


def test_what_a_job_came_to_is_written_before_it_can_be_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Else two write one file, and one of them finds that it is gone."""
    with serving(settings(tmp_path)) as server:
        store = server.queue.store
        real, free = store.keep_job, []

        def look() -> None:
            free.append(store.lock.acquire(blocking=False))
            if free[-1]:
                store.lock.release()

        def keep(job: object) -> None:
            other = threading.Thread(target=look)
            other.start()
            other.join()
            real(job)

        monkeypatch.setattr(store, "keep_job", keep)
        server.until(server.job(server.session()), "done")
    assert free == [False]


# Restarts


def test_a_restart_loses_nothing_that_is_done(tmp_path: Path):
    with serving(settings(tmp_path)) as server:
        session = server.session()
        done = server.job(session)
        server.until(done, "done")
        result = server.get(f"jobs/{done}/result").content
        runs = server.job(session, landmark_model="wait")
        server.until(runs, "running")
        waits = server.job(session, "fit")
        port = server.port
    with serving(settings(tmp_path), port) as server:
        assert server.state(done)["state"] == "done"
        assert server.get(f"jobs/{done}/result").content == result
        stopped = server.state(runs)
        assert (stopped["state"], stopped["status"]) == ("interrupted", 503)
        assert "stopped while the job ran" in stopped["error"]
        assert server.get(f"jobs/{runs}/result").status_code == 503
        server.until(waits, "done")
        assert server.job(session, landmark_model="wait") == runs
        server.let_go(session)
        server.until(runs, "done")
        assert contents(server.call("execute", session))["input_file_rects.3DI"]


KILLED = """
import sys
from pathlib import Path
from serving import serving, settings
import time
with serving(settings(Path(sys.argv[1]))) as server:
    print(server.port, flush=True)
    time.sleep(60)
"""


def test_a_server_that_is_killed_leaves_no_process_and_no_half_result(tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        url = f"http://127.0.0.1:{port}/"
        form = {"file_hash": sha256(VIDEO)}
        files = {"input_file": ("a.mp4", VIDEO)}
        answer = requests.post(url + "prepare_session", files=files, data=form)
        session = answer.json()["session_id"]
        call = {
            "session_id": session,
            "processor_class": "FaceProcessor3DI",
            "method": "detect_faces",
            "config": '{"landmark_model": "sleep-60"}',
        }
        job = requests.post(url + "jobs", data=call).json()["job_id"]
        end = time.monotonic() + 15
        workers: list[psutil.Process] = []
        while not (workers := psutil.Process(process.pid).children(recursive=True)):
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.5)  # it has begun
        cut = tmp_path / "sessions" / ("f" * 32) / "input"
        cut.mkdir(parents=True)
        (cut / ".upload.part").write_bytes(b"x")
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    with serving(settings(tmp_path)) as server:
        assert server.state(job)["state"] == "interrupted"
        assert not cut.parent.exists()
        assert server.call("execute", session).status_code == 200


def test_two_servers_do_not_share_a_folder(tmp_path: Path):
    from facemake.errors import FacemakeError
    from facemake.server.jobs import Queue
    from facemake.server.store import Store

    with serving(settings(tmp_path)), pytest.raises(FacemakeError, match="another server"):
        Queue(Store(settings(tmp_path))).start()


def test_a_damaged_session_is_left_alone(tmp_path: Path):
    with serving(settings(tmp_path)) as server:
        session = server.session()
    state = next(tmp_path.glob("sessions/*/state.json"))
    state.write_text("{")
    with serving(settings(tmp_path)) as server:
        assert server.call("execute", session).status_code == 404
        assert state.parent.is_dir()


def test_those_who_wait_are_told_when_the_server_stops(tmp_path: Path):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        with serving(settings(tmp_path)) as server:
            session = server.session()
            waits = pool.submit(server.call, "execute", session, landmark_model="sleep-30")
            end = time.monotonic() + 10
            while server.queue.length() != (0, 1) and time.monotonic() < end:
                time.sleep(0.02)
        answer = waits.result(10)
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "30"
