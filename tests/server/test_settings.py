"""Who may use a server, and how it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from facemake.errors import FacemakeError
from facemake.server.settings import Settings, host_name, is_loopback, read_tokens, token_digest

LONG = "x" * 32


def token_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_tokens_are_read_and_told_apart(tmp_path: Path):
    path = token_file(tmp_path, f"# who\nanna  a{LONG}\n\nbob b{LONG}\n")
    tokens = read_tokens(path, {"FACEMAKE_SERVER_TOKEN": f"c{LONG}"})
    assert tokens.keys() == {"anna", "bob", "default"}
    settings = Settings(tmp_path, tokens=tokens)
    assert settings.owner_of(f"b{LONG}") == "bob" and settings.owner_of(f"c{LONG}") == "default"
    for wrong in ("", LONG, f"b{LONG}x", f"b{LONG}\ud800"):
        assert settings.owner_of(wrong) is None
    assert LONG not in repr(settings)


def test_a_file_with_one_token_alone(tmp_path: Path):
    assert read_tokens(token_file(tmp_path, LONG), {}) == {"default": token_digest(LONG)}
    assert read_tokens(None, {}) == {}


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (f"anna {LONG}", 0o640, "chmod 600"),
        (f"anna {LONG}", 0o604, "chmod 600"),
        ("anna short", 0o600, "at least 20"),
        (f"anna {LONG} x", 0o600, "line 1"),
        (f"\nan/na {LONG}", 0o600, "line 2"),
        (f"anna {LONG}\nanna y{LONG}", 0o600, "twice"),
        (f"anna {LONG}\nbob {LONG}", 0o600, "twice"),
        (f"anna {LONG}é", 0o600, "ASCII"),
        ("# none", 0o600, "no token"),
    ],
)
def test_token_files_that_are_refused(tmp_path: Path, text: str, mode: int, words: str):
    with pytest.raises(FacemakeError, match=words) as error:
        read_tokens(token_file(tmp_path, text, mode), {})
    assert LONG not in str(error.value)


def test_a_token_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(FacemakeError, match="cannot be read"):
        read_tokens(tmp_path / "none", {})
    with pytest.raises(FacemakeError, match="FACEMAKE_SERVER_TOKEN"):
        read_tokens(None, {"FACEMAKE_SERVER_TOKEN": "short"})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_addresses_of_this_machine(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "10.0.0.1", "gpu", "localhost.evil.com", "1"]
)
def test_addresses_that_others_reach(host: str):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LocalHost:8000", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("evil.com:80", "evil.com"),
        ("localhost.evil.com", "localhost.evil.com"),
        ("localhost@evil.com", "localhost@evil.com"),
        ("", ""),
    ],
)
def test_what_a_request_calls_the_server(header: str, name: str):
    assert host_name(header) == name
