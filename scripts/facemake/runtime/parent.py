"""A job ends with the run that started it, so that a killed run leaves no orphan."""

from __future__ import annotations

import os
import threading
import time

import psutil

_SECONDS_BETWEEN_LOOKS = 1.0


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
            os._exit(143)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
