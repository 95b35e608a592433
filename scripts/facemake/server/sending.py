"""How requests go out: forms with large files, our token alone, connections that are kept open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

from facemake.server.remote_error import RemoteStatusError

PIECE = 1 << 20
"""Bytes that are read or written at once."""
_LINUX_KEEPALIVE = ("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 10)


class Bearer(AuthBase):
    """Sends the token, and keeps `requests` from taking another one out of .netrc."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with the token."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Form:
    """A form with files that is read piece by piece, of a length that is known before."""

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, tuple[str, Path]]) -> None:
        boundary = os.urandom(16).hex()
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._parts: list[bytes | Path] = []
        for name, value in fields.items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
            self._parts.append(f"{head}{value}\r\n".encode())
        for name, (file_name, path) in files.items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
            head += f'filename="{file_name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
            self._parts += [head.encode(), path, b"\r\n"]
        self._parts.append(f"--{boundary}--\r\n".encode())
        self.length = sum(
            len(part) if isinstance(part, bytes) else part.stat().st_size for part in self._parts
        )

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            with part.open("rb") as file:
                while data := file.read(PIECE):
                    yield data


class KeptAlive(requests.adapters.HTTPAdapter):
    """Connections that are kept open by the system while a job of hours says nothing."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections with keepalive."""
        import socket

        from urllib3.connection import HTTPConnection

        more = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in _LINUX_KEEPALIVE:
            if number := getattr(socket, name, None):
                more.append((socket.IPPROTO_TCP, number, value))
        kwargs["socket_options"] = [*HTTPConnection.default_socket_options, *more]
        super().init_poolmanager(*args, **kwargs)


def refusal(url: str, answer: requests.Response, text: str, token: bool) -> RemoteStatusError:
    """What a server's answer of an error says.

    Args:
        url: the server's.
        answer: whose status and headers are looked at.
        text: its body.
        token: whether we gave one.
    """
    status = answer.status_code
    try:
        said = str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        said = text.strip()[:500] or answer.reason
    if status == HTTPStatus.UNAUTHORIZED:
        cure = "give another one" if token else "give server={..., 'token': ...}"
        said = f"{said}: {cure} (whoever runs the server has a list of them)"
    retry = answer.headers.get("Retry-After", "")
    after = float(retry) if retry.isdecimal() else None
    return RemoteStatusError(f"{url} refused (HTTP {status}): {said}", status, after)
