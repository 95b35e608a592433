"""The frame of every script: threads, log file, errors in words, the end with the parent."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError
from facemake.runtime import (
    disks,
    failures,
    garbage,
    heartbeat,
    interrupts,
    libraries,
    memory,
    runs,
)
from facemake.runtime.causes import disk_is_full
from facemake.runtime.gpu import lease
from facemake.runtime.modules import spare_pandas
from facemake.runtime.parent import end_on_sigterm, end_with_parent
from facemake.samples import WORK

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def job(
    log: str | Path | None,
    threads: int = 1,
    gpus: int = 0,
    recipe: Mapping[str, Any] | None = None,
) -> Iterator[None]:
    """Run a stage as a job of the workflow.

    Sets the thread variables before any numerical library is imported (import the stage inside the
    block), writes the log of the library, standard error and any uncaught exception to `log`, and
    repeats warnings and errors on the standard error that it had. A `FacemakeError` is shown as its
    message alone. A failure is noted for `facemake status` (`facemake.runtime.failures`); one that
    no other try can cure is not tried again in the same run.

    Args:
        log: the rule's log file; None: standard error only.
        threads: the rule's threads.
        gpus: the rule's resource `gpu`: so many are leased (`facemake.runtime.gpu`).
        recipe: the rule's recipe, whose libraries must be those of this environment.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    # MediaPipe's C++ log prints a page of warnings a job; errors stay
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    end_with_parent()
    end_on_sigterm(lambda: _note_end_from_outside(log))
    logger = logging.getLogger("facemake")
    logger.setLevel(logging.INFO)
    terminal = logging.StreamHandler(os.fdopen(os.dup(2), "w", encoding="utf-8"))
    terminal.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(terminal)
    earlier = failures.for_good(log)
    if log:
        Path(log).parent.mkdir(parents=True, exist_ok=True)
        if earlier is None:
            Path(log).write_bytes(b"")
        file = logging.FileHandler(log, mode="a", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(file)
        terminal.setLevel(logging.WARNING)  # how far it is, the run itself says
        # what libraries in C++ write by themselves, a page of warnings a job, is for the log
        with Path(log).open("ab") as stream:
            os.dup2(stream.fileno(), 2)
    if earlier:
        logger.error("not tried again, since it would fail again: %s", earlier.message)
        sys.exit(1)
    start = time.monotonic()
    garbage.while_importing()
    try:
        with interrupts.listening():
            if recipe is not None:
                libraries.check(recipe["libraries"])
            spare_pandas()
            with heartbeat.beating(log), lease(gpus):
                yield
            # Snakemake's own benchmark files and its artifact cache exclude each other
            logger.info(
                "%.1f s, %.1f s of CPU, at most %.0f MB",
                time.monotonic() - start,
                time.process_time(),
                memory.peak() / 1e6,
            )
            failures.clear(log)
    except (Exception, KeyboardInterrupt) as error:
        if interrupts.came() or isinstance(error, KeyboardInterrupt):
            logger.info("interrupted")  # the terminal tells all of a run: what is done is kept
            if not runs.is_stale():
                failures.write(log, failures.INTERRUPTED, curable=True, sample=_sample())
            sys.exit(interrupts.INTERRUPTED)
        message = in_words(error, [Path(log)] if log else ())
        if message is None:
            logger.exception("this is a bug of facemake, or a fault of the machine")
            message = "".join(traceback.format_exception_only(error)).strip()
        else:
            logger.error("%s", message)
        if not runs.is_stale():  # else the log is the other run's job's by now, and so is the note
            failures.write(log, message, curable=failures.is_curable(error), sample=_sample())
        sys.exit(1)


def _sample() -> str:
    beat = heartbeat.current()
    return beat.sample if beat else ""


def _note_end_from_outside(log: str | Path | None) -> None:
    message = "ended from outside (SIGTERM): cancelled, or over its time or memory"
    logging.getLogger("facemake").error("%s", message)
    if not runs.is_stale():
        failures.write(log, message, curable=True, sample=_sample())
    heartbeat.forget()


def in_words(error: Exception, places: Iterable[Path] = ()) -> str | None:
    """What is expected to go wrong, with the sample that it went wrong in; None of a bug.

    Args:
        error: what stopped it.
        places: where was written, for a full disk that nobody has blamed yet.
    """
    if isinstance(error, FacemakeError):
        text = str(error)
    elif disk_is_full(error):
        disk = disks.blamed(error) or disks.full([*places, WORK, Path(tempfile.gettempdir())])
        text = (
            f"the disk {disk} is full: make room there and run again"
            if disk
            else f"the disk is full: make room there and run again ({error})"
        )
    elif isinstance(error, MemoryError):
        text = "out of memory: give the job more, or run fewer at once (--cores)"
    else:
        return None
    return "\n".join([text, *getattr(error, "__notes__", ())])
