"""How far a run is, while it runs: lines on its terminal and in its log.

A thread of the main process looks every few seconds at the files that `facemake status` reads. It
ends with the process, however that ends, and whatever goes wrong in it harms no run.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Set
from pathlib import Path

from facemake.runtime import failures, heartbeat, runs
from facemake.runtime.locks import sign_of_life
from facemake.runtime.screen import Screen
from facemake.samples import WORK
from facemake.watch import executor
from facemake.watch.state import RUN, State, Watcher, killed
from facemake.watch.words import failure_in_words, line

logger = logging.getLogger(__name__)

SWITCH = "FACEMAKE_PROGRESS"
"""Environment variable: `off` shows nothing of this on the terminal."""

_LARGEST_SHARE = 0.02  # of one core
_SECONDS_BETWEEN_LOOKS = 2.0
_FIRST_LINES = (10.0, 20.0, 40.0)  # seconds after the start; then one every minute
_SECONDS_BETWEEN_LINES = 60.0
_MOST_TOLD = 20  # samples that are not ok; the end of the run names more


class Ticker:
    """Says how far the run in this working directory is.

    Args:
        outdir: the results; the lines are in `run.log` there too.
        quiet: Snakemake is silent about its jobs, so a line may be written over, and failed jobs
            are named here.
        silent: nothing on the terminal.
    """

    def __init__(self, outdir: str, *, quiet: bool = False, silent: bool = False) -> None:
        self._log = Path(outdir) / runs.LOG
        self._silent = silent or os.environ.get(SWITCH, "").lower() == "off"
        self._quiet = quiet
        self._screen = Screen(sys.stderr, in_place=quiet and sys.stderr.isatty())
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._beating = contextlib.ExitStack()
        self._known: Set[str] | None = None  # samples that are not ok
        self._told = 0

    def live(self) -> None:
        """Say that the run lives: before it takes back how the one before it ended."""
        self._beating.enter_context(heartbeat.beating("logs/run.log"))
        # a run that is stopped for a while (SIGSTOP, a file server) is silent, and not dead
        self._beating.enter_context(sign_of_life(WORK / "locks" / f"{RUN}."))

    def start(self) -> None:
        """Begin, when the run has written what it sets out to do."""
        # what Arrow allocates with is of the thread that loads it: were that the ticker's, which
        # ends before the run does, the run's last reading of a table would crash now and then
        import pyarrow  # noqa: F401

        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; the run ends, and lives until it has said how (`end`)."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(10)
            self._thread = None
        self._screen.clear()

    def end(self) -> None:
        """Say no more that the run lives: after it has written how it ended."""
        self._beating.close()

    def say(self, text: str) -> None:
        """Write lines that stay, on the terminal and in the log."""
        self._note(text)
        self._screen.say(text)

    def clear(self) -> None:
        """Make room for what somebody else writes on the terminal."""
        self._screen.clear()

    def failed(self, log: str, said: str | None = None, logs: Iterable[str] = ()) -> None:
        """Name a job that failed, and why, by its own note or by what is said of it.

        Args:
            log: the rule's log file.
            said: by the executor of a cluster.
            logs: of the cluster's own.
        """
        job = failures.stage_and_shard(log)
        if job is None:
            return
        failure, beat = failures.read(*job), heartbeat.read(*job)
        if failure is None and runs.interrupted:
            return  # it was still starting
        if said and failure and beat and failure.time < beat.time:
            failure = None  # of an earlier attempt: this one was killed
        known = executor.word(said, logs if failure is None else ())
        theirs = failure is None or (known and known.exact and failure.curable)
        how = known.message if known and known.exact else killed(Path(), str(self._log.parent))
        if known and theirs and not runs.interrupted:
            message = how if known.exact else f"{how} ({known.message})"
            sample = beat.sample if beat else failure.sample if failure else ""
            failures.write(log, message, curable=True, sample=sample, started=known.started)
            failure = failures.read(*job)
        if failure is None:
            failure = failures.Failure(*job, "", how, True, time.time(), "", log)
        if failure.message == failures.INTERRUPTED:
            return  # whoever did that knows it
        text = f"failed: {failure_in_words(failure, '').lstrip()}"
        self._note(text)
        if self._quiet and not self._silent:
            self._screen.say(text)

    def _tick(self) -> None:
        try:
            self._look_until_the_end()
        except Exception:
            logger.debug("no more progress is shown", exc_info=True)

    def _look_until_the_end(self) -> None:
        watcher = Watcher()
        began = time.monotonic()
        with contextlib.suppress(Exception):
            self._tell(watcher.look())  # what earlier runs found is no news
        lines = iter(_FIRST_LINES)
        next_line = next(lines)
        pause = _SECONDS_BETWEEN_LOOKS
        while not self._ended.wait(pause):
            elapsed = time.monotonic() - began
            is_due = elapsed >= next_line
            if not is_due and not self._screen.in_place:
                continue
            cpu = time.thread_time()
            try:
                state = watcher.look()
                text = line(state)
            except Exception:  # a file server may answer at the next look
                logger.debug("a look at the run failed", exc_info=True)
                continue
            pause = max(_SECONDS_BETWEEN_LOOKS, (time.thread_time() - cpu) / _LARGEST_SHARE)
            self._tell(state)
            if is_due:
                next_line = next(lines, elapsed + _SECONDS_BETWEEN_LINES)
                self._note(text)
            if not self._silent and not self._ended.is_set():
                self._screen.show(f"{time.strftime('%H:%M:%S')}  {text}")

    def _tell(self, state: State) -> None:
        """Name samples that are not ok and were not known to be so, and why; the first few."""
        found = {
            sample: f"{sample}: {status}, {reason}"
            for shard in state.shards.values()
            for sample, (status, reason) in shard.said.items()
        }
        known = found.keys() if self._known is None else self._known
        self._known = known | found.keys()
        for text in (found[sample] for sample in found if sample not in known):
            if self._told <= _MOST_TOLD:
                more = "... and more, which `facemake status` names"
                self._say_to_all(text if self._told < _MOST_TOLD else more)
            self._told += 1

    def _say_to_all(self, text: str) -> None:
        self._note(text)
        if not self._silent and not self._ended.is_set():
            self._screen.say(text)

    def _note(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a", encoding="utf-8", errors="surrogateescape") as log:
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}\n")
