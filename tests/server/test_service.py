"""The service, as clients see it: over a real socket, with jobs in real processes."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from facemake.server.refusal import RefusedError
from serving import ANNA, BOB, SMALL, TESTS, TOKENS, VIDEO, Served, serving, settings, sha256
from standin_processors import FITTED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One for the tests that do not change its limits."""
    with serving(settings(tmp_path_factory.mktemp("server") / "with blank", running=2)) as served:
        yield served


def contents(answer: requests.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name).decode("latin-1") for name in archive.namelist()}


# Clients of old


class OldClient:
    """What the client of 3DI's wrapper sends, and does with the answer."""

    def __init__(self, url: str, **locals_: Any) -> None:
        self.url = url
        assert requests.get(url, timeout=3).status_code == 200
        self.config = {
            "camera_model": 30,
            "landmark_model": "global4",
            "morphable_model": "BFMmm-19830",
            "basis_model": "0.0.1.F591-cd-K32d",
            "fast": False,
            "args": [],
            "kwargs": {"server": {"host": "127.0.0.1", "port": 1}, "return_output": "dict"},
            **locals_,
        }

    def io(self, path: Path, folder: Path) -> None:
        self.folder, self.base = folder, path.stem
        with path.open("rb") as file:
            data = {"file_hash": sha256(path.read_bytes())}
            answer = requests.post(
                self.url + "prepare_session", files={"input_file": file}, data=data
            )
        assert answer.status_code == 200, answer.text
        self.session = answer.json()["session_id"]

    def run(self, method: str, processor_class: str = "FaceProcessor3DI") -> list[str]:
        data = {
            "session_id": self.session,
            "processor_class": processor_class,
            "method": method,
            "config": json.dumps(self.config),
        }
        answer = requests.post(self.url + "execute", files=None, data=data)
        assert answer.status_code == 200, answer.text
        assert "application/zip" in answer.headers["Content-Type"]
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            archive.extractall(self.folder)
        for name in os.listdir(self.folder):
            if "input_file" in name:
                to = self.folder / name.replace("input_file", self.base)
                (self.folder / name).rename(to)
        return sorted(os.listdir(self.folder))


def test_a_client_of_old_gets_its_files(server: Served, tmp_path: Path):
    video, folder = tmp_path / "-my Clip é.MP4", tmp_path / "out"
    video.write_bytes(VIDEO)
    folder.mkdir()
    client = OldClient(server.url)
    client.io(video, folder)
    assert client.run("detect_faces") == ["-my Clip é_rects.3DI"]
    said = json.loads((folder / "-my Clip é_rects.3DI").read_text())
    assert said["options"] == {
        "camera_model": 30,
        "landmark_model": "global4",
        "morphable_model": "BFMmm-19830",
        "basis_model": "0.0.1.F591-cd-K32d",
        "fast": False,
    }
    assert said["runtime"] is None
    client.run("detect_landmarks")
    client.run("fit")
    names = {f"-my Clip é_{kind}.3DI" for kind in ("rects", "landmarks", *FITTED)}
    assert set(client.run("localized_expressions")) == {
        *names,
        "-my Clip é_expression_localized.3DI",
    }


def test_a_client_of_old_gets_3di_lite_with_lites_models(server: Served, tmp_path: Path):
    (tmp_path / "a.avi").write_bytes(b"RIFF\0\0\0\0AVI " + bytes(100))
    (tmp_path / "out").mkdir()
    client = OldClient(server.url, args=["/opt/evil"])
    client.io(tmp_path / "a.avi", tmp_path / "out")
    assert client.run("detect_faces", "FaceProcessor3DIlite") == ["a_rects.3DIl"]
    said = json.loads((tmp_path / "out" / "a_rects.3DIl").read_text())
    assert said["options"] == {"camera_model": 30, "landmark_model": "global4"}
    assert said["runtime"] == "an-image:1"  # the server's own


PREPARE = (
    b"POST /prepare_session HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: python-requests/2.32\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
    b"Content-Length: %d\r\n"
    b"Content-Type: multipart/form-data; boundary=f1c9e6f0bd45b5c37d0f0c5ab2c57d2c\r\n\r\n"
)
FORM = (
    b"--f1c9e6f0bd45b5c37d0f0c5ab2c57d2c\r\n"
    b'Content-Disposition: form-data; name="file_hash"\r\n\r\n%s\r\n'
    b"--f1c9e6f0bd45b5c37d0f0c5ab2c57d2c\r\n"
    b'Content-Disposition: form-data; name="input_file"; filename="video.mp4"\r\n\r\n%s\r\n'
    b"--f1c9e6f0bd45b5c37d0f0c5ab2c57d2c--\r\n"
)
EXECUTE = (
    b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: python-requests/2.32\r\n"
    b"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
    b"Content-Length: %d\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
)
CALL = (
    b"session_id=%s&processor_class=FaceProcessor3DI&method=detect_faces&config=%%7B"
    b"%%22camera_model%%22%%3A+30%%2C+%%22landmark_model%%22%%3A+%%22global4%%22%%2C+"
    b"%%22morphable_model%%22%%3A+%%22BFMmm-19830%%22%%2C+%%22basis_model%%22%%3A+"
    b"%%220.0.1.F591-cd-K32d%%22%%2C+%%22fast%%22%%3A+false%%2C+%%22args%%22%%3A+%%5B%%5D%%2C+"
    b"%%22kwargs%%22%%3A+%%7B%%22server%%22%%3A+%%7B%%22host%%22%%3A+%%22127.0.0.1%%22%%2C+"
    b"%%22port%%22%%3A+8000%%7D%%7D%%7D"
)


def exchange(server: Served, data: bytes) -> tuple[int, bytes, bytes]:
    """Send bytes; status, head and body of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        lengths = [
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        length = int(lengths[0].split(b":")[1]) if lengths else 0
        while len(body) < length:
            piece = connection.recv(65536)
            if not piece:
                break
            body += piece
    return int(head.split()[1]), head, body


def test_the_requests_of_old_byte_by_byte(server: Served):
    form = FORM % (sha256(VIDEO).encode(), VIDEO)
    status, _, body = exchange(server, PREPARE % (server.port, len(form)) + form)
    assert status == 200
    session = json.loads(body)["session_id"]
    call = CALL % session.encode()
    status, head, body = exchange(server, EXECUTE % (server.port, len(call)) + call)
    assert status == 200 and b"content-type: application/zip" in head.lower()
    assert zipfile.ZipFile(io.BytesIO(body)).namelist() == ["input_file_rects.3DI"]


def test_a_client_of_old_may_have_a_token_in_its_host(tmp_path: Path):
    with serving(settings(tmp_path / "s", tokens=True)) as server:
        url = f"http://anybody:{ANNA}@127.0.0.1:{server.port}/"
        (tmp_path / "a.mp4").write_bytes(VIDEO)
        (tmp_path / "out").mkdir()
        client = OldClient(url)
        client.io(tmp_path / "a.mp4", tmp_path / "out")
        assert client.run("detect_faces") == ["a_rects.3DI"]
        assert requests.get(url.replace(ANNA, "wrong"), timeout=3).status_code == 401


# Jobs


def test_every_method_gives_its_files_and_nothing_is_computed_twice(server: Served):
    session = server.session()
    kinds = {
        "localized_expressions": ("expression_localized",),  # with all that comes before it
        "fit": FITTED,
        "detect_faces": ("rects",),
        "detect_landmarks": ("landmarks",),
        "run_all": ("rects", "landmarks", *FITTED, "expression_localized"),
    }
    for method, made in kinds.items():
        found = contents(server.call("execute", session, method))
        assert set(found) == {f"input_file_{kind}.3DI" for kind in made}
    computed = [path.read_text() for path in server.settings.folder.rglob("computed.txt")]
    ours = [text.split() for text in computed if "expression_localized" in text]
    assert sorted(max(ours, key=len)) == sorted(kinds["run_all"])


def test_other_options_are_other_files(server: Served):
    session = server.session()
    for fast in (True, False):
        found = contents(server.call("execute", session, fast=fast))
        assert json.loads(found["input_file_rects.3DI"])["options"]["fast"] is fast


def test_arguments_go_to_the_method_alone(server: Served):
    session = server.session()
    given = {"normalize": True, "k": 2}
    found = contents(server.call("execute", session, "fit", arguments=given, landmark_model="a1"))
    assert json.loads(found["input_file_pose.3DI"])["arguments"] == given
    found = contents(server.call("execute", session, "localized_expressions", arguments={}))
    assert (
        json.loads(found["input_file_expression_localized.3DI"])["arguments"]["normalize"] is True
    )


def test_an_undistorted_video_comes_back(server: Served):
    files = {"camera_file": ("my camera.YML", b"%YAML:1.0\n")}
    session = server.session(files=files)
    answer = server.call("execute", session, "preprocess", camera_model="/home/me/my camera.YML")
    assert contents(answer) == {"input_file_preprocessed.mp4": VIDEO.decode("latin-1")}
    camera = next(server.settings.folder.rglob("camera.yml"))
    found = contents(server.call("execute", session, camera_model="whatever"))
    assert json.loads(found["input_file_rects.3DI"])["options"]["camera_model"] == str(camera)


def test_a_job_says_how_it_goes_and_what_made_its_files(server: Served):
    session = server.session()
    job = server.job(session, landmark_model="sleep-1")
    state = server.until(job, "running")
    end = time.monotonic() + 10
    while state["fraction"] is None and time.monotonic() < end:
        time.sleep(0.03)
        state = server.state(job)
    assert state["progress"].startswith("standin: 30/120 frames, in ")
    assert state["fraction"] == 0.25 and "/" not in state["progress"].replace("30/120", "")
    assert server.get(f"jobs/{job}/result").status_code == 409
    assert server.job(session, landmark_model="sleep-1") == job  # the same work is the same job
    done = server.until(job, "done")
    assert (done["progress"], done["fraction"], done["error"]) == ("done", 1.0, None)
    assert done["provenance"] == {
        "input_file_rects.3DI": {"backend": "3DI", "time": "2026-01-01 00:00:00"}
    }
    assert set(contents(server.get(f"jobs/{job}/result"))) == {"input_file_rects.3DI"}
    assert server.job(session, landmark_model="sleep-1") == job
    assert server.state(job)["state"] == "done"


def test_jobs_wait_their_turn_and_know_their_place(tmp_path: Path):
    with serving(settings(tmp_path, queue=2)) as server:
        first, second = server.session(), server.session()
        runs = server.job(first, landmark_model="sleep-30")
        server.until(runs, "running")
        waits = [server.job(session) for session in (first, second)]
        places = [server.state(job) for job in (runs, *waits)]
        assert [(s["state"], s["position"]) for s in places] == [
            ("running", 0),
            ("queued", 1),
            ("queued", 2),
        ]
        assert places[2]["queued"] == 2 and places[2]["progress"] == "2 in the queue"
        assert server.get("health").json() == {
            "status": "ok",
            "queued": 2,
            "running": 1,
            "sessions": 2,
        }
        for path in ("jobs", "execute"):
            answer = server.call(path, second, "fit")
            assert answer.status_code == 503 and answer.headers["Retry-After"].isdecimal()
            assert "2 jobs wait" in answer.json()["detail"]
        assert server.job(second) == waits[1]  # asking again takes no place
        assert server.ask("DELETE", f"jobs/{waits[0]}").status_code == 204
        assert server.state(waits[0])["state"] == "interrupted"
        assert server.state(waits[1])["position"] == 1
        assert server.ask("DELETE", f"jobs/{runs}").status_code == 204
        assert server.until(runs, "interrupted")["error"] == "the job was cancelled"
        server.until(waits[1], "done")
        assert server.job(first) == waits[0]  # it can be asked for again
        server.until(waits[0], "done")


def test_two_jobs_of_one_session_never_run_at_once(server: Served):
    session, other = server.session(), server.session()
    first = server.job(session, landmark_model="sleep-1.2")
    second, third = server.job(session), server.job(other)
    server.until(third, "done")
    assert server.state(first)["state"] == "running" and server.state(second)["state"] == "queued"
    server.until(second, "done")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("refuse", "input_file.mp4 has no faces, see x.log\nsays fit"),
        ("bug", "a fault of the server (KeyError); its log has more"),
        ("crash", "signal SIGSEGV. It said last:\ndetect_faces (1 of 1)\ncuda error in frame 3"),
        ("exit", "the engine ended with exit code 0. It said last:\ndetect_faces"),
        ("escape", "detect_faces gave passwd, which is no file of its own"),
        ("link", "detect_faces gave input_file_link.3DI, which is no file of its own"),
    ],
)
def test_a_failure_is_said_in_words_without_paths(server: Served, wish: str, words: str):
    session = server.session()
    answer = server.call("execute", session, landmark_model=wish)
    assert answer.status_code == 500
    said = answer.json()["detail"]
    assert words in said
    assert "/" not in said and "Traceback" not in said
    job = server.job(session, landmark_model=wish)  # what failed is tried again
    state = server.until(job, "failed")
    assert state["error"] == said and state["status"] == 500
    answer = server.get(f"jobs/{job}/result")
    assert (answer.status_code, answer.json()["detail"]) == (500, said)


def test_a_job_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path):
    with serving(settings(tmp_path, job_seconds=1.5)) as server:
        answer = server.call("execute", server.session(), landmark_model="spawn")
        assert answer.status_code == 504 and "longer than the 1.5 s" in answer.json()["detail"]
        child = int(next(tmp_path.rglob("child.txt")).read_text())
        assert not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie"


def test_a_job_that_fills_the_disk_is_ended(tmp_path: Path):
    with serving(settings(tmp_path, disk_bytes=20_000_000)) as server:
        session = server.session()
        answer = server.call("execute", session, landmark_model="fill")
        assert answer.status_code == 507
        assert server.prepare().status_code == 507
        assert server.ask("DELETE", f"sessions/{session}").status_code == 204
        assert server.prepare().status_code == 200


def test_an_upload_leaves_room_for_the_jobs_that_run(tmp_path: Path):
    with serving(settings(tmp_path, disk_bytes=20_000_000)) as server:
        server.session()
        store = server.queue.store
        (session,) = store.sessions.values()
        session.disk = 19_000_000
        assert server.prepare().status_code == 507
        store.check_room(session.owner)  # a job goes on
        session.disk = 17_000_000
        assert server.prepare().status_code == 200


def test_one_of_several_owners_has_half_of_the_sessions(tmp_path: Path):
    with serving(settings(tmp_path, tokens=True, sessions=5)) as server:
        first, *_ = [server.session(ANNA) for _ in range(3)]
        refused = server.prepare(ANNA)
        assert refused.status_code == 503 and refused.headers["Retry-After"].isdecimal()
        assert "you have 3 sessions, as many as one user may" in refused.json()["detail"]
        for _ in range(2):
            server.session(BOB)
        refused = server.prepare(BOB)  # below his own share: the server is full
        assert "the server has as many sessions as it takes" in refused.json()["detail"]
        assert server.ask("DELETE", f"sessions/{first}", ANNA).status_code == 204
        server.session(ANNA)


def test_one_of_several_owners_has_half_of_the_disk(tmp_path: Path):
    with serving(settings(tmp_path, tokens=True, disk_bytes=20_000_000)) as server:
        server.session(ANNA)
        store = server.queue.store
        (session,) = store.sessions.values()
        session.disk = 9_500_000  # an upload may fill nine tenths of the half
        refused = server.prepare(ANNA)
        assert refused.status_code == 507
        assert "all the disk space that one user may have" in refused.json()["detail"]
        server.session(BOB)
        store.check_room("anna")  # a job goes on
        with pytest.raises(RefusedError, match="one user"):
            store.check_room("anna", 600_000)
        store.check_room("bob", 600_000)


def test_owners_take_turns_and_have_half_of_the_queue(tmp_path: Path):
    with serving(settings(tmp_path, tokens=True, queue=5)) as server:
        runs = server.job(server.session(ANNA), token=ANNA, landmark_model="sleep-30")
        server.until(runs, "running", token=ANNA)
        of_anna = [server.job(server.session(ANNA), token=ANNA) for _ in range(3)]
        refused = server.call("jobs", server.session(ANNA), token=ANNA)
        assert refused.status_code == 503 and "3 of your jobs wait" in refused.json()["detail"]
        of_bob = [server.job(server.session(BOB), token=BOB) for _ in range(2)]
        # hers runs, so it is his turn, then hers
        assert [server.state(job, BOB)["position"] for job in of_bob] == [1, 3]
        assert [server.state(job, ANNA)["position"] for job in of_anna] == [2, 4, 5]
        assert server.ask("DELETE", f"jobs/{runs}", ANNA).status_code == 204
        for jobs, token in ((of_anna, ANNA), (of_bob, BOB)):
            for job in jobs:
                server.until(job, "done", token=token)
        store = server.queue.store
        started = sorted(store.jobs.values(), key=lambda job: job.started or 0)
        owners = [store.sessions[job.session].owner for job in started]
        assert owners == ["anna", "bob", "anna", "bob", "anna", "anna"]


def test_who_is_alone_has_all_of_it(tmp_path: Path):
    alone = replace(settings(tmp_path, sessions=2), tokens={"anna": TOKENS["anna"]})
    with serving(alone) as server:
        for _ in range(2):
            server.session(ANNA)
        assert "the server has as many" in server.prepare(ANNA).json()["detail"]


def test_a_full_disk_ends_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(settings(tmp_path, session_seconds=2)) as server:
        store = server.queue.store
        write, expired = store.write_job, store.expired

        def full(*of: Any) -> Any:
            if not of or of[0].state != "queued":
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(*of)

        session = server.session()
        monkeypatch.setattr(store, "write_job", full)
        monkeypatch.setattr(store, "expired", full)
        state = server.until(server.job(session), "failed")
        assert (state["status"], state["error"]) == (507, "the server's disk is full")
        time.sleep(0.7)  # sessions that have expired are looked for
        monkeypatch.setattr(store, "write_job", write)
        monkeypatch.setattr(store, "expired", expired)
        assert all(thread.is_alive() for thread in server.queue._threads)
        server.until(server.job(session), "done")


# Sessions


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
    with serving(settings(tmp_path, session_seconds=1.5)) as server:
        idle, used, busy = (server.session() for _ in range(3))
        job = server.job(busy, landmark_model="sleep-6")
        for _ in range(9):
            time.sleep(0.3)
            assert server.call("jobs", used, fast=0).status_code == 422  # uses it all the same
        assert server.call("execute", idle).status_code == 404
        assert server.state(job)["state"] == "running"
        assert server.ask("DELETE", f"sessions/{used}").status_code == 204
        server.until(job, "done")
        end = time.monotonic() + 5
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


# Restarts


def test_a_restart_loses_nothing_that_is_done(tmp_path: Path):
    with serving(settings(tmp_path)) as server:
        session = server.session()
        done = server.job(session)
        server.until(done, "done")
        result = server.get(f"jobs/{done}/result").content
        runs = server.job(session, landmark_model="sleep-2")
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
        assert server.job(session, landmark_model="sleep-2") == runs
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


# What it says of itself


def test_what_a_server_says_of_itself(server: Served):
    assert server.get("").json()["service"] == "facemake"
    version = server.get("version").json()
    assert version["protocol"] == 1 and version["upload_bytes"] == SMALL.upload_bytes
    assert set(version["processors"]) == {
        "FaceProcessor",
        "FaceProcessor3DI",
        "FaceProcessor3DIlite",
    }
    schema = server.get("openapi.json").json()
    assert "/execute" in schema["paths"] and "securitySchemes" not in schema["components"]
    for path in ("docs", "redoc"):
        assert server.get(path).status_code == 404
    for path in ("", "version", "nothing"):
        assert server.get(path).headers["Cache-Control"] == "no-store"


def test_the_limits_have_their_say_in_words():
    from facemake.server.settings import Limits

    text = Limits.__doc__ or ""
    for name in asdict(SMALL):
        assert name in text
    assert TESTS.name == "tests"
