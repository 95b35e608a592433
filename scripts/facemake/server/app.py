"""The service: answers requests, and leaves the work to the queue. Needs the extra `serve`."""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Form, Path
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facemake.server import store as states
from facemake.server import upload as uploads
from facemake.server import wire
from facemake.server.jobs import Queue
from facemake.server.settings import ANONYMOUS, Settings, host_name
from facemake.server.store import Job, RefusedError, Store
from facemake.server.wire import Method, ProcessorClass, WireError
from facemake.version import __version__

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 0.1
_SECONDS_TO_DRAIN = 5.0
_IDLE_SECONDS_TO_DRAIN = 0.5
_OPEN_PATHS = ("/", "/health")
_UPLOAD = "/prepare_session"
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Problem(BaseModel):
    """Why a request was not answered as asked."""

    detail: str


class Service(BaseModel):
    """That somebody is there."""

    service: str = "facemake"
    version: str = __version__


class Health(BaseModel):
    """That the server works, and for those who may use it, how much it has to do."""

    status: str = "ok"
    queued: int | None = None
    running: int | None = None
    sessions: int | None = None


class Version(BaseModel):
    """What the server is and takes."""

    service: str = "facemake"
    version: str = __version__
    protocol: int = wire.PROTOCOL
    processors: list[str]
    methods: list[str] = list(wire.METHODS)
    suffixes: list[str] = list(wire.SUFFIXES)
    upload_bytes: int
    job_seconds: float
    session_seconds: float


class Prepared(BaseModel):
    """A session."""

    session_id: str
    expires_in: float = Field(description="seconds after which it is removed if it is not used")


class JobState(BaseModel):
    """Where a job stands."""

    job_id: str
    state: str = Field(description="queued, running, done, failed or interrupted")
    position: int = Field(description="place in the queue, 1 is next; 0: it does not wait")
    queued: int = Field(description="how many jobs wait")
    progress: str = Field(description="what it says last")
    fraction: float | None = Field(description="how much is done, 0 to 1, where it is known")
    error: str | None = Field(description="why it failed")
    status: int = Field(description="of HTTP, that GET /jobs/{job_id}/result answers with")
    provenance: dict[str, dict[str, Any]] = Field(
        description="of a job that is done: each file of the result and how it was made"
    )


_Identifier = Annotated[str, Path(max_length=128)]
_SessionField = Annotated[str, Form(max_length=128)]
_Json = Annotated[str, Form(description="a JSON object")]


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": Problem} for code in (400, 401, 403, *codes)}


_CALL = _problems(404, 408, 413, 422, 503)
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "a ZIP archive of the files that the method made",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["input_file", "file_hash"],
                    "additionalProperties": False,
                    "properties": {
                        "input_file": {"type": "string", "format": "binary"},
                        "file_hash": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
                        "camera_file": {"type": "string", "format": "binary"},
                        "reuse": {"type": "string", "enum": ["0", "1"]},
                    },
                }
            }
        },
    }
}


def create_app(settings: Settings) -> FastAPI:
    """The application of one server; `app.state.queue` is its queue.

    Its lifespan takes the folder of the settings and lets it go, so one folder has one application
    at a time, in one process.
    """
    store = Store(settings)
    queue = Queue(store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(queue.start)
        try:
            yield
        finally:
            await asyncio.to_thread(queue.stop)

    app = FastAPI(
        title="facemake serve",
        version=__version__,
        description="Runs facemake's engines on videos that are sent to it.",
        # their pages load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.queue = queue
    app.add_middleware(Guard, settings=settings)
    _add_errors(app)

    @app.get("/", responses=_problems())
    async def root() -> Service:
        """That somebody is there."""
        return Service()

    @app.get("/health", responses=_problems())
    async def health(request: Request) -> Health:
        """That the server works."""
        if settings.tokens and request.state.owner == ANONYMOUS:
            return Health()
        queued, running = queue.length()
        return Health(queued=queued, running=running, sessions=len(store.sessions))

    @app.get("/version", responses=_problems())
    async def version() -> Version:
        """What the server is and takes."""
        limits = settings.limits
        return Version(
            processors=list(settings.factories),
            upload_bytes=limits.upload_bytes,
            job_seconds=limits.job_seconds,
            session_seconds=limits.session_seconds,
        )

    @app.post(
        _UPLOAD, responses=_problems(408, 413, 415, 422, 503, 507), openapi_extra=_UPLOAD_BODY
    )
    async def prepare_session(request: Request) -> Prepared:
        """Send a video; its session is then worked with."""
        owner: str = request.state.owner
        with store.upload(owner) as upload:
            found = await uploads.receive(request, upload, store)
            identifier = None
            if found.reuse and owner != ANONYMOUS:
                identifier = await asyncio.to_thread(
                    store.same, owner, found.sha256, found.suffix, found.camera_sha256
                )
            if identifier is None:
                identifier = await asyncio.to_thread(
                    store.accept,
                    upload,
                    found.sha256,
                    found.suffix,
                    found.camera,
                    found.camera_sha256,
                )
        return Prepared(session_id=identifier, expires_in=settings.limits.session_seconds)

    @app.delete("/sessions/{session_id}", status_code=204, responses=_problems(404, 422))
    def delete_session(request: Request, session_id: _Identifier) -> None:
        """End a session's jobs and remove its files."""
        queue.drop(store.session(session_id, request.state.owner))

    def submit(
        request: Request,
        session_id: str,
        processor_class: str,
        method: str,
        config: str,
        arguments: str,
    ) -> tuple[str, Job]:
        limits = settings.limits
        session = store.session(session_id, request.state.owner)
        size, depth = limits.config_bytes, limits.config_depth
        if processor_class not in settings.factories:
            raise WireError(f"processor_class: this server has no {processor_class}")
        options, passed = wire.options(
            processor_class,
            wire.parse("config", config, size, depth),
            has_camera=session.camera is not None,
        )
        if passed:
            logger.warning("config keys that are not known: %.200r", sorted(passed))
        given = wire.arguments(method, wire.parse("arguments", arguments, size, depth))
        return queue.submit(
            session_id, request.state.owner, processor_class, method, options, given
        )

    @app.post(
        "/execute",
        response_class=Response,
        responses=_ZIP | _CALL | _problems(409, 500, 504, 507),
    )
    async def execute(
        request: Request,
        session_id: _SessionField,
        processor_class: Annotated[ProcessorClass, Form()],
        method: Annotated[Method, Form()],
        config: _Json = "{}",
        arguments: _Json = "{}",
    ) -> Response:
        """Call a method and wait for its files."""
        _, job = await asyncio.to_thread(
            submit, request, session_id, processor_class, method, config, arguments
        )
        while job.state in states.WAITING:
            if queue.stopping:
                raise RefusedError(503, "the server is being stopped: ask again", 30)
            if await request.is_disconnected():
                break  # the job goes on; whoever asks again has its result
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        return _answer(store, job)

    @app.post("/jobs", status_code=202, responses=_CALL)
    def make_job(
        request: Request,
        session_id: _SessionField,
        processor_class: Annotated[ProcessorClass, Form()],
        method: Annotated[Method, Form()],
        config: _Json = "{}",
        arguments: _Json = "{}",
    ) -> JobState:
        """Call a method and do not wait; the same call again is the same job."""
        identifier, job = submit(request, session_id, processor_class, method, config, arguments)
        return _state(queue, identifier, job)

    @app.get("/jobs/{job_id}", responses=_problems(404, 422))
    def job_state(request: Request, job_id: _Identifier) -> JobState:
        """Where a job stands."""
        return _state(queue, job_id, store.job(job_id, request.state.owner))

    @app.get(
        "/jobs/{job_id}/result",
        response_class=Response,
        responses=_ZIP | _problems(404, 409, 422, 500, 503, 504, 507),
    )
    def job_result(request: Request, job_id: _Identifier) -> Response:
        """The files of a job that is done."""
        return _answer(store, store.job(job_id, request.state.owner))

    @app.delete("/jobs/{job_id}", status_code=204, responses=_problems(404, 422))
    def delete_job(request: Request, job_id: _Identifier) -> None:
        """Cancel a job that waits or runs."""
        queue.cancel(store.job(job_id, request.state.owner))

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            if settings.tokens:
                schema["components"]["securitySchemes"] = {
                    "token": {"type": "http", "scheme": "bearer"},
                    "password": {
                        "type": "http",
                        "scheme": "basic",
                        "description": "the token as password, with any name",
                    },
                }
                schema["security"] = [{"token": []}, {"password": []}]
                for path in _OPEN_PATHS:
                    schema["paths"][path]["get"]["security"] = []
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]
    return app


def _state(queue: Queue, identifier: str, job: Job) -> JobState:
    progress, fraction = queue.progress(job)
    return JobState(
        job_id=identifier,
        state=job.state,
        position=queue.position(job),
        queued=queue.length()[0],
        progress=progress,
        fraction=fraction,
        error=job.error,
        status=409 if job.state in states.WAITING else job.status,
        provenance=job.provenance if job.state == states.DONE else {},
    )


def _answer(store: Store, job: Job) -> Response:
    if job.state == states.DONE and store.result(job).is_file():
        return FileResponse(store.result(job), media_type="application/zip")
    if job.state in states.WAITING:
        raise RefusedError(409, f"the job is {job.state}")
    raise RefusedError(
        job.status, job.error or "the job has no result", 30 if job.status == 503 else None
    )


def _add_errors(app: FastAPI) -> None:
    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return _problem(error)

    def wrong(request: Request, error: Exception) -> Response:
        return _problem(RefusedError(422, str(error)))

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        said = [f"{one['loc'][-1] if one['loc'] else ''}: {one['msg']}" for one in error.errors()]
        return _problem(RefusedError(422, "; ".join(said)))

    def full(request: Request, error: Exception) -> Response:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return _problem(RefusedError(507, "the server's disk is full"))
        return failed(request, error)

    def failed(request: Request, error: Exception) -> Response:
        logger.error("%s %s", request.method, request.url.path.split("/")[1], exc_info=error)
        return _problem(RefusedError(500, "a fault of the server; its log has more"))

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(WireError, wrong)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(OSError, full)
    app.add_exception_handler(Exception, failed)


def _problem(error: RefusedError) -> JSONResponse:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer, Basic realm="facemake"'
    return JSONResponse({"detail": str(error)}, error.status, headers)


class Guard:
    """Stands before the application: who asks, under which name, and how much is sent."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
                if not body.over and message["status"] >= 400:
                    await _drain(body, b"expect" in headers)
            await send(message)

        body = _Body(receive, self._settings.limits.idle_seconds)
        try:
            owner = self._owner(scope["path"], headers)
            self._check_source(headers)
            if scope["path"] != _UPLOAD:
                body.limit = self._settings.limits.form_bytes
                length = headers.get(b"content-length", b"")
                if length.isdigit() and int(length) > body.limit:
                    raise RefusedError(413, f"a form has at most {body.limit} bytes")
        except RefusedError as error:
            await _problem(error)(scope, body, answer)
            return
        scope.setdefault("state", {})["owner"] = owner
        await self._app(scope, body, answer)

    def _owner(self, path: str, headers: dict[bytes, bytes]) -> str:
        """Whose request it is.

        Raises:
            RefusedError: it needs a token, or has a wrong one.
        """
        if not self._settings.tokens:
            return ANONYMOUS
        given = _token(headers.get(b"authorization", b"").decode("latin-1"))
        if given is None:
            if path in _OPEN_PATHS:
                return ANONYMOUS
            raise RefusedError(401, "this server wants a token (Authorization: Bearer TOKEN)")
        owner = self._settings.owner_of(given)
        if owner is None:
            raise RefusedError(401, "the token is none of this server's")
        return owner

    def _check_source(self, headers: dict[bytes, bytes]) -> None:
        """Refuse what a page in a browser sends, by its own name or by one that points here."""
        host = headers.get(b"host", b"").decode("latin-1")
        hosts = self._settings.hosts
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


def _token(header: str) -> str | None:
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
                raise HTTPException(408, "the form took too long") from None
        if message["type"] != "http.request":
            self.over = True
            return message
        self.over = not message.get("more_body", False)
        self._bytes += len(message.get("body", b""))
        if self.limit is not None and self._bytes > self.limit:
            raise HTTPException(413, f"a form has at most {self.limit} bytes")
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
