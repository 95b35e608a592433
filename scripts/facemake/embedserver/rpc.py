"""The same service over gRPC, on the same queue. Needs the extra `grpc`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio
import numpy as np
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from facemake.embedserver.protocol import embed_pb2, embed_pb2_grpc
from facemake.embedserver.service import Answer, Asked, Region, Service, Wishes
from facemake.embedserver.settings import Settings
from facemake.errors import FacemakeError
from facemake.server.guard import token_of
from facemake.server.refusal import RefusedError
from facemake.server.settings import ANONYMOUS
from facemake.version import __version__

logger = logging.getLogger(__name__)

_SERVICE = "facemake.embed.v1.Faces"
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    503: grpc.StatusCode.UNAVAILABLE,
}
_FULL = ("full", "slow", "memory")
"""Reasons of `BusyError` that are a matter of how much others ask."""
_LONGEST_REPLY = 64 << 20  # bytes, that a client is told
_POINTS = 5
_HEALTH = "/grpc.health.v1.Health/Check"
"""Wants no token; `Watch`, which stays open, does."""


class Faces(embed_pb2_grpc.FacesServicer):  # type: ignore[misc]  # generated without types
    """Detect and Embed."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Detect(  # noqa: N802 (the protocol's name)
        self, request: embed_pb2.DetectRequest, context: grpc.aio.ServicerContext
    ) -> embed_pb2.Reply:
        """Find the faces of pictures."""
        return await self._reply(
            "Detect",
            context,
            request.images,
            lambda: [Asked(data) for data in request.images],
            Wishes(embed=False, faces=request.faces or None),
        )

    async def Embed(  # noqa: N802
        self, request: embed_pb2.EmbedRequest, context: grpc.aio.ServicerContext
    ) -> embed_pb2.Reply:
        """Give the vectors of the faces of pictures."""
        return await self._reply(
            "Embed",
            context,
            request.images,
            lambda: [
                _asked(image, n, self._service.limits.faces)
                for n, image in enumerate(request.images, 1)
            ],
            Wishes(flip=request.flip, faces=request.faces or None),
        )

    async def _reply(
        self,
        name: str,
        context: grpc.aio.ServicerContext,
        images: Sequence[Any],
        pictures: Callable[[], list[Asked]],
        wishes: Wishes,
    ) -> embed_pb2.Reply:
        service, path = self._service, f"/{_SERVICE}/{name}"
        start, code = time.monotonic(), grpc.StatusCode.CANCELLED
        try:
            owner = _owner(service.settings, context.invocation_metadata())
            with service.request(owner) as part:
                if not 1 <= len(images) <= service.limits.pictures:
                    raise RefusedError(
                        422, f"a request has 1 to {service.limits.pictures} pictures"
                    )
                asked = pictures()
                part.take(sum(len(one.data) for one in asked))
                answers = await service.answer(asked, wishes, part)
            code = grpc.StatusCode.OK
            return self._written(answers)
        except RefusedError as error:
            code = _CODES[error.status]
            if getattr(error, "reason", "") in _FULL:
                code = grpc.StatusCode.RESOURCE_EXHAUSTED
            await _abort(context, code, str(error), error.retry_after)
        except Exception:
            logger.exception("%s", path)
            code = grpc.StatusCode.INTERNAL
            await _abort(context, code, "a fault of the server; its log has more", None)
        finally:
            service.metrics.requests.labels(path, code.name).inc()
            service.metrics.seconds.labels(path).observe(time.monotonic() - start)

    def _written(self, answers: Sequence[Answer]) -> embed_pb2.Reply:
        about = self._service.about
        model = embed_pb2.Model(
            detector=about["detector"],
            detector_models=[embed_pb2.File(**one) for one in about["detector_models"]],
            embedder=about["embedder"],
            embedder_models=[embed_pb2.File(**one) for one in about["embedder_models"]],
            chip=about["chip"],
            dim=self._service.queue.dim,
            same_person=about["same_person"],
            version=__version__,
        )
        return embed_pb2.Reply(pictures=[_picture(answer) for answer in answers], model=model)


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # has no types
    """Stands before all calls: who has no token is refused before a message of theirs is read.

    So many calls are open at most, and gRPC by itself waits for a message as long as the client
    likes: here it has to arrive in time.

    Args:
        service: whose calls they are.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Of gRPC: what answers a call."""
        handler, details = await continuation(handler_call_details), handler_call_details
        if handler is None:
            return handler
        if details.method != _HEALTH:
            try:
                _owner(self._service.settings, details.invocation_metadata)
            except RefusedError as error:
                return self._refusal(details.method, error)
        if handler.unary_unary is None:
            return handler
        seconds = self._service.limits.arrive_seconds

        async def in_time(messages: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            try:
                message = await asyncio.wait_for(anext(messages), seconds)
            except TimeoutError:
                code = grpc.StatusCode.DEADLINE_EXCEEDED
                await _abort(context, code, "the request took too long to arrive", None)
            except StopAsyncIteration:
                code = grpc.StatusCode.INVALID_ARGUMENT
                await _abort(context, code, "there is no request in the call", None)
            return await handler.unary_unary(message, context)

        # one message is the same on the wire, but is read by what answers
        return grpc.stream_unary_rpc_method_handler(
            in_time, handler.request_deserializer, handler.response_serializer
        )

    def _refusal(self, path: str, error: RefusedError) -> grpc.RpcMethodHandler:
        code = _CODES[error.status]

        async def refuse(messages: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> None:
            self._service.metrics.requests.labels(path, code.name).inc()
            await _abort(context, code, str(error), None)

        return grpc.stream_unary_rpc_method_handler(refuse)


def _owner(settings: Settings, metadata: Any) -> str:
    """Whose call it is.

    Raises:
        RefusedError: it needs a token, or has a wrong one.
    """
    if not settings.tokens:
        return ANONYMOUS
    given = dict(metadata or ()).get("authorization", "")
    token = token_of(given if isinstance(given, str) else "")
    owner = None if token is None else settings.owner_of(token)
    if owner is None:
        raise RefusedError(401, "this server wants a token (metadata authorization: Bearer TOKEN)")
    return owner


def _picture(answer: Answer) -> embed_pb2.Picture:
    faces = []
    for number, face in enumerate(answer.seen.faces):
        x, y, w, h = face.bbox.astype(np.float64).tolist()
        vectors = answer.seen.vectors
        faces.append(
            embed_pb2.Face(
                box=embed_pb2.Box(x1=x, y1=y, x2=x + w, y2=y + h),
                score=face.score,
                points=[embed_pb2.Point(x=px, y=py) for px, py in face.keypoints5.tolist()],
                vector=None if vectors is None else vectors[number].tolist(),
            )
        )
    return embed_pb2.Picture(width=answer.width, height=answer.height, faces=faces)


def _asked(image: embed_pb2.Image, number: int, limit: int) -> Asked:
    if not image.regions:
        return Asked(image.data)
    if len(image.regions) > limit:
        raise RefusedError(
            422, f"picture {number} has {len(image.regions)} boxes, {limit} are taken"
        )
    regions: list[Region] = []
    for region in image.regions:
        if len(region.points) not in (0, _POINTS):
            raise RefusedError(422, f"picture {number}: points of a face are none or five")
        box, points = region.box, [[point.x, point.y] for point in region.points]
        regions.append(
            (
                np.array([box.x1, box.y1, box.x2, box.y2], np.float64),
                np.array(points, np.float32) if points else None,
            )
        )
    return Asked(image.data, regions)


async def _abort(
    context: grpc.aio.ServicerContext, code: grpc.StatusCode, says: str, seconds: int | None
) -> NoReturn:
    told: tuple[tuple[str, str], ...] = ()
    if seconds is not None:
        told = ("retry-after", str(seconds)), ("grpc-retry-pushback-ms", str(1000 * seconds))
    await context.abort(code, says, told)
    raise AssertionError  # it always raises


@asynccontextmanager
async def serving(
    service: Service,
    address: str,
    credentials: grpc.ServerCredentials | None,
    told: Callable[[int], None],
) -> AsyncIterator[None]:
    """A server of gRPC while the block lasts; at its end calls that run are finished.

    Args:
        service: which is started.
        address: `HOST:PORT`; port 0: a free one.
        credentials: of TLS; None: it is not encrypted.
        told: the port.

    Raises:
        FacemakeError: it cannot listen there.
    """
    limits = service.limits
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limits.request_bytes),
            ("grpc.max_send_message_length", _LONGEST_REPLY),
            ("grpc.so_reuseport", 0),
        ],
        interceptors=[Gate(service)],
        # a message is in memory before anybody can count it
        maximum_concurrent_rpcs=max(2, limits.memory_bytes // limits.request_bytes),
    )
    embed_pb2_grpc.add_FacesServicer_to_server(Faces(service), server)
    watch = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(watch, server)
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise FacemakeError(f"gRPC cannot listen on {address}: {error}") from None
    for name in ("", _SERVICE):
        await watch.set(name, health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    told(port)
    try:
        yield
    finally:
        await watch.enter_graceful_shutdown()
        await server.stop(limits.wait_seconds)
