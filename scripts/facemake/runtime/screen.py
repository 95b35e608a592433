"""What a person who waits looks at: one line of a terminal that is written over."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from facemake.runtime.contexts import Closing

_SECONDS_IN_PLACE = 0.2


class Screen(Closing):
    """A terminal with a line that is written over, or a stream of lines where it is none.

    Args:
        stream: where people look; None: nowhere, as where a process has no standard error.
        in_place: write over the last line; None: where the stream is a terminal.
    """

    def __init__(self, stream: TextIO | None, in_place: bool | None = None) -> None:
        self._stream = stream
        if in_place is None:
            in_place = stream is not None and stream.isatty()
        self.in_place = in_place
        self._lock = threading.RLock()
        self._shown = ""

    def show(self, text: str) -> None:
        """Put `text` where it stands until the next, or until something else is said."""
        with self._lock:
            self.clear()
            if self.in_place:
                self._shown = text[: self._columns() - 1]
                self._write(self._shown)
            else:
                self._write(f"{text}\n")

    def say(self, text: str) -> None:
        """Write lines that stay."""
        with self._lock:
            shown = self._shown
            self.clear()
            self._write(f"{text}\n")
            if shown:
                self.show(shown)

    def clear(self) -> None:
        """Take the line away, for somebody else who writes."""
        with self._lock:
            if self._shown:
                self._write("\r\x1b[K")
                self._shown = ""

    def close(self) -> None:
        """Take the line away."""
        self.clear()

    def _columns(self) -> int:
        if self._stream is None:
            return 80
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone
            self._stream.write(text)
            self._stream.flush()


class Line(Screen):
    """How far something is: in place on a terminal, else a line now and then.

    Args:
        seconds: between two lines where there is no terminal.
        stream: where people look; None: standard error.
    """

    def __init__(self, seconds: float = 10.0, stream: TextIO | None = None) -> None:
        super().__init__(stream or sys.stderr)
        self._seconds = _SECONDS_IN_PLACE if self.in_place else seconds
        self._said = time.monotonic()

    def tell(self, text: Callable[[], str]) -> None:
        """Show what `text` gives, if it is time for it."""
        now = time.monotonic()
        if now - self._said >= self._seconds:
            self._said = now
            self.show(text())


def duration(seconds: float) -> str:
    """A time span in its two largest units."""
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"
