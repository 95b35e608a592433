"""Ctrl-C at any moment is a line and the status 130, and never where Python was.

While a process imports what it is made of, nothing of it can say that it was interrupted: the
signal then ends it at once (`end_at_once`), or waits (`hold`) until it listens.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

INTERRUPTED = 130

_SIGINT = {signal.SIGINT}


def end_at_once() -> None:
    """Have an interruption end this process by a line, until `listen`."""
    # who starts a process in the background has it ignore the signal
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def listen() -> None:
    """Have an interruption raise KeyboardInterrupt from here on, also one that waits."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGINT)


def hold() -> None:
    """Let an interruption wait, in this thread and in the programs that it starts from here on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGINT)


def ended() -> None:
    """What is left is the interpreter's own end: an interruption has nothing to say any more."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Listen while the block lasts; then an interruption waits again where it did before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGINT)
    try:
        listen()
        yield
    finally:
        if signal.SIGINT in before:
            hold()


def starting_on_hold(start: Callable[..., Any]) -> Callable[..., Any]:
    """A function that starts programs in threads of this process: theirs waits until they listen.

    The main thread, which is interrupted in their place, goes on as it is.
    """

    def started(*arguments: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            hold()
        return start(*arguments)

    return started


def _end(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"facemake: interrupted\n")
    os._exit(INTERRUPTED)
