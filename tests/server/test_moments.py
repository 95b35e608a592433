"""What one does between two lines of another one, made to happen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from facemake.server import app, jobs
from facemake.server.client import RemoteSession
from facemake.server.refusal import RefusedError
from facemake.server.store import Session, Store, Upload
from serving import VIDEO, serving, settings, sha256


def opened(folder: Path, **limits: Any) -> Store:
    store = Store(settings(folder, **limits))
    store.open()
    return store


def arrived(upload: Upload) -> Upload:
    upload.video.write_bytes(VIDEO)
    upload.bytes = len(VIDEO)
    return upload


def accepted(store: Store) -> Session:
    with store.upload("anna") as upload:
        identifier = store.accept(arrived(upload), sha256(VIDEO), ".mp4", None, None)
    return store.session(identifier, "anna")


def test_an_upload_that_was_given_up_makes_no_session(tmp_path: Path):
    """A thread that accepts it goes on where the request was cancelled, as at the server's end."""
    store = opened(tmp_path)
    with store.upload("anna") as upload:
        arrived(upload)
    with pytest.raises(RefusedError, match="send the video again"):
        store.accept(upload, sha256(VIDEO), ".mp4", None, None)
    assert not store.sessions and not list((tmp_path / "sessions").iterdir())


def test_a_session_that_is_accepted_counts_once(tmp_path: Path):
    """Not as the upload that it was, too: somebody else would be refused for a moment."""
    store = opened(tmp_path, sessions=2)
    with store.upload("anna") as upload:
        store.accept(arrived(upload), sha256(VIDEO), ".mp4", None, None)
        with store.upload("bob") as other:
            assert arrived(other).video.is_file()


def test_a_session_that_is_removed_is_not_written_again(tmp_path: Path):
    """Its last job may end after it, and then says that the session was used."""
    store = opened(tmp_path, session_seconds=0.0)
    session = accepted(store)
    store.remove(session)
    store.use(session)
    assert not list((tmp_path / "sessions").iterdir())


def test_jobs_of_a_session_that_goes_are_told_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They were cancelled, by another client of the same video that has ended: ours sends it again.

    The session stays until what runs has ended.
    """
    may_end = threading.Event()
    end = jobs._end

    def end_later(process: Any) -> None:
        may_end.wait(60)
        end(process)

    monkeypatch.setattr(jobs, "_end", end_later)
    with serving(settings(tmp_path)) as server, ThreadPoolExecutor(1) as pool:
        session = server.session()
        server.until(server.job(session, landmark_model="sleep-60"), "running")
        waits = server.job(session)
        gone = pool.submit(server.ask, "DELETE", f"sessions/{session}")
        answer = await_other(lambda: server.get(f"jobs/{waits}"), "queued")
        assert answer.status_code == 404, answer.text
        assert server.queue.store.sessions
        may_end.set()
        assert gone.result(60).status_code == 204


def await_other(ask: Callable[[], requests.Response], state: str) -> requests.Response:
    """The first answer that says another state of a job, or none."""
    end = time.monotonic() + 60
    while (answer := ask()).json().get("state") == state:
        assert time.monotonic() < end
        time.sleep(0.01)
    return answer


def test_a_result_that_goes_before_it_is_sent_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And the client, whose session another one has ended, asks once more."""
    video = tmp_path / "a.mp4"
    video.write_bytes(VIDEO)
    real = app._answer
    answers = []

    def answer(store: Store, job: Any) -> Any:
        answers.append(real(store, job))
        if len(answers) == 1:
            store.remove(SimpleNamespace(key=job.session))  # type: ignore[arg-type]
        return answers[-1]

    monkeypatch.setattr(app, "_answer", answer)
    with serving(settings(tmp_path / "server")) as server:
        session = RemoteSession({"host": "127.0.0.1", "port": server.port})
        session.prepare(video, sha256(VIDEO))
        told: list[str] = []
        files = session.execute(
            *("FaceProcessor3DI", "detect_faces", {}, {}, tmp_path / "out", "a"),
            lambda text, fraction: told.append(text),
        )
        assert [path.name for path in files] == ["a_rects.3DI"]
        assert "the session has expired, the video is sent again" in told
        assert len(answers) == 2

        answers.clear()
        job = server.job(server.session())
        server.until(job, "done")
        said = server.get(f"jobs/{job}/result")
        assert (said.status_code, "no such job" in said.text) == (404, True)


def test_a_job_that_runs_again_is_not_as_far_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its log is the new one's from the moment that it waits again."""
    with serving(settings(tmp_path)) as server:
        session = server.session()
        first = server.job(session, landmark_model="wait")
        server.until(first, "running")
        end = time.monotonic() + 60
        while server.state(first)["fraction"] is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert server.ask("DELETE", f"jobs/{first}").status_code == 204
        server.until(first, "interrupted")
        queue = server.queue
        moments = []
        write = queue.store.write_job

        def write_job(job: Any) -> None:
            moments.append((job.state, queue.progress(job)))
            write(job)

        monkeypatch.setattr(queue.store, "write_job", write_job)
        server.let_go(session)
        assert server.job(session, landmark_model="wait") == first
        server.until(first, "done")
        assert moments[1] == ("running", ("", None))
