"""facemake run: whose lock it clears, and whose it does not."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path

import psutil
import pytest

from facemake.cli import main
from facemake.cli.run import SNAKEFILE, START, TARGETS, live_owner
from facemake.provenance import LIBRARY
from facemake.runtime import locks, runs
from facemake.runtime.heartbeat import Beat
from facemake.runtime.locks import sign_of_life


def write_owner(folder: Path, host: str, pid: int, started: float) -> None:
    (folder / ".facemake").mkdir(exist_ok=True)
    (folder / ".facemake" / "owner").write_text(f"{host} {pid} {started:.2f}\n")


def test_a_live_run_is_found_by_what_it_wrote(tmp_path: Path):
    runs.write_owner(tmp_path / ".facemake")
    assert live_owner(tmp_path) == f"process {os.getpid()}"


def test_a_number_that_was_given_away_again_is_no_owner(tmp_path: Path):
    write_owner(tmp_path, socket.gethostname(), os.getpid(), 12345.0)
    assert live_owner(tmp_path) is None


def test_a_run_that_has_ended_and_that_nobody_waited_for_is_no_owner(tmp_path: Path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    write_owner(tmp_path, socket.gethostname(), ended.pid, psutil.Process(ended.pid).create_time())
    assert live_owner(tmp_path) is None
    ended.wait()


def test_two_that_start_do_not_clear_each_others_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first one clears a dead run's lock, and its own is there when the second one looks."""
    locked = tmp_path / ".snakemake" / "locks" / "0.output.lock"
    locked.parent.mkdir(parents=True)
    locked.write_text("x")
    write_owner(tmp_path, socket.gethostname(), os.getpid(), 12345.0)
    unlocking, go_on = threading.Event(), threading.Event()
    cleared: list[str] = []

    def unlock(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        if "--unlock" not in command:
            raise FileNotFoundError(command[0])
        cleared.append(threading.current_thread().name)
        unlocking.set()
        go_on.wait(120)
        locked.unlink()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("facemake.cli.run.subprocess.run", unlock)
    monkeypatch.setattr(os, "execv", lambda program, command: sys.exit(0))

    sheet(tmp_path)

    def start() -> None:
        with contextlib.suppress(SystemExit):
            main(["run", "-d", str(tmp_path)])

    first = threading.Thread(target=start, name="first")
    first.start()
    assert unlocking.wait(120)
    second = threading.Thread(target=start, name="second")
    second.start()
    second.join(1)
    go_on.set()
    first.join()
    second.join()
    assert cleared == ["first"]


def test_a_run_on_another_host_counts_as_alive(tmp_path: Path):
    write_owner(tmp_path, "elsewhere", 1, 1.0)
    assert live_owner(tmp_path) == "process 1 on elsewhere"


def test_a_run_on_another_host_is_dead_after_a_long_silence(tmp_path: Path):
    write_owner(tmp_path, "elsewhere", 7, 1.0)
    work = tmp_path / ".facemake"

    def beat(pid: int, seconds_ago: float) -> None:
        (work / "progress").mkdir(exist_ok=True)
        said = Beat("run", "", "elsewhere", "", pid, 1.0, time.time() - seconds_ago)
        (work / "progress" / "run.json").write_text(json.dumps(asdict(said)))

    beat(7, 30)
    assert live_owner(tmp_path) == "process 7 on elsewhere"
    beat(8, 3600)  # of a run before it: it has said nothing yet itself
    assert live_owner(tmp_path) == "process 7 on elsewhere"
    beat(7, 3600)
    with sign_of_life(work / "locks" / "run."):  # as a run that was stopped, and may go on
        assert live_owner(tmp_path) == "process 7 on elsewhere"
    assert live_owner(tmp_path) is None


def test_a_run_takes_its_lock_from_who_asks_whether_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """They hold it for that moment."""
    path = tmp_path / "locks" / "run."
    path.parent.mkdir()
    with path.open("ab") as asks:
        fcntl.flock(asks, fcntl.LOCK_SH)
        monkeypatch.setattr(locks.time, "sleep", lambda _: asks.close())
        with sign_of_life(path), path.open("rb") as handle, pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_job_that_outlived_its_run_is_no_owner(tmp_path: Path):
    program = tmp_path / "snakemake"
    program.write_text("import time\ntime.sleep(60)\n")
    running = subprocess.Popen([sys.executable, str(program), "--nolock"], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while len(psutil.Process(running.pid).cmdline()) < 3:
            assert time.monotonic() < deadline
        assert live_owner(tmp_path) is None
    finally:
        running.kill()
        running.wait()


def test_a_run_that_has_not_written_yet_is_found_by_its_folder(tmp_path: Path):
    program = tmp_path / "snakemake"
    program.write_text("import time\ntime.sleep(60)\n")
    (tmp_path / "study").mkdir()
    running = subprocess.Popen([sys.executable, str(program)], cwd=tmp_path / "study")
    try:
        deadline = time.monotonic() + 120
        while not psutil.Process(running.pid).cmdline():
            assert time.monotonic() < deadline
        assert live_owner(tmp_path / "study") == f"process {running.pid}"
        assert live_owner(tmp_path) is None
    finally:
        running.kill()
        running.wait()


def test_the_lock_of_a_live_run_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    (tmp_path / ".snakemake" / "locks" / "0.output.lock").write_text("x")
    runs.write_owner(tmp_path / ".facemake")
    sheet(tmp_path)
    assert main(["run", "-d", str(tmp_path)]) == 2
    assert f"process {os.getpid()} runs the workflow" in capsys.readouterr().err
    assert list((tmp_path / ".snakemake" / "locks").iterdir())


@pytest.mark.parametrize(
    ("words", "limited"),
    [
        ([], True),
        (["--restart-times", "3"], True),
        (["--resources", "gpu=9"], False),
        (["--res=gpu=2"], False),
        (["--profile", "slurm"], False),
        (["--workflow-profile", "profiles/slurm"], False),
        (["--executor=slurm"], False),
    ],
)
@pytest.mark.parametrize(
    ("visible", "config", "jobs"), [("", "", 1), ("0,1", "", 2), ("0,1", "jobs_per_gpu: 3", 6)]
)
def test_as_many_jobs_use_gpus_as_there_are_unless_somebody_says_how_many(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    limited: bool,
    visible: str,
    config: str,
    jobs: int,
):
    called: list[list[str]] = []

    class Replaced(BaseException):
        pass

    def started(program: str, command: list[str]) -> None:
        called.append(command)
        raise Replaced

    monkeypatch.setattr(os, "execv", started)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("FACEMAKE_JOBS_PER_GPU", "")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(config)
    with pytest.raises(Replaced):
        main(["run", "-d", str(tmp_path), *words])
    (command,) = called
    assert (command[3:5] == ["--resources", f"gpu={jobs}"]) == limited
    assert command[-len(words) :] == words or not words


@cache
def snakemakes_parser() -> argparse.ArgumentParser:
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


@pytest.mark.parametrize(
    ("words", "cores", "targets", "quiet"),
    [
        ([], ["--cores", "all"], [], True),
        (["--", "report"], ["--cores", "all"], ["report"], True),
        (["report", "-k"], ["--cores", "all"], ["report"], True),
        (["--config", "a=1", "--", "report"], ["--cores", "all"], ["report"], True),
        (["-j", "2", "report"], [], ["report"], True),
        (["-j2"], [], [], True),
        (["--jobs=2", "--executor", "local"], ["--cores", "all"], [], True),
        (["-c2"], ["--cores", "all"], [], True),  # Snakemake takes the last
        (["-np"], ["--cores", "all"], [], False),
        (["-kn"], ["--cores", "all"], [], True),
        (["-n", "--verbose"], ["--cores", "all"], [], False),
        (["--", "-n.csv"], ["--cores", "all"], ["-n.csv"], True),
    ],
)
def test_words_of_ours_do_not_run_into_those_of_the_user(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    cores: list[str],
    targets: list[str],
    quiet: bool,
):
    """As Snakemake's own parser reads them: an option of several words takes no target."""
    called: list[list[str]] = []

    def started(program: str, command: list[str]) -> None:
        called.append(command[3:])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "execv", started)
    sheet(tmp_path)
    assert main(["run", "-d", str(tmp_path), *words]) == 130
    (command,) = called
    assert command[len(command) - len([*cores, *words]) :] == [*cores, *words]
    assert ("--quiet" in command) == quiet
    assert list(snakemakes_parser().parse_args(command).targets) == targets


def sheet(folder: Path) -> None:
    (folder / "config").mkdir()
    (folder / "config" / "samples.tsv").write_text("sample\tpath\n")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, r"no .*config\.yaml and no .*samples\.tsv: `facemake init FOLDER_OF_VIDEOS -d"),
        ("a: [\n", r"config\.yaml:2: is no YAML"),
        ("detect: backend: dlib\n", r"yaml:1: is no YAML: .*a section `detect: \{backend: dlib\}`"),
        ("- a\n", r"config\.yaml has no keys"),
        ("a\n", r"config\.yaml has no keys"),
    ],
)
def test_a_folder_that_does_not_say_what_to_do_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str | None, said: str
):
    if config is not None:
        sheet(tmp_path)
        (tmp_path / "config" / "config.yaml").write_text(config)
    assert main(["run", "-d", str(tmp_path)]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / ".snakemake").exists()


@pytest.mark.parametrize("name", [".", ".snakemake", ".facemake"])
def test_a_folder_that_cannot_be_written_to_is_refused_in_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
):
    sheet(tmp_path)
    (tmp_path / name).mkdir(exist_ok=True)
    # as of a folder of somebody else's: the user of the tests may be root
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / name)
    assert main(["run", "-d", str(tmp_path)]) == 2
    assert f"{tmp_path / name} cannot be written to" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", "-d", str(tmp_path / "a")]) == 2
    assert "is not there: `facemake init" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_a_lock_that_cannot_be_cleared_ends_the_run_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    (tmp_path / ".snakemake" / "locks" / "0.output.lock").write_text("x")
    sheet(tmp_path)
    refused = [sys.executable, "-c", "import sys; sys.exit('the configuration is refused')"]
    run = subprocess.run
    monkeypatch.setattr("facemake.cli.run.subprocess.run", lambda command: run(refused))
    assert main(["run", "-d", str(tmp_path)]) == 1


def test_an_early_interruption_is_a_line(tmp_path: Path):
    """While Snakemake is imported, say: it is one that takes as long as it likes."""
    (tmp_path / "snakemake").mkdir()
    (tmp_path / "snakemake" / "__init__.py").touch()
    code = "import sys, time\nprint(sys.argv[1:], flush=True)\ntime.sleep(60)\n"
    (tmp_path / "snakemake" / "__main__.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), str(LIBRARY.parent)])
    started = subprocess.Popen(
        [sys.executable, "-m", START, "--cores", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "['--cores', '2']\n"
    assert live_owner(tmp_path) == f"process {started.pid}"  # it is found as Snakemake itself is
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert said == "facemake: interrupted\n"


def test_names_of_targets_are_looked_at_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def started(program: str, command: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "execv", started)
    sheet(tmp_path)
    for words in (["trainingset"], ["-k", "--", "trainingset"]):
        assert main(["run", "-d", str(tmp_path), *words]) == 2
        said = capsys.readouterr().err
        assert "no target trainingset: there are all, " in said
        assert "; did you mean training_set?" in said
    text = "".join(path.read_text() for path in [SNAKEFILE, *SNAKEFILE.parent.glob("rules/*.smk")])
    for target in TARGETS:
        assert f"rule {target}:" in text
        assert main(["run", "-d", str(tmp_path), target, "results/x", "a.tsv"]) == 130
    for wrong in ("0", "-1", "many", ""):
        with pytest.raises(SystemExit) as ended:
            main(["run", "-d", str(tmp_path), f"--cores={wrong}"])
        assert ended.value.code == 2
        assert "give a number from 1, or all" in capsys.readouterr().err
