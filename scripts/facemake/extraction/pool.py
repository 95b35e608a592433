"""Workers: processes that are given chunks of inputs, and what becomes of them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from facemake.errors import FacemakeError
from facemake.extraction.inputs import Input
from facemake.extraction.looking import Given
from facemake.extraction.worker import END
from facemake.provenance import LIBRARY
from facemake.runtime import memory

_AHEAD = 2
"""Chunks that a worker has at once: it never waits for the next one. A video, which may take hours,
is given to one that has nothing else to do."""
_SECONDS_TO_END = 5.0
_MARGIN = 1.5
"""Memory that a worker may grow by, over what the first one took for its first inputs."""
_LAST_LINES = 12


class WorkerError(FacemakeError):
    """A worker failed: the message says of which input, and what to do."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    chunks: deque[list[int]] = field(default_factory=deque)
    begun: bytes = b""

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is seen at its standard output
            self.process.stdin.write(line.encode("ascii"))
            self.process.stdin.flush()

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])


class Pool:
    """Has chunks of inputs worked on.

    Args:
        settings: what each worker is told first.
        inputs: which chunks name by index.
        workers: how many; None: one, and as many more as cores and memory allow once it is known
            how much the first one took.
        most: never more than that.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        inputs: Sequence[Input],
        workers: int | None,
        most: int,
    ) -> None:
        self._settings = settings
        self._inputs = inputs
        self._wanted = workers
        self._most = max(most, 1)
        self._workers: list[_Worker] = []
        self._done: set[int] = set()
        self._selector = selectors.DefaultSelector()
        self.peak = 0
        """Bytes: the largest memory of a worker so far."""

    @property
    def count(self) -> int:
        """How many workers there were at most."""
        return len(self._workers)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for worker in self._workers:
            if kind is not None and worker.process.poll() is None:
                worker.process.kill()  # whatever it writes is renamed into place when whole
        for worker in self._workers:
            with contextlib.suppress(OSError):
                assert worker.process.stdin is not None
                worker.process.stdin.close()
            try:
                worker.process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            worker.stdout.close()
            worker.errors.close()
        self._selector.close()

    def run(
        self,
        chunks: Iterator[list[int]],
        begin: Callable[[list[int]], None],
        seconds: float,
    ) -> Iterator[Given | None]:
        """What workers give, as it comes; None when nothing came for some time.

        Args:
            chunks: of indices.
            begin: is told of a chunk before a worker is.
            seconds: between two answers at most.

        Raises:
            WorkerError: a worker failed or died.
        """
        self._chunks, self._begin = chunks, begin
        self._next = next(chunks, None)
        self._start(min(self._wanted or 1, self._most))
        while self._selector.get_map():
            ready = self._selector.select(seconds)
            if not ready:
                yield None
            for key, _ in ready:
                worker: _Worker = key.data
                data = os.read(worker.stdout.fileno(), 1 << 16)
                if not data:
                    self._ended(worker)
                    continue
                *lines, worker.begun = (worker.begun + data).split(b"\n")
                for line in lines:
                    yield from self._answer(worker, json.loads(line))

    def _start(self, count: int) -> None:
        """Start workers; each has something to do before one has more."""
        new = [self._started() for _ in range(count)]
        for worker in new:
            if self._next is not None:
                self._give(worker, self._next)
        for worker in new:
            self._fill(worker)

    def _started(self) -> _Worker:
        """Without a module of the caller's: a script without `if __name__` may call us."""
        # a file and no pipe: nobody has to read it
        errors = tempfile.TemporaryFile()  # noqa: SIM115
        path = os.pathsep.join([str(LIBRARY.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "facemake.extraction.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": path},
        )
        worker = _Worker(process, errors)
        self._workers.append(worker)
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        worker.tell(json.dumps(self._settings) + "\n")
        return worker

    def _fill(self, worker: _Worker) -> None:
        """Give a worker what it is to have in hand, or its end where there is no more."""
        while self._next is not None and (
            not worker.chunks
            or (len(worker.chunks) < _AHEAD and not self._inputs[self._next[0]].video)
        ):
            self._give(worker, self._next)
        if not worker.chunks:
            worker.tell(END)

    def _give(self, worker: _Worker, chunk: list[int]) -> None:
        self._next = next(self._chunks, None)
        self._begin(chunk)
        worker.chunks.append(chunk)
        inputs = [
            {
                "index": index,
                "path": str(one.path),
                "name": one.name,
                "rest": [one.video, one.output, list(one.taken), one.start],
            }
            for index in chunk
            for one in (self._inputs[index],)
        ]
        worker.tell(json.dumps({"inputs": inputs}) + "\n")

    def _answer(self, worker: _Worker, answer: dict[str, Any]) -> Iterator[Given]:
        if "rows" in answer:
            if answer["done"]:
                self._done.add(answer["index"])
            else:  # of a video there is more to come
                self._measured(answer["peak"])
            yield Given(answer["index"], answer["rows"], answer["done"])
        elif "chunk" in answer:
            worker.chunks.popleft()
            self._measured(answer["peak"])
            self._fill(worker)
        elif "error" in answer:
            raise WorkerError(self._in_words(answer, worker))

    def _measured(self, peak: int) -> None:
        """How much memory a worker took: now it is known how many there can be."""
        self.peak = max(self.peak, peak)
        if self._wanted is None:
            self._wanted = self._affordable(peak)
            self._start(self._wanted - 1)

    def _affordable(self, peak: int) -> int:
        more = memory.available() / (_MARGIN * max(peak, 1))
        return max(1, min(memory.cores(), 1 + int(more), self._most))

    def _at_work_on(self, worker: _Worker) -> str:
        left = [i for chunk in worker.chunks for i in chunk if i not in self._done]
        return f" at work on {self._inputs[left[0]].path}" if left else ""

    def _fewer(self) -> str:
        if len(self._workers) > 1:
            return f"use fewer workers than {len(self._workers)} (1 needs the least)"
        return (
            "give the run more memory, look at large pictures in tiles (tile=1280, --tile 1280), "
            "or make them smaller"
        )

    def _in_words(self, answer: dict[str, Any], worker: _Worker) -> str:
        if answer.get("memory"):
            return f"a worker is {answer['error']}: {self._fewer()}; run again to go on"
        if answer.get("bug"):
            return (
                f"a worker failed{self._at_work_on(worker)}: {answer['error']}; this is a bug of "
                f"facemake, or a fault of the machine\n{worker.last_words()}"
            )
        return str(answer["error"])

    def _ended(self, worker: _Worker) -> None:
        self._selector.unregister(worker.stdout)
        code = worker.process.wait()
        if not worker.chunks and code == 0:
            return
        where = self._at_work_on(worker)
        if code == -signal.SIGKILL:
            raise WorkerError(
                f"a worker{where} was killed by the system, most likely because memory ran out "
                f"(its peak was {self.peak / 1e6:.0f} MB before): {self._fewer()}; run again to go "
                "on"
            )
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        raise WorkerError(f"a worker{where} ended {how}\n{worker.last_words()}".rstrip())
