"""GPUs of this machine, shared by jobs in turn.

A job that computes on a GPU takes a lease: a lock on a file that the kernel drops with its process,
however that ends. `CUDA_VISIBLE_DEVICES` then names the leased GPU, for this process and those that
it starts. What a scheduler put into that variable is what there is to lease, and never more.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from facemake.errors import FacemakeError

logger = logging.getLogger(__name__)

VARIABLE = "CUDA_VISIBLE_DEVICES"
JOBS_VARIABLE = "FACEMAKE_JOBS_PER_GPU"
FOLDER_VARIABLE = "FACEMAKE_RUNTIME_DIR"

_NO_DEVICE = frozenset({"", "-1", "NoDevFiles"})
"""What ends the list of CUDA_VISIBLE_DEVICES, as CUDA and SLURM have it."""
_PROC = Path("/proc/driver/nvidia/gpus")
_DEV = Path("/dev")
_SECONDS_TO_LIST = 60.0
_SECONDS_BETWEEN_TRIES = 0.2
_SECONDS_BETWEEN_LINES = 60.0


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG part of one.

    Attributes:
        token: what CUDA_VISIBLE_DEVICES calls it.
        name: what its lease is called: its UUID where that is known.
    """

    token: str
    name: str


def use_settings(jobs_per_gpu: int) -> None:
    """Tell this process, and those that it starts, how many jobs share a GPU."""
    os.environ[JOBS_VARIABLE] = str(jobs_per_gpu)


def jobs_per_gpu() -> int:
    """How many jobs share a GPU (1 unless `use_settings` or the environment says otherwise)."""
    text = os.environ.get(JOBS_VARIABLE, "")
    return max(1, int(text)) if text.isdecimal() else 1


def given(visible: str) -> list[str]:
    """The devices that a value of CUDA_VISIBLE_DEVICES names, as CUDA reads it."""
    found: list[str] = []
    for word in visible.split(","):
        token = word.strip()
        if token in _NO_DEVICE or token in found:
            break
        found.append(token)
    return found


def devices(environ: Mapping[str, str] | None = None) -> list[Device]:
    """The GPUs that this process may use, in the driver's order; none of them is touched."""
    environ = os.environ if environ is None else environ
    visible = environ.get(VARIABLE)
    if visible is None:
        return [Device(uuid, uuid) for part in _listed() for uuid in part.usable]
    tokens = given(visible)
    listed = _listed() if tokens else []
    return [Device(token, _name(token, listed, environ)) for token in tokens]


def capacity() -> int:
    """How many jobs with a GPU can run here at once; 1 where no GPU is found."""
    return max(1, len(devices()) * jobs_per_gpu())


@dataclass(frozen=True)
class _Listed:
    uuid: str
    parts: tuple[str, ...]

    @property
    def usable(self) -> tuple[str, ...]:
        """With MIG on, CUDA uses the parts and not the GPU."""
        return self.parts or (self.uuid,)


def _listed() -> list[_Listed]:
    """The GPUs with their drivers, of which a container or a job's device rules may hide some."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 (as the user's PATH has it)
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS_TO_LIST,
        )
        if done.returncode == 0:
            return _parsed(done.stdout)
    except (OSError, subprocess.TimeoutExpired):
        pass
    return _of_proc()


def _parsed(text: str) -> list[_Listed]:
    """What `nvidia-smi -L` says: a line a GPU, below it an indented line a MIG part."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        match = re.search(r"\(UUID: ([^)\s]+)\)", line)
        if match and line.startswith("GPU "):
            found.append((match[1], []))
        elif match and found and line.strip().startswith("MIG "):
            found[-1][1].append(match[1])
    return [_Listed(uuid, tuple(parts)) for uuid, parts in found]


def _of_proc() -> list[_Listed]:
    """The driver's own list, where nvidia-smi is not installed."""
    found = []
    for path in sorted(_PROC.glob("*/information")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        facts = dict(re.findall(r"^([^:\n]+):[ \t]*(.*)$", text, re.MULTILINE))
        minor = facts.get("Device Minor", "").strip()
        uuid = facts.get("GPU UUID", "").strip()
        if uuid.startswith("GPU-") and "?" not in uuid and (_DEV / f"nvidia{minor}").exists():
            found.append(_Listed(uuid, ()))
    return found


def _name(token: str, listed: Sequence[_Listed], environ: Mapping[str, str]) -> str:
    """One name for a GPU whichever way a variable names it."""
    if token.isdecimal():
        if int(token) < len(listed):
            # PCI order, CUDA's own where all GPUs are of one kind
            return listed[int(token)].uuid
        # a number counts within what the scheduler shows to its job
        return f"{environ.get('SLURM_JOB_ID', 'any')}-{token}"
    known = [uuid for one in listed for uuid in (one.uuid, *one.parts) if uuid.startswith(token)]
    return known[0] if len(known) == 1 else token


# Leases


class _Held:
    """What this process holds; threads of one process share it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0
        self.devices: list[Device] = []
        self.files = contextlib.ExitStack()
        self.before: str | None = None


_held = _Held()


@contextlib.contextmanager
def lease(count: int = 1) -> Iterator[list[Device]]:
    """Have so many GPUs while the block lasts; waits in turn while all are taken.

    Without a GPU on the machine, and for a count of 0, nothing happens. Within a lease another one
    gives what is leased already.

    Raises:
        FacemakeError: there are fewer GPUs, or the folder of the leases is somebody else's.
    """
    if count < 1:
        yield []
        return
    with _held.lock:
        if not _held.users:
            _begin(count)
        _held.users += 1
    try:
        yield list(_held.devices)
    finally:
        with _held.lock:
            _held.users -= 1
            if not _held.users:
                _end()


def _begin(count: int) -> None:
    found = devices()
    if not found:
        return
    if count > len(found):
        raise FacemakeError(
            f"{count} GPUs are asked for and {len(found)} can be used here ({VARIABLE} is "
            f"{os.environ.get(VARIABLE, 'not set')})"
        )
    taken = _take(found, count)
    for handle in taken.values():
        _held.files.enter_context(handle)
    _held.devices = [device for device in found if device in taken]
    _held.before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(device.token for device in _held.devices)
    logger.info("on GPU %s", os.environ[VARIABLE])


def _end() -> None:
    if not _held.devices:
        return
    _held.files.close()
    _held.devices = []
    if _held.before is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = _held.before


def folder() -> Path:
    """The user's own folder of leases on this machine, mode 0700.

    Not XDG_RUNTIME_DIR, which a job without a login session lacks, nor TMPDIR, which a scheduler
    sets for each job: all jobs of a user have to meet here.

    Raises:
        FacemakeError: somebody else has made it, or it cannot be made.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    path = Path(named) if named else Path(f"/tmp/facemake-{os.getuid()}")  # noqa: S108
    for one in (path, path / "gpu"):
        try:
            one.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise FacemakeError(
                f"{one}, where jobs that share GPUs meet, cannot be made ({error.strerror}): set "
                f"{FOLDER_VARIABLE} to a folder of this machine that can be"
            ) from None
        stat = one.lstat()
        if not one.is_dir() or one.is_symlink() or stat.st_uid != os.getuid():
            raise FacemakeError(
                f"{one} is not a folder of yours: remove it, or set {FOLDER_VARIABLE} to another"
            )
        if stat.st_mode & 0o077:
            one.chmod(0o700)
    return path / "gpu"


def _take(found: Sequence[Device], count: int) -> dict[Device, IO[bytes]]:
    """Device -> its lock, of as many as are wanted."""
    place, slots = folder(), jobs_per_gpu()
    taken: dict[Device, IO[bytes]] = {}
    started = said = time.monotonic()
    waited = False
    with _ticket(place, found) as ticket:
        try:
            while True:
                before = _before(ticket)
                wanted = frozenset().union(*before)
                # who came before has the first choice of what it waits for, and of nothing else
                _drop(taken, [device for device in taken if device.name in wanted])
                _try(place, [d for d in found if d.name not in wanted], count, slots, taken)
                if len(taken) == count:
                    break
                now = time.monotonic()
                if not waited or now - said >= _SECONDS_BETWEEN_LINES:
                    said, waited = now, True
                    logger.info(
                        "waiting for a GPU: %d here, all taken; waiting before this one: %d",
                        len(found),
                        sum(not names.isdisjoint(d.name for d in found) for names in before),
                    )
                time.sleep(_SECONDS_BETWEEN_TRIES)
        except BaseException:
            _drop(taken, list(taken))
            raise
    if waited:
        logger.info("waited %.0f s for a GPU", time.monotonic() - started)
    return taken


def _try(
    place: Path, found: Sequence[Device], count: int, slots: int, taken: dict[Device, IO[bytes]]
) -> None:
    """Take what is free, of each GPU a first place before any second one."""
    for slot in range(slots):
        for device in found:
            if len(taken) == count:
                return
            if device in taken:
                continue
            name = re.sub(r"[^\w-]", "_", device.name)
            handle = _locked(place / f"{name}.{slot}.lock")
            if handle is not None:
                taken[device] = handle


def _locked(path: Path) -> IO[bytes] | None:
    """The file, locked; None where another process has it."""
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # a cleaner of temporary files may have removed it meanwhile
        if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    handle.close()
    return None


def _drop(taken: dict[Device, IO[bytes]], some: Iterable[Device]) -> None:
    for device in some:
        taken.pop(device).close()


@contextlib.contextmanager
def _ticket(place: Path, found: Iterable[Device]) -> Iterator[Path]:
    """A place in the queue, named by the time, locked as long as its process waits."""
    path = place / f"{time.monotonic_ns():020d}.{secrets.token_hex(4)}.ticket"
    beside = path.with_name(f".{path.name}")
    with beside.open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            json.dump([device.name for device in found], handle)
            handle.flush()
            beside.rename(path)  # it is never seen without its lock
            yield path
        finally:
            beside.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _before(ticket: Path) -> list[frozenset[str]]:
    """The names of the GPUs that each one waits for who came first; what dead ones left goes."""
    found = []
    for path in sorted(ticket.parent.glob("[!.]*.ticket")):
        if path.name >= ticket.name:
            break
        try:
            with path.open("r+", encoding="utf-8") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    found.append(frozenset(json.load(handle)))
                else:
                    path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
    return found
