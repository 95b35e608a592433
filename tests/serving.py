"""A real server for tests: uvicorn on a free port in a thread, with stand-ins for the engines."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import requests
import uvicorn

from facemake.server.app import create_app
from facemake.server.http import configured
from facemake.server.settings import Limits, Settings, token_digest
from facemake.server.store import key_of

TESTS = Path(__file__).resolve().parent
VIDEO = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 8
STANDINS = {
    "FaceProcessor": "standin_processors:StandinProcessor",
    "FaceProcessor3DI": "standin_processors:StandinProcessor",
    "FaceProcessor3DIlite": "standin_processors:StandinProcessorLite",
}
ANNA, BOB = "anna-" + "a" * 30, "bob-" + "b" * 30
TOKENS = {"anna": token_digest(ANNA), "bob": token_digest(BOB)}
SMALL = Limits(free_bytes=0, idle_seconds=20.0, sessions=20)

# workers import the stand-ins
os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents(answer: requests.Response) -> dict[str, str]:
    """The files of an answer."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name).decode("latin-1") for name in archive.namelist()}


class Served:
    """A running server, and short words for what tests ask it."""

    def __init__(self, settings: Settings, port: int = 0) -> None:
        self.app = create_app(settings)
        self.queue = self.app.state.queue
        self.settings = settings
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        config = configured(self.app, settings.limits.waiting)
        config.timeout_graceful_shutdown = 2
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def start(self) -> None:
        self._thread.start()
        until = time.monotonic() + 60
        while not self._server.started:
            assert self._thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        self.queue.stopping = True
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._socket.close()

    def get(self, path: str, token: str | None = None, **options: Any) -> requests.Response:
        return self.ask("GET", path, token, **options)

    def ask(
        self, method: str, path: str, token: str | None = None, **options: Any
    ) -> requests.Response:
        headers = {**options.pop("headers", {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return requests.request(method, self.url + path, headers=headers, timeout=30, **options)

    def prepare(
        self,
        token: str | None = None,
        name: str = "clip.mp4",
        data: bytes = VIDEO,
        **fields: Any,
    ) -> requests.Response:
        files = {"input_file": (name, data), **fields.pop("files", {})}
        form = {"file_hash": sha256(data), **fields}
        return self.ask("POST", "prepare_session", token, files=files, data=form)

    def session(self, token: str | None = None, **options: Any) -> str:
        answer = self.prepare(token, **options)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["session_id"])

    def call(
        self,
        path: str,
        session: str,
        method: str = "detect_faces",
        *,
        token: str | None = None,
        processor_class: str = "FaceProcessor3DI",
        arguments: Any = None,
        **config: Any,
    ) -> requests.Response:
        """POST /execute or /jobs."""
        form = {
            "session_id": session,
            "processor_class": processor_class,
            "method": method,
            "config": json.dumps(config),
        }
        if arguments is not None:
            form["arguments"] = json.dumps(arguments)
        return self.ask("POST", path, token, data=form)

    def job(self, session: str, method: str = "detect_faces", **options: Any) -> str:
        answer = self.call("jobs", session, method, **options)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    def let_go(self, session: str) -> None:
        """End what the landmark model `wait` holds up in a session, now and from now on."""
        (self.settings.folder / "sessions" / key_of(session) / "go").touch()

    def state(self, job: str, token: str | None = None) -> dict[str, Any]:
        answer = self.get(f"jobs/{job}", token)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def until(
        self, job: str, *states: str, token: str | None = None, seconds: float = 60
    ) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            state = self.state(job, token)
            if state["state"] in states:
                return state
            time.sleep(0.03)
        raise AssertionError(f"still {state}")


def settings(folder: Path, *, tokens: bool = False, **limits: Any) -> Settings:
    return Settings(
        folder=folder,
        tokens=TOKENS if tokens else {},
        hosts=frozenset(("localhost", "127.0.0.1", "::1")),
        limits=replace(SMALL, **limits),
        factories=STANDINS,
        runtimes={"FaceProcessor3DIlite": "an-image:1"},
    )


@contextmanager
def serving(what: Settings, port: int = 0) -> Iterator[Served]:
    server = Served(what, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def raw(server: Served, *pieces: bytes, wait: float = 5.0) -> tuple[int, str]:
    """Send pieces of bytes as they stand; the answer's status (0: none) and all of it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait) as connection:
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # it does not want more; what did it say?
        try:
            while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
                piece = connection.recv(65536)
                if not piece:
                    break
                answer += piece
        except OSError:
            pass
    return int(answer.split()[1]) if answer else 0, answer.decode("latin-1")


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command; where it listens, and its process."""
    command = [sys.executable, "-m", "facemake", "serve", "--port", "0", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        # a shell starts what runs in the background with it ignored, and that is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            said = []  # libraries speak first
            while not (found := re.search(r"listens on (https?://\S+)", "".join(said))):
                said.append(process.stdout.readline())
                assert said[-1], said
            yield found[1] + "/", process
        finally:
            process.kill()
