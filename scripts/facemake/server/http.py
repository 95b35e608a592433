"""How uvicorn runs the service: one process, HTTP/1.1, no connection held for nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

_SECONDS_TO_ASK = 20.0
"""Within which a request's head has to be there, from the connection or the last answer on."""
_SECONDS_TO_STOP = 10
_CONNECTIONS = 200
"""Beside those that wait; whoever comes then is told to come later."""


class TimedProtocol(H11Protocol):
    """A connection that ends when no request comes; uvicorn itself waits for ever for its head."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take a piece of a request; wait for the rest of its head."""
        super().data_received(data)
        if self._idle and not self.transport.is_closing():
            self._wait()
        else:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, whose first bytes may have come already."""
        super().on_response_complete()
        if self._idle and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(_SECONDS_TO_ASK, self._end)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _end(self) -> None:
        self._late = None
        if self._idle:
            self.transport.close()


def configured(
    app: ASGIApp,
    waiting: int,
    certificate: Path | None = None,
    key: Path | None = None,
    seconds_to_stop: int = _SECONDS_TO_STOP,
) -> uvicorn.Config:
    """What uvicorn is told.

    Args:
        app: of `create_app`.
        waiting: how many requests may wait for an answer that takes a while.
        certificate: PEM file, to speak HTTPS.
        key: PEM file of its key.
        seconds_to_stop: that requests have when it is stopped.

    Raises:
        OSError: the certificate or its key cannot be read, or is none.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        # a path may have the identifier of a session
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        http=TimedProtocol,
        lifespan="on",
        ssl_certfile=certificate,
        ssl_keyfile=str(key) if key is not None else None,
        limit_concurrency=waiting + _CONNECTIONS,
        timeout_graceful_shutdown=seconds_to_stop,
    )
    config.load()
    return config
