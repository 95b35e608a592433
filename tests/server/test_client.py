"""The client: against our server, against a stand-in of the wrapper's, and against bad ones."""

from __future__ import annotations

import io
import json
import re
import socket
import stat
import threading
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from facemake.server import client
from facemake.server.client import RemoteError, RemoteSession, RemoteStatusError
from serving import ANNA, VIDEO, Served, serving, settings, sha256
from standin_processors import FITTED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings(tmp_path_factory.mktemp("server"), running=2)) as served:
        yield served


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "-an 'odd' näme;$x.mp4"
    path.write_bytes(VIDEO)
    return path


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
    session.close()
    assert not list((server.settings.folder / "sessions").iterdir())


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
    digest = __import__("hashlib").sha256(path.read_bytes()).hexdigest()
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


# Addresses


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({"host": "gpu", "port": 8000}, "http://gpu:8000/"),
        ({"host": "gpu", "port": "8000"}, "http://gpu:8000/"),
        ({"host": "::1", "port": 8000}, "http://[::1]:8000/"),
        ({"host": "[::1]", "port": 8000}, "http://[::1]:8000/"),
        ({"host": "10.0.0.1", "port": 1}, "http://10.0.0.1:1/"),
        ({"host": "https://gpu.example.org"}, "https://gpu.example.org/"),
        ({"host": "https://gpu.example.org:8443/faces/"}, "https://gpu.example.org:8443/faces/"),
        ({"host": "https://gpu", "port": 8443}, "https://gpu:8443/"),
        ({"host": "gpu:8000"}, "http://gpu:8000/"),
        ({"host": "gpu"}, None),
        ({"port": 8000}, None),
        ({"host": "", "port": 8000}, None),
        ({"host": "gpu", "port": 0}, None),
        ({"host": "gpu", "port": 70_000}, None),
        ({"host": "gpu", "port": "x"}, None),
        ({"host": "ftp://gpu", "port": 1}, None),
        ({"host": "file:///etc", "port": 1}, None),
        ({"host": "http://a:b@gpu", "port": 1}, None),
        ({"host": "https://gpu:1", "port": 2}, None),
        ({"host": "gpu", "port": 1, "tokens": "x"}, None),
        ({"host": "gpu", "port": 1, "token": "é"}, None),
        ({"host": "gpu", "port": 1, "token": "a\nb"}, None),
        ({"host": "gpu", "port": 1, "token": ""}, None),
        ({"host": "gpu", "port": 1, "token": "a", "token_file": "b"}, None),
        ({"host": "gpu", "port": 1, "token_file": "/none"}, None),
    ],
)
def test_addresses(server: dict[str, Any], url: str | None):
    if url is None:
        with pytest.raises(RemoteError):
            RemoteSession(server)
    else:
        assert RemoteSession(server).url == url


@pytest.mark.parametrize(
    ("server", "warned"),
    [
        ({"host": "gpu", "port": 1, "token": ANNA}, True),
        ({"host": "gpu", "port": 1}, False),
        ({"host": "127.0.0.1", "port": 1, "token": ANNA}, False),
        ({"host": "::1", "port": 1, "token": ANNA}, False),
        ({"host": "https://gpu", "token": ANNA}, False),
    ],
)
def test_a_token_that_goes_unencrypted_is_warned_of(server: dict[str, Any], warned: bool):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        RemoteSession(server)
    assert [str(one.message) for one in caught if "unencrypted" in str(one.message)] == (
        [str(caught[0].message)] if warned else []
    )
    assert all(ANNA not in str(one.message) for one in caught)


def test_a_server_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match="cannot be reached: start `facemake serve` there"):
        RemoteSession({"host": "127.0.0.1", "port": port}).check()
    with pytest.raises(RemoteError, match="cannot be reached"):
        RemoteSession({"host": "no-such-host.invalid", "port": 1}).check()


# Other servers


Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(answer: Callable[[str, str, bytes], Answer | None]) -> Iterator[dict[str, Any]]:
    """A server of the test's own; None from `answer` is a 404."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            given = answer(self.command, self.path, body)
            status, headers, data = given or (404, {}, b"<html>no</html>")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield {"host": "127.0.0.1", "port": server.server_address[1]}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


class WrapperServerStandin:
    """Answers as a server of 3DI's wrapper does: three addresses and nothing else."""

    def __init__(self, archive: bytes, kind: str = "application/zip") -> None:
        self.archive, self.kind = archive, kind
        self.asked: list[tuple[str, bytes]] = []

    def __call__(self, method: str, path: str, body: bytes) -> Answer | None:
        self.asked.append((path, body))
        if (method, path) == ("GET", "/"):
            return 200, {"Content-Type": "application/json"}, b'{"message": "ready"}'
        if (method, path) == ("POST", "/prepare_session"):
            return 200, {"Content-Type": "application/json"}, b'{"session_id": "abc"}'
        if (method, path) == ("POST", "/execute"):
            return 200, {"Content-Type": self.kind}, self.archive
        return None


def test_a_server_of_the_wrapper_is_spoken_to_in_its_own_words(video: Path, tmp_path: Path):
    archive = zipped(**{"input_file_rects.3DI": "1", "input_file_rects.3DI.json": "{}"})
    standin = WrapperServerStandin(archive)
    with answering(standin) as server:
        session = RemoteSession(server)
        assert session.check() == {}
        session.prepare(video, sha256(VIDEO))
        config = {"camera_model": 40, "morphable_model": "M", "fast": True}
        files = session.execute(
            "FaceProcessor3DI", "detect_faces", config, {"k": 1}, tmp_path / "o", "clip"
        )
        assert [path.name for path in (tmp_path / "o").iterdir()] == ["clip_rects.3DI"]
        assert [path.name for path in files] == ["clip_rects.3DI"] and session.provenance == {}
        session.execute("FaceProcessor3DIlite", "fit", config, {}, tmp_path / "o", "clip")
        with pytest.raises(RemoteError, match="always normalizes"):
            session.execute(
                *("FaceProcessor3DI", "localized_expressions", {}, {"normalize": False}),
                *(tmp_path / "o", "clip"),
            )
        with pytest.raises(RemoteError, match="takes no calibration"):
            session.prepare(video, sha256(VIDEO), tmp_path / "c.txt")
        session.close()
    from urllib.parse import parse_qs

    sent = [parse_qs(body.decode()) for path, body in standin.asked if path == "/execute"]
    assert sent[0].keys() == {"session_id", "processor_class", "method", "config"}
    assert json.loads(sent[0]["config"][0]) == {
        "camera_model": 40,
        "landmark_model": "global4",
        "morphable_model": "M",
        "basis_model": "0.0.1.F591-cd-K32d",
        "fast": True,
        "args": [],
        "kwargs": {},
    }
    assert json.loads(sent[1]["config"][0])["morphable_model"] == "BFMmm-19830"
    upload = next(body for path, body in standin.asked if path == "/prepare_session")
    assert b'name="file_hash"\r\n\r\n' + sha256(VIDEO).encode() in upload
    assert b'name="input_file"; filename="input_file.mp4"' in upload and VIDEO in upload


def link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("input_file_rects.3DI")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        zipped(**{"../input_file_rects.3DI": "1"}),
        zipped(**{"/tmp/input_file_rects.3DI": "1"}),
        zipped(**{"input_file_x/../../evil.3DI": "1"}),
        zipped(**{"input_file_rects.3DI": "1", "evil.sh": "2"}),
        zipped(**{"input_file_..\\evil.3DI": "1"}),
        zipped(**{".bashrc": "1"}),
        zipped(**{"input_file.mp4": "1"}),
        zipped(**{"input_file_rects.mp4": "1"}),
        zipped(**{"input_file_rects.3DI": "1", "input_file_settings.json": "2"}),
        zipped(**{"input_file_preprocessed.sh": "1"}),
        zipped(**{"input_file_a\n.3DI": "1"}),
        zipped(**{"input_file_A.3DI": "1", "input_file_a.3DI": "1"}),
        zipped(**{f"input_file_{i}.3DI": "1" for i in range(65)}),
        zipped(**{"input_file_rects.3DI": "1"})[:-10],
        link(),
        b"PK",
        b"",
    ],
)
def test_archives_that_are_refused(video: Path, tmp_path: Path, archive: bytes):
    with answering(WrapperServerStandin(archive)) as server:
        session = RemoteSession(server)
        session.prepare(video, sha256(VIDEO))
        (tmp_path / "o").mkdir()
        (tmp_path / "o" / "my clip_rects.3DI").write_text("before")
        with pytest.raises(RemoteError, match="refused"):
            run(session, tmp_path / "o")
        assert [path.name for path in (tmp_path / "o").iterdir()] == ["my clip_rects.3DI"]
        assert (tmp_path / "o" / "my clip_rects.3DI").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([video.name, "o"])


@pytest.mark.parametrize("member", ["input_file.mp4", "input_file_preprocessed.mp4"])
def test_the_video_that_was_sent_is_never_replaced(tmp_path: Path, member: str):
    video = tmp_path / member.replace("input_file", "clip")
    video.write_bytes(VIDEO)
    archive = zipped(**{member: "evil", "input_file_rects.3DI": "1"})
    with answering(WrapperServerStandin(archive)) as server:
        session = RemoteSession(server)
        session.prepare(video, sha256(VIDEO))
        with pytest.raises(RemoteError, match="refused"):
            session.execute("FaceProcessor3DI", "preprocess", {}, {}, tmp_path, "clip")
    assert video.read_bytes() == VIDEO
    assert list(tmp_path.iterdir()) == [video]


def test_results_that_are_too_large_are_refused(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client, "_LEAST_RESULT", 0)  # 20 times the video stay
    for archive, words in (
        (zipped(**{"input_file_rects.3DI": "0" * 100_000}), "refused: .* unpacks to more"),
        (b"x" * 100_000, "too large to be one"),
    ):
        with answering(WrapperServerStandin(archive)) as server:
            session = RemoteSession(server)
            session.prepare(video, sha256(VIDEO))
            with pytest.raises(RemoteError, match=words):
                run(session, tmp_path / "o")
            assert not list((tmp_path / "o").iterdir())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {}, b"<html>a page</html>"), "not one of a server of facemake"),
        ((200, {}, b"[1]"), "no JSON object"),
        ((200, {}, b'{"protocol": 2}'), "another protocol"),
        ((200, {}, b" " * 11_000_000), "too long"),
        ((200, {"Content-Length": "100"}, b"{"), "did not finish"),
        ((302, {"Location": "http://evil.example/"}, b""), "sends requests on to http://evil"),
        ((500, {}, b"Internal Server Error"), "HTTP 500.*Internal"),
        ((503, {}, b'{"detail": ["x"]}'), "HTTP 503"),
        ((403, {}, b'{"detail": "not by that name"}'), "not by that name"),
    ],
)
def test_servers_that_are_something_else(answer: Answer, words: str):
    with (
        answering(lambda method, path, body: answer) as server,
        pytest.raises(RemoteError, match=words),
    ):
        RemoteSession({**server, "token": ANNA}).check()


def test_an_answer_that_is_no_archive(video: Path, tmp_path: Path):
    with answering(WrapperServerStandin(b"{}", "application/json")) as server:
        session = RemoteSession(server)
        session.prepare(video, sha256(VIDEO))
        with pytest.raises(RemoteError, match="sent no archive"):
            run(session, tmp_path / "o")
