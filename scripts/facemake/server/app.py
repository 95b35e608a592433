"""The service: answers requests, and leaves the work to the queue. Needs the extra `serve`."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Form, Path
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from facemake.server import store as states
from facemake.server import upload as uploads
from facemake.server import wire
from facemake.server.answers import add_errors, answer_of, describe, problems
from facemake.server.guard import Guard
from facemake.server.jobs import Queue
from facemake.server.refusal import RefusedError
from facemake.server.settings import ANONYMOUS, Settings
from facemake.server.store import Job, Store
from facemake.server.wire import Method, ProcessorClass, WireError
from facemake.version import __version__

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 0.1
_OPEN_PATHS = ("/", "/health")
_UPLOAD = "/prepare_session"


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


_CALL = problems(404, 408, 413, 422, 503)
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
    app.add_middleware(
        Guard,
        access=settings,
        open_paths=_OPEN_PATHS,
        most_bytes=lambda path: None if path == _UPLOAD else settings.limits.form_bytes,
        seconds=settings.limits.idle_seconds,
    )
    add_errors(app)

    @app.exception_handler(WireError)
    def wrong(request: Request, error: WireError) -> Response:
        return answer_of(RefusedError(422, str(error)))

    @app.get("/", responses=problems())
    async def root() -> Service:
        """That somebody is there."""
        return Service()

    @app.get("/health", responses=problems())
    async def health(request: Request) -> Health:
        """That the server works."""
        if settings.tokens and request.state.owner == ANONYMOUS:
            return Health()
        queued, running = queue.length()
        return Health(queued=queued, running=running, sessions=len(store.sessions))

    @app.get("/version", responses=problems())
    async def version() -> Version:
        """What the server is and takes."""
        limits = settings.limits
        return Version(
            processors=list(settings.factories),
            upload_bytes=limits.upload_bytes,
            job_seconds=limits.job_seconds,
            session_seconds=limits.session_seconds,
        )

    @app.post(_UPLOAD, responses=problems(408, 413, 415, 422, 503, 507), openapi_extra=_UPLOAD_BODY)
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

    @app.delete("/sessions/{session_id}", status_code=204, responses=problems(404, 422))
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
        responses=_ZIP | _CALL | problems(409, 500, 504, 507),
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

    @app.get("/jobs/{job_id}", responses=problems(404, 422))
    def job_state(request: Request, job_id: _Identifier) -> JobState:
        """Where a job stands."""
        return _state(queue, job_id, store.job(job_id, request.state.owner))

    @app.get(
        "/jobs/{job_id}/result",
        response_class=Response,
        responses=_ZIP | problems(404, 409, 422, 500, 503, 504, 507),
    )
    def job_result(request: Request, job_id: _Identifier) -> Response:
        """The files of a job that is done."""
        return _answer(store, store.job(job_id, request.state.owner))

    @app.delete("/jobs/{job_id}", status_code=204, responses=problems(404, 422))
    def delete_job(request: Request, job_id: _Identifier) -> None:
        """Cancel a job that waits or runs."""
        queue.cancel(store.job(job_id, request.state.owner))

    describe(app, bool(settings.tokens), _OPEN_PATHS)
    return app


def _state(queue: Queue, identifier: str, job: Job) -> JobState:
    with queue.store.lock:  # else a job that ends meanwhile is told half as it was
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


class _Archive(FileResponse):
    """A result, which may go with its session before it is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        except RuntimeError:  # as Starlette says it
            if os.path.lexists(self.path):
                raise
            raise RefusedError(404, states.NO_JOB) from None


def _answer(store: Store, job: Job) -> Response:
    with store.lock:  # as above
        if job.state == states.DONE and store.result(job).is_file():
            return _Archive(store.result(job), media_type="application/zip")
        if job.state in states.WAITING:
            raise RefusedError(409, f"the job is {job.state}")
        raise RefusedError(
            job.status, job.error or "the job has no result", 30 if job.status == 503 else None
        )
