"""Where a server is, and what it knows us by: `server={...}` of the processors."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from facemake.server.remote_error import RemoteError


def url_of(server: Mapping[str, Any]) -> str:
    """The address of the server, ending in a slash.

    Raises:
        RemoteError: there is none, or it is not one.
    """
    unknown = sorted(server.keys() - {"host", "port", "token", "token_file"})
    if unknown:
        raise RemoteError(f"server: no {unknown[0]}; there are host, port, token and token_file")
    host, port = str(server.get("host") or "").strip(), server.get("port")
    if not host:
        raise RemoteError(
            "server: host is missing, as in {'host': 'gpu.example.org', 'port': 8000}"
        )
    if isinstance(port, str) and port.isdecimal():
        port = int(port)
    if port is not None and (not isinstance(port, int) or not 0 < port < 65_536):
        raise RemoteError(f"server: {port!r} is no port")
    if "://" not in host:
        with suppress(ValueError):  # an address of IPv6 has colons itself
            host = f"[{ipaddress.IPv6Address(host.strip('[]'))}]"
        host = f"http://{host}"
    try:
        parts = urlsplit(host)
        given = parts.port
    except ValueError as error:
        raise RemoteError(f"server: {host!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise RemoteError(f"server: {host!r} is no address of a server")
    if parts.username is not None or parts.password is not None:
        raise RemoteError("server: give the token as 'token', not in the address")
    if port is None and given is None and "://" not in str(server["host"]):
        raise RemoteError("server: port is missing (a server listens on 8000 unless told)")
    if port is not None and given is not None and port != given:
        raise RemoteError(f"server: port is {port}, and {given} in the address")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    number = port if port is not None else given
    place = name if number is None else f"{name}:{number}"
    return f"{parts.scheme}://{place}{parts.path.rstrip('/')}/"


def token_of(server: Mapping[str, Any]) -> str | None:
    """The token, given or read from its file; None: there is none.

    Raises:
        RemoteError: it is no token, or its file cannot be read.
    """
    token, path = server.get("token"), server.get("token_file")
    if path is not None:
        if token is not None:
            raise RemoteError("server: give token or token_file, not both")
        try:
            words = Path(path).expanduser().read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise RemoteError(f"the token file {path} cannot be read: {error}") from None
        if not 1 <= len(words) <= 2:
            raise RemoteError(f"the token file {path} holds one token, or `name token`")
        token = words[-1]
    if token is None:
        return None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
        raise RemoteError("server: the token is no line of ASCII characters")
    return token
