"""Whole files, jobs that speak plainly, jobs that end with their run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from facemake.provenance import LIBRARY
from facemake.runtime import interrupts
from facemake.runtime.atomic import replacing, replacing_folder, write_text
from facemake.runtime.memory import threads_said


def test_a_failed_write_leaves_the_old_file_and_nothing_beside(tmp_path: Path):
    path = tmp_path / "a" / "file.txt"
    with replacing(path) as beside:
        beside.write_text("old")
    with pytest.raises(OSError, match="disk"), replacing(path) as beside:
        beside.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "below" / "out"
    for text in ("one", "two"):
        with replacing_folder(path) as beside:
            (beside / text).touch()
        assert [file.name for file in path.iterdir()] == [text]
    (tmp_path / "below" / ".out.part").mkdir()
    (tmp_path / "below" / ".out.part" / "of a killed try").touch()
    with pytest.raises(OSError, match="disk"), replacing_folder(path) as beside:
        assert not list(beside.iterdir())
        (beside / "three").touch()
        raise OSError("disk full")
    assert [file.name for file in path.parent.iterdir()] == ["out"]
    assert [file.name for file in path.iterdir()] == ["two"]


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_what_is_no_folder_gives_way_to_one(tmp_path: Path, kind: str):
    path, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (elsewhere / "kept").mkdir(parents=True)
    for _ in range(2):
        if kind == "file":
            path.write_text("")
        else:
            path.symlink_to(elsewhere if kind == "link" else tmp_path / "gone")
        with replacing_folder(path) as beside:
            (beside / "new").touch()
        assert not path.is_symlink() and (path / "new").is_file()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "out"]
        (path / "new").unlink()
        path.rmdir()
    assert (elsewhere / "kept").is_dir()


def test_an_unchanged_text_is_not_written_again(tmp_path: Path):
    path = tmp_path / "file.txt"
    assert write_text(path, "x")
    before = path.stat().st_mtime_ns
    assert not write_text(path, "x")
    assert path.stat().st_mtime_ns == before


def script(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    log = str(tmp_path / "logs" / "x.log")
    text = f"from facemake.runtime.job import job\nwith job({log!r}, 3):\n"
    text += "".join(f"    {line}\n" for line in body.splitlines())
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)


def test_a_users_mistake_is_a_message(tmp_path: Path):
    done = script(
        tmp_path, "from facemake.errors import ModelError\nraise ModelError('the model x is gone')"
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "the model x is gone"
    assert "the model x is gone" in (tmp_path / "logs" / "x.log").read_text()


def test_a_bug_is_a_traceback_in_the_log_with_the_sample(tmp_path: Path):
    done = script(tmp_path, "e = ValueError('odd')\ne.add_note('in sample s1')\nraise e")
    assert done.returncode == 1
    log = (tmp_path / "logs" / "x.log").read_text()
    assert "Traceback" in log and "ValueError: odd" in log and "in sample s1" in log


@pytest.mark.parametrize(
    "error",
    [
        "OSError(28, 'No space left on device')",
        'OSError("Can\'t write data (file write failed: errno = 28)")',
    ],
)
def test_a_full_disk_is_named_with_its_cure(tmp_path: Path, error: str):
    done = script(tmp_path, f"e = {error}\ne.add_note('in sample s1')\nraise e")
    assert done.returncode == 1
    assert done.stderr.startswith("the disk is full: make room there and run again")
    assert "in sample s1" in done.stderr and "Traceback" not in done.stderr


def test_an_interrupted_job_is_no_bug(tmp_path: Path):
    done = script(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nos.read(0, 1)")
    assert done.returncode == 130 and done.stderr == ""
    log = (tmp_path / "logs" / "x.log").read_text()
    assert log.rstrip().endswith("interrupted") and "Traceback" not in log


@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})", "print('it went on')"),
        ("", "try:\n    interrupt()\nexcept KeyboardInterrupt:\n    raise ImportError('numpy')"),
    ],
    ids=["while it was started", "while a library is imported that makes another error of it"],
)
def test_an_interruption_at_any_moment_is_no_bug(tmp_path: Path, before: str, body: str):
    lines = [
        *("import os, signal, time", "def interrupt():"),
        *("    os.kill(os.getpid(), signal.SIGINT)", "    time.sleep(0.01)"),
        *(before or "pass", "interrupt()" if before else "pass"),
        "from facemake.runtime.job import job",
        f"with job({str(tmp_path / 'logs' / 'x.log')!r}):",
        *(f"    {line}" for line in body.splitlines()),
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": str(LIBRARY.parent)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert (tmp_path / "logs" / "x.log").read_text().rstrip().endswith("interrupted")


def test_programs_of_a_thread_start_with_an_interruption_on_hold():
    """So a job that a run starts is not interrupted before it can say so; the run itself is."""
    ask = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    said = []
    start = interrupts.starting_on_hold(
        lambda: said.append(subprocess.check_output([sys.executable, "-c", ask], text=True))
    )
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    start()
    assert said == ["True\n", "False\n"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_threads_are_set_before_the_work_and_the_cost_is_logged(tmp_path: Path):
    done = script(tmp_path, "import os\nprint(os.environ['OMP_NUM_THREADS'])")
    assert done.stdout == "3\n"
    assert "s of CPU, at most" in (tmp_path / "logs" / "x.log").read_text()


def test_a_job_does_without_pandas_where_its_stage_does(tmp_path: Path):
    lines = [
        "import sys, numpy as np, pyarrow as pa",
        "pa.array([[1.0], None], pa.list_(pa.float32())), pa.array(np.arange(3))",
        "assert 'pandas' not in sys.modules",
        "import pandas",
        "assert pandas.Series([1]).sum() == 1",
    ]
    done = script(tmp_path, "\n".join(lines))
    assert done.returncode == 0, done.stderr


def test_a_job_ends_when_its_run_is_killed(tmp_path: Path):
    """A run starts a shell that starts the job, as Snakemake does; the run is killed."""
    job = tmp_path / "job.py"
    job.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from facemake.runtime.job import job\n"
        "with job(None):\n"
        f"    Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(120)\n"
    )
    run = tmp_path / "snakemake"
    run.write_text(
        f"import subprocess\nsubprocess.run(['sh', '-c', '{sys.executable} {job}; true'])\n"
    )
    started = subprocess.Popen([sys.executable, str(run)])
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 120
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child = psutil.Process(int(pid.read_text()))
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert child.is_running()
    _, alive = psutil.wait_procs([child], timeout=60)
    assert not alive


@pytest.mark.parametrize(
    ("said", "threads"),
    [("3", 3), (" 2,4", 2), ("", None), ("0", None), ("-1", None), ("many", None), ("²", None)],
)
def test_openmps_variable_is_a_number_or_says_none(
    monkeypatch: pytest.MonkeyPatch, said: str, threads: int | None
):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads_said() == threads


def test_a_job_looks_for_garbage_among_what_came_after_its_imports(tmp_path: Path):
    code = """
import gc
from facemake.runtime import garbage
usual = gc.get_threshold()
frozen = gc.get_freeze_count()  # of Python 3.12 its own
garbage.imported()
assert gc.get_freeze_count() == frozen, "a notebook's own objects are looked at as ever"
garbage.while_importing()
garbage.while_importing()
assert gc.get_threshold()[0] > usual[0]
kept = [[] for _ in range(1000)]
garbage.imported()
assert gc.get_threshold() == usual and gc.get_freeze_count() > frozen + 1000
class Knot: pass
knot = Knot()
knot.knot = knot
import weakref
seen = weakref.ref(knot)
del knot
gc.collect()
assert seen() is None
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
