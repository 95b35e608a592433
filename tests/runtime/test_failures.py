"""What a job that failed leaves for others to read."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT
from facemake.runtime import failures, runs

LOG = "results/logs/detect/clip.1.log"


def job(folder: Path, body: str, log: str = LOG) -> subprocess.CompletedProcess[str]:
    (folder / ".facemake").mkdir(exist_ok=True)
    text = f"from facemake.runtime.job import job\nwith job({log!r}):\n    {body}\n"
    return subprocess.run([sys.executable, "-c", text], cwd=folder, capture_output=True, text=True)


def note(folder: Path, stage: str = "detect", shard: str = "clip.1") -> failures.Failure | None:
    return failures.read(stage, shard, folder / ".facemake")


def test_a_failed_job_leaves_its_message_and_a_later_success_takes_it_away(tmp_path: Path):
    body = "from facemake.errors import ModelError; raise ModelError('the model x is gone')"
    assert job(tmp_path, body).returncode == 1
    failure = note(tmp_path)
    assert failure is not None
    assert (failure.stage, failure.shard) == ("detect", "clip.1")
    assert failure.message == "the model x is gone"
    assert failure.host == socket.gethostname() and failure.log == LOG
    assert abs(failure.time - time.time()) < 60
    assert list(failures.read_all(tmp_path / ".facemake")) == [failure]
    assert job(tmp_path, "pass").returncode == 0
    assert note(tmp_path) is None
    assert not list((tmp_path / ".facemake" / "failed").iterdir())


@pytest.mark.parametrize(
    ("error", "curable"),
    [
        ("MemoryError()", True),
        ("OSError(116, 'Stale file handle')", True),
        ("OSError(5, 'Input/output error')", True),
        ("BusyError('another process is at work')", True),
        ("OSError('cannot read (file read failed: errno = 116, error message = ...)')", True),
        ("FacemakeError('x cannot be read') from OSError(116, 'Stale file handle')", True),
        ("FacemakeError('x is not there') from OSError(2, 'No such file')", False),
        ("OSError(28, 'No space left on device')", False),
        ("PermissionError(13, 'Permission denied')", False),
        ("FacemakeError('give a number')", False),
        ("ValueError('odd')", False),
    ],
)
def test_the_note_says_whether_a_retry_can_cure_it(tmp_path: Path, error: str, curable: bool):
    job(tmp_path, f"from facemake.errors import BusyError, FacemakeError; raise {error}")
    failure = note(tmp_path)
    assert failure is not None and failure.curable is curable


@pytest.mark.parametrize(
    ("error", "run", "tries"),
    [
        ("ValueError('odd')", "same", 1),  # of no other attempt it would be otherwise
        ("MemoryError()", "same", 2),
        ("ValueError('odd')", "next", 2),  # the user may have mended it
    ],
)
def test_a_retry_that_cures_nothing_ends_at_once_with_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, run: str, tries: int
):
    body = f"print('at work', file=open('tries', 'a')); raise {error}"
    monkeypatch.setenv(runs.VARIABLE, "same")
    assert job(tmp_path, body).returncode == 1
    first = note(tmp_path)
    monkeypatch.setenv(runs.VARIABLE, run)
    done = job(tmp_path, body)
    assert done.returncode == 1
    assert (tmp_path / "tries").read_text() == "at work\n" * tries
    if tries == 1:
        assert done.stderr == "not tried again, since it would fail again: ValueError: odd\n"
        assert note(tmp_path) == first
        log = (tmp_path / LOG).read_text()
        assert "Traceback" in log and "not tried again" in log


def test_of_a_bug_the_note_has_the_last_line_and_the_sample(tmp_path: Path):
    job(tmp_path, "e = ValueError('odd'); e.add_note('in sample s1 (s1.mp4)'); raise e")
    failure = note(tmp_path)
    assert failure is not None and failure.message == "ValueError: odd\nin sample s1 (s1.mp4)"


def test_a_job_outside_a_run_leaves_nothing(tmp_path: Path):
    assert job(tmp_path, "raise ValueError", log="x.log").returncode == 1
    assert sorted(os.listdir(tmp_path)) == [".facemake", "x.log"]
    assert not os.listdir(tmp_path / ".facemake")


def test_every_rule_logs_where_its_stage_and_shard_can_be_told():
    rules = "".join(p.read_text() for p in (ROOT / "rules").glob("[!b]*.smk"))
    logs = re.findall(r'f"\{OUT\}/(logs/[^"]*)"', rules)
    assert len(logs) > 15
    for log in logs:
        log = re.sub(r"\{\{(shard|sample\}\}\.\{\{segment)\}\}", "a.b", log)
        log = log.replace("{STEP}", "fit")
        job = failures.stage_and_shard(f"results/{log}")
        assert job is not None and job[1] == ("a.b" if "a.b" in log else "")
