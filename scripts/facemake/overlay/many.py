"""Overlays of many samples, in order; one that fails does not stop the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import cv2
from av.error import FFmpegError

from facemake.errors import FacemakeError
from facemake.overlay.options import Options
from facemake.overlay.run import Made, overlay, target
from facemake.overlay.study import Recorded
from facemake.runtime.contexts import Closing

_SECONDS_BETWEEN_WORDS = 0.1
_SECONDS_TO_END = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of a sample: `made`, or why it was not."""

    sample: str
    made: Made | None = None
    error: str = ""


def overlays(
    samples: Sequence[Recorded],
    options: Options,
    folder: Path,
    workers: int = 1,
    told: Callable[[int], None] = lambda frames: None,
) -> Iterator[Outcome]:
    """Write the overlays of samples.

    Args:
        samples: of a run.
        options: what is drawn and hidden.
        folder: where they go.
        workers: processes, each at work on a sample; with one it is this process.
        told: is told how many frames are done in all.

    Yields:
        What became of each, in their order.
    """
    workers = min(workers, len(samples))
    if workers > 1:
        with _Workers(workers, told) as pool:
            yield from pool.run([(one, options, folder) for one in samples])
        return
    before = 0
    for recorded in samples:
        done = 0

        def count(frames: int, before: int = before) -> None:
            nonlocal done
            done = frames
            told(before + frames)

        yield attempt(recorded, options, folder, count)
        before += done


def attempt(
    recorded: Recorded, options: Options, folder: Path, told: Callable[[int], None]
) -> Outcome:
    """Write the overlay of a sample, or say why that is not possible."""
    sample = recorded.sample.sample
    try:
        return Outcome(sample, overlay(recorded, options, folder, told))
    except FacemakeError as error:
        return Outcome(sample, error=str(error))
    except MemoryError:
        return Outcome(sample, error=f"{sample}: out of memory; use fewer workers")
    except (OSError, FFmpegError) as error:
        path = target(recorded, options, folder)
        return Outcome(sample, error=f"{path} cannot be written: {error.strerror or error}")


_Task = tuple[Recorded, Options, Path]


class _Worker:
    """A process, and what it is at work on."""

    def __init__(self) -> None:
        # not forked: the libraries have threads
        start = multiprocessing.get_context("spawn")
        self.pipe, theirs = start.Pipe()
        self.process = start.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.index = -1
        self.frames = 0


class _Workers(Closing):
    def __init__(self, count: int, told: Callable[[int], None]) -> None:
        self._told = told
        self._idle = [_Worker() for _ in range(count)]
        self._busy: dict[Connection, _Worker] = {}
        self._frames = 0

    def run(self, tasks: Sequence[_Task]) -> Iterator[Outcome]:
        left = deque(range(len(tasks)))
        done: dict[int, Outcome] = {}
        following = 0
        while following < len(tasks):
            while left and self._idle:
                worker = self._idle.pop()
                worker.index = left.popleft()
                worker.frames = 0
                with contextlib.suppress(OSError):  # one that ended is seen below
                    worker.pipe.send(tasks[worker.index])
                self._busy[worker.pipe] = worker
            for pipe in wait(list(self._busy)):
                worker = self._busy[pipe]  # type: ignore[index]  # that is all that is waited for
                outcome = self._heard(worker, tasks[worker.index][0].sample.sample)
                if outcome is not None:
                    done[worker.index] = outcome
            while following in done:
                yield done.pop(following)
                following += 1

    def _heard(self, worker: _Worker, sample: str) -> Outcome | None:
        """What a worker says; None where it only says how far it is."""
        try:
            word: int | Outcome = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            code = worker.process.exitcode or 0
            how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
            why = " (memory ran out, most likely: use fewer workers)" if code == -9 else ""
            word = Outcome(sample, error=f"{sample}: its process ended {how}{why}")
            del self._busy[worker.pipe]
            self._idle.append(_Worker())
            return word
        if isinstance(word, Outcome):
            self._idle.append(self._busy.pop(worker.pipe))
            return word
        self._frames += word - worker.frames
        worker.frames = word
        self._told(self._frames)
        return None

    def close(self) -> None:
        """A worker whose pipe is closed ends, and leaves nothing half-written."""
        workers = [*self._idle, *self._busy.values()]
        for worker in workers:
            worker.pipe.close()
        for worker in workers:
            worker.process.join(_SECONDS_TO_END)
            worker.process.kill()
            worker.process.join()


def _work(pipe: Connection) -> None:
    """What a worker does until its pipe is closed."""
    cv2.setNumThreads(1)
    try:
        while True:
            pipe.send(_one(pipe, *pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass  # nobody listens any more


def _one(pipe: Connection, recorded: Recorded, options: Options, folder: Path) -> Outcome:
    said = 0.0

    def told(frames: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_WORDS:
            said = now
            pipe.send(frames)

    try:
        outcome = attempt(recorded, options, folder, told)
    except Exception:
        what = f"a bug of facemake, or a fault of the machine:\n{traceback.format_exc()}"
        return Outcome(recorded.sample.sample, error=f"{recorded.sample.sample}: {what}")
    if outcome.made is not None:
        pipe.send(outcome.made.frames)
    return outcome
