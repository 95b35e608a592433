"""Who may ask a server of ours, and how much is read of what is sent."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facemake.server.answers import answer_of, answer_of_fault
from facemake.server.refusal import RefusedError
from facemake.server.settings import ANONYMOUS, Access, host_name

_SECONDS_TO_DRAIN = 5.0
_IDLE_SECONDS_TO_DRAIN = 0.5
HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""That every answer has."""


class Guard:
    """Stands before the application: who asks, under which name, and how much is sent.

    Args:
        app: what requests are passed on to; who asks is their `state.owner`.
        access: who may use it.
        open_paths: what is answered without a token, too.
        most_bytes: path -> bytes of a request's body; None: the application counts itself.
        seconds: within which such a body has to arrive.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        open_paths: Collection[str],
        most_bytes: Callable[[str], int | None],
        seconds: float,
    ) -> None:
        self._app = app
        self._access = access
        self._open_paths = open_paths
        self._most_bytes = most_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)

        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
                if not body.over and message["status"] >= 400:
                    await _drain(body, b"expect" in headers)
            await send(message)

        body = _Body(receive, self._seconds)
        try:
            owner = self._owner(scope["path"], headers)
            self._check_source(headers)
            body.limit = self._most_bytes(scope["path"])
            length = headers.get(b"content-length", b"")
            if body.limit is not None and length.isdigit() and int(length) > body.limit:
                raise RefusedError(413, _too_long(body.limit))
        except RefusedError as error:
            await answer_of(error)(scope, body, answer)
            return
        scope.setdefault("state", {})["owner"] = owner
        try:
            await self._app(scope, body, answer)
        except Exception as error:
            if begun:
                raise
            # here, so that it is an answer as any other: with these headers, and counted
            await answer_of_fault(scope["method"], scope["path"], error)(scope, body, answer)

    def _owner(self, path: str, headers: dict[bytes, bytes]) -> str:
        """Whose request it is.

        Raises:
            RefusedError: it needs a token, or has a wrong one.
        """
        if not self._access.tokens:
            return ANONYMOUS
        given = token_of(headers.get(b"authorization", b"").decode("latin-1"))
        if given is None:
            if path in self._open_paths:
                return ANONYMOUS
            raise RefusedError(401, "this server wants a token (Authorization: Bearer TOKEN)")
        owner = self._access.owner_of(given)
        if owner is None:
            raise RefusedError(401, "the token is none of this server's")
        return owner

    def _check_source(self, headers: dict[bytes, bytes]) -> None:
        """Refuse what a page in a browser sends, by its own name or by one that points here."""
        host = headers.get(b"host", b"").decode("latin-1")
        hosts = self._access.hosts
        if hosts is not None and host_name(host) not in hosts:
            raise RefusedError(
                403, "the server is not called by that name (`--allow-host` adds one)"
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower() not in (
            f"http://{host.lower()}",
            f"https://{host.lower()}",
        ):
            raise RefusedError(403, "requests of other pages are not answered")


def _too_long(most: int) -> str:
    return f"a request here has at most {most} bytes"


def token_of(header: str) -> str | None:
    """The token of an Authorization header; None without one.

    Clients of old can be given `name:token@host`, which they send as name and password.
    """
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode("utf-8").partition(":")[2]
        except ValueError:
            return ""
    return None if not header else ""


class _Body:
    """What a request sends, counted; where it has a limit, also in time."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._until = time.monotonic() + seconds
        self.limit: int | None = None
        self.over = False
        self._bytes = 0

    async def __call__(self) -> Message:
        if self.limit is None or self.over:  # what comes after it is that the client went away
            message = await self._receive()
        else:
            try:
                left = max(0.0, self._until - time.monotonic())
                message = await asyncio.wait_for(self._receive(), left)
            except TimeoutError:
                raise HTTPException(408, "the request took too long to arrive") from None
        if message["type"] != "http.request":
            self.over = True
            return message
        self.over = not message.get("more_body", False)
        self._bytes += len(message.get("body", b""))
        if self.limit is not None and self._bytes > self.limit:
            raise HTTPException(413, _too_long(self.limit))
        return message


async def _drain(body: _Body, waits: bool) -> None:
    """Read what still comes, for a moment: a client that sends does not see an answer.

    Args:
        body: of the request.
        waits: whether the client waits for an answer before it sends (Expect: 100-continue).
    """
    until = time.monotonic() + _SECONDS_TO_DRAIN
    body.limit = None
    while not body.over and not waits and time.monotonic() < until:
        try:
            await asyncio.wait_for(body(), _IDLE_SECONDS_TO_DRAIN)
        except TimeoutError:
            return
