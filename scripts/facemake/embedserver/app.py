"""The application: requests of HTTP for the service. Needs the extra `serve`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facemake.embedserver import metrics, wire
from facemake.embedserver.queue import stopping
from facemake.embedserver.service import Answer, Asked, Service, Wishes
from facemake.embedserver.wire import Comparison, Detection, Embedding, Models, Vectors
from facemake.server.answers import add_errors, describe, problems
from facemake.server.guard import Guard
from facemake.server.refusal import RefusedError
from facemake.server.settings import ANONYMOUS
from facemake.version import __version__

_OPEN_PATHS = ("/health",)
_SMALL = 65_536  # bytes of a request without pictures
_WORK = ("/v1/detect", "/v1/embed", "/v1/compare")
_PATHS = (*_WORK, "/", "/health", "/metrics", "/openapi.json")
_GONE = 499
"""Of nobody's answer: the client went away."""
_COMPARED = 2


class About(BaseModel):
    """What the server is and takes."""

    service: str = "facemake serve --embed"
    version: str = __version__
    model: Models
    picture_bytes: int
    picture_pixels: int
    request_bytes: int
    pictures: int
    faces: int
    wait_seconds: float


class Health(BaseModel):
    """That the server works, and for those who may use it, how much it has to do."""

    status: str = "ok"
    queued: int | None = None


_BUSY = problems(408, 413, 415, 422, 500, 503)
_Faces = Annotated[
    int | None, Query(ge=1, le=10_000, description="the so many surest of each picture alone")
]
_Flip = Annotated[bool, Query(description="the mean of each face's vector and its mirror image's")]
_Vectors = Annotated[Vectors, Query(description="how vectors are written")]
_Boxes = Annotated[
    str | None,
    Query(description="of a bare picture: [[x1, y1, x2, y2], ...], the faces that are known"),
]
_Points = Annotated[str | None, Query(description="of a bare picture: five points of each box")]


Beside = Callable[[], AbstractAsyncContextManager[None]]
"""What runs as long as the application, on its event loop."""


def create_app(service: Service, beside: Beside | None = None) -> FastAPI:
    """The application of one service, which it starts unless somebody did, and stops."""
    settings = service.settings
    limits = settings.limits

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.start)
        try:
            async with beside() if beside is not None else nullcontext():
                yield
        finally:
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="facemake serve --embed",
        version=__version__,
        description="Finds the faces of pictures that are sent to it and gives their identity "
        "vectors. Boxes are x1, y1, x2, y2 in pixels of the upright picture (EXIF is obeyed). "
        "Nothing that is sent is kept.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(
        Guard,
        access=settings,
        open_paths=_OPEN_PATHS,
        most_bytes=lambda path: limits.request_bytes if path in _WORK else _SMALL,
        seconds=limits.arrive_seconds,
    )
    app.add_middleware(Counted, service=service)
    add_errors(app)

    def model() -> dict[str, Any]:
        return {**service.about, "dim": service.queue.dim, "version": __version__}

    @app.get("/", responses=problems())
    async def about() -> About:
        """What the server is and takes."""
        return About(
            model=Models(**model()),
            picture_bytes=limits.picture_bytes,
            picture_pixels=limits.picture_pixels,
            request_bytes=limits.request_bytes,
            pictures=limits.pictures,
            faces=limits.faces,
            wait_seconds=limits.wait_seconds,
        )

    @app.get("/health", responses=problems(503))
    async def health(request: Request) -> Health:
        """That the server works; 503 where it is being stopped."""
        if service.stopping or not service.queue.works:
            raise stopping()
        if settings.tokens and request.state.owner == ANONYMOUS:
            return Health()
        return Health(queued=service.queue.length())

    @app.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "all"},
            **problems(),
        },
    )
    async def counted() -> Response:
        """What was counted, for Prometheus."""
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)

    async def work(
        request: Request, wishes: Wishes, count: int | None = None
    ) -> list[Answer] | None:
        """The answers to a request's pictures; None where nobody waits for them any more."""

        async def look(asked: list[Asked]) -> list[Answer]:
            return await service.answer(asked, wishes, part)

        with service.request(request.state.owner) as part:
            asked = await wire.read(request, limits, part)
            if count is not None and len(asked) != count:
                raise RefusedError(422, f"{count} pictures are wanted, {len(asked)} were sent")
            if not wishes.embed and any(one.regions is not None for one in asked):
                raise RefusedError(422, "boxes are for /v1/embed: here faces are looked for")
            return await _unless_gone(request, look(asked))

    @app.post(
        "/v1/detect",
        response_model=Detection,
        responses=_BUSY,
        openapi_extra=wire.body(),
    )
    async def detect(request: Request, faces: _Faces = None) -> Response:
        """Find the faces of pictures."""
        answers = await work(request, Wishes(embed=False, faces=faces))
        if answers is None:
            return Response(status_code=_GONE)
        pictures = [wire.picture(answer, None) for answer in answers]
        return JSONResponse({"model": model(), "pictures": pictures})

    @app.post(
        "/v1/embed",
        response_model=Embedding,
        responses=_BUSY,
        openapi_extra=wire.body(),
    )
    async def embed(
        request: Request,
        faces: _Faces = None,
        flip: _Flip = False,
        vectors: _Vectors = "list",
        boxes: _Boxes = None,
        points: _Points = None,
    ) -> Response:
        """Give the vectors of the faces of pictures: those that are found, or of given boxes."""
        answers = await work(request, Wishes(flip=flip, faces=faces))
        if answers is None:
            return Response(status_code=_GONE)
        pictures = [wire.picture(answer, vectors) for answer in answers]
        return JSONResponse({"model": model(), "pictures": pictures})

    @app.post(
        "/v1/compare",
        response_model=Comparison,
        responses=_BUSY,
        openapi_extra=wire.body(_COMPARED),
    )
    async def compare(request: Request, faces: _Faces = None, flip: _Flip = False) -> Response:
        """Say how alike the faces of two pictures are."""
        answers = await work(request, Wishes(flip=flip, faces=faces), _COMPARED)
        if answers is None:
            return Response(status_code=_GONE)
        for number, answer in enumerate(answers, 1):
            if not answer.seen.faces:
                raise RefusedError(422, f"picture {number} shows no face")
        cosines = wire.similarity(answers)
        threshold = service.about.get("same_person")
        return JSONResponse(
            {
                "model": model(),
                "pictures": [wire.picture(answer, None) for answer in answers],
                "similarity": cosines.tolist(),
                "same_person": None if threshold is None else (cosines >= threshold).tolist(),
            }
        )

    describe(app, bool(settings.tokens), _OPEN_PATHS)
    return app


async def _unless_gone(request: Request, work: Awaitable[list[Answer]]) -> list[Answer] | None:
    """What is awaited, unless the client goes away before: then nothing is awaited any more."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        task.cancel()
        # its places are free before its memory is
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Counted:
    """Stands before all: counts what is answered, and how long that took."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._metrics = service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        path = scope["path"] if scope["path"] in _PATHS else "other"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(path, str(message["status"])).inc()
                self._metrics.seconds.labels(path).observe(time.monotonic() - start)
            await send(message)

        await self._app(scope, receive, answer)
