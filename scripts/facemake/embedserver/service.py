"""What stands between a protocol and the queue: limits, memory, decoding, and answers in time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.embedserver.metrics import Metrics
from facemake.embedserver.queue import BusyError, Item, PictureError, Queue, Seen, stopping
from facemake.embedserver.settings import BYTES_A_PIXEL, Limits, Settings
from facemake.media.frame import MediaError, Pixels
from facemake.media.images import decode_picture, encoded_size
from facemake.recognition.recognizer import Recognizer
from facemake.server.refusal import RefusedError

Region = tuple[NDArray[np.float64], NDArray[np.float32] | None]
"""A face that is known: its box, (4,) x1, y1, x2, y2 px, and its five points, (5, 2) px or None."""

_FAR = 2.0
"""Sides of its picture that a box may reach to: further out nobody saw a face."""


@dataclass
class Asked:
    """A picture of a request.

    Attributes:
        data: its file; emptied when it is decoded.
        regions: the faces that are known in it; None: they are looked for.
    """

    data: bytes
    regions: Sequence[Region] | None = None


@dataclass(frozen=True)
class Wishes:
    """What is wanted of a request's pictures.

    Attributes:
        embed: vectors, too.
        flip: see `embed_chips`.
        faces: the so many surest of each picture alone.
    """

    embed: bool = True
    flip: bool = False
    faces: int | None = None


@dataclass(frozen=True)
class Answer:
    """What was found of a picture.

    Attributes:
        width, height: px, upright.
        seen: its faces.
    """

    width: int
    height: int
    seen: Seen


class Memory:
    """What requests hold in memory, by owner. Used on the event loop alone.

    Args:
        limit: bytes of all of them.
        share: a limit -> what one owner may have of it.
        wait: how long to wait before asking again.
    """

    def __init__(self, limit: int, share: Callable[[int], int], wait: Callable[[], float]) -> None:
        self._limit = limit
        self._share = share
        self._wait = wait
        self._held: Counter[str] = Counter()

    def total(self) -> int:
        """Bytes that are held."""
        return self._held.total()

    @contextmanager
    def part(self, owner: str) -> Iterator[Part]:
        """A part of it for one request."""
        part = Part(self, owner)
        try:
            yield part
        finally:
            part.give(part.bytes)

    def take(self, owner: str, count: int) -> None:
        """See `Part.take`."""
        share = self._share(self._limit)
        if self.total() + count > self._limit or self._held[owner] + count > share:
            raise BusyError(
                "memory",
                "the pictures that wait already fill the memory that they may: ask again later",
                self._wait(),
            )
        self._held[owner] += count

    def give(self, owner: str, count: int) -> None:
        """See `Part.give`."""
        self._held[owner] -= count
        if not self._held[owner]:
            del self._held[owner]


class Part:
    """What one request holds."""

    def __init__(self, memory: Memory, owner: str) -> None:
        self._memory = memory
        self.owner = owner
        self.bytes = 0

    def take(self, count: int) -> None:
        """Hold more.

        Raises:
            BusyError: there is not so much left.
        """
        self._memory.take(self.owner, count)
        self.bytes += count

    def give(self, count: int) -> None:
        """Hold less."""
        self._memory.give(self.owner, count)
        self.bytes -= count


class Service:
    """Answers requests of any protocol.

    Args:
        settings: see there.
        make: makes the models, in the thread that uses them.
        about: what every answer says of the models (`Choice.about`).
    """

    def __init__(
        self, settings: Settings, make: Callable[[], Recognizer], about: Mapping[str, Any]
    ) -> None:
        settings.check()
        limits = settings.limits
        self.settings = settings
        self.about = dict(about)
        self.metrics = Metrics()
        self.queue = Queue(make, limits, settings.share, self.metrics)
        self.memory = Memory(
            limits.memory_bytes,
            settings.share,
            lambda: self.queue.seconds(max(1, self.queue.length())),
        )
        self.metrics.watch(
            "memory_bytes", "Bytes of pictures that requests hold", self.memory.total
        )
        self.stopping = False
        self._decoders = ThreadPoolExecutor(limits.decoders, "decoder")

    @property
    def limits(self) -> Limits:
        """Of its settings."""
        return self.settings.limits

    def start(self) -> None:
        """Make the models; `answer` may be called when this returns."""
        if not self.queue.works:
            self.queue.start()

    def stop(self) -> None:
        """Work off what waits, and end."""
        self.stopping = True
        self.queue.stop(self.limits.wait_seconds)
        self._decoders.shutdown(cancel_futures=True)

    @contextmanager
    def request(self, owner: str) -> Iterator[Part]:
        """What one request holds, from its first byte to its answer; refusals of it are counted.

        Raises:
            BusyError: the server is being stopped.
        """
        try:
            if self.stopping:
                raise stopping()
            with self.memory.part(owner) as part:
                yield part
        except BusyError as error:
            self.metrics.refused.labels(error.reason).inc()
            raise

    async def answer(self, asked: Sequence[Asked], wishes: Wishes, part: Part) -> list[Answer]:
        """Look at the pictures of a request.

        A task that is cancelled gives its places back.

        Args:
            asked: its pictures.
            wishes: what is wanted of them.
            part: what the request holds; takes what decoding needs.

        Raises:
            RefusedError: one of them cannot be read, or what is asked of it not be done (the
                message says of which), or the server is busy (`BusyError`).
        """
        since = time.monotonic()
        places = self.queue.places(len(asked), part.owner)
        items: list[Item] = []
        try:
            for number, one in enumerate(asked, 1):
                rgb = await self._decoded(one, f"picture {number}", part)
                items.append(
                    Item(
                        rgb=rgb,
                        given=_given(one.regions, rgb, number, self.limits.faces),
                        embed=wishes.embed,
                        flip=wishes.flip,
                        most=wishes.faces,
                        since=since,
                    )
                )
            # together, so that a request that is refused costs no look
            places.put(items)
            left = since + self.limits.wait_seconds - time.monotonic()
            futures = [asyncio.wrap_future(item.future) for item in items]
            for future in futures:
                future.add_done_callback(_look)
            _, late = await asyncio.wait(
                futures, timeout=max(0.0, left), return_when=asyncio.FIRST_EXCEPTION
            )
            if late and not any(one.done() and one.exception() for one in futures):
                if places.free(items):
                    raise BusyError(
                        "late",
                        f"the server is busy: not everything was looked at within "
                        f"{self.limits.wait_seconds:g} s",
                        self.queue.seconds(max(1, self.queue.length())),
                    )
                await asyncio.wait(futures)  # being looked at
            return _answers(items, futures)
        finally:
            places.free(items)

    async def _decoded(self, one: Asked, name: str, part: Part) -> Pixels:
        limits = self.limits
        loop = asyncio.get_running_loop()
        if len(one.data) > limits.picture_bytes:
            raise RefusedError(
                413, f"{name} has {len(one.data)} bytes, {limits.picture_bytes} are taken"
            )
        try:
            size = await loop.run_in_executor(self._decoders, encoded_size, one.data, name)
            if (pixels := size[0] * size[1]) > limits.picture_pixels:
                raise RefusedError(
                    413,
                    f"{name} has {size[0]} x {size[1]} pixels, {limits.picture_pixels} are taken: "
                    "make it smaller",
                )
            part.take(BYTES_A_PIXEL * pixels)
            rgb = await loop.run_in_executor(self._decoders, decode_picture, one.data, name)
        except MediaError as error:
            raise RefusedError(422, error.reason) from None
        one.data = b""
        return rgb


def _look(future: asyncio.Future[Seen]) -> None:
    """Nobody is told of what went wrong after somebody else's failure was the answer."""
    if not future.cancelled():
        future.exception()


def _answers(items: Sequence[Item], futures: Sequence[asyncio.Future[Seen]]) -> list[Answer]:
    answers = []
    for number, (item, future) in enumerate(zip(items, futures, strict=True), 1):
        if not future.done():
            continue  # one after it failed
        try:
            seen = future.result()
        except PictureError as error:
            raise RefusedError(422, f"picture {number} {error}") from None
        height, width = item.rgb.shape[:2]
        answers.append(Answer(width, height, seen))
    return answers


def _given(
    regions: Sequence[Region] | None, rgb: Pixels, number: int, limit: int
) -> list[tuple[NDArray[np.float32], NDArray[np.float32] | None]] | None:
    """Boxes as x, y, w, h, each seen to be one of this picture."""
    if regions is None:
        return None
    if len(regions) > limit:
        raise RefusedError(422, f"picture {number} has {len(regions)} boxes, {limit} are taken")
    height, width = rgb.shape[:2]
    size = np.array([width, height, width, height], np.float64)
    found = []
    for place, (box, points) in enumerate(regions, 1):
        where = f"picture {number}, box {place}: {box.tolist()}"
        if not np.isfinite(box).all():
            raise RefusedError(422, f"{where} is no box: four finite numbers x1, y1, x2, y2")
        x1, y1, x2, y2 = box.tolist()
        if x2 - x1 < 1 or y2 - y1 < 1:
            raise RefusedError(422, f"{where} is empty: x1, y1, x2, y2 in pixels, x2 > x1, y2 > y1")
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise RefusedError(422, f"{where} lies outside of the {width} x {height} pixels")
        if (np.abs(box) > _FAR * size + 1).any():
            raise RefusedError(
                422, f"{where} is far larger than the {width} x {height} pixels of the picture"
            )
        found.append((np.array([x1, y1, x2 - x1, y2 - y1], np.float32), points))
    return found
