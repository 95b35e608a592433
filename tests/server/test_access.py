"""Who may ask: tokens, other people's sessions, pages and names of other places."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from serving import ANNA, BOB, VIDEO, Served, raw, serving, settings, sha256


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that wants tokens."""
    with serving(settings(tmp_path_factory.mktemp("closed"), tokens=True)) as served:
        yield served


ASKED = (
    ("GET", "version"),
    ("GET", "openapi.json"),
    ("GET", "nothing"),
    ("POST", "prepare_session"),
    ("POST", "execute"),
    ("POST", "jobs"),
    ("GET", "jobs/x"),
    ("GET", "jobs/x/result"),
    ("DELETE", "jobs/x"),
    ("DELETE", "sessions/x"),
)


@pytest.mark.parametrize(("method", "path"), ASKED)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {ANNA}x",
        f"Bearer {ANNA[:-1]}",
        f"Bearer {ANNA.upper()}",
        f"Bearer {hashlib.sha256(ANNA.encode()).hexdigest()}",
        f"Token {ANNA}",
        ANNA,
        "Basic x",
        "Basic eDp5",
        "Basic " + "A" * 10_000,
        "Bearer \xff",
    ],
)
def test_nothing_is_answered_without_a_token(
    closed: Served, method: str, path: str, header: str | None
):
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = closed.ask(method, path, headers=headers)
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert "anna" not in answer.text


def test_what_is_open_says_nothing(closed: Served):
    assert closed.get("").status_code == 200
    assert closed.get("health").json() == {
        "status": "ok",
        "queued": None,
        "running": None,
        "sessions": None,
    }
    assert closed.get("health", ANNA).json()["queued"] == 0
    assert closed.get("health", "wrong").status_code == 401


def test_an_upload_without_a_token_is_refused_before_it_is_read(closed: Served):
    answer = closed.prepare(data=VIDEO + bytes(2_000_000))
    assert answer.status_code == 401
    assert not list((closed.settings.folder / "sessions").iterdir())


def test_somebody_elses_session_is_as_one_that_is_not_there(closed: Served):
    session = closed.session(ANNA)
    job = closed.job(session, token=ANNA)
    nobodys = closed.call("execute", "x" * 43, token=BOB)
    for path in ("execute", "jobs"):
        answer = closed.call(path, session, token=BOB)
        assert (answer.status_code, answer.content) == (404, nobodys.content)
    none = closed.get("jobs/" + "x" * 43, BOB)
    for method, path in (
        ("GET", f"jobs/{job}"),
        ("GET", f"jobs/{job}/result"),
        ("DELETE", f"jobs/{job}"),
    ):
        answer = closed.ask(method, path, BOB)
        assert (answer.status_code, answer.content) == (404, none.content)
    assert closed.ask("DELETE", f"sessions/{session}", BOB).status_code == 404
    assert closed.call("execute", session, token=ANNA).status_code == 200
    assert closed.ask("DELETE", f"sessions/{session}", ANNA).status_code == 204


def test_identifiers_are_long_and_never_the_same(server: Served):
    found = {server.session() for _ in range(3)}
    assert len(found) == 3 and all(len(identifier) == 43 for identifier in found)
    for identifier in found:
        server.ask("DELETE", f"sessions/{identifier}")


@pytest.mark.parametrize(
    "host",
    ["evil.com", "evil.com:8000", "127.0.0.1.evil.com", "localhost.", "0.0.0.0", "", "[::2]"],
)
def test_a_name_that_was_bent_to_this_machine_is_refused(server: Served, host: str):
    status, said = raw(server, b"GET /version HTTP/1.1\r\nHost: %s\r\n\r\n" % host.encode())
    assert status == 403 and "upload_bytes" not in said
    for known in (b"localhost", b"LOCALHOST:1", b"127.0.0.1:8000", b"[::1]:8000"):
        assert raw(server, b"GET /version HTTP/1.1\r\nHost: %s\r\n\r\n" % known)[0] == 200


def test_a_request_without_a_host_or_with_two(server: Served):
    assert raw(server, b"GET /version HTTP/1.0\r\n\r\n")[0] == 403
    two = b"GET /version HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n"
    assert raw(server, two)[0] in (400, 403)


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "https://127.0.0.1:1", "file://"])
def test_pages_of_others_cannot_use_the_server(server: Served, origin: str):
    answer = server.prepare(files={}, name="a.mp4")
    assert answer.status_code == 200
    form = {"file_hash": sha256(VIDEO)}
    for method, path in (("POST", "prepare_session"), ("GET", "version"), ("OPTIONS", "execute")):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        files = {"input_file": ("a.mp4", VIDEO)} if method == "POST" else None
        answer = server.ask(method, path, headers=headers, data=form, files=files)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_no_answer_has_a_path_of_the_server(server: Served):
    texts = [
        server.call("execute", "x").text,
        server.get("nothing/" + str(server.settings.folder)).text,
        server.get("openapi.json").text,
        server.prepare(name="x").text,
        json.dumps(dict(server.get("version").headers)),
    ]
    for text in texts:
        assert str(server.settings.folder) not in text and "/home" not in text
