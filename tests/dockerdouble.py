"""A double of the Docker engine: its API on a socket, for the real SDK; and calls of programs."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from facemake.backends.threedi import Engine
from facemake.backends.threedi.install import find_install
from facemake.backends.threedi.runtimes import Call, Input, Output, Own, Runtime, runtime

IMAGE = "bitbox:latest"
ID = "5c" * 32


@dataclass
class Container:
    """What the double knows of one."""

    id: str
    labels: dict[str, str]
    killed: bool = False
    started: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


class Double(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A double of the Docker engine: containers that say and do what they are told to.

    Attributes:
        code: exit code of every container.
        said: what it says: (stream, bytes), 1 is standard output, 2 standard error.
        seconds: how long it runs; None: for ever.
        made: what containers were asked for with.
        break_at: requests (a method and the last part of a path) that fail, and how: a status, or
            `hang up`.
    """

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.containers: dict[str, Container] = {}
        self.removed: list[str] = []
        self.made: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.code, self.seconds = 0, 0.0
        self.said: list[tuple[int, bytes]] = [(1, b"hello\n")]
        self.break_at: dict[str, int | str] = {}
        self.images = {IMAGE: ID}
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, labels: dict[str, str]) -> str:
        """A container that is there already."""
        name = f"{len(self.containers) + len(self.removed):064x}"
        self.containers[name] = Container(name, labels)
        return name

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no error."""


class Handler(BaseHTTPRequestHandler):
    """The requests that the SDK makes."""

    protocol_version = "HTTP/1.1"
    server: Double

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, document: object = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _handle(self) -> None:
        engine = self.server
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        words = unquote(re.sub(r"^/v[\d.]+", "", parts.path)).strip("/").split("/")
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        what = f"{self.command} {words[-1]}"
        if words[0] == "containers" and len(words) == 2 and words[1] not in ("json", "create"):
            what = f"{self.command} container"
        if words == ["containers", "json"]:
            what = "GET list"
        engine.requests.append(what)
        how = engine.break_at.get(what)
        if how == "hang up":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif how is not None:
            self._answer(int(how), {"message": f"told to fail at {what}"})
        else:
            self._do(engine, words, query, json.loads(body) if body else {})

    do_GET = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815

    def _do(
        self, engine: Double, words: list[str], query: dict[str, str], document: dict[str, Any]
    ) -> None:
        if words == ["_ping"]:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"OK")
        elif words == ["version"]:
            self._answer(200, {"ApiVersion": "1.43", "Version": "double"})
        elif words[0] == "images":
            name = "/".join(words[1:-1])
            found = engine.images.get(name)
            answer = {"Id": f"sha256:{found}", "message": "No such image"}
            self._answer(200 if found else 404, answer)
        elif words == ["containers", "create"]:
            known = {*engine.images, *(f"sha256:{one}" for one in engine.images.values())}
            if document["Image"] not in known:
                self._answer(404, {"message": f"No such image: {document['Image']}"})
                return
            name = engine.add(document.get("Labels") or {})
            engine.made.append(document)
            self._answer(201, {"Id": name, "Warnings": []})
        elif words == ["containers", "json"]:
            (label,) = json.loads(query["filters"])["label"]
            found = [c for c in engine.containers.values() if label in c.labels]
            self._answer(200, [{"Id": c.id, "Labels": c.labels} for c in found])
        elif words[0] == "containers":
            self._of_a_container(engine, words, query)
        else:
            self._answer(404, {"message": "page not found"})

    def _of_a_container(self, engine: Double, words: list[str], query: dict[str, str]) -> None:
        one = engine.containers.get(words[1])
        if one is None or one.labels.get("gone"):
            self._answer(404, {"message": f"No such container: {words[1]}"})
        elif words[2:] == ["json"]:
            state = {"Status": "running", "Running": True}
            config = {"Labels": one.labels, "Tty": False}
            self._answer(200, {"Id": one.id, "Config": config, "State": state})
        elif words[2:] == ["attach"]:
            self._attach(engine, one)
        elif words[2:] == ["start"]:
            one.started.set()
            if engine.seconds is not None:
                threading.Timer(engine.seconds, one.over.set).start()
            self._answer(204)
        elif words[2:] == ["wait"]:
            one.over.wait(30)
            self._answer(200, {"StatusCode": 137 if one.killed else engine.code})
        elif words[2:] == ["kill"]:
            one.killed = True
            one.over.set()
            self._answer(204)
        elif self.command == "DELETE":
            assert query["force"] in ("True", "1", "true")
            one.killed = True
            one.started.set()
            one.over.set()
            del engine.containers[one.id]
            engine.removed.append(one.id)
            self._answer(204)

    def _attach(self, engine: Double, one: Container) -> None:
        self.close_connection = True
        self.wfile.write(
            b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
        self.wfile.flush()
        one.started.wait(30)
        for stream, data in engine.said:
            self.wfile.write(struct.pack(">BxxxL", stream, len(data)) + data)
        self.wfile.flush()
        one.over.wait(30)


def image(engine: Engine = Engine.FULL, name: str = IMAGE) -> Runtime:
    """What runs programs of an install that is an image."""
    return runtime(find_install(engine, name, {}))


def call(folder: Path, video: str = "a b.mp4", limit: float | None = 20) -> Call:
    """A call of a program, with a file of the user's, one of its own and one that it writes."""
    (folder / "in").mkdir(exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    path = folder / "in" / video
    path.touch()
    words = [Input(path), Output("v_rects.3DI"), Own("configs/c.txt"), "30"]
    return Call("video_detect_face", words, folder / "out", limit)
