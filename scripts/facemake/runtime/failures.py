"""How a job failed, where others find it: `.facemake/failed/STAGE.SHARD.json`.

A job writes its note itself when it fails and removes it when it succeeds. A job that is killed
leaves none: who reads the folder sees that by the job's progress (`facemake.runtime.heartbeat`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from facemake.errors import PassingError
from facemake.runtime import runs
from facemake.runtime.causes import causes, errno_of
from facemake.samples import WORK

# What a file server or a busy machine answers now and not a minute later.
_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EAGAIN", "EBUSY", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN"),
        *("EHOSTUNREACH", "EINTR", "EIO", "ENETDOWN", "ENETUNREACH", "ENOMEM", "ENOTCONN"),
        *("EPIPE", "EREMOTEIO", "ESHUTDOWN", "ESTALE", "ETIMEDOUT"),
    )
    if hasattr(errno, name)
)


INTERRUPTED = "interrupted"
"""The message of a job that ^C ended."""


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    Attributes:
        stage: the rule, without what another workflow puts before its name.
        shard: "" where the rule has no shards.
        sample: the sample that the job was at, "" where it was at none.
        message: what the log says, in full; of a bug the last line of the traceback.
        curable: the same job may succeed if it is started again, with more memory or elsewhere.
        time: seconds since the epoch.
        host: where it ran.
        log: the rule's log file.
        run: the run that the job was of (`facemake.runtime.runs`).
    """

    stage: str
    shard: str
    sample: str
    message: str
    curable: bool
    time: float
    host: str
    log: str
    run: str = ""


def stage_and_shard(log: str | Path) -> tuple[str, str] | None:
    """Which job writes this log: `logs/STAGE/SHARD.log`; of a rule without shards `logs/STAGE.log`.

    Returns:
        None for any other path: of a script that runs by itself.
    """
    parts = Path(log).parts
    folders = [index for index, part in enumerate(parts[:-1]) if part == "logs"]
    if not folders or not parts[-1].endswith(".log"):
        return None
    below = [*parts[folders[-1] + 1 : -1], parts[-1].removesuffix(".log")]
    if len(below) > 2:
        return None
    return below[0], below[1] if len(below) == 2 else ""


def is_curable(error: BaseException) -> bool:
    """Whether the same job may succeed if it is only started again.

    A mistake of the user's, a bug and a full disk stay what they are; too little memory (each
    attempt may have more), a file server that does not answer and a lock that is held do not. An
    error in words is what it was made of.
    """
    return any(
        isinstance(one, (PassingError, MemoryError))
        or (isinstance(one, OSError) and errno_of(one) in _PASSING)
        for one in causes(error)
    )


def write(
    log: str | Path | None,
    message: str,
    *,
    curable: bool,
    sample: str = "",
    started: bool = True,
    work: Path = WORK,
) -> None:
    """Note that the job which writes `log` failed; silent where there is no room for the note.

    One that was not even started has written none.
    """
    job = stage_and_shard(log) if log else None
    if job is None or not work.is_dir():
        return
    failure = Failure(
        *(*job, sample, message, curable, time.time(), socket.gethostname()),
        *(str(log) if started else "", runs.mine()),
    )
    path = _path(job, work)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(asdict(failure)), encoding="ascii")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def clear(log: str | Path | None, work: Path = WORK) -> None:
    """Take the note away: the job succeeded."""
    job = stage_and_shard(log) if log else None
    if job is not None:
        with contextlib.suppress(OSError):
            _path(job, work).unlink(missing_ok=True)


def for_good(log: str | Path | None, work: Path = WORK) -> Failure | None:
    """How an earlier attempt of the job that writes `log` failed in this run, if that was for good.

    Snakemake tries a failed job again whatever failed it: such a job need not compute.
    """
    job = stage_and_shard(log) if log and runs.mine() else None
    failure = read(*job, work=work) if job else None
    if failure is None or failure.curable or failure.run != runs.mine():
        return None
    return failure


def read(stage: str, shard: str = "", work: Path = WORK) -> Failure | None:
    """How the last attempt of a job failed; None where it did not, or was killed."""
    return _read(_path((stage, shard), work))


def read_all(work: Path = WORK) -> Iterator[Failure]:
    """Every note that is there."""
    with contextlib.suppress(FileNotFoundError):
        for path in sorted((work / "failed").glob("[!.]*.json")):
            failure = _read(path)
            if failure is not None:
                yield failure


def _path(job: tuple[str, str], work: Path) -> Path:
    stage, shard = job
    return work / "failed" / (f"{stage}.{shard}.json" if shard else f"{stage}.json")


def _read(path: Path) -> Failure | None:
    try:
        return Failure(**json.loads(path.read_text(encoding="utf-8", errors="surrogateescape")))
    except (OSError, ValueError, TypeError):
        return None
