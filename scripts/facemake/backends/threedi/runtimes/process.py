"""A child process under watch: what it says goes to the log, and it ends with us or in time."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from facemake.backends.threedi.runtimes import Ended, RunError, TimeLimitError
from facemake.runtime.parent import at_end

logger = logging.getLogger(__name__)

LINES_KEPT = 40
"""Lines of the end that a failure shows."""
_SECONDS_BETWEEN_LOOKS = 10.0
_SECONDS_TO_LISTEN = 10.0
"""For what a program that has ended said last."""
_LONGEST_LINE = 2_000
_PROGRESS = re.compile(r"Processing frame\s*#?\s*\d+(\s*/\s*\d+)?")
_END_OF_LINE = re.compile(rb"(\r*\n|\r+)")
_MOST_LOGGED = 5_000
"""Lines of one program in the log; the end is kept in any case."""

_PR_SET_PDEATHSIG = 1


def _at_parents_death(number: int) -> Callable[[], None] | None:
    """What makes a child get a signal when this process is gone; None where the system cannot."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it is gone already
            os.kill(os.getpid(), number)

    return ask


class Listener:
    """Takes what a program says, line by line: to the log, and the last of it is kept."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged = 0
        self._looked = 0.0
        self.last: deque[str] = deque(maxlen=LINES_KEPT)

    def __call__(self, piece: str) -> None:
        """Take one of `pieces`."""
        line = piece.strip()[:_LONGEST_LINE]
        if not line:
            return
        # what is written over, and what would be on a terminal
        if piece.endswith("\r") or _PROGRESS.fullmatch(line):
            if time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS:
                return
            self._looked = time.monotonic()
            logger.info("%s: %s", self._name, line)
            return
        self.last.append(line)
        self._logged += 1
        if self._logged < _MOST_LOGGED:
            logger.info("%s: %s", self._name, line)
        elif self._logged == _MOST_LOGGED:
            logger.info("%s: says more than the log keeps", self._name)


def pieces(blocks: Iterable[bytes]) -> Iterator[str]:
    """The lines of what comes in blocks of bytes, each with its end.

    That is a line feed, or a carriage return alone where the next line is written over it. A line
    that does not end is cut into pieces without an end.
    """
    held = b""
    for block in blocks:
        *whole, held = _END_OF_LINE.split(held + block)
        if whole and not held and whole[-1].endswith(b"\r"):  # a line feed may be next
            held = whole[-2] + whole[-1]
            whole = whole[:-2]
        for text, end in zip(whole[::2], whole[1::2], strict=True):
            yield text.decode("utf-8", "replace") + ("\n" if end.endswith(b"\n") else "\r")
        if len(held) > 4 * _LONGEST_LINE:
            yield held.decode("utf-8", "replace")
            held = b""
    yield held.decode("utf-8", "replace")


def run_child(
    command: Sequence[str],
    *,
    name: str,
    folder: Path,
    environment: Mapping[str, str],
    limit: float | None,
    end_signal: int = signal.SIGKILL,
) -> Ended:
    """Run a command to its end.

    Args:
        command: a list; no shell sees it.
        name: of the program, for the log.
        folder: working directory.
        environment: all of it.
        limit: seconds.
        end_signal: what it gets when this process is gone.

    Raises:
        TimeLimitError: it took longer; all its processes were ended.
        RunError: it cannot be started.
    """
    listener = Listener(name)
    try:
        child = subprocess.Popen(  # noqa: S603
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_at_parents_death(end_signal),
        )
    except OSError as error:
        raise RunError(
            f"{command[0]} cannot be started: {error.strerror}; is it executable, and made for "
            "this machine?"
        ) from None
    stream = child.stdout
    assert stream is not None

    def listen() -> None:
        # whoever left its group may hold the pipe open for ever: it is then closed under us
        with contextlib.suppress(OSError, ValueError):
            for piece in pieces(iter(lambda: os.read(stream.fileno(), 1 << 16), b"")):
                listener(piece)

    # who asked for the lines of this work (`debug=True`) sees those of its programs too
    heard = contextvars.copy_context().run
    listening = threading.Thread(
        target=heard, args=(listen,), name=f"listen to {name}", daemon=True
    )
    listening.start()
    code = None
    with at_end(lambda: _end_group(child)):
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = child.wait(limit)
        finally:
            # what is left of its group must not hold the pipe open
            _end_group(child)
            child.wait()
            listening.join(_SECONDS_TO_LISTEN)
            stream.close()
    if code is None:
        raise TimeLimitError(time_is_up(name, limit, listener))
    return Ended(list(command), code, list(listener.last))


def last_words(lines: Iterable[str]) -> str:
    """The last lines of a program, for a message."""
    return "\n".join(f"  {line}" for line in lines) or "  nothing"


def time_is_up(name: str, limit: float | None, listener: Listener) -> str:
    """What to say of a program that was ended."""
    return (
        f"{name} was ended after {limit:g} s, its time limit; if it was still at work, raise "
        f"threedi.time_limit. It said last:\n{last_words(listener.last)}"
    )


def _end_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
