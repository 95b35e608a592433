"""Pictures of all requests, gathered into batches for the one thread that has the models.

A picture has a place before it is decoded, so that what waits is bounded; the place is free again
when its turn comes or whoever asked went away. Turns are in the order of coming. How long one more
would wait is known from what the last pictures took.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import Picture
from facemake.backends.embed import Face, Pixels
from facemake.backends.embed.vectors import embed_chips
from facemake.embedserver.metrics import Metrics
from facemake.embedserver.settings import Limits
from facemake.errors import FacemakeError
from facemake.recognition.recognizer import FoundFace, Recognizer
from facemake.server.refusal import RefusedError

logger = logging.getLogger(__name__)

_BATCHES_REMEMBERED = 32
_WARM_UP = (480, 640, 3)
_SECONDS_TO_END = 60.0
"""That a look may take which cannot be broken off."""


class BusyError(RefusedError):
    """The server has too much to do, or ends.

    Args:
        reason: as the metrics have it.
        message: why, and what to do.
        seconds: after which to ask again.
    """

    def __init__(self, reason: str, message: str, seconds: float) -> None:
        super().__init__(503, message, max(1, math.ceil(seconds)))
        self.reason = reason


class PictureError(FacemakeError):
    """What is asked of a picture cannot be done; the message is the rest of a sentence on it."""


@dataclass(frozen=True)
class Seen:
    """What was found of one picture.

    Attributes:
        faces: those found, by falling score; of faces that were given, those, with score NaN.
        vectors: (n, D) float32 of L2 norm 1; None where none were asked for.
    """

    faces: list[FoundFace]
    vectors: NDArray[np.float32] | None


@dataclass(eq=False)
class Item:
    """One picture, and what is asked of it.

    Attributes:
        rgb: (H, W, 3) uint8.
        given: the boxes, (4,) float32 x, y, w, h px, and the five points, (5, 2) float32 px or
            None, of faces that are known; None: they are looked for.
        embed: whether vectors are wanted.
        flip: see `embed_chips`.
        most: the so many surest faces alone; None: all, but no more than the limit.
        since: when it was asked for, by `time.monotonic`.
        future: of the answer; a `PictureError` says why there is none.
    """

    rgb: Picture
    given: Sequence[tuple[NDArray[np.float32], NDArray[np.float32] | None]] | None = None
    embed: bool = True
    flip: bool = False
    most: int | None = None
    since: float = field(default_factory=time.monotonic)
    future: Future[Seen] = field(default_factory=Future)


class Places:
    """Places of one request in the queue, until its pictures' turns come."""

    def __init__(self, queue: Queue, owner: str, count: int) -> None:
        self.owner = owner
        self.left = count
        self._queue = queue

    def put(self, items: Sequence[Item]) -> None:
        """Let pictures wait for their turns."""
        self._queue.put(self, items)

    def free(self, items: Sequence[Item] = ()) -> int:
        """Give back what is left, and take back pictures whose turn has not come; how many."""
        return self._queue.free(self, items)


class Queue:
    """Bounded, with one thread that works it off.

    Args:
        make: makes the models, in that thread.
        limits: see there.
        share: a limit -> what one owner may have of it.
        metrics: told of each batch.
    """

    def __init__(
        self,
        make: Callable[[], Recognizer],
        limits: Limits,
        share: Callable[[int], int],
        metrics: Metrics,
    ) -> None:
        self._make = make
        self._limits = limits
        self._share = share
        self._metrics = metrics
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Item, Places]] = deque()
        self._places: Counter[str] = Counter()
        self._running = 0
        self._stopping = self._closed = False
        self._took: deque[tuple[int, float]] = deque(maxlen=_BATCHES_REMEMBERED)
        self._thread: threading.Thread | None = None
        self.dim = 0
        metrics.watch("queue_pictures", "Pictures that wait for their turn", self.length)

    def start(self) -> None:
        """Make the models, see that they work, and begin.

        Raises:
            Exception: what making them raises.
        """
        ready: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._work, args=(ready,), name="models", daemon=True
        )
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self._close()  # who did not wait for them (Ctrl-C) will ask nothing
            self._thread.join()
            raise

    def stop(self, seconds: float) -> None:
        """Take no more, work off what waits for so long, and end.

        What then still waits is answered that the server is stopped.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)
        self._close()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_END)

    def _close(self) -> None:
        """Look at nothing more; what waits is answered so."""
        with self._changed:
            self._stopping = self._closed = True
            left = [item for item, _ in self._waiting]
            self._waiting.clear()
            self._changed.notify_all()
        _end(item for item in left if item.future.set_running_or_notify_cancel())

    @property
    def works(self) -> bool:
        """Whether there is somebody who works it off.

        Not while the thread ends: it has answered all, and is there for another moment.
        """
        return not self._closed and self._thread is not None and self._thread.is_alive()

    def length(self) -> int:
        """How many pictures have a place."""
        with self._changed:
            return self._places.total()

    def seconds(self, pictures: int) -> float:
        """How long so many pictures take, by the last ones."""
        with self._changed:
            counts = sum(count for count, _ in self._took)
            took = sum(seconds for _, seconds in self._took)
        return pictures * took / max(1, counts)

    def places(self, count: int, owner: str) -> Places:
        """Places for the pictures of a request.

        Raises:
            BusyError: there are not so many free, or they would wait too long.
        """
        limits = self._limits
        with self._changed:
            if self._stopping:
                raise stopping()
            total, own = self._places.total(), self._places[owner]
            over = max(total + count - limits.queue, own + count - self._share(limits.queue))
            if over > 0:
                raise BusyError(
                    "full",
                    f"{total} pictures wait already, {limits.queue} may: ask again later",
                    self.seconds(over + self._running),
                )
            late = self.seconds(total + self._running) - limits.wait_seconds
            if late > 0:
                raise BusyError(
                    "slow",
                    f"{total} pictures wait already, more than are looked at within "
                    f"{limits.wait_seconds:g} s: ask again later",
                    late,
                )
            self._places[owner] += count
        return Places(self, owner, count)

    def put(self, places: Places, items: Sequence[Item]) -> None:
        """See `Places.put`."""
        with self._changed:
            if self._closed:
                raise stopping()
            self._waiting.extend((item, places) for item in items)
            self._changed.notify_all()

    def free(self, places: Places, items: Sequence[Item]) -> int:
        """See `Places.free`."""
        with self._changed:
            gone = [item for item in items if item.future.cancel()]
            if gone:
                out = set(map(id, gone))
                self._waiting = deque(pair for pair in self._waiting if id(pair[0]) not in out)
            self._places[places.owner] -= places.left
            places.left = 0
            if not self._places[places.owner]:
                del self._places[places.owner]
            self._changed.notify_all()
        return len(gone)

    # The thread

    def _work(self, ready: Future[None]) -> None:
        try:
            recognizer = self._make()
        except BaseException as error:
            ready.set_exception(error)
            return
        try:
            with recognizer:
                try:
                    self._warm_up(recognizer)
                except BaseException as error:
                    ready.set_exception(error)
                    return
                ready.set_result(None)
                while batch := self._next(recognizer):
                    try:
                        self._answer(recognizer, batch)
                    finally:
                        _end(item for item in batch if not item.future.done())
        except BaseException:
            logger.exception("the models' thread ended: start the server again")
        finally:
            self._close()

    def _warm_up(self, recognizer: Recognizer) -> None:
        """Look once, since a first look is slow, and to know about how long another takes."""
        rgb = np.random.default_rng(0).integers(0, 256, _WARM_UP, np.uint8)
        recognizer.find([rgb])
        start = time.monotonic()
        recognizer.find([rgb])
        face = recognizer.face_of(np.array([200, 120, 240, 240], np.float32))
        self.dim = recognizer.embed(rgb, [face]).shape[1]
        self._took.append((1, time.monotonic() - start))

    def _next(self, recognizer: Recognizer) -> list[Item]:
        """The next batch; an empty one when there is nothing more to do."""
        size = self._limits.batch or max(
            recognizer.detector.batch_size, recognizer.embedder.batch_size
        )
        with self._changed:
            batch: list[Item] = []
            while not batch:
                while not self._waiting:
                    # what has a place is still being decoded
                    if self._closed or (self._stopping and not self._places.total()):
                        return []
                    self._changed.wait()
                until = time.monotonic() + self._limits.batch_seconds
                while len(self._waiting) < size and not self._stopping:
                    left = until - time.monotonic()
                    if left <= 0 or not self._changed.wait(left):
                        break
                while self._waiting and len(batch) < size:
                    item, places = self._waiting.popleft()
                    if item.future.set_running_or_notify_cancel():
                        batch.append(item)
                        places.left -= 1
                        self._places[places.owner] -= 1
            self._running = len(batch)
        now = time.monotonic()
        for item in batch:
            self._metrics.waited.observe(now - item.since)
        return batch

    def _answer(self, recognizer: Recognizer, batch: Sequence[Item]) -> None:
        start = time.monotonic()
        seen = self._look(recognizer, batch)
        self._count(seen, time.monotonic() - start)
        for item, one in zip(batch, seen, strict=True):
            if isinstance(one, Seen):
                item.future.set_result(one)
            else:
                item.future.set_exception(one)

    def _look(self, recognizer: Recognizer, batch: Sequence[Item]) -> list[Seen | Exception]:
        """Look at pictures together; if that fails, one by one."""
        try:
            return _look(recognizer, batch, self._limits.faces)
        except Exception as error:
            if len(batch) == 1:
                logger.exception("a picture of %s pixels", batch[0].rgb.shape[1::-1])
                return [error]
        return [self._look(recognizer, [item])[0] for item in batch]

    def _count(self, seen: Sequence[Seen | Exception], took: float) -> None:
        """Remember what a batch took, before whoever waits for it asks again."""
        with self._changed:
            self._running = 0
            self._took.append((len(seen), took))
        vectors = [one.vectors for one in seen if isinstance(one, Seen)]
        self._metrics.batch_pictures.observe(len(seen))
        self._metrics.batch_faces.observe(sum(len(some) for some in vectors if some is not None))
        self._metrics.batch_seconds.observe(took)


def stopping() -> BusyError:
    """The answer of a server that ends."""
    return BusyError("stopping", "the server is being stopped: ask again later", 10)


def _end(items: Iterable[Item]) -> None:
    """Answer that nobody will look."""
    for item in items:
        item.future.set_exception(stopping())


def _look(recognizer: Recognizer, batch: Sequence[Item], limit: int) -> list[Seen | Exception]:
    unknown = [item for item in batch if item.given is None]
    found = dict(zip(map(id, unknown), recognizer.find([i.rgb for i in unknown]), strict=True))
    seen: list[list[FoundFace] | PictureError] = []
    chips: list[list[Pixels]] = []
    for item in batch:
        here = _given(recognizer, item) if item.given is not None else found[id(item)]
        try:
            faces = here[: item.most]
            if len(faces) > limit:
                raise PictureError(
                    f"shows {len(faces)} faces, and {limit} are taken: say how many of the surest "
                    "you want (faces=), or which (boxes)"
                )
            wanted = faces if item.embed else []
            chips.append([_chip(recognizer, item.rgb, face.face) for face in wanted])
            seen.append(faces)
        except PictureError as error:
            chips.append([])
            seen.append(error)
    vectors = _embedded(recognizer, chips, [item.flip for item in batch])
    return [
        one if isinstance(one, PictureError) else Seen(one, some if item.embed else None)
        for item, one, some in zip(batch, seen, vectors, strict=True)
    ]


def _embedded(
    recognizer: Recognizer, chips: Sequence[Sequence[Pixels]], flips: Sequence[bool]
) -> list[NDArray[np.float32]]:
    """The vectors of each picture's chips, (n, D), which go through the network together."""
    vectors: list[list[NDArray[np.float32]]] = [[] for _ in chips]
    for flip in (False, True):
        some = [(n, chip) for n, row in enumerate(chips) if flips[n] == flip for chip in row]
        made = embed_chips(recognizer.embedder, [chip for _, chip in some], flip)
        for (number, _), vector in zip(some, made, strict=True):
            vectors[number].append(vector)
    # a model of the user's may have another length than its row says
    dim = recognizer.row.dim
    return [np.array(row, np.float32).reshape(len(row), -1 if row else dim) for row in vectors]


def _given(recognizer: Recognizer, item: Item) -> list[FoundFace]:
    assert item.given is not None
    none = np.full((5, 2), np.nan, np.float32)
    return [
        FoundFace(
            box, math.nan, none if points is None else points, recognizer.face_of(box, points)
        )
        for box, points in item.given
    ]


def _chip(recognizer: Recognizer, rgb: Picture, face: Face) -> Pixels:
    try:
        return recognizer.embedder.chip(rgb, face)
    except ValueError as error:
        box = [] if face.bbox is None else [round(float(v), 1) for v in face.bbox]
        raise PictureError(f"has no face in the box {box} (x, y, w, h): {error}") from None
