"""What `debug=True` shows: the log lines of that processor's own work, and of no other's."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_shown: ContextVar[bool] = ContextVar("shown", default=False)
"""Whether the work that goes on is of a processor that shows what it logs."""

_changing = threading.Lock()
_working = 0
_handler: logging.Handler | None = None
_level = logging.NOTSET


@contextmanager
def log_to_standard_error() -> Iterator[None]:
    """Show on standard error what is logged meanwhile in this context; after it all is as before.

    Where the program has a handler of its own for facemake's log, that one shows it.
    """
    if _shown.get():
        yield
        return
    token = _shown.set(True)
    _begin()
    try:
        yield
    finally:
        _end()
        _shown.reset(token)


def _begin() -> None:
    global _working, _handler, _level
    log = logging.getLogger("facemake")
    with _changing:
        _working += 1
        if _working > 1:
            return
        _level = log.level
        if not log.handlers:
            _handler = logging.StreamHandler(sys.stderr)
            _handler.setFormatter(logging.Formatter("%(message)s"))
            # warnings were shown without us, and no handler but ours has them now
            _handler.addFilter(lambda record: _shown.get() or record.levelno >= logging.WARNING)
            log.addHandler(_handler)
        log.setLevel(min(log.getEffectiveLevel(), logging.INFO))


def _end() -> None:
    global _working, _handler
    log = logging.getLogger("facemake")
    with _changing:
        _working -= 1
        if _working:
            return
        if _handler is not None:
            log.removeHandler(_handler)
            _handler = None
        log.setLevel(_level)
