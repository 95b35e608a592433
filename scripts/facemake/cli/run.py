"""facemake run: snakemake, with the lock of a dead run out of the way."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import fcntl
import itertools
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import psutil

from facemake.errors import FacemakeError
from facemake.provenance import LIBRARY
from facemake.runtime import gpu, heartbeat, interrupts, modules
from facemake.samples import WORK
from facemake.settings import filled, read
from facemake.watch.state import RUN

_NAME_AN_EXECUTOR = ("--profile", "--workflow-profile", "--executor", "-e", "--slurm")
"""Options of snakemake with which jobs may run elsewhere."""

_SAY_JOBS_PER_GPU = ("--resources", "--res", *_NAME_AN_EXECUTOR)
"""Options of snakemake that say, or whose executor says, how many jobs a GPU has."""

_SAY_WHAT_IS_SHOWN = (
    *("--quiet", "-q", "--verbose", "--printshellcmds", "-p"),
    *("--list", "--list-rules", "-l", "--summary", "-S", "--detailed-summary", "-D", "--lint"),
    *("--dag", "--rulegraph", "--filegraph", "--touch", "-t", "--unlock", "--help", "-h"),
)
"""Options of snakemake after which its own words are wanted."""

_ONLY_LOOK = ("-n", "--dry-run", "--dryrun")
"""Options of snakemake with which nothing is done: how many jobs there are is shown, not each."""

_SAY_WHAT_TO_DO = (
    *("--config", "-C", "--configfile", "--configfiles", "--help", "-h", "--version", "-v"),
)
"""Options of snakemake with which a folder needs no config of its own."""

_SAY_HOW_MANY_JOBS = ("--jobs", "-j")
"""Options of snakemake that say, where no executor is named, how many cores to use."""

_FLAGS = frozenset("nkpFqtSDlhv")
"""Letters of snakemake's options without a value, which may stand behind one -."""

TARGETS = ("all", "training_set", "report", "extract", "export", "overlays", "train", "evaluate")
"""What may be asked for by a name."""

START = "facemake.runtime.snakemake"
SNAKEFILE = LIBRARY.parent.parent / "Snakefile"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "run",
        help="run the workflow in this folder",
        description="Run Snakemake with all cores in this folder; all further arguments are passed "
        "on to Snakemake. A lock left behind by a killed run is cleared first. Each GPU runs one "
        "job at a time (config: jobs_per_gpu) unless --resources says otherwise. Instead of a "
        "block of lines per job, a single line shows the progress (`facemake status` shows more); "
        "--verbose shows everything. With -n nothing is done, and the jobs are counted.",
        epilog="example: facemake run --cores 8 training_set",
    )
    parser.add_argument("--cores", type=_cores, help="number of cores to use (default: all)")
    parser.add_argument(
        "-d",
        "--directory",
        type=Path,
        default=Path(),
        help="the folder to run in (default: this one)",
    )
    parser.set_defaults(function=_run, passes_on=True)


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    folder: Path = options.directory
    if not folder.is_dir():
        raise FacemakeError(
            f"{folder} is a file: -d names the folder of an analysis"
            if folder.exists()
            else f"{folder} is not there: `facemake init FOLDER_OF_VIDEOS -d {folder}` makes a new "
            "analysis folder"
        )
    said = _options(rest)
    config = _config(folder, said)
    _check_targets(rest)
    _check_writable(folder)
    modules.keep_out_of_folder()
    start = [sys.executable, "-m", START]
    place = ["--snakefile", str(SNAKEFILE), "--directory", str(folder)]
    with _one_at_a_time(folder):
        if any((folder / ".snakemake" / "locks").glob("*")):
            owner = live_owner(folder)
            if owner is not None:
                raise FacemakeError(
                    f"{owner} runs the workflow in this folder; wait for it, or end it. If it is "
                    "dead, snakemake --unlock (one on another host counts as dead after 2 minutes)"
                )
            unlock = [*start, *place, "--unlock", "--quiet", "all"]
            if code := subprocess.run(unlock).returncode:  # noqa: S603
                return code  # it said why: the config is refused, say
    # programs that share a GPU run out of its memory together; a cluster gives each job its own
    limits = []
    if said.isdisjoint(_SAY_JOBS_PER_GPU):
        gpu.use_settings(_jobs_per_gpu(config))
        limits = ["--resources", f"gpu={gpu.capacity()}"]
    quiet = []
    if said.isdisjoint(_SAY_WHAT_IS_SHOWN):
        about = "progress" if said.isdisjoint(_ONLY_LOOK) else "reason"
        quiet = ["--quiet", "rules", "host", about]
    here = said.isdisjoint(_NAME_AN_EXECUTOR)
    counted = here and not said.isdisjoint(_SAY_HOW_MANY_JOBS)
    cores = [] if counted and not options.cores else ["--cores", options.cores or "all"]
    # what takes several words is followed by an option: the user's own words may be targets
    command = [*start, *limits, *quiet, *place, *cores, *rest]
    # in the place of this process: whoever ends it ends the run
    sys.stdout.flush()
    interrupts.hold()  # until that one listens
    try:
        os.execv(sys.executable, command)  # noqa: S606
    finally:  # it could not be started
        interrupts.listen()


def _check_writable(folder: Path) -> None:
    """Refuse a folder in which a run can keep no state.

    Raises:
        FacemakeError: naming what cannot be written to.
    """
    for place in (folder, folder / ".snakemake", folder / WORK):
        if place.exists() and not os.access(place, os.W_OK | os.X_OK):
            raise FacemakeError(
                f"{place} cannot be written to, and a run keeps its state there: ask its owner, or "
                "run in a folder of yours (-d)"
            )


def _cores(text: str) -> str:
    if text != "all" and not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"is {text!r}; give a number from 1, or all")
    return text


def _check_targets(rest: Sequence[str]) -> None:
    """Refuse what is a target for certain and neither the name of a rule nor that of a file.

    Raises:
        FacemakeError: with the name that was meant.
    """
    targets = [*itertools.takewhile(lambda word: not word.startswith("-"), rest)]
    if "--" in rest:
        targets += rest[rest.index("--") + 1 :]
    for word in targets:
        if "/" in word or "." in word:
            continue
        rules = [
            name
            for path in SNAKEFILE.parent.glob("rules/*.smk")
            for name in re.findall(
                r"^ *rule (\w+):", path.read_text(encoding="utf-8"), re.MULTILINE
            )
        ]
        if word not in (*TARGETS, *rules):
            near = difflib.get_close_matches(word, TARGETS, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise FacemakeError(
                f"there is no target {word}: there are {', '.join(TARGETS)}, and the files of the "
                f"results{meant}"
            )


def _options(rest: Sequence[str]) -> set[str]:
    """Snakemake's options among its words, without their values."""
    words = rest[: rest.index("--")] if "--" in rest else rest
    found = {word.partition("=")[0] for word in words if word.startswith("--")}
    for word in words:
        if re.match(r"-\w", word):
            together = len(word) > 2 and _FLAGS.issuperset(word[1:])
            found.update(f"-{letter}" for letter in (word[1:] if together else word[1]))
    return found


def _config(folder: Path, said: Set[str]) -> dict[str, Any]:
    """What the folder's config file says; what a key of it may be Snakemake's own process checks.

    Raises:
        ConfigError: it is no YAML.
        FacemakeError: nothing says what is to be done.
    """
    path = folder / "config" / "config.yaml"
    if path.is_file():
        return read(path)
    sheet = folder / "config" / "samples.tsv"
    if not sheet.exists() and said.isdisjoint(_SAY_WHAT_TO_DO):
        there = "" if folder.resolve() == Path.cwd() else f" -d {folder}"
        raise FacemakeError(
            f"there is no {path} and no {sheet}: `facemake init FOLDER_OF_VIDEOS{there}` makes "
            "them, and -d names another folder"
        )
    return {}


def _jobs_per_gpu(config: Mapping[str, Any]) -> int:
    """As the config has it; what is wrong with it Snakemake's own process says."""
    try:
        return max(1, int(filled(config)["jobs_per_gpu"]))
    except (ValueError, TypeError, AttributeError):
        return 1


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep others from looking whose lock it is: they would clear that of the run that we start."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # no such folder yet, or no locks on its file system
            handle = held.enter_context((folder / ".snakemake" / "facemake.lock").open("ab"))
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def live_owner(folder: Path) -> str | None:
    """Who runs the workflow in `folder`, in words; None where its lock is a dead run's.

    A run writes host, process id and start time when it has the lock (`runs.write_owner`); the
    start time keeps a number that the system has given away again from being taken for it. A run on
    another host (a cluster's other login node) is dead if it was silent for two minutes and holds
    no lock of its own any more (`facemake.watch.ticker`); one that has said nothing yet counts as
    alive. A run that has the lock and has not written yet is found among this host's processes.
    """
    try:
        host, pid, started = (folder / WORK / "owner").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        host, pid, started = socket.gethostname(), "0", "0"
    if host != socket.gethostname():
        beat = heartbeat.read(RUN, work=folder / WORK)
        if beat and (beat.host, str(beat.pid)) == (host, pid):
            return f"process {pid} on {host}" if beat.is_alive(work=folder / WORK) else None
        return f"process {pid} on {host}"
    try:
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(started)) < 1 and (
            process.status() != psutil.STATUS_ZOMBIE
        ):
            return f"process {pid}"
    except (ValueError, psutil.Error):
        pass
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            if (
                "--nolock" not in command  # a job of a cluster, which may outlive its run
                and any(re.split(r"[/.]", part)[-1] == "snakemake" for part in command[:3])
                and Path(process.cwd()).resolve() == folder.resolve()
            ):
                return f"process {process.pid}"
        except (psutil.Error, OSError):
            continue
    return None
