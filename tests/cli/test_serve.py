"""facemake serve: the command itself, as a process."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from facemake.cli import main, serve, serving
from facemake.server.settings import Settings
from serving import ANNA, VIDEO, running, sha256
from standin3di import build


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The command sets the mask of new files, and the log, of its whole process."""
    logs = [logging.getLogger(name) for name in ("facemake", "uvicorn")]
    mask, handlers = os.umask(0), [list(log.handlers) for log in logs]
    os.umask(mask)
    yield
    os.umask(mask)
    for log, before in zip(logs, handlers, strict=True):
        log.handlers[:] = before


def settings(*arguments: str) -> Settings:
    parser = argparse.ArgumentParser()
    serve.add_to(parser.add_subparsers())
    return serve.settings_of(parser.parse_args(["serve", *arguments]))


def test_it_serves_says_so_and_ends(tmp_path: Path):
    with running("--folder", str(tmp_path / "s")) as (url, process):
        assert requests.get(url, timeout=60).status_code == 200
        files = {"input_file": ("a.mp4", VIDEO)}
        form = {"file_hash": sha256(VIDEO)}
        answer = requests.post(url + "prepare_session", files=files, data=form, timeout=60)
        session = answer.json()["session_id"]
        call = {
            "session_id": session,
            "processor_class": "FaceProcessor3DI",
            "method": "detect_faces",
            "config": "{}",
        }
        # there is no 3DI here, or the video is none: said in words
        answer = requests.post(url + "execute", data=call, timeout=60)
        assert answer.status_code == 500 and str(tmp_path) not in answer.text
        assert answer.json()["detail"] and "Traceback" not in answer.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) in (0, -signal.SIGTERM)
        assert process.stdout is not None
        said = process.stdout.read()
        assert session not in said and "Traceback" not in said, said
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "s").rglob("*"):
        assert not path.stat().st_mode & 0o077, path


def test_an_interrupt_from_the_keyboard_ends_it(tmp_path: Path):
    with running("--folder", str(tmp_path)) as (url, process):
        assert requests.get(url + "health", timeout=60).json()["status"] == "ok"
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        assert process.stdout is not None and "Traceback" not in process.stdout.read()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_it_speaks_https_on_all_addresses_with_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from facemake.server.client import RemoteError, RemoteSession

    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    tokens = tmp_path / "tokens"
    tokens.write_text(f"anna {ANNA}\n")
    tokens.chmod(0o600)
    arguments = ["--host", "0.0.0.0", "--token-file", str(tokens), "--folder", str(tmp_path / "s")]
    arguments += ["--certificate", str(certificate), "--key", str(key)]
    with running(*arguments) as (url, _):
        assert url.startswith("https://0.0.0.0:")
        url = url.replace("0.0.0.0", "127.0.0.1")
        assert requests.get(url + "version", verify=str(certificate), timeout=60).status_code == 401
        session = RemoteSession({"host": url, "token": ANNA})
        with pytest.raises(RemoteError, match="REQUESTS_CA_BUNDLE=FILE"):
            session.check()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert session.check()["protocol"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--host", "0.0.0.0"],
        ["--host", "::"],
        ["--host", "gpu.example.org"],
        ["--allow-host", "faces.example.org"],
    ],
)
def test_others_are_let_in_with_a_token_only(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("FACEMAKE_SERVER_TOKEN", raising=False)
    assert main(["serve", *arguments]) == 2
    assert "token" in capsys.readouterr().err
    monkeypatch.setenv("FACEMAKE_SERVER_TOKEN", ANNA)
    found = settings(*arguments)
    assert found.owner_of(ANNA) == "default"
    if "--allow-host" in arguments:
        assert found.hosts == {"localhost", "127.0.0.1", "::1", "faces.example.org"}
    else:
        assert found.hosts is None


def test_what_the_command_line_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3DI").mkdir()
    found = settings(
        *("--folder", "here", "--max-upload", "1.5GB", "--max-disk", "2tb", "--min-free", "500 MB"),
        *("--max-sessions", "3", "--max-queue", "4", "--jobs", "2", "--job-time", "30min"),
        *("--session-time", "2d", "--upload-time", "90s"),
        *("--runtime-3di", "3DI", "--runtime-3dilite", "3dilite:1"),
    )
    limits = found.limits
    assert found.folder == tmp_path / "here"
    assert (limits.upload_bytes, limits.disk_bytes) == (1_500_000_000, 2 * 10**12)
    assert (limits.free_bytes, limits.sessions) == (500_000_000, 3)
    assert (limits.queue, limits.running, limits.job_seconds) == (4, 2, 1800)
    assert (limits.session_seconds, limits.upload_seconds) == (172_800, 90)
    assert found.runtimes == {
        "FaceProcessor3DI": str(tmp_path / "3DI"),
        "FaceProcessor3DIlite": "3dilite:1",
    }
    assert "127.0.0.1" in (found.hosts or ())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-upload", "-1"],
        ["--max-upload", "4 elephants"],
        ["--jobs", "0"],
        ["--jobs", "x"],
        ["--job-time", "0s"],
        ["--job-time", "never"],
        ["--port", "x"],
        ["--port", "99999"],
        ["--token", "secret"],  # a list of processes would show it
    ],
)
def test_arguments_that_are_none(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main(["serve", *arguments])
    assert ended.value.code == 2 and "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--key", "x"], "both --certificate and --key"),
        (["--certificate", "/none", "--key", "/none"], "certificate or its key cannot be read"),
        (["--host", "127.0.0.300"], "tokens"),
        (["--token-file", "/none"], "token file /none cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["serve", "--port", "0", "--folder", str(tmp_path / "s"), *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--runtime-3di", "{folder}/none.sif", "there is no such image file"),
        ("--runtime-3di", "{folder}", "it is no install of 3DI"),
        ("--runtime-3dilite", "{folder}", "it is no install of 3DI-lite"),
        ("--runtime-3di", "{bare}", "has no face model"),
        ("--runtime-3di", "an-image:1", "the Docker engine does not answer"),
    ],
)
def test_an_engine_that_no_job_could_use_is_found_at_the_start(
    option: str,
    value: str,
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    bare = build.build(tmp_path / "bare", "3di")
    for model in (bare / "models" / "MMs").iterdir():
        shutil.rmtree(model)
    named = value.format(folder=tmp_path, bare=bare)
    assert main(["serve", "--port", "0", "--folder", str(tmp_path / "s"), option, named]) == 2
    said = capsys.readouterr().err
    assert f"{option} {named}: " in said and words in said and said.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_the_start_says_which_engines_there_are(tmp_path: Path):
    install = build.build(tmp_path / "3DI", "3di")
    bare = dict.fromkeys(("BITBOX_DOCKER", "BITBOX_3DI", "BITBOX_3DI_LITE"), "")
    given = ("--folder", str(tmp_path / "s"), "--runtime-3di", str(install))
    with running(*given, **bare) as (_, process):
        assert process.stdout is not None
        assert process.stdout.readline().rstrip() == (
            f"engines: facemake's own; 3DI in the folder {install}; no 3DI-lite (--runtime-3dilite)"
        )


def test_a_port_or_a_folder_that_another_server_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with running("--folder", str(tmp_path / "s")) as (url, _):
        port = url.rstrip("/").rpartition(":")[2]
        assert main(["serve", "--port", port, "--folder", str(tmp_path / "t")]) == 2
        assert f"port {port}" in capsys.readouterr().err
        assert main(["serve", "--port", "0", "--folder", str(tmp_path / "s")]) == 2
        assert "another server uses" in capsys.readouterr().err


def test_a_new_token_is_a_line_of_a_token_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("anna", "bob"):
        assert main(["serve", "--new-token", name]) == 0
    path = tmp_path / "tokens"
    path.write_text(capsys.readouterr().out)
    path.chmod(0o600)
    assert settings("--token-file", str(path), "--host", "0.0.0.0").tokens.keys() == {"anna", "bob"}


def test_without_the_extra_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    monkeypatch.setattr(serving, "find_spec", lambda name: None if name == "fastapi" else 1)
    assert main(["serve", "--folder", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "needs FastAPI: in facemake's own folder, pip install -e '.[serve]'" in said


def test_the_command_line_and_the_client_do_without_the_extra():
    code = (
        "import sys\n"
        "for name in ('fastapi', 'uvicorn', 'starlette', 'python_multipart', 'pydantic', 'grpc',\n"
        "             'prometheus_client'):\n"
        "    sys.modules[name] = None\n"
        "import facemake.cli, facemake.server.client, facemake.server.worker\n"
        "import facemake.server.jobs\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
