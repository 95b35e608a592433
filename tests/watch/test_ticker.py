"""What a run says on its terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemake.runtime import failures
from facemake.watch import run as runs
from facemake.watch.run import Job
from facemake.watch.state import State, Watcher
from facemake.watch.ticker import Ticker


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
    ticker.live()
    ticker.start()
    log = folder / "results" / "run.log"
    said = ""
    deadline = time.monotonic() + 120
    while (
        "0 of 1 sample (0 %)" not in said
        or not (folder / ".facemake" / "progress" / "run.json").exists()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
        said += capfd.readouterr().err
    ticker.stop()
    assert list((folder / ".facemake" / "progress").iterdir())
    ticker.end()
    assert "0 of 1 sample (0 %)" in log.read_text()
    assert not list((folder / ".facemake" / "progress").iterdir())


def probed(folder: Path, samples: dict[str, str]) -> None:
    path = folder / "results" / "probe" / "a.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "sample": list(samples),
        "status": list(samples.values()),
        "reason": ["of no use"] * len(samples),
        "n_frames": pa.array([0] * len(samples), pa.int32()),
    }
    pq.write_table(pa.table(columns), path)


def test_a_sample_that_gives_nothing_is_named_once_and_not_all_of_many(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    probed(folder, {"old": "unreadable"})
    ticker = Ticker("results")
    ticker._tell(Watcher().look())
    assert capsys.readouterr().err == ""  # an earlier run found it
    probed(folder, {"old": "unreadable", "fine": "ok", "new": "unreadable"})
    for _ in range(2):
        ticker._tell(Watcher().look())
    assert capsys.readouterr().err == "new: unreadable, of no use\n"
    probed(folder, {f"more{i:02}": "no_face" for i in range(40)})
    ticker._tell(Watcher().look())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 20 and lines[-2:] == [
        "more18: no_face, of no use",
        "... and more, which `facemake status` names",
    ]
    assert len((folder / "results" / "run.log").read_text().splitlines()) == 21


def test_a_job_that_was_interrupted_is_no_failure(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    ticker = Ticker("results", quiet=True)
    ticker.failed("results/logs/probe/a.log")
    assert "probe of a: ended without a word" in capsys.readouterr().err
    failures.write("results/logs/probe/b.log", failures.INTERRUPTED, curable=True)
    ticker.failed("results/logs/probe/b.log")
    monkeypatch.setattr("facemake.runtime.runs.interrupted", True)
    ticker.failed("results/logs/probe/a.log")  # it had not begun
    assert capsys.readouterr().err == ""


def test_a_fault_in_it_is_no_fault_of_the_run_and_what_is_mended_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("facemake.watch.ticker._SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr("facemake.watch.ticker._FIRST_LINES", (0.01,))
    looks: list[bool] = []

    def look(watcher: Watcher) -> State:
        looks.append(len(looks) > 2)
        if not looks[-1]:
            raise OSError("Stale file handle")
        return seen(watcher)

    seen = Watcher.look
    monkeypatch.setattr(Watcher, "look", look)
    ticker = Ticker("results", silent=True)
    ticker.start()
    deadline = time.monotonic() + 120
    while not (folder / "results" / "run.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ticker.stop()
    assert looks[:4] == [False, False, False, True]


def test_arrow_is_loaded_by_a_thread_that_does_not_end_before_the_run(folder: Path):
    """Else a run crashes at its end, in one of two of a container."""
    code = (
        "import sys\n"
        "from facemake.watch.ticker import Ticker\n"
        "Ticker._tick = lambda self: None\n"
        "ticker = Ticker('results')\n"
        "assert 'pyarrow' not in sys.modules\n"
        "ticker.start()\n"
        "assert 'pyarrow' in sys.modules\n"
        "ticker.stop()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_can_be_switched_off(folder: Path):
    # a line is in the log first: with the third one there, the first is on the terminal
    code = (
        "import time\n"
        "from pathlib import Path\n"
        "import facemake.watch.ticker as t\n"
        "t._SECONDS_BETWEEN_LOOKS = 0.01\n"
        "t._FIRST_LINES = (0.01, 0.02)\n"
        "t._SECONDS_BETWEEN_LINES = 0.01\n"
        "ticker = t.Ticker('results')\n"
        "ticker.start()\n"
        "log = Path('results/run.log')\n"
        "until = time.monotonic() + 120\n"
        "while not log.exists() or log.read_text().count('\\n') < 3:\n"
        "    assert time.monotonic() < until\n"
        "    time.sleep(0.01)\n"
        "ticker.stop()\n"
    )
    says = {}
    for switch in ("on", "off"):
        (folder / "results" / "run.log").unlink(missing_ok=True)
        env = {**os.environ, "FACEMAKE_PROGRESS": switch}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        says[switch] = done.stderr
    assert "0 of 1 sample" in says["on"] and says["off"] == ""
