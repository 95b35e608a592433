"""A child process under watch: what it says goes to the log, and it ends with us or in time."""

from __future__ import annotations

import contextlib
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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from facemake.backends.threedi.runtimes import Ended, RunError, TimeLimitError

logger = logging.getLogger(__name__)

LINES_KEPT = 40
"""Lines of the end that a failure shows."""
_SECONDS_BETWEEN_LOOKS = 10.0
_LONGEST_LINE = 2_000
_PROGRESS = re.compile(r"Processing frame\s*#?\s*\d+")
_MOST_LOGGED = 5_000
"""Lines of one program in the log; the end is kept in any case."""

_PR_SET_PDEATHSIG = 1


def _at_parents_death(number: int) -> Callable[[], None] | None:
    """What makes a child get a signal when this process is gone; None where the system cannot."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, number) and None


class Listener:
    """Takes what a program says, line by line: to the log, and the last of it is kept."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._logged = 0
        self._looked = 0.0
        self.last: deque[str] = deque(maxlen=LINES_KEPT)

    def __call__(self, text: str) -> None:
        """Take a piece between line ends."""
        line = text.strip()[:_LONGEST_LINE]
        if not line:
            return
        if _PROGRESS.search(line):
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


def pieces(blocks: Iterable[bytes]) -> Iterable[str]:
    """Lines, also those that end in a carriage return alone, of what comes in blocks of bytes."""
    held = b""
    for block in blocks:
        *whole, held = re.split(rb"[\r\n]+", held + block)
        if len(held) > 4 * _LONGEST_LINE:
            whole, held = [*whole, held], b""
        for one in whole:
            yield one.decode("utf-8", "replace")
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
        for line in pieces(iter(lambda: os.read(stream.fileno(), 1 << 16), b"")):
            listener(line)

    listening = threading.Thread(target=listen, name=f"listen to {name}", daemon=True)
    listening.start()
    try:
        code = child.wait(limit)
    except subprocess.TimeoutExpired:
        _end_group(child)
        raise TimeLimitError(
            f"{name} was ended after {limit:g} s, its time limit; if it was still at work, raise "
            f"threedi.time_limit. It said last:\n{_end(listener)}"
        ) from None
    except BaseException:
        _end_group(child)
        raise
    finally:
        # what is left of its group must not hold the pipe open
        _end_group(child)
        listening.join(timeout=10)
        stream.close()
    return Ended(list(command), code, list(listener.last))


def _end(listener: Listener) -> str:
    return "\n".join(f"  {line}" for line in listener.last) or "  nothing"


def _end_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
