"""facemake run: snakemake, with the lock of a dead run out of the way."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

import psutil

from facemake.errors import FacemakeError
from facemake.provenance import LIBRARY
from facemake.samples import WORK

SNAKEFILE = LIBRARY.parent.parent / "Snakefile"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "run",
        help="run the workflow in this folder",
        description="Runs snakemake with all cores in this folder; every further argument is "
        "snakemake's own. The lock that a killed run left is cleared first.",
        epilog="example: facemake run --cores 8 training_set",
    )
    parser.add_argument("--cores", default="all", help="how many jobs at once (all)")
    parser.set_defaults(function=_run, passes_on=True)


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    owner = live_owner()
    if owner is not None:
        raise FacemakeError(
            f"process {owner} is running the workflow in this folder; wait for it, or end it"
        )
    if any((WORK.parent / ".snakemake" / "locks").glob("*")):
        subprocess.run([*snakemake, "--unlock", "--quiet", "all"], check=True)  # noqa: S603
    return subprocess.run([*snakemake, "--cores", options.cores, *rest]).returncode  # noqa: S603


def live_owner() -> int | None:
    """The process that runs the workflow in this folder, None where there is none.

    The Snakefile writes its process id and start time, so a number that the system has given to
    another process since is not taken for it.
    """
    try:
        pid, started = (WORK / "owner").read_text(encoding="utf-8").split()
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(started)) < 1
        return process.pid if same and process.is_running() else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None
