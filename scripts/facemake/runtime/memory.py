"""How much memory and how many cores this process may use, and how much one has used."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


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
    """Limit and use of the cgroup that this process is in, and of those above it."""
    try:
        entries = _OWN.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    found = []
    for entry in entries:
        number, controllers, name = entry.split(":", 2)
        if number == "0":
            top, files = _CGROUP, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):  # version 1
            top = _CGROUP / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = top / name.lstrip("/")
        for one in (folder, *folder.parents):
            if one != top and top not in one.parents:
                break
            limit = _limit(one, *files)
            if limit is not None:
                found.append(limit)
    return found


def _limit(group: Path, most: str, used: str, cached: str) -> tuple[int, int] | None:
    """Limit and use of a cgroup, by the names of its files; None where it has no limit."""
    try:
        limit = int((group / most).read_text(encoding="ascii"))
        now = int((group / used).read_text(encoding="ascii"))
        # pages of files that were read are given back when memory runs short
        stat = (group / "memory.stat").read_text(encoding="ascii").split()
        return limit, now - int(stat[stat.index(cached) + 1])
    except (OSError, ValueError):  # "max", too
        return None


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def threads_said() -> int | None:
    """Threads by OMP_NUM_THREADS, which may be a list; None where it says none."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return (int(first) or None) if first.isascii() and first.isdigit() else None
