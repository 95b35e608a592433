"""What the executor of a cluster says of a job that failed, in a few words.

A job says by itself what went wrong, in its note (`facemake.runtime.failures`), unless it was never
started or was killed: only who sent it knows that then.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TO_ALL = "For further error details see the cluster/cloud"
_CALL = re.compile(r"\n\s*sbatch (call|script):.*", re.DOTALL)
_REFUSED = re.compile(
    r"SLURM sbatch failed\. The error message was '(?P<said>.*)'\.$|"
    r"Job submission failed with exception: (?P<error>.*)$",
    re.DOTALL,
)
_ENDED = re.compile(r"SLURM-job '(\S+)' failed.*?status is: '(\w+)'", re.DOTALL)
_STATES = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "was cancelled",
    "DEADLINE": "its deadline came",
    "NODE_FAIL": "its node went down",
    "OUT_OF_MEMORY": "took more memory than it asked for",
    "TIMEOUT": "took longer than it asked for",
}


_MEMORY = "OUT_OF_MEMORY"
_OF_MEMORY = re.compile(rb"oom[-_ ]kill|exceeded memory limit|out[ _]of[ _]memory", re.IGNORECASE)
_LAST_BYTES = 20_000


@dataclass(frozen=True)
class Word:
    """What an executor says of a job.

    Attributes:
        message: in a few words.
        started: it was; else the cluster refused it.
        exact: it says why the job ended, more exactly than the job itself could.
    """

    message: str
    started: bool
    exact: bool


def word(said: str | None, logs: Iterable[str | Path] = ()) -> Word | None:
    """Read it; None where nothing is said, as of a job of this machine.

    Args:
        said: by snakemake-executor-plugin-slurm, or another one.
        logs: the cluster's own of the job.
    """
    text = (said or "").partition(_TO_ALL)[0].strip()
    text = _CALL.sub("", text).strip()
    if not text:
        return None
    if found := _REFUSED.match(text):
        why = " ".join((found["said"] or found["error"] or "").split())
        return Word(f"the cluster does not take the job: {why}", started=False, exact=True)
    if found := _ENDED.search(text):
        number, state = found.groups()
        of_slurm = f"SLURM job {number}: {state}"
        # of a job whose step was ended for its memory SLURM may say no more than FAILED
        why = _MEMORY if state == "FAILED" and any(map(_is_of_memory, logs)) else state
        if why in _STATES:
            return Word(f"{_STATES[why]} ({of_slurm})", started=True, exact=True)
        return Word(of_slurm, started=True, exact=False)
    return Word(text, started=True, exact=False)


def _is_of_memory(log: str | Path) -> bool:
    with contextlib.suppress(OSError), Path(log).open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _LAST_BYTES))
        return _OF_MEMORY.search(file.read()) is not None
    return False
