"""The other side: a client of `facemake serve --embed`.

    with EmbedClient({"host": "localhost", "port": 8000}) as client:
        faces = client.embed("anna.jpg", "bob.jpg")
        client.compare("anna.jpg", "bob.jpg")

A server that has too much to do says when to come again, and is asked again then.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests

from facemake.runtime.contexts import Closing
from facemake.server.address import token_of, url_of
from facemake.server.remote_error import RemoteError
from facemake.server.sending import Bearer, refusal
from facemake.server.settings import is_loopback

Picture = str | Path | bytes
"""A picture's file: where it is, or what is in it."""

_TIMEOUT = (10.0, 120.0)  # to connect, to answer


class EmbedClient(Closing):
    """A server of embeddings.

    Args:
        server: `host`, `port`, and, where the server wants one, `token` or `token_file`; as the
            processors' `server=`.
        patience: seconds for which a server is asked again that has too much to do.

    Raises:
        RemoteError: `server` is not one.
    """

    def __init__(self, server: Mapping[str, Any], patience: float = 60.0) -> None:
        self.url = url_of(server)
        self._patience = patience
        self._token = token_of(server)
        self._http = requests.Session()
        self._http.auth = Bearer(self._token)
        host = urlsplit(self.url).hostname or ""
        # a proxy of the environment is no way to this machine
        self._proxies = {"no_proxy": host} if is_loopback(host) else {}

    def about(self) -> dict[str, Any]:
        """What the server is and takes.

        Raises:
            RemoteError: it is not there, or refuses.
        """
        return self._asked("GET", "")

    def detect(self, *pictures: Picture, faces: int | None = None) -> list[dict[str, Any]]:
        """The faces of pictures.

        Args:
            pictures: their files.
            faces: the so many surest of each alone.

        Returns:
            Of each picture `width`, `height` and `faces`: `box` (x1, y1, x2, y2 px), `score`,
            `points`.

        Raises:
            RemoteError: the server is not there, or refuses; the message says why.
        """
        answer = self._sent("v1/detect", pictures, None, {"faces": faces})
        found: list[dict[str, Any]] = answer["pictures"]
        return found

    def embed(
        self,
        *pictures: Picture,
        boxes: Sequence[Sequence[Sequence[float]] | None] | None = None,
        faces: int | None = None,
        flip: bool = False,
    ) -> list[dict[str, Any]]:
        """The faces of pictures with their vectors.

        Args:
            pictures: their files.
            boxes: of each picture the boxes of its faces, or None where they are looked for.
            faces: the so many surest of each alone.
            flip: the mean of each vector and that of the mirrored face.

        Returns:
            As `detect`, and of each face `vector`: (D,) float32 of L2 norm 1.

        Raises:
            RemoteError: the server is not there, or refuses; the message says why.
        """
        wishes = {"faces": faces, "flip": flip, "vectors": "base64"}
        answer = self._sent("v1/embed", pictures, boxes, wishes)
        found: list[dict[str, Any]] = answer["pictures"]
        for picture in found:
            for face in picture["faces"]:
                face["vector"] = np.frombuffer(base64.b64decode(face["vector"]), "<f4")
        return found

    def compare(
        self, one: Picture, other: Picture, faces: int | None = None, flip: bool = False
    ) -> dict[str, Any]:
        """How alike the faces of two pictures are.

        Returns:
            `similarity` of each face of the first with each of the second, `same_person`, and the
            `pictures` as of `detect`.

        Raises:
            RemoteError: the server is not there, or refuses; the message says why.
        """
        return self._sent("v1/compare", (one, other), None, {"faces": faces, "flip": flip})

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def _sent(
        self,
        path: str,
        pictures: Sequence[Picture],
        boxes: Sequence[Sequence[Sequence[float]] | None] | None,
        wishes: Mapping[str, Any],
    ) -> dict[str, Any]:
        files: list[tuple[str, tuple[str | None, bytes | str]]] = []
        for picture in pictures:
            data = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
            # a name says more than anybody has to know
            files.append(("image", ("picture", data)))
        for some in boxes or ():
            files.append(("boxes", (None, json.dumps(some))))
        given = {name: value for name, value in wishes.items() if value is not None}
        return self._asked("POST", path, files=files, params=given)

    def _asked(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        until = time.monotonic() + self._patience
        while True:
            try:
                answer = self._http.request(
                    method, self.url + path, timeout=_TIMEOUT, proxies=self._proxies, **options
                )
            except requests.RequestException as error:
                raise RemoteError(
                    f"{self.url} cannot be reached: start `facemake serve --embed` there, and see "
                    f"that host and port are right ({type(error).__name__})"
                ) from None
            if answer.ok:
                return _document(answer, self.url)
            said = refusal(self.url, answer, answer.text, self._token is not None)
            if said.retry_after is None or time.monotonic() + said.retry_after > until:
                raise said
            time.sleep(said.retry_after)


def _document(answer: requests.Response, url: str) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise RemoteError(f"{url} gave an answer that is none of `facemake serve --embed`")
    return document
