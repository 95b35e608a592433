"""How much memory and how many cores this process may use, and how much one has used."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def peak(pid: int | str = "self") -> int:
    """Largest resident set of a process, in bytes; of another process only on Linux."""
    try:
        # getrusage counts what a process had of its parent's memory before it became Python
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available() -> int:
    """Bytes that can be used without swapping: of the machine, and of this process's cgroup."""
    free: int = psutil.virtual_memory().available
    for limit, used in _limits():
        free = min(free, max(limit - used, 0))
    return free


def _limits() -> list[tuple[int, int]]:
    """Limit and use of the cgroup (version 2) that this process is in, and of those above it."""
    try:
        entries = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found = []
    for entry in entries:
        number, _, name = entry.split(":", 2)
        if number != "0":
            continue
        folder = _CGROUP / name.lstrip("/")
        for one in (folder, *folder.parents):
            if one != _CGROUP and _CGROUP not in one.parents:
                break
            try:
                limit = (one / "memory.max").read_text(encoding="ascii").strip()
                used = int((one / "memory.current").read_text(encoding="ascii"))
                # pages of files that were read are given back when memory runs short
                stat = (one / "memory.stat").read_text(encoding="ascii").split()
            except (OSError, ValueError):
                continue
            if limit != "max":
                cached = int(stat[stat.index("inactive_file") + 1])
                found.append((int(limit), used - cached))
    return found


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
