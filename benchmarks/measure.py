"""CPU time and peak memory of whole processes, by the operating system's own account."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from facemake.runtime import modules

ROOT = Path(__file__).resolve().parent.parent
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Cost:
    """What a process cost.

    Attributes:
        cpu: user + system seconds, of its children too.
        peak: largest resident set in bytes.
    """

    cpu: float
    peak: int


def cost(*arguments: str, folder: Path) -> Cost:
    """Run this Python with `arguments` in `folder`.

    Raises:
        RuntimeError: the process failed; with the end of its output.
    """
    environment = {**os.environ, **THREADS, modules.VARIABLE: "1"}  # as `facemake run` has it
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        tail = (folder / "output.txt").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{tail}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
