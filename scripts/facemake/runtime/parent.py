"""How a job ends that others end: with the run that started it, so that a killed run leaves no
orphan, and by SIGTERM, which is what a cluster sends before it kills (time limit, cancelled).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import psutil

_SECONDS_BETWEEN_LOOKS = 1.0

_last_acts: list[Callable[[], None]] = []


@contextlib.contextmanager
def at_end(act: Callable[[], None]) -> Iterator[None]:
    """Have `act` done before this process ends with its run, while the block lasts.

    For what would live on by itself: a container is no child of the process that started it.
    """
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def _the_run() -> psutil.Process | None:
    """The nearest ancestor that is Snakemake, else the direct parent."""
    parents = psutil.Process().parents()
    for process in parents:
        try:
            # the script itself runs in a Python whose command line names the script only
            if any(part.endswith("snakemake") for part in process.cmdline()[:3]):
                return process
        except psutil.Error:
            continue
    return parents[0] if parents else None


def end_with_parent() -> None:
    """Start a thread that ends this process when the run that started it is gone.

    Polling, not PR_SET_PDEATHSIG: a shell may stand between Snakemake and the script, and would
    outlive it. A finished file is renamed into place in one step, so ending at once harms nothing.
    """
    run = _the_run()
    if run is None:
        return

    def watch() -> None:
        try:
            while run.is_running() and run.status() != psutil.STATUS_ZOMBIE:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        finally:  # it may go between two questions, which raises
            _end()

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def end_on_sigterm(act: Callable[[], None]) -> None:
    """Have `act` done, and what `at_end` asks for, before SIGTERM ends this process.

    By a thread that the signal wakes: a handler would wait until the library call returns that the
    main thread is in, and a cluster kills in half a minute.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)

    def watch() -> None:
        while os.read(read, 1) != bytes([signal.SIGTERM]):
            pass
        with contextlib.suppress(Exception):
            act()
        _end()

    # else who ends a forked child would end this process, and not the child; one that is sent to
    # the child before it is ready waits
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def in_child() -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        unblock()

    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=in_child)
    threading.Thread(target=watch, name="end-on-sigterm", daemon=True).start()


def _end() -> None:
    for act in list(_last_acts):
        with contextlib.suppress(Exception):
            act()
    os._exit(143)
