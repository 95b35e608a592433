"""Ctrl-C at any moment is a line and the status 130, and never where Python was.

While a process imports what it is made of, nothing of it can say that it was interrupted: the
signal then ends it at once (`facemake.runtime.early`), or waits (`hold`) until it listens.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from facemake.runtime import early

INTERRUPTED = early.INTERRUPTED

_SIGINT = {signal.SIGINT}
_came = False


def listen() -> None:
    """Have an interruption raise KeyboardInterrupt from here on, also one that waits."""
    global _came
    _came = False
    if _is_main() and signal.getsignal(signal.SIGINT) in (early.end, signal.default_int_handler):
        signal.signal(signal.SIGINT, _interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGINT)


def came() -> bool:
    """Whether an interruption came since this process listens.

    An error may be what a library made of it: NumPy, while it is imported, makes it an ImportError.
    """
    return _came


def insist() -> None:
    """Raise again what came and was taken for something else: for a package that is not there, say.

    Raises:
        KeyboardInterrupt: an interruption came since this process listens.
    """
    if _came:
        raise KeyboardInterrupt


def hold() -> None:
    """Let an interruption wait, in this thread and in the programs that it starts from here on."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGINT)


def ended() -> None:
    """What is left is the interpreter's own end: an interruption has nothing to say any more."""
    if signal.getsignal(signal.SIGINT) in (early.end, _interrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Listen while the block lasts; then an interruption waits again where it did before."""
    handler = signal.getsignal(signal.SIGINT)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGINT)
    try:
        listen()
        yield
    finally:
        if signal.SIGINT in before:
            hold()
        if _is_main() and signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, handler)


def starting_on_hold(start: Callable[..., Any]) -> Callable[..., Any]:
    """A function that starts programs in threads of this process: theirs waits until they listen.

    The main thread, which is interrupted in their place, goes on as it is.
    """

    def started(*arguments: Any) -> Any:
        if not _is_main():
            hold()
        return start(*arguments)

    return started


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _came
    _came = True
    raise KeyboardInterrupt
