"""What a running job says of itself, and how its death is seen."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from facemake.runtime import failures, heartbeat, runs
from facemake.runtime.heartbeat import Beat

LOG = "results/logs/detect/anna.log"

# a call that lets no handler of the main thread run, as a network's inference does
BODY = """
import hashlib
from facemake.runtime.job import job
from facemake.runtime.progress import Progress
with job({log!r}):
    progress = Progress("detect", "anna", 3)
    progress.expect(90)
    progress.begin("first")
    progress.frame(30)
    progress.sample()
    progress.begin("second")
    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9) if {sleep} else None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".facemake").mkdir()
    return tmp_path


def start(folder: Path) -> subprocess.Popen[bytes]:
    body = BODY.format(log=LOG, sleep=True)
    body = f"import facemake.runtime.heartbeat as h\nh.SECONDS_BETWEEN_BEATS = 0.05\n{body}"
    return subprocess.Popen([sys.executable, "-c", body], cwd=folder)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def beats(folder: Path) -> list[Beat]:
    return list(heartbeat.read_all(folder / ".facemake"))


def test_a_job_says_how_far_it_is_until_it_is_killed(folder: Path):
    started = start(folder)
    try:
        until(lambda: [b for b in beats(folder) if b.sample == "second"])
        (beat,) = beats(folder)
        assert (beat.stage, beat.shard, beat.pid) == ("detect", "anna", started.pid)
        assert (beat.samples, beat.samples_done, beat.frames, beat.frames_done) == (3, 1, 90, 30)
        assert beat.is_alive()
        until(lambda: beats(folder)[0].time > beat.time)
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    (beat,) = beats(folder)
    assert not beat.is_alive()


def test_a_job_has_said_that_it_lives_when_its_work_begins(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whatever its thread's turn is: a run that is not seen to live is taken for a killed one."""
    for name in ("start", "join"):
        monkeypatch.setattr(f"threading.Thread.{name}", lambda *_: None)
    with heartbeat.beating(LOG, folder / ".facemake"):
        (beat,) = beats(folder)
        assert beat.is_alive()
    assert not beats(folder)


def test_sigterm_is_noted_at_once_though_the_main_thread_hears_nothing(folder: Path):
    started = start(folder)
    try:
        until(lambda: [b for b in beats(folder) if b.sample == "second"])
        started.terminate()
        assert started.wait(60) == 143
    finally:
        started.kill()
        started.wait()
    failure = failures.read("detect", "anna", folder / ".facemake")
    assert failure is not None and failure.curable and failure.sample == "second"
    assert "SIGTERM" in failure.message
    assert beats(folder) == []


def test_a_job_that_ends_leaves_no_progress(folder: Path):
    body = BODY.format(log=LOG, sleep=False)
    done = subprocess.run([sys.executable, "-c", body], cwd=folder)
    assert done.returncode == 0
    assert (folder / ".facemake" / "progress").is_dir() and beats(folder) == []


def test_of_another_machine_the_age_decides_and_a_held_lock_wins(folder: Path):
    now = time.time()
    beat = Beat("detect", "anna", "elsewhere", "", 1, 0.0, now - 60)
    work = folder / ".facemake"
    assert beat.is_alive(now, work)
    old = replace(beat, time=now - 600)
    assert not old.is_alive(now, work)
    (work / "locks").mkdir()
    with (work / "locks" / "detect.anna").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert old.is_alive(now, work)
    assert not old.is_alive(now, work)


def test_a_process_number_that_was_given_away_again_is_not_the_job(folder: Path):
    here = Beat("detect", "anna", os.uname().nodename, heartbeat.space(), os.getpid(), 5.0, 0.0)
    assert not here.is_alive()


def test_a_beat_that_was_under_way_does_not_put_the_file_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    with heartbeat.beating(LOG, folder / ".facemake"):
        until(lambda: beats(folder))
        heartbeat.forget()
        assert heartbeat._path is not None
        heartbeat._write(heartbeat._path)
        assert beats(folder) == []
    assert beats(folder) == []


def test_a_job_that_ends_leaves_the_file_of_another_one_that_took_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    with heartbeat.beating(LOG, folder / ".facemake"):
        until(lambda: beats(folder))
        (mine,) = beats(folder)
        other = replace(mine, pid=mine.pid + 1)
        path = folder / ".facemake" / "progress" / "detect.anna.json"
        path.write_text(json.dumps(other.__dict__))
    assert beats(folder) == [other]


def test_nothing_is_left_beside_where_the_disk_is_full(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(path: Path, text: str, **how: str) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with heartbeat.beating(LOG, folder / ".facemake"):
        failures.write(LOG, "odd", curable=False, work=folder / ".facemake")
        until((folder / ".facemake" / "progress").is_dir)
    for place in ("progress", "failed"):
        assert not list((folder / ".facemake" / place).iterdir())


def test_a_job_of_a_run_that_was_replaced_leaves_no_note_when_it_is_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(runs.VARIABLE, "old")
    (folder / ".facemake" / "run").write_text("new\n")
    started = start(folder)
    try:
        until(lambda: [b for b in beats(folder) if b.sample == "second"])
        started.terminate()
        assert started.wait(60) == 143
    finally:
        started.kill()
        started.wait()
    assert failures.read("detect", "anna", folder / ".facemake") is None


def test_who_ends_a_forked_child_does_not_end_the_job(folder: Path):
    body = f"""
import multiprocessing, time
from facemake.runtime.job import job
with job({LOG!r}):
    for _ in range(20):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
        child.start()
        child.terminate()
        child.join()
        assert child.exitcode == -15, child.exitcode
    time.sleep(0.5)  # for the thread that would end the job
"""
    done = subprocess.run([sys.executable, "-c", body], cwd=folder, timeout=120)
    assert done.returncode == 0
