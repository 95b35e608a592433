"""What a running job says of itself, and that it lives: `.facemake/progress/STAGE.SHARD.json`.

A job writes the file when it starts and every ten seconds from then on, and removes it when it
ends, well or badly. A killed job leaves it: by its process on the same machine, by its age on
another, a reader tells that the job is gone (`Beat.is_alive`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from facemake.runtime.failures import stage_and_shard
from facemake.samples import WORK

SECONDS_BETWEEN_BEATS = 10.0

SECONDS_OF_SILENCE = 120.0
"""A job on another machine that was silent for longer is dead: file servers show a change late
(NFS after up to 60 s), clocks differ."""


@dataclass(frozen=True)
class Beat:
    """What a job said last.

    Attributes:
        stage, shard: as in `facemake.runtime.failures.Failure`.
        host, space, pid, started: which process of which machine (and of which container) it is,
            and when that process started, in seconds since the epoch.
        time: of this beat, in seconds since the epoch.
        samples, samples_done: of the shard; 0 before the stage has read its plan.
        frames, frames_done: of the shard; 0 where the stage counts none.
        sample: the one that it is at, "" between two.
        log: the rule's log file.
    """

    stage: str
    shard: str
    host: str
    space: str
    pid: int
    started: float
    time: float
    samples: int = 0
    samples_done: int = 0
    frames: int = 0
    frames_done: int = 0
    sample: str = ""
    log: str = ""

    def is_alive(self, now: float | None = None, work: Path = WORK) -> bool:
        """Whether the job still runs, as well as this machine can tell."""
        if (self.host, self.space) == (socket.gethostname(), space()):
            try:
                process = psutil.Process(self.pid)
                return bool(
                    abs(process.create_time() - self.started) < 1
                    and process.status() != psutil.STATUS_ZOMBIE
                )
            except psutil.Error:
                return False
        if (time.time() if now is None else now) - self.time < SECONDS_OF_SILENCE:
            return True
        # a long call that lets no other thread run is silent too: its lock speaks for it
        return _is_locked(work / "locks" / f"{self.stage}.{self.shard}")


@contextlib.contextmanager
def beating(log: str | Path | None, work: Path = WORK) -> Iterator[None]:
    """Keep the file of the job that writes `log` fresh while the block lasts.

    Nothing where there is no run in this folder, or where the file cannot be written: a job's work
    does not hang on who watches it.
    """
    global _now, _path, _ended
    job = stage_and_shard(log) if log else None
    if job is None or not work.is_dir():
        yield
        return
    started = psutil.Process().create_time()
    _now = Beat(
        *job, socket.gethostname(), space(), os.getpid(), started, time.time(), log=str(log)
    )
    _ended = False
    _path = path = _file_of(job, work)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(SECONDS_BETWEEN_BEATS):
            _write(path)

    _write(path)  # it is said when the block begins
    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(SECONDS_BETWEEN_BEATS)
        forget()


_now: Beat | None = None
_path: Path | None = None
_ended = False
_file = threading.Lock()
"""Held while the file is written or removed: a beat that was under way would put it back."""


def forget() -> None:
    """Remove the file for good: the job ends in order. That of another process stays."""
    global _ended
    with _file:
        _ended = True
        if _path is None or _now is None:
            return
        with contextlib.suppress(OSError):
            said = _read(_path)
            if said is None or (said.host, said.space, said.pid) == (
                *(_now.host, _now.space, _now.pid),
            ):
                _path.unlink(missing_ok=True)


def tell(**what: int | str) -> None:
    """Say how far the job is: attributes of `Beat`, written with the next beat."""
    global _now
    if _now is not None:
        _now = replace(_now, **what)  # type: ignore[arg-type]


def current() -> Beat | None:
    """What this job would say now; None outside one."""
    return _now


def read_all(work: Path = WORK) -> Iterator[Beat]:
    """What every job said last that has not ended, or could not say that it has."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted((work / "progress").glob("[!.]*.json")):
            beat = _read(path)
            if beat is not None:
                yield beat


def read(stage: str, shard: str = "", work: Path = WORK) -> Beat | None:
    """What a job said last; None where it has ended in order."""
    return _read(_file_of((stage, shard), work))


def _file_of(job: tuple[str, str], work: Path) -> Path:
    return work / "progress" / f"{'.'.join(filter(None, job))}.json"


def _read(path: Path) -> Beat | None:
    try:
        return Beat(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write(path: Path) -> None:
    beat = _now
    if beat is None:
        return
    beside = path.with_name(f".{path.name}.{beat.pid}")
    with _file, contextlib.suppress(OSError):
        if _ended:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(asdict(replace(beat, time=time.time()))), encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def space() -> str:
    """Names what process ids mean here: this start of this machine, and the container."""
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return f"{boot} {namespace}".strip()


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
