"""What a run says on its terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facemake.watch import run as runs
from facemake.watch.run import Job
from facemake.watch.ticker import Screen, Ticker


def test_a_line_is_written_over_and_what_stays_is_put_before_it():
    stream = io.StringIO()
    screen = Screen(stream, in_place=True)
    screen.show("one")
    screen.show("two")
    screen.say("failed")
    screen.clear()
    screen.clear()
    clear = "\r\x1b[K"
    assert stream.getvalue() == f"one{clear}two{clear}failed\ntwo{clear}"


def test_where_no_terminal_is_there_are_lines():
    stream = io.StringIO()
    screen = Screen(stream, in_place=False)
    screen.show("one")
    screen.say("two")
    screen.clear()
    assert stream.getvalue() == "one\ntwo\n"


def test_a_terminal_that_is_gone_harms_nothing():
    stream = io.StringIO()
    stream.close()
    Screen(stream, in_place=True).say("one")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".facemake" / "plan").mkdir(parents=True)
    (tmp_path / ".facemake" / "plan" / "a.tsv").write_text("sample\na\n")
    runs.write_start("results", [Job("probe", "a", True, ["results/probe/a.parquet"])])
    return tmp_path


def test_lines_are_in_the_log_and_end_with_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("facemake.watch.ticker._SECONDS_BETWEEN_LOOKS", 0.05)
    monkeypatch.setattr("facemake.watch.ticker._FIRST_LINES", (0.1,))
    ticker = Ticker("results")
    ticker.start()
    log = folder / "results" / "run.log"
    deadline = time.monotonic() + 10
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (folder / ".facemake" / "progress" / "run.json").exists()
    ticker.stop()
    assert "0 of 1 samples (0 %)" in log.read_text()
    assert "0 of 1 samples (0 %)" in capfd.readouterr().err
    assert not list((folder / ".facemake" / "progress").iterdir())


def test_it_can_be_switched_off_and_a_fault_in_it_is_no_fault_of_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / ".facemake" / "run.json").write_text("{")
    code = (
        "import time\n"
        "import facemake.watch.ticker as t\n"
        "t._SECONDS_BETWEEN_LOOKS = t._FIRST_LINES = 0.01\n"
        "t._FIRST_LINES = (0.01,)\n"
        "ticker = t.Ticker('results')\n"
        "ticker.start()\n"
        "time.sleep(0.5)\n"
        "ticker.stop()\n"
    )
    for switch in ("on", "off"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "FACEMAKE_PROGRESS": switch},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
    runs.write_start("results", [Job("probe", "a", True, ["results/probe/a.parquet"])])
    says = {}
    for switch in ("on", "off"):
        env = {**os.environ, "FACEMAKE_PROGRESS": switch}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        says[switch] = done.stderr
    assert "0 of 1 samples" in says["on"] and says["off"] == ""
