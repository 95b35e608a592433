"""The queue: jobs wait, run in processes of their own, and are ended in time."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from facemake.runtime.causes import disk_is_full
from facemake.server import store as states
from facemake.server import words
from facemake.server.refusal import RefusedError
from facemake.server.settings import ANONYMOUS, TOKEN_VARIABLE
from facemake.server.store import Job, Session, Store, key_of
from facemake.server.wire import EARLIER, request_digest

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_BETWEEN_MEASURES = 2.0
_SECONDS_TO_END = 10.0
"""Within which an engine ends by itself (it stops a container) before it is killed."""
_SECONDS_AFTER_A_FAULT = 1.0
_RETRY_AFTER = 30


class Queue:
    """Jobs of the sessions of a store.

    Args:
        store: opened by `start`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stopping = False
        self._limits = store.settings.limits
        self._changed = threading.Condition(store.lock)
        self._waiting: list[Job] = []
        self._running: dict[str, Job] = {}
        self._cancelled: set[str] = set()
        self._last_turn: dict[str, float] = {}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Open the store, take up its waiting jobs and begin to work; once.

        Raises:
            FacemakeError: the store's folder cannot be used.
        """
        if self._threads:
            return
        self.store.open()
        waiting = [job for job in self.store.jobs.values() if job.state == states.QUEUED]
        self._waiting = sorted(waiting, key=lambda job: job.created)
        work = [self._work] * max(1, self._limits.running)
        for target in (*work, self._tidy):
            thread = threading.Thread(target=target, name=f"serve-{target.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End what runs; it is then `interrupted`. What waits stays for the next server."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self.store.close()

    # What requests ask

    def submit(
        self,
        session_identifier: str,
        owner: str,
        processor_class: str,
        method: str,
        options: dict[str, Any],
        arguments: dict[str, Any],
    ) -> tuple[str, Job]:
        """Ask for a method's files. The same work of one session is one job.

        What is done, runs or waits is left as it is; what failed or was interrupted waits again.

        Returns:
            The job's identifier, and the job.

        Raises:
            RefusedError: there is no such session, or the queue is full.
        """
        with self._changed:
            session = self.store.session(session_identifier, owner)
            digest = request_digest(processor_class, method, options, arguments)
            identifier = self.store.job_identifier(session_identifier, digest)
            key = key_of(identifier)
            job = self.store.jobs.get(key)
            if job is not None and (
                job.state in states.WAITING
                or (job.state == states.DONE and self.store.result(job).is_file())
            ):
                return identifier, job
            if self.stopping:
                raise RefusedError(503, "the server is being stopped", _RETRY_AFTER)
            if len(self._waiting) >= self._limits.queue:
                raise RefusedError(
                    503, f"the queue is full ({len(self._waiting)} jobs wait)", _RETRY_AFTER
                )
            own = sum(self._owner(waiting) == owner for waiting in self._waiting)
            if own >= self.store.settings.share(self._limits.queue):
                raise RefusedError(
                    503, f"{own} of your jobs wait, as many as one user's may", _RETRY_AFTER
                )
            if job is None:
                job = Job(key, session.key, processor_class, method, options, arguments)
            # a copy: what cannot be written does not wait
            job = replace(job, state=states.QUEUED, created=time.time(), tries=job.tries + 1)
            job.started = job.finished = job.error = None
            self._cancelled.discard(key)
            # what an earlier try said last is not how far this one is
            (self.store.job_folder(job) / "log.txt").unlink(missing_ok=True)
            self.store.write_job(job)
            self.store.jobs[key] = job
            self._waiting.append(job)
            self._changed.notify_all()
            return identifier, job

    def length(self) -> tuple[int, int]:
        """How many jobs wait, and how many run."""
        with self._changed:
            return len(self._waiting), len(self._running)

    def position(self, job: Job) -> int:
        """How many are started before it, itself counted; 0 for a job that does not wait."""
        with self._changed:
            return self._order().index(job) + 1 if job in self._waiting else 0

    def progress(self, job: Job) -> tuple[str, float | None]:
        """What a job says last, and how much is done (0 to 1) where it says that."""
        if job.state == states.QUEUED:
            return f"{self.position(job)} in the queue", 0.0
        if job.state == states.DONE:
            return "done", 1.0
        if job.error is not None:
            return job.error, None
        line = words.last_line(words.log_end(self.store.job_folder(job) / "log.txt"))
        return self._said(line), words.fraction(line)

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or end it; it is then `interrupted`."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._finish(job, states.INTERRUPTED, "the job was cancelled", 409)
            elif job.key in self._running:
                self._cancelled.add(job.key)

    def drop(self, session: Session) -> None:
        """End a session's jobs and remove it."""
        with self._changed:
            # the lock is let go below, and a job that came then would be nobody's
            self.store.leave(session)
            for job in list(self.store.jobs.values()):
                if job.session == session.key:
                    self.cancel(job)
            self._changed.wait_for(
                lambda: all(job.session != session.key for job in self._running.values()),
                timeout=_SECONDS_TO_END + 5,
            )
            self._remove(session)

    def _remove(self, session: Session) -> None:
        """Remove a session and what waits of it."""
        with self._changed:
            self._waiting = [job for job in self._waiting if job.session != session.key]
            self.store.remove(session)

    # What threads do

    def _work(self) -> None:
        while not self.stopping:
            try:
                self._work_once()
            except Exception:  # a thread that ends is never started again
                logger.exception("the queue")
                self._pause(_SECONDS_AFTER_A_FAULT)

    def _work_once(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.stopping or self._next() is not None)
            job = self._next()
            if self.stopping or job is None:
                return
            self._waiting.remove(job)
            self._running[job.key] = job
            job.state, job.started = states.RUNNING, time.time()
            self._last_turn[self._owner(job)] = time.monotonic()
        try:
            session = self.store.sessions[job.session]
            self.store.write_job(job)
            self._run(session, job)
        except Exception as error:
            logger.exception("job %s", job.key)
            said, status = "a fault of the server; its log has more", 500
            if disk_is_full(error):
                said, status = "the server's disk is full", 507
            self._finish(job, states.FAILED, said, status)
        finally:
            with self._changed:
                self._running.pop(job.key, None)
                self._cancelled.discard(job.key)
                self._changed.notify_all()

    def _pause(self, seconds: float) -> None:
        """Wait, but not when the server is being stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopping, timeout=seconds)

    def _next(self) -> Job | None:
        """The first in order whose session has none that runs: they share files."""
        busy = {job.session for job in self._running.values()}
        return next((job for job in self._order() if job.session not in busy), None)

    def _order(self) -> list[Job]:
        """The waiting jobs as they are started: owners in turn, each one's jobs as asked for.

        Who asks for one thing waits for a job or two of each other owner, not for all of theirs.
        """
        turns: Counter[str] = Counter()
        placed = []
        for number, job in enumerate(self._waiting):
            owner = self._owner(job)
            placed.append((turns[owner], self._last_turn.get(owner, 0.0), number, job))
            turns[owner] += 1
        return [job for *_, job in sorted(placed, key=lambda one: one[:3])]

    def _owner(self, job: Job) -> str:
        session = self.store.sessions.get(job.session)
        return ANONYMOUS if session is None else session.owner

    def _run(self, session: Session, job: Job) -> None:
        folder, work = self.store.job_folder(job), self.store.work(session, job)
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("outcome.json", "result.zip"):
            (folder / name).unlink(missing_ok=True)
        self._write_spec(session, job, folder, work)
        environment = {k: v for k, v in os.environ.items() if k != TOKEN_VARIABLE}
        command = [sys.executable, "-P", "-m", "facemake.server.worker"]
        with (folder / "log.txt").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 (nothing of a request is in it)
                [*command, str(folder), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=work,
                env=environment,
                start_new_session=True,
            )
        try:
            ended = self._watch(process, session, job)
        finally:
            _end(process)
            self.store.measure(session)
        with self._changed:
            self.store.use(session)
        if ended is not None:
            self._finish(job, *ended)
        elif not (process.returncode in (0, 1) and self.store.take_result(job)):
            said = self._said(words.log_end(folder / "log.txt"))
            how = _how(process.returncode)
            self._finish(job, states.FAILED, f"the engine {how}. It said last:\n{said}", 500)
        seconds = time.time() - (job.started or 0)
        logger.info("job %s of %s: %s after %.1f s", job.key, job.session, job.state, seconds)

    def _watch(
        self, process: subprocess.Popen[bytes], session: Session, job: Job
    ) -> tuple[str, str, int] | None:
        """Wait for the end of a process; why it has to be ended, if it has to."""
        started = measured = time.monotonic()
        while not _has_ended(process):
            now = time.monotonic()
            if self.stopping:
                return states.INTERRUPTED, "the server was stopped while the job ran", 503
            if job.key in self._cancelled:
                return states.INTERRUPTED, "the job was cancelled", 409
            if now - started > self._limits.job_seconds:
                limit = f"{self._limits.job_seconds:g} s"
                return states.FAILED, f"the job took longer than the {limit} allowed", 504
            if now - measured > _SECONDS_BETWEEN_MEASURES:
                self.store.measure(session)
                try:
                    self.store.check_room(session.owner)
                except RefusedError as error:
                    return states.FAILED, str(error), error.status
                measured = time.monotonic()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return None

    def _write_spec(self, session: Session, job: Job, folder: Path, work: Path) -> None:
        options = dict(job.options)
        if options.get("camera_model") is True:
            options["camera_model"] = str(self.store.camera(session))
        spec = {
            "processor_class": job.processor_class,
            "factory": self.store.settings.factories[job.processor_class],
            "runtime": self.store.settings.runtimes.get(job.processor_class),
            "options": options,
            "input": str(self.store.video(session)),
            "output": str(work),
            "earlier": list(EARLIER.get(job.method, ())),
            "method": job.method,
            "arguments": job.arguments,
            "most_bytes": self._limits.disk_bytes,
            "private": self._folders(),
        }
        (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")

    def _finish(self, job: Job, state: str, error: str, status: int) -> None:
        with self._changed:
            job.state, job.error, job.status, job.finished = state, error, status, time.time()
            self.store.keep_job(job)

    def _tidy(self) -> None:
        """Remove sessions that have expired."""
        pause = max(0.05, min(60.0, self._limits.session_seconds / 4))
        while not self.stopping:
            try:
                with self._changed:
                    for session in self.store.expired():
                        logger.info("session %s has expired", session.key)
                        self._remove(session)
            except Exception:  # as in `_work`
                logger.exception("sessions that have expired")
            self._pause(pause)

    def _said(self, text: str) -> str:
        return words.without_paths(text, self._folders())

    def _folders(self) -> list[str]:
        settings = self.store.settings
        runtimes = [path for path in settings.runtimes.values() if "/" in path]
        variables = ("BITBOX_3DI", "BITBOX_3DI_LITE")
        named = [os.environ[name] for name in variables if name in os.environ]
        return [str(settings.folder), *runtimes, *named]


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process has ended; it is not waited for, so that its number stays its own."""
    if not hasattr(os, "waitid"):  # macOS
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started; first with a word, then by force."""
    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        started = []
    if not _has_ended(process):
        # the worker itself passes it on to what it started
        _signal_group(process.pid, signal.SIGTERM)
        until = time.monotonic() + _SECONDS_TO_END
        while time.monotonic() < until:
            if _has_ended(process):
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    # its number is its own until it is waited for, so the group is no other one
    _signal_group(process.pid, signal.SIGKILL)
    for child in started:
        try:
            child.kill()
        except psutil.Error:
            continue
    process.wait()


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by the signal {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
