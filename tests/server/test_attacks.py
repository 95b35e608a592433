"""What somebody may send who means no good: names, forms, sizes, and slowly."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from serving import VIDEO, Served, raw, serving, settings, sha256


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(
        settings(tmp_path_factory.mktemp("open"), upload_bytes=100_000, sessions=1000)
    ) as served:
        yield served
        assert names_in(served) <= {"lock", "sessions", "input_file.mp4", "state.json"}


def names_in(server: Served) -> set[str]:
    """Names of files and of folders that are no keys and no part of a session."""
    own = {"input", "work", "jobs"}
    found = {path.name for path in server.settings.folder.rglob("*")}
    return {name for name in found - own if len(name) != 32}


def multipart(*parts: tuple[str, bytes], boundary: bytes = b"b") -> bytes:
    """A form whose parts have the header as it is given."""
    whole = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (boundary, h.encode(), d)
        for h, d in parts
    )
    return whole + b"--%s--\r\n" % boundary


def post_form(server: Served, body: bytes, **headers: str) -> requests.Response:
    head = {"Content-Type": "multipart/form-data; boundary=b", **headers}
    return server.ask("POST", "prepare_session", data=body, headers=head)


GOOD = (
    ('name="file_hash"', sha256(VIDEO).encode()),
    ('name="input_file"; filename="a.mp4"', VIDEO),
)


def test_the_form_by_hand_is_taken(server: Served):
    assert post_form(server, multipart(*GOOD)).status_code == 200
    assert post_form(server, multipart(*reversed(GOOD))).status_code == 200


# Names


@pytest.mark.parametrize(
    "name",
    [
        *("../../evil.mp4", "/etc/cron.d/evil.mp4", "..\\\\..\\\\evil.mp4", "C:\\\\evil.mp4"),
        *(".mp4", "-rf.mp4", "$(touch evil).mp4", "a;b|c.mp4", "x" * 2000 + ".mp4", "a\tb.mp4"),
        *("é\u202e.mp4", "input_file.mp4", "state.json.mp4"),
    ],
)
def test_a_name_of_an_upload_names_no_file(server: Served, name: str):
    parts = (GOOD[0], (f'name="input_file"; filename="{name}"', VIDEO))
    assert post_form(server, multipart(*parts)).status_code == 200
    assert names_in(server) <= {"lock", "sessions", "input_file.mp4", "state.json"}


@pytest.mark.parametrize(
    "name", ["x.sh", "x", "", "x.mp4.py", "x.m3u8", "x.mp4\0.py", "x.zip", "x.html", "x.mp4/"]
)
def test_other_kinds_of_files_are_refused(server: Served, name: str):
    parts = (GOOD[0], (f'name="input_file"; filename="{name}"', VIDEO))
    assert post_form(server, multipart(*parts)).status_code in (400, 415)


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\nfile:///etc/passwd\n" + b" " * 100,
        b"ffconcat version 1.0\nfile /etc/passwd\n" + b" " * 100,
        b"<?xml version='1.0'?><MPD><BaseURL>http://10.0.0.1/</BaseURL></MPD>" + b" " * 50,
        b"#!/bin/sh\n" + b"\n" * 100,
        b"v=0\no=- 0 0 IN IP4 10.0.0.1\n" + b"\n" * 100,
        b"",
        b"\0",
    ],
)
def test_what_would_make_a_decoder_open_other_files_is_no_video(server: Served, data: bytes):
    answer = server.prepare(data=data)
    assert answer.status_code == 415, answer.text


# Forms


@pytest.mark.parametrize(
    "parts",
    [
        [GOOD[0]],
        [GOOD[1]],
        [*GOOD, GOOD[0]],
        [*GOOD, GOOD[1]],
        [*GOOD, ('name="evil"', b"1")],
        [*GOOD, ('name="reuse"', b"2")],
        [*GOOD, ('name="reuse"', b"1" * 300)],
        [('name="file_hash"; filename="h"', b"1"), GOOD[1]],
        [GOOD[0], ('name="input_file"', VIDEO)],
        [("", b"1"), *GOOD],
        [('name="file_hash"', b"0" * 64), GOOD[1]],
        [('name="file_hash"', b"x" * 64), GOOD[1]],
        [('name="file_hash"', b"../../x"), GOOD[1]],
        [('name="camera_file"; filename="x.py"', b"1"), *GOOD],
        [*[(f'name="f{i}"', b"1") for i in range(100)]],
        [],
    ],
)
def test_forms_that_are_not_as_they_should_be(server: Served, parts: list[Any]):
    assert post_form(server, multipart(*parts)).status_code in (400, 415, 422)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"nonsense" * 100),
        ("multipart/form-data; boundary=b", multipart(*GOOD)[:-8]),
        ("multipart/form-data; boundary=c", multipart(*GOOD)),
        ("multipart/form-data", multipart(*GOOD)),
        ("multipart/form-data; boundary=" + "b" * 300, multipart(*GOOD)),
        ("application/json", b"{}"),
        ("text/plain", b"x"),
        ("", b""),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\n" + multipart(*GOOD),
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 90_000 + b"\r\n\r\n"),
    ],
)
def test_bodies_that_are_no_forms(server: Served, kind: str, body: bytes):
    answer = server.ask("POST", "prepare_session", data=body, headers={"Content-Type": kind})
    assert answer.status_code in (400, 422), answer.text


def test_a_calibration_file_is_small(tmp_path: Path):
    with serving(settings(tmp_path, camera_bytes=100)) as server:
        camera = ('name="camera_file"; filename="c.txt"', b"1" * 101)
        assert post_form(server, multipart(camera, *GOOD)).status_code == 413


# Sizes


def test_an_upload_that_says_that_it_is_too_large_is_refused_at_once(server: Served):
    head = (
        b"POST /prepare_session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    started = time.monotonic()
    status, said = raw(server, head)
    assert status == 413 and "100000 bytes" in said and time.monotonic() - started < 3


def test_who_asks_before_sending_is_not_asked_to_send(server: Served):
    head = (
        b"POST /prepare_session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
        b"Expect: 100-continue\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    status, said = raw(server, head)
    assert status == 413 and "100 Continue" not in said


def test_an_upload_of_no_said_length_is_counted(server: Served):
    start = multipart(*GOOD).removesuffix(b"\r\n--b--\r\n")

    def body() -> Iterator[bytes]:
        yield start
        for _ in range(200):
            yield bytes(10_000)

    head = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = server.ask("POST", "prepare_session", data=body(), headers=head)
    assert answer.status_code == 413, answer.text
    assert not list(server.settings.folder.rglob(".upload.part"))


def test_an_upload_of_a_said_length_is_seen_to_be_refused(server: Served):
    """The client has the answer, not a broken connection."""
    answer = server.prepare(data=VIDEO + bytes(3_000_000))
    assert answer.status_code == 413 and "100000" in answer.json()["detail"]


def test_more_than_was_said_is_another_request(server: Served):
    body = multipart(*GOOD)
    head = (
        b"POST /prepare_session HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n" % (len(body) - 20)
    )
    assert raw(server, head + body)[0] == 400  # cut off where it said


@pytest.mark.parametrize("path", ["execute", "jobs"])
def test_a_form_is_small(server: Served, path: str):
    session = server.session()
    answer = server.call(path, session, x="y" * 70_000)
    assert answer.status_code == 413

    def body() -> Iterator[bytes]:
        yield f"session_id={session}&processor_class=FaceProcessor3DI&method=fit&config=".encode()
        for _ in range(100):
            yield b"x" * 10_000

    head = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.ask("POST", path, data=body(), headers=head).status_code == 413


@pytest.mark.parametrize(
    "config",
    [
        *("[" * 10_000, '{"a":' * 3000 + "1" + "}" * 3000, '{"k":' + "9" * 15_000 + "}", "[]", "x"),
        *('{"landmark_model": "../../etc"}', '{"morphable_model": "a/../../b"}', '{"fast": "yes"}'),
        *('{"runtime": "/bin"}', '{"output_dir": "/tmp"}', '{"server": {"host": "10.0.0.1"}}'),
        *('{"camera_model": "/etc/passwd"}', '{"camera_model": 1e400}', '{"camera_model": NaN}'),
        '{"a": "' + "x" * 20_000 + '"}',
    ],
)
def test_configs_that_are_refused(server: Served, config: str):
    form = {
        "session_id": server.session(),
        "processor_class": "FaceProcessor3DI",
        "method": "fit",
        "config": config,
    }
    answer = server.ask("POST", "execute", data=form)
    assert answer.status_code == 422, answer.text
    assert server.queue.length() == (0, 0)
    server.ask("DELETE", f"sessions/{form['session_id']}")


@pytest.mark.parametrize(
    "method",
    [
        *("secret", "__init__", "io", "_file", "__class__", "citation", "", "fit ", "FIT", "fit\0"),
        *("../fit", "fit;ls", "detect_faces()", "cache"),
    ],
)
@pytest.mark.parametrize("path", ["execute", "jobs"])
def test_a_method_that_is_none_is_not_called(server: Served, method: str, path: str):
    session = server.session()
    assert server.call(path, session, method).status_code == 422
    server.ask("DELETE", f"sessions/{session}")


@pytest.mark.parametrize(
    "name", ["", "os", "StandinProcessor", "FaceProcessor3DI.__mro__", "standin_processors:x"]
)
def test_a_class_that_is_none_is_not_made(server: Served, name: str):
    session = server.session()
    assert server.call("execute", session, processor_class=name).status_code == 422
    server.ask("DELETE", f"sessions/{session}")


@pytest.mark.parametrize(
    "identifier",
    ["", ".", "..", "../..", "%2e%2e", "a/b", "\0", "x" * 128, "x" * 129, "é", "0" * 32, "*", "'"],
)
def test_sessions_and_jobs_that_are_none(server: Served, identifier: str):
    session = server.session()  # one that is none of them, and stays
    assert server.call("execute", identifier).status_code in (404, 422)
    for method, path in (("DELETE", "sessions"), ("GET", "jobs"), ("DELETE", "jobs")):
        where = requests.utils.quote(identifier, safe="%.")
        asked = f"{method} /{path}/{where} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert raw(server, asked.encode())[0] in (404, 405, 422)
    assert list((server.settings.folder / "sessions").iterdir())
    assert server.ask("DELETE", f"sessions/{session}").ok


# Connections


def test_an_upload_that_pauses_for_too_long_is_ended(tmp_path: Path):
    with serving(settings(tmp_path, idle_seconds=0.5)) as server:
        head = (
            b"POST /prepare_session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        assert raw(server, head + multipart(*GOOD)[:100])[0] == 408
        assert not list((tmp_path / "sessions").iterdir())


def test_an_upload_that_drips_is_ended(tmp_path: Path):
    with (
        serving(settings(tmp_path, idle_seconds=5, upload_seconds=0.6)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection,
    ):
        connection.sendall(
            b"POST /prepare_session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        for byte in multipart(*GOOD)[:8]:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)
        assert b" 408 " in connection.recv(65536)


def test_a_form_that_drips_is_ended(tmp_path: Path):
    with serving(settings(tmp_path, idle_seconds=0.5)) as server:
        head = (
            b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\nsession_id="
        )
        assert raw(server, head)[0] == 408


@pytest.mark.parametrize(
    "start", [b"", b"GET / HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /"]
)
def test_a_connection_that_asks_for_nothing_is_ended(
    server: Served, start: bytes, monkeypatch: pytest.MonkeyPatch
):
    from facemake.server import http

    monkeypatch.setattr(http, "_SECONDS_TO_ASK", 0.4)
    with socket.create_connection(("127.0.0.1", server.port), timeout=4) as connection:
        connection.sendall(start)
        while connection.recv(65536):  # until it is ended
            pass


def test_uploads_that_arrive_count_as_sessions(tmp_path: Path):
    with serving(settings(tmp_path, sessions=2, idle_seconds=10)) as server:
        head = (
            b"POST /prepare_session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        for connection in slow:
            connection.sendall(head)
        end = time.monotonic() + 5
        while len(list((tmp_path / "sessions").iterdir())) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert server.prepare().status_code == 503
        for connection in slow:
            connection.close()
        end = time.monotonic() + 5
        while (answer := server.prepare()).status_code != 200 and time.monotonic() < end:
            time.sleep(0.05)
        assert answer.status_code == 200


def test_nonsense_for_http(server: Served):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"X" * 100_000,
        b"GET / HTTP/9.9\r\n\r\n",
    ):
        assert raw(server, data + b"\r\n\r\n", wait=3)[0] in (0, 400, 403)
    smuggled = (
        b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert raw(server, smuggled)[0] in (400, 422)
    assert server.get("health").status_code == 200
