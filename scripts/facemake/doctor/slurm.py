"""SLURM: whether what the installed profile says is so on this cluster."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from facemake.doctor.findings import Finding, fault, ok, warning
from facemake.doctor.running import output_of

_ORDINARY = ("--mem=1000", "--time=240")
"""What a job of detection asks for (rules/detect.smk)."""

_LIMITS = {"max_mem_mb": "--mem={}", "max_threads": "--cpus-per-task={}", "max_gpu": "--gpus={}"}
"""Limits of a partition in the profile -> how a job asks for all of it."""

_GIVEN = {"slurm_account": "--account={}", "qos": "--qos={}", "constraint": "--constraint={}"}
"""Of `default-resources` -> how the plugin says it."""

_LONGEST_PAUSE = 180
"""Seconds between two looks of the plugin at its jobs, at most."""

_WHERE = "`sinfo -o '%P %l %m %c %G'` shows what there is"


def slurm() -> Iterator[Finding]:
    """The programs, the profile's partitions with their limits, and how finished jobs are seen."""
    import yaml

    from facemake.cli.profile import user_folder

    if not shutil.which("sbatch"):
        yield ok("SLURM", "not here; needed for --profile slurm alone")
        return
    lacking = [name for name in ("squeue", "scancel", "sinfo") if not shutil.which(name)]
    if lacking:
        yield fault("SLURM", f"lacks {', '.join(lacking)}", "load its module, or ask its keepers")
        return
    if not find_spec("snakemake_executor_plugin_slurm"):
        yield fault("SLURM plugin", "is not installed", "make slurm")
    code, said = output_of("sinfo", "-h", "-o", "%R|%l")
    if code:
        yield fault("SLURM", f"sinfo says: {said}", "is this a login node of the cluster?")
        return
    longest = dict(line.partition("|")[::2] for line in said.splitlines())
    yield ok("SLURM", f"partitions {', '.join(sorted(longest))}")
    path = user_folder() / "slurm" / "config.yaml"
    if not path.is_file():
        cure = "facemake profile install slurm, edit the copy, and look again: it is then tried"
        yield warning("profile slurm", "is not installed", cure)
        return
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        profile = None
    if not isinstance(profile, dict):
        cure = "facemake profile install slurm --force, then edit it again"
        yield fault("profile slurm", f"{path} is no YAML with keys", cure)
        return
    yield from _partitions(profile, path, longest)
    yield from _finished_jobs(profile, path)


def _partitions(
    profile: Mapping[str, Any], path: Path, longest: Mapping[str, str]
) -> Iterator[Finding]:
    """Whether each of the profile is there, and takes what the profile says that it takes.

    Args:
        profile: what it says.
        path: of it.
        longest: partition -> its time limit, as sinfo writes it.
    """
    blocks = profile.get("partitions")
    blocks = blocks if isinstance(blocks, dict) else {}
    unknown = [name for name in blocks if name not in longest]
    if unknown:
        cure = f"write the cluster's own into {path}: {', '.join(sorted(longest))}"
        yield fault("partitions", f"{', '.join(unknown)} of the profile are not there", cure)
    given = _given(profile)
    found: list[Finding] = []
    for name in blocks or [""]:
        if name in unknown:
            continue
        limits = blocks.get(name)
        limits = limits if isinstance(limits, dict) else {}
        found += _refused(name, limits, given, path)
        mine, theirs = minutes(limits.get("max_runtime")), minutes(longest.get(name))
        if theirs is not None and (mine is None or mine > theirs):
            said = "has no max_runtime" if mine is None else f"has max_runtime {mine:.0f}"
            found.append(
                warning(
                    f"partition {name}",
                    f"{said} in the profile, and takes jobs of {theirs:.0f} minutes: one that asks "
                    "for more is refused, or waits for ever",
                    f"max_runtime: {theirs:.0f} in {path}",
                )
            )
    yield from found
    if blocks and not unknown and not found:
        yield ok("partitions", f"{', '.join(blocks)} of {path} take what it says")


def _refused(
    name: str, limits: Mapping[str, Any], given: list[str], path: Path
) -> Iterator[Finding]:
    """What sbatch says to jobs that are only tried, where it does not take them."""
    what = f"partition {name}" if name else "the default partition"
    place = [f"--partition={name}"] if name else []
    asked = [*place, *given, *_ORDINARY]
    gpu = [_LIMITS["max_gpu"].format(1)] if limits.get("max_gpu") else []
    if said := _tried(*asked, *gpu):
        words = " ".join([*given, *_ORDINARY, *gpu])
        cure = f"{_WHERE}; write it, with account and qos, into {path}"
        yield fault(what, f"takes no job ({words}): {said}", cure)
        return
    for key, option in _LIMITS.items():
        value = limits.get(key)
        if value and (said := _tried(*asked, *gpu, option.format(value))):  # the last one counts
            said = f"has {key} {value} in the profile, and takes no such job: {said}"
            yield warning(what, said, f"{_WHERE}; write it into {path}")


def _tried(*words: str) -> str:
    """What sbatch says to a job that it would refuse; "" where it would take it."""
    code, said = output_of("sbatch", "--test-only", *words, "--wrap=true")
    return re.sub(r"\s*\n\s*", "; ", said) if code else ""


def _given(profile: Mapping[str, Any]) -> list[str]:
    """Account, quality of service and constraint, for sbatch."""
    rows = profile.get("default-resources") or {}
    if isinstance(rows, list):  # the other way in which Snakemake takes them
        rows = dict(str(row).partition("=")[::2] for row in rows)
    words = [_GIVEN[key].format(_text(rows[key])) for key in _GIVEN if rows.get(key)]
    for key in ("qos", "reservation"):
        if value := profile.get(f"slurm-{key}"):
            words.append(f"--{key}={_text(value)}")
    return words


def _text(value: object) -> str:
    """A value of a resource, which may be in quotes of its own."""
    try:
        return str(ast.literal_eval(str(value)))
    except (ValueError, SyntaxError):
        return str(value)


def minutes(value: object) -> float | None:
    """A span of time as the profile or SLURM writes it; None: without end, or no span of time."""
    text = str(value).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if match := re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text):
        days, *rest = (int(part) if part else None for part in match.groups())
        if days is None and rest[2] is None:  # minutes:seconds
            rest = [0, rest[0], rest[1]]
        return (days or 0) * 1440 + (rest[0] or 0) * 60 + (rest[1] or 0) + (rest[2] or 0) / 60
    if re.fullmatch(r"(\d+[dhms])+", text):
        unit = {"d": 1440.0, "h": 60.0, "m": 1.0, "s": 1 / 60}
        return sum(int(n) * unit[of] for n, of in re.findall(r"(\d+)([dhms])", text))
    return None


def _finished_jobs(profile: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    """Whether a job that ended is still known when the plugin looks for it."""
    _, shown = output_of("scontrol", "show", "config")
    store = re.search(r"AccountingStorageType\s*=\s*(\S+)", shown)
    if not store:
        yield ok("accounting", "not known; none is needed")
        return
    has_database = store[1] != "accounting_storage/none"
    yield ok("accounting", store[1])
    age = re.search(r"MinJobAge\s*=\s*(\d+)", shown)
    asks = profile.get("slurm-status-command")
    if asks == "sacct" and not has_database:
        cure = f"slurm-status-command: squeue in {path}"
        yield fault("finished jobs", "are asked of sacct, which has no database here", cure)
    elif asks == "squeue" and age and int(age[1]) <= _LONGEST_PAUSE:
        said = (
            f"are forgotten after {age[1]} s (MinJobAge), and looked for with pauses of up to "
            f"{_LONGEST_PAUSE} s: the run would wait for some of them for ever"
        )
        if has_database:
            yield warning("finished jobs", said, f"slurm-status-command: sacct in {path}")
        else:
            cure = "ask its keepers for MinJobAge=300, or run all in one job: facemake run"
            yield warning("finished jobs", said, cure)
