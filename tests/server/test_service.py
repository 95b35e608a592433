"""The service, as clients see it: over a real socket, with jobs in real processes."""

from __future__ import annotations

import errno
import json
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from facemake.server import words
from facemake.server.refusal import RefusedError
from serving import (
    ANNA,
    BOB,
    SMALL,
    TESTS,
    TOKENS,
    VIDEO,
    Served,
    contents,
    serving,
    settings,
)
from standin_processors import FITTED

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
    job = server.job(session, landmark_model="wait")
    state = server.until(job, "running")
    end = time.monotonic() + 60
    while state["fraction"] is None and time.monotonic() < end:
        time.sleep(0.03)
        state = server.state(job)
    assert state["progress"].startswith("standin: 30/120 frames, in ")
    assert state["fraction"] == 0.25 and "/" not in state["progress"].replace("30/120", "")
    assert server.get(f"jobs/{job}/result").status_code == 409
    assert server.job(session, landmark_model="wait") == job  # the same work is the same job
    server.let_go(session)
    done = server.until(job, "done")
    assert (done["progress"], done["fraction"], done["error"]) == ("done", 1.0, None)
    assert done["provenance"] == {
        "input_file_rects.3DI": {"backend": "3DI", "time": "2026-01-01 00:00:00"}
    }
    assert set(contents(server.get(f"jobs/{job}/result"))) == {"input_file_rects.3DI"}
    assert server.job(session, landmark_model="wait") == job
    assert server.state(job)["state"] == "done"


def test_a_job_that_ends_while_its_state_is_told_is_told_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Else it is `done` with the progress of one that runs."""
    with serving(settings(tmp_path)) as server:
        identifier = server.job(server.session(), landmark_model="sleep-30")
        server.until(identifier, "running")
        store = server.queue.store
        (job,) = store.jobs.values()
        others = []

        def end() -> None:
            with store.lock:
                job.state, job.error = "failed", "it has ended"

        def log_end(path: Path) -> str:
            others.append(threading.Thread(target=end))
            others[-1].start()
            others[-1].join(0.5)
            return "frame #30/120"

        with monkeypatch.context() as patch:
            patch.setattr(words, "log_end", log_end)
            state = server.state(identifier)
        others[0].join()
        assert (state["state"], state["fraction"], state["error"]) == ("running", 0.25, None)
        after = server.state(identifier)
        assert (after["state"], after["error"]) == ("failed", "it has ended")


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
    first = server.job(session, landmark_model="wait")
    second, third = server.job(session), server.job(other)
    server.until(third, "done")
    assert server.state(first)["state"] == "running" and server.state(second)["state"] == "queued"
    server.let_go(session)
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


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't write data (error message = 'No space left on device')"),  # as of HDF5
    ],
    ids=["system", "library"],
)
def test_a_full_disk_ends_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
):
    with serving(settings(tmp_path, session_seconds=2)) as server:
        store = server.queue.store
        write, expired = store.write_job, store.expired

        def full(*of: Any) -> Any:
            if not of or of[0].state != "queued":
                raise error
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
