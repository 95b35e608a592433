"""Where a client goes: addresses, and a token that goes with them."""

from __future__ import annotations

import socket
import warnings
from typing import Any

import pytest

from facemake.server.client import RemoteError, RemoteSession
from serving import ANNA


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ({"host": "gpu", "port": 8000}, "http://gpu:8000/"),
        ({"host": "gpu", "port": "8000"}, "http://gpu:8000/"),
        ({"host": "::1", "port": 8000}, "http://[::1]:8000/"),
        ({"host": "[::1]", "port": 8000}, "http://[::1]:8000/"),
        ({"host": "10.0.0.1", "port": 1}, "http://10.0.0.1:1/"),
        ({"host": "https://gpu.example.org"}, "https://gpu.example.org/"),
        ({"host": "https://gpu.example.org:8443/faces/"}, "https://gpu.example.org:8443/faces/"),
        ({"host": "https://gpu", "port": 8443}, "https://gpu:8443/"),
        ({"host": "gpu:8000"}, "http://gpu:8000/"),
        ({"host": "gpu"}, None),
        ({"port": 8000}, None),
        ({"host": "", "port": 8000}, None),
        ({"host": "gpu", "port": 0}, None),
        ({"host": "gpu", "port": 70_000}, None),
        ({"host": "gpu", "port": "x"}, None),
        ({"host": "ftp://gpu", "port": 1}, None),
        ({"host": "file:///etc", "port": 1}, None),
        ({"host": "http://a:b@gpu", "port": 1}, None),
        ({"host": "https://gpu:1", "port": 2}, None),
        ({"host": "gpu", "port": 1, "tokens": "x"}, None),
        ({"host": "gpu", "port": 1, "token": "é"}, None),
        ({"host": "gpu", "port": 1, "token": "a\nb"}, None),
        ({"host": "gpu", "port": 1, "token": ""}, None),
        ({"host": "gpu", "port": 1, "token": "a", "token_file": "b"}, None),
        ({"host": "gpu", "port": 1, "token_file": "/none"}, None),
    ],
)
def test_addresses(server: dict[str, Any], url: str | None):
    if url is None:
        with pytest.raises(RemoteError):
            RemoteSession(server)
    else:
        assert RemoteSession(server).url == url


@pytest.mark.parametrize(
    ("server", "warned"),
    [
        ({"host": "gpu", "port": 1, "token": ANNA}, True),
        ({"host": "gpu", "port": 1}, False),
        ({"host": "127.0.0.1", "port": 1, "token": ANNA}, False),
        ({"host": "::1", "port": 1, "token": ANNA}, False),
        ({"host": "https://gpu", "token": ANNA}, False),
    ],
)
def test_a_token_that_goes_unencrypted_is_warned_of(server: dict[str, Any], warned: bool):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        RemoteSession(server)
    assert [str(one.message) for one in caught if "unencrypted" in str(one.message)] == (
        [str(caught[0].message)] if warned else []
    )
    assert all(ANNA not in str(one.message) for one in caught)


def test_a_server_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RemoteError, match="cannot be reached: start `facemake serve` there"):
        RemoteSession({"host": "127.0.0.1", "port": port}).check()
    with pytest.raises(RemoteError, match="cannot be reached"):
        RemoteSession({"host": "no-such-host.invalid", "port": 1}).check()
