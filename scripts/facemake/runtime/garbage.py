"""When a job's process looks for garbage in cycles: not among what it has imported.

A stage imports some hundred thousand objects that live as long as its process. By itself Python
looks through them again and again while they come, and once more at its end: a quarter of the time
that a job takes to start and to end.
"""

from __future__ import annotations

import atexit
import gc

_MANY = 50_000

_usual: tuple[int, int, int] | None = None
"""How often Python looked before, where it looks seldom now."""


def while_importing() -> None:
    """Look seldom until `imported`, and not at the end of the process."""
    global _usual
    if _usual is None:
        _usual = gc.get_threshold()
        gc.set_threshold(_MANY, *_usual[1:])
        atexit.register(gc.freeze)


def imported() -> None:
    """Look as ever from here on, but not at what is there already; outside of a job, nothing."""
    global _usual
    if _usual is not None:
        gc.freeze()
        gc.set_threshold(*_usual)
        _usual = None
