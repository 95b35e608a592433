"""Which run a job belongs to.

Jobs that a cluster has taken outlive the main process that sent them. A run that starts writes a
name of its own to `.facemake/run`, and its jobs carry it in their environment: a job that finds
another name there belongs to a run that is no more, and hands over to that of the new one.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import psutil

from facemake.runtime.atomic import write_text
from facemake.samples import WORK

VARIABLE = "FACEMAKE_RUN"

interrupted = False
"""Whether ^C ended the run of this process."""

LOG = "run.log"
"""In the results: what the main processes of runs said, one after the other. Not in its folder
`logs`, where each file is a job's."""


def begin() -> None:
    """Name the run of this process; the jobs that it starts inherit the name."""
    os.environ[VARIABLE] = secrets.token_hex(8)


def mine() -> str:
    """The name of the run that this process is of, "" where it is of none."""
    return os.environ.get(VARIABLE, "")


def write_owner(work: Path = WORK) -> None:
    """Write down that this process's run is the one at work in this folder.

    Its name, for jobs; its host, process id and start, for who asks whether it is alive.
    """
    write_text(work / "run", f"{mine()}\n")
    started = psutil.Process().create_time()
    write_text(work / "owner", f"{socket.gethostname()} {os.getpid()} {started:.2f}\n")


def is_stale(work: Path = WORK) -> bool:
    """Whether another run has begun in this folder since this job's own."""
    try:
        current = (work / "run").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(mine() and current and current != mine())
