"""A real server of embeddings for tests: uvicorn on a free port in a thread, the default models.

The models are loaded once a process; a server's own `Recognizer` of them has a door, so that a test
can have pictures wait.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import requests
import uvicorn
from PIL import Image

from conftest import ROOT
from facemake.backends.detect import Picture
from facemake.embedserver.app import create_app
from facemake.embedserver.choice import Backends
from facemake.embedserver.service import Service
from facemake.embedserver.settings import Limits, Settings
from facemake.recognition.recognizer import FoundFace, Recognizer
from facemake.server.http import configured
from serving import TOKENS

PORTRAITS = ROOT / "resources" / "bundled" / "portraits"
SMALL = Limits(
    picture_bytes=2_000_000,
    picture_pixels=2_000_000,
    request_bytes=4_000_000,
    pictures=4,
    faces=4,
    queue=8,
    memory_bytes=64_000_000,
    arrive_seconds=5.0,
)


@cache
def models() -> Recognizer:
    """The default ones, which one thread at a time uses."""
    return Backends().make()


class Doored(Recognizer):
    """The default models behind a door; pictures of one colour alone break them."""

    def __init__(self) -> None:
        real = models()
        super().__init__(real.detector, real.embedder, real._face_box, real._min_score, real.row)
        self.door = threading.Event()
        self.door.set()
        self.batches: list[int] = []

    def find(self, pictures: Sequence[Picture]) -> list[list[FoundFace]]:
        self.batches.append(len(pictures))
        assert self.door.wait(30)
        if any((rgb == BREAKS).all() for rgb in pictures):
            raise RuntimeError("these models break on that colour")
        return super().find(pictures)

    def close(self) -> None:
        """The models are those of other servers too."""


BREAKS = (12, 34, 56)


def portrait(name: str = "grace_hopper.jpg") -> bytes:
    return (PORTRAITS / name).read_bytes()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def encoded(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def two_faces() -> bytes:
    """Both portraits side by side."""
    both = [pixels(portrait(name))[:512] for name in ("grace_hopper.jpg", "eileen_collins.png")]
    return encoded(np.concatenate(both, axis=1))


class EmbedServed:
    """A running server, and short words for what tests ask it."""

    def __init__(
        self,
        settings: Settings,
        beside: Callable[[Service], AbstractAsyncContextManager[None]] | None = None,
    ) -> None:
        self.models = Doored()
        self.service = Service(settings, lambda: self.models, Backends().about())
        app = create_app(self.service, None if beside is None else lambda: beside(self.service))
        self.app = app
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = configured(app, settings.limits.queue, seconds_to_stop=10)
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, args=([self._socket],))

    def start(self) -> None:
        self._thread.start()
        until = time.monotonic() + 30
        while not self.server.started:
            assert self._thread.is_alive() and time.monotonic() < until
            time.sleep(0.01)

    def stop(self) -> None:
        self.service.stopping = True
        self.server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._socket.close()

    def post(
        self, path: str, *images: bytes, token: str | None = None, **options: Any
    ) -> requests.Response:
        """A form of pictures; further fields in `data`."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        files = [("image", ("x", data)) for data in images]
        return requests.post(self.url + path, files=files, headers=headers, timeout=30, **options)

    def get(self, path: str, token: str | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.get(self.url + path, headers=headers, timeout=30)

    def until(self, pictures: int) -> None:
        """Wait until so many have a place in the queue."""
        end = time.monotonic() + 60
        while self.service.queue.length() != pictures:
            assert time.monotonic() < end, self.service.queue.length()
            time.sleep(0.005)

    def until_looking(self, batches: int = 1) -> None:
        """Wait until so many batches were begun since the models were warmed up."""
        end = time.monotonic() + 60
        while len(self.models.batches) < batches + 2:
            assert time.monotonic() < end
            time.sleep(0.005)


def settings(*, tokens: bool = False, **limits: Any) -> Settings:
    return Settings(
        tokens=TOKENS if tokens else {},
        hosts=frozenset(("localhost", "127.0.0.1", "::1")),
        limits=replace(SMALL, **limits),
    )


@contextmanager
def embed_serving(what: Settings, **options: Any) -> Iterator[EmbedServed]:
    server = EmbedServed(what, **options)
    server.start()
    try:
        yield server
    finally:
        server.models.door.set()
        server.stop()
