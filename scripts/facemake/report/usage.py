"""Time and memory by stage, from the last line of each job's log (`facemake.runtime.job`)."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

_LAST = re.compile(rb"INFO ([\d.]+) s, ([\d.]+) s of CPU, at most (\d+) MB\s*$")
_TAIL = 4096


@dataclass(frozen=True)
class Use:
    """What the jobs of a stage took.

    Attributes:
        stage: the folder, or name, of its logs.
        jobs: whose log says how they ended; those whose results came from the cache have none.
        seconds: all of them one after another, by the clock.
        cpu: seconds of CPU.
        longest: the longest one by the clock, s.
        memory: the most of any one, MB.
        slowest: the shard of the longest one; "" for a stage of one job.
    """

    stage: str
    jobs: int
    seconds: float
    cpu: float
    longest: float
    memory: float
    slowest: str


def usage(logs: Path, stages: Iterable[str], known: Container[str]) -> list[Use]:
    """Of each stage that has logs, in the order given.

    Args:
        logs: the folder `logs` of the results.
        stages: names of folders and files in it.
        known: shards and samples of this run: logs of others were left by earlier ones.
    """
    found = []
    for stage in stages:
        rows = [(name, *took) for name, took in _ended(logs, stage, known)]
        if rows:
            slowest, longest, _, _ = max(rows, key=lambda row: (row[1], row[0]))
            seconds, cpu, memory = zip(*(row[1:] for row in rows), strict=True)
            found.append(
                Use(stage, len(rows), sum(seconds), sum(cpu), longest, max(memory), slowest)
            )
    return found


def _ended(
    logs: Path, stage: str, known: Container[str]
) -> list[tuple[str, tuple[float, float, float]]]:
    files = [("", f"{logs / stage}.log")]
    try:
        with os.scandir(logs / stage) as entries:
            files += [
                (entry.name.removesuffix(".log"), entry.path)
                for entry in entries
                if entry.name.endswith(".log")
            ]
    except (FileNotFoundError, NotADirectoryError):
        pass
    rows = []
    for name, path in files:
        # a segment's log is named SAMPLE.NUMBER
        if name and name not in known and name.rpartition(".")[0] not in known:
            continue
        took = _last_line(path)
        if took:
            rows.append((name, took))
    return rows


def _last_line(path: str) -> tuple[float, float, float] | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        size = os.fstat(descriptor).st_size
        tail = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    match = _LAST.search(tail)
    if not match:
        return None
    seconds, cpu, memory = map(float, match.groups())
    return seconds, cpu, memory
