"""Leases of GPUs. The machine has none: a double stands in for nvidia-smi, and for the driver."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from facemake.errors import FacemakeError
from facemake.runtime import gpu

UUIDS = [f"GPU-{i}0000000-0000-0000-0000-00000000000{i}" for i in range(3)]
MIG = "MIG-90000000-0000-0000-0000-000000000009"


def double(folder: Path, text: str, code: int = 0) -> None:
    """A stand-in for nvidia-smi that says this."""
    path = folder / "nvidia-smi"
    path.write_text(
        f"#!/bin/sh\n[ \"$1\" = -L ] || exit 9\ncat <<'END'\n{text}\nEND\nexit {code}\n"
    )
    path.chmod(0o755)


def listing(count: int) -> str:
    return "\n".join(f"GPU {i}: NVIDIA Stand-in (UUID: {UUIDS[i]})" for i in range(count))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with two GPUs and a folder of leases of its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    double(programs, listing(2))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(gpu.FOLDER_VARIABLE, str(tmp_path / "leases"))
    for name in (gpu.VARIABLE, gpu.JOBS_VARIABLE, "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return programs


Job = subprocess.Popen[str]
Start = Callable[..., Job]

HOLDER = """
import logging, os, subprocess, sys, time
from facemake.runtime.gpu import lease
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
with lease(int(sys.argv[1])):
    child = [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"]
    print(subprocess.check_output(child, text=True).strip(), time.monotonic_ns(), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def start(machine: Path) -> Iterator[Start]:
    """Starts processes that hold a lease until they are told to end."""
    running: list[Job] = []

    def started(count: int = 1, **environment: str) -> Job:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(count)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield started
    for process in running:
        process.kill()
        process.communicate()


def leased(job: Job) -> str:
    """The GPU that a job and its child got; waits for it."""
    assert job.stdout is not None
    line = job.stdout.readline()
    assert line, job.stderr.read() if job.stderr else ""
    return line.split()[0]


def waits(job: Job) -> str:
    """What a job says that waits."""
    assert job.stderr is not None
    line = job.stderr.readline()
    assert "waiting for a GPU" in line
    return line


def end(job: Job) -> None:
    assert job.stdin is not None
    job.stdin.write("\n")
    job.stdin.flush()
    assert job.wait(timeout=60) == 0


def test_no_two_jobs_have_the_same_gpu_and_a_killed_one_frees_its_own(start: Start):
    first, second = start(), start()
    assert {leased(first), leased(second)} == {UUIDS[0], UUIDS[1]}
    third = start()
    assert "2 here, all taken" in waits(third)
    os.kill(second.pid, signal.SIGKILL)
    freed = leased(third)
    assert first.poll() is None and freed in UUIDS[:2]
    fourth = start()
    waits(fourth)
    end(third)
    assert leased(fourth) == freed


def test_who_came_first_is_first_and_who_died_waiting_hinders_nobody(start: Start, machine: Path):
    double(machine, listing(1))
    holder = start()
    assert leased(holder) == UUIDS[0]
    waiting = []
    for i in range(3):
        waiting.append(start())
        assert f"waiting before this one: {i}" in waits(waiting[i])
    waiting[0].kill()
    waiting[0].wait()
    end(holder)
    leased(waiting[1])
    assert waiting[2].stdout is not None
    assert select.select([waiting[2].stdout], [], [], 1) == ([], [], [])  # it says nothing yet
    end(waiting[1])
    leased(waiting[2])
    end(waiting[2])
    assert not list((machine.parent / "leases" / "gpu").glob("*.ticket"))


def test_several_jobs_share_a_gpu_where_that_is_asked_for(start: Start):
    jobs = [start(**{gpu.JOBS_VARIABLE: "2"}) for _ in range(4)]
    got = [leased(job) for job in jobs]
    assert sorted(got) == sorted(UUIDS[:2] * 2)
    waits(start(**{gpu.JOBS_VARIABLE: "2"}))


def test_a_job_of_two_gpus_gets_both_or_none(start: Start):
    single = start()
    leased(single)
    double_ = start(2)
    waits(double_)
    later = start()
    assert "waiting before this one: 1" in waits(later)  # one is free, and it is the other's turn
    end(single)
    assert leased(double_).split(",") == UUIDS[:2]
    end(double_)
    leased(later)


def test_a_scheduler_is_obeyed_and_never_widened(start: Start):
    first = start(**{gpu.VARIABLE: "1"})
    assert leased(first) == "1"
    # the same GPU, the second of nvidia-smi's list, whatever a job's variable calls it
    others = [start(**{gpu.VARIABLE: called}) for called in ("1", UUIDS[1], UUIDS[1][:10])]
    for job in others:
        waits(job)
    assert leased(start()) == UUIDS[0]  # those that wait have no claim on it


@pytest.mark.parametrize(
    ("visible", "tokens", "names"),
    [
        ("0,1", ["0", "1"], UUIDS[:2]),
        (" 1 ", ["1"], UUIDS[1:2]),
        (UUIDS[1], UUIDS[1:2], UUIDS[1:2]),
        ("GPU-1", ["GPU-1"], UUIDS[1:2]),
        (MIG, [MIG], [MIG]),
        ("7", ["7"], ["any-7"]),
        ("0,-1,1", ["0"], UUIDS[:1]),
        ("", [], []),
        ("NoDevFiles", [], []),
        ("-1", [], []),
    ],
)
def test_what_a_variable_names(machine: Path, visible: str, tokens: list[str], names: list[str]):
    found = gpu.devices({gpu.VARIABLE: visible})
    assert [device.token for device in found] == tokens
    assert [device.name for device in found] == names


def test_numbers_within_different_jobs_of_a_scheduler_are_different_gpus(machine: Path):
    double(machine, "no devices", code=9)
    one, two = (gpu.devices({gpu.VARIABLE: "0", "SLURM_JOB_ID": j})[0].name for j in ("7", "8"))
    assert one != two


def test_parts_of_a_gpu_take_its_place(machine: Path):
    double(machine, f"{listing(1)}\n  MIG 1g.10gb     Device  0: (UUID: {MIG})")
    assert [device.token for device in gpu.devices({})] == [MIG]


def test_the_drivers_own_list_serves_where_there_is_no_nvidia_smi(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    double(machine, "failed", code=9)
    monkeypatch.setattr(gpu, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(gpu, "_DEV", tmp_path)
    (tmp_path / "nvidia1").write_text("")  # the first one's device file is hidden from us
    for i in range(2):
        folder = tmp_path / "proc" / f"0000:0{i}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(
            f"Model: \t\t NVIDIA Stand-in\nIRQ:   \t\t 17\nGPU UUID: \t {UUIDS[i]}\n"
            f"Device Minor: \t {i}\nGPU Excluded:\t No\n"
        )
    assert [device.token for device in gpu.devices({})] == [UUIDS[1]]


def test_without_a_gpu_nothing_happens(machine: Path, monkeypatch: pytest.MonkeyPatch):
    double(machine, "No devices were found", code=6)
    monkeypatch.setattr(gpu, "_PROC", machine / "nowhere")
    with gpu.lease() as got:
        assert got == [] and gpu.VARIABLE not in os.environ
    monkeypatch.setenv(gpu.VARIABLE, "")
    double(machine, listing(2))
    with gpu.lease() as got:
        assert got == [] and os.environ[gpu.VARIABLE] == ""
    assert gpu.capacity() == 1


def test_a_lease_within_a_lease_is_the_same_and_ends_with_the_outer_one(machine: Path):
    with gpu.lease(0):
        assert gpu.VARIABLE not in os.environ
    with gpu.lease() as outer:
        with gpu.lease() as inner:
            assert inner == outer
        assert os.environ[gpu.VARIABLE] == outer[0].token
    assert gpu.VARIABLE not in os.environ
    with pytest.raises(FacemakeError, match="3 GPUs are asked for and 2"), gpu.lease(3):
        pass


def test_a_folder_of_leases_that_cannot_be_made_is_refused_in_words(
    machine: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(gpu.FOLDER_VARIABLE, str(machine / "none" / "leases"))
    with pytest.raises(FacemakeError, match=f"set {gpu.FOLDER_VARIABLE}"), gpu.lease():
        pass


def test_the_folder_of_leases_is_private(machine: Path, tmp_path: Path):
    place = tmp_path / "leases"
    with gpu.lease():
        assert place.stat().st_mode & 0o777 == 0o700
    (place / "gpu").rename(tmp_path / "elsewhere")
    (place / "gpu").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FacemakeError, match="is not a folder of yours"), gpu.lease():
        pass
