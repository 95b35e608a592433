"""The client against servers that are not ours: a stand-in of the wrapper's, and bad ones."""

from __future__ import annotations

import io
import json
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from facemake.server import client
from facemake.server.client import RemoteError, RemoteSession
from serving import ANNA, VIDEO, sha256


def run(session: RemoteSession, folder: Path) -> None:
    session.execute("FaceProcessor3DI", "detect_faces", {}, {}, folder, "my clip")


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
