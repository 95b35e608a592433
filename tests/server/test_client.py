"""The client against a server of ours."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from facemake.server import client
from facemake.server.client import RemoteError, RemoteSession, RemoteStatusError
from facemake.server.store import key_of
from serving import ANNA, VIDEO, Served, serving, settings, sha256
from standin_processors import FITTED


def connect(server: Served, **more: Any) -> RemoteSession:
    return RemoteSession({"host": "127.0.0.1", "port": server.port, **more})


def prepared(server: Served, video: Path, **more: Any) -> RemoteSession:
    session = connect(server, **more)
    session.prepare(video, sha256(VIDEO))
    return session


def run(session: RemoteSession, folder: Path, method: str = "detect_faces", **config: Any) -> Any:
    return session.execute("FaceProcessor3DI", method, config, {}, folder, "my clip")


def test_files_come_under_the_videos_own_name(server: Served, video: Path, tmp_path: Path):
    session = connect(server)
    assert session.check()["protocol"] == 1
    session.prepare(video, sha256(VIDEO))
    out = tmp_path / "new" / "out"
    files = session.execute(
        "FaceProcessor3DI", "fit", {"fast": True, "noise": 1}, {"k": 2}, out, video.stem
    )
    assert [path.name for path in files] == sorted(f"{video.stem}_{kind}.3DI" for kind in FITTED)
    assert sorted(out.iterdir()) == sorted(files)  # and nothing else is left there
    said = json.loads(files[0].read_text())
    assert said["options"] == {"fast": True} and said["arguments"] == {"normalize": False, "k": 2}
    assert session.provenance.keys() == {path.name for path in files}
    assert session.provenance[files[0].name]["backend"] == "3DI"
    names = [path.name for path in server.settings.folder.rglob("*")]
    assert video.name not in names  # the name stayed here
    folder = server.settings.folder / "sessions" / key_of(str(session._session))
    assert folder.is_dir()
    session.close()
    assert not folder.exists()


def test_3di_lite_gets_its_own_models(server: Served, video: Path, tmp_path: Path):
    session = prepared(server, video)
    config = {
        "morphable_model": "BFMmm-1",
        "basis_model": "lb",
        "landmark_model": "l",
        "fast": False,
    }
    (path,) = session.execute(
        "FaceProcessor3DIlite", "detect_faces", config, {}, tmp_path / "o", "a"
    )
    assert path.name == "a_rects.3DIl"
    assert json.loads(path.read_text())["options"] == {
        "morphable_model": "BFMmm-1",
        "basis_model": "lb",
        "landmark_model": "l",
    }


def test_a_calibration_file_goes_with_the_video(server: Served, video: Path, tmp_path: Path):
    camera = tmp_path / "my camera.txt"
    camera.write_text("1 2 3")
    session = connect(server)
    session.prepare(video, sha256(VIDEO), camera)
    given = {"camera_model": str(camera)}
    (path,) = session.execute("FaceProcessor3DI", "preprocess", given, {}, tmp_path / "o", "a")
    assert path.name == "a_preprocessed.mp4" and path.read_bytes() == VIDEO
    (path,) = session.execute("FaceProcessor3DI", "detect_faces", given, {}, tmp_path / "o", "a")
    assert Path(json.loads(path.read_text())["options"]["camera_model"]).read_text() == "1 2 3"


def test_progress_is_told(server: Served, video: Path, tmp_path: Path):
    session = prepared(server, video)
    told: list[tuple[str, float | None]] = []

    def tell(text: str, fraction: float | None) -> None:
        told.append((text, fraction))
        if fraction == 0.25:
            server.let_go(session._session)

    session.execute(
        *("FaceProcessor3DI", "detect_faces", {"landmark_model": "wait"}, {}, tmp_path, "a"),
        progress=tell,
    )
    assert ("standin: 30/120 frames, in input_file.mp4", 0.25) not in told
    assert any(text.startswith("standin: 30/120 frames") and done == 0.25 for text, done in told)
    assert told[-1] == ("done", 1.0)


def test_an_upload_is_streamed(server: Served, tmp_path: Path):
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.write(VIDEO[:64])
        file.truncate(200_000_000)
    digest = sha256(path.read_bytes())
    before = psutil.Process().memory_info().rss
    peak = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            peak.append(psutil.Process().memory_info().rss)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    session = connect(server)
    session.prepare(path, digest)
    done.set()
    thread.join()
    session.close()
    assert max(peak) - before < 60_000_000  # both sides run in this process


def test_a_video_that_is_too_large_is_not_sent(tmp_path: Path, video: Path):
    with serving(settings(tmp_path / "s", upload_bytes=1000)) as server:
        with pytest.raises(RemoteError, match="takes 1000: start the server with a larger"):
            prepared(server, video)
        session = connect(server)
        session.check()["upload_bytes"] = 10**9  # the server says so itself, too
        with pytest.raises(RemoteError, match=r"HTTP 413.*1000 bytes"):
            session.prepare(video, sha256(VIDEO))


@pytest.mark.parametrize(
    ("token", "words"), [(None, "give server=.*'token'"), ("x" * 30, "give another one")]
)
def test_a_server_that_wants_a_token(tmp_path: Path, video: Path, token: str | None, words: str):
    with serving(settings(tmp_path / "s", tokens=True)) as server:
        with pytest.raises(RemoteStatusError, match=rf"HTTP 401.*{words}") as error:
            connect(server, token=token).check()
        assert error.value.status == 401
        file = tmp_path / "token"
        file.write_text(f"anna {ANNA}\n")
        session = prepared(server, video, token_file=file)
        assert run(session, tmp_path / "out")
        again = prepared(server, video, token=ANNA)  # the same video: the same session
        assert again._session == session._session


def test_a_failure_comes_in_words(server: Served, video: Path, tmp_path: Path):
    session = prepared(server, video)
    with pytest.raises(RemoteError, match=r"failed: input_file\.mp4 has no faces"):
        run(session, tmp_path / "out", landmark_model="refuse")
    with pytest.raises(RemoteError, match=r"HTTP 422.*landmark_model is a name"):
        run(session, tmp_path / "out", landmark_model="../x")
    with pytest.raises(RemoteError, match="HTTP 422"):
        session.execute("FaceProcessor3DI", "secret", {}, {}, tmp_path / "out", "a")
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(RemoteError, match="prepare first"):
        run(connect(server), tmp_path)
    for name in ("../a", "", "a/b", "a\0"):
        with pytest.raises(RemoteError, match="no name"):
            session.execute("FaceProcessor3DI", "detect_faces", {}, {}, tmp_path / "out", name)


def test_a_session_that_has_expired_is_made_again(server: Served, video: Path, tmp_path: Path):
    session = prepared(server, video)
    assert server.ask("DELETE", f"sessions/{session._session}").status_code == 204
    told: list[str] = []
    files = session.execute(
        *("FaceProcessor3DI", "detect_faces", {}, {}, tmp_path / "o", "a"),
        progress=lambda text, _: told.append(text),
    )
    assert files and "sent again" in told[0]


def test_a_server_that_is_restarted_is_waited_for(
    tmp_path: Path, video: Path, caplog: pytest.LogCaptureFixture
):
    told: list[str] = []
    what = settings(tmp_path / "s")
    first = Served(what)
    first.start()
    session = prepared(first, video)
    result: list[list[Path]] = []

    def work() -> None:
        result.append(
            session.execute(
                *("FaceProcessor3DI", "detect_faces", {"landmark_model": "wait"}, {}),
                *(tmp_path / "o", "a"),
                progress=lambda text, _: told.append(text),
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    end = time.monotonic() + 60
    while first.queue.length() != (0, 1) and time.monotonic() < end:
        time.sleep(0.02)
    first.stop()
    first.let_go(session._session)
    while not any("does not answer" in one.getMessage() for one in caplog.records):
        assert time.monotonic() < end
        time.sleep(0.02)
    with serving(what, first.port):
        thread.join(20)
    assert [path.name for path in result[0]] == ["a_rects.3DI"]
    assert "interrupted, asked for again" in told
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    place = f"127.0.0.1:{first.port}"
    away, back = (line for line in warned if line.startswith(place))
    assert re.fullmatch(rf"{place} does not answer, trying again until \d\d:\d\d:\d\d", away)
    assert back == f"{place} answers again"


def test_a_full_queue_is_waited_for(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch):
    with serving(settings(tmp_path / "s", queue=1)) as server:
        other = server.session()
        running = server.job(other, landmark_model="sleep-30")
        server.until(running, "running")
        waiting = server.job(other)
        told: list[str] = []

        def sleep(seconds: float) -> None:
            monkeypatch.undo()
            told.append(f"slept {seconds:g}")
            server.ask("DELETE", f"jobs/{waiting}")
            server.ask("DELETE", f"jobs/{running}")

        session = prepared(server, video)
        clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
        monkeypatch.setattr(client, "time", clock)
        assert session.execute(
            *("FaceProcessor3DI", "detect_faces", {}, {}, tmp_path / "o", "a"),
            progress=lambda text, _: told.append(text),
        )
        assert "the queue is full" in told[0] and told[1] == "slept 30"


def test_interrupting_the_client_cancels_the_job(server: Served, video: Path, tmp_path: Path):
    session = prepared(server, video)

    def interrupt(text: str, _: float | None) -> None:
        if "30/120" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.execute(
            *("FaceProcessor3DI", "detect_faces", {"landmark_model": "sleep-50"}, {}),
            *(tmp_path / "o", "a"),
            progress=interrupt,
        )
    end = time.monotonic() + 10
    while server.queue.length() != (0, 0) and time.monotonic() < end:
        time.sleep(0.02)
    assert server.queue.length() == (0, 0)
    assert not list((tmp_path / "o").iterdir())
