"""A run that is watched: what it says itself, and what `facemake status` says of it.

The first one is begun as README.md and docs/your-own-data.md say it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import ROOT
from facemake.runtime import heartbeat
from runworkflow import environment, run, study, words

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]

FACEMAKE = [sys.executable, "-m", "facemake"]


def status(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [*FACEMAKE, "status", "-d", str(folder), "--json"],
        env=environment(folder),
        capture_output=True,
        text=True,
    )
    document: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return document


def until(folder: Path, true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        document = status(folder)
        if document and true(document):
            return document
        assert time.monotonic() < deadline
        time.sleep(0.1)


def at_work(folder: Path, stage: str) -> psutil.Process:
    """A job of the clip, held in the middle of its work as soon as it says that it is there."""
    deadline = time.monotonic() + 240
    while True:
        for beat in heartbeat.read_all(folder / ".facemake"):
            if (beat.stage, beat.shard) == (stage, "clip"):
                process = psutil.Process(beat.pid)
                process.suspend()
                return process
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_job_is_seen_and_named_and_the_next_run_clears_it(bundled: Path, tmp_path: Path):
    folder = tmp_path / "my_study"
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "clip.mp4").symlink_to(bundled / "moving_portrait.mp4")
    (tmp_path / "videos" / "none.mp4").write_text("no video")
    subprocess.run(
        [*FACEMAKE, "init", "videos", "-d", "my_study"],
        env=environment(tmp_path),
        cwd=tmp_path,
        check=True,
    )
    command = [*FACEMAKE, "run", "-d", "my_study", "--cores", "2", "-k"]
    with (tmp_path / "output.txt").open("wb") as output:
        started = subprocess.Popen(
            command, env=environment(tmp_path), cwd=tmp_path, stdout=output, stderr=output
        )
    landmarks = at_work(folder, "landmarks")
    seen = status(folder)
    assert seen["running"] is True
    states = {s["sample"]: s["state"] for s in seen["samples"]}
    assert states["clip"] == "running"
    (beat,) = [b for b in seen["jobs"] if (b["stage"], b["shard"]) == ("landmarks", "clip")]
    assert beat["pid"] == landmarks.pid
    landmarks.kill()
    assert started.wait(300) != 0
    output_text = (tmp_path / "output.txt").read_text()

    for text in (output_text, (folder / "results" / "run.log").read_text()):
        assert "failed: landmarks of clip: ended without a word" in text
        assert "log: results/logs/landmarks/clip.log" in text
        assert "1 job failed" in text
        assert "none: unreadable" in text
    # the blocks and steps of Snakemake are not there
    assert "jobid" not in output_text and "Select jobs" not in output_text
    after = status(folder)
    assert after["running"] is False and after["ended"]["well"] is False
    (failure,) = after["failures"]
    assert (failure["stage"], failure["shard"]) == ("landmarks", "clip")
    states = {s["sample"]: s["state"] for s in after["samples"]}
    assert states == {"clip": "failed", "none": "nothing"}

    again = run(folder)
    assert again.code == 0, again.output
    where = f"the report: {folder / 'results/report/index.html'}\n"
    assert where in again.output and "the report" not in output_text
    last = status(folder)
    assert last["failures"] == [] and last["ended"]["well"] is True
    assert last["counts"] == {"done": 1, "nothing": 1}
    assert not list((folder / ".facemake" / "progress").iterdir())


def test_a_killed_run_is_not_shown_as_running(bundled: Path, tmp_path: Path):
    study(tmp_path, [("clip", bundled / "moving_portrait.mp4")])
    started = subprocess.Popen(
        [*FACEMAKE, "run", "-d", str(tmp_path), "--cores", "1"],
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    job = at_work(tmp_path, "landmarks")
    assert status(tmp_path)["jobs"]
    started.kill()
    started.wait()
    job.resume()
    until(tmp_path, lambda d: not d["running"] and not d["jobs"])
    assert status(tmp_path)["ended"] is None


def test_a_dry_run_says_and_leaves_nothing_of_a_run(bundled: Path, tmp_path: Path):
    study(tmp_path, [("clip", bundled / "moving_portrait.mp4")])
    (tmp_path / "config" / "config.yaml").write_text("# all is as it is by default\n")
    done = run(tmp_path, "-n")
    assert done.code == 0 and "dry-run" in done.output
    assert "samples: " not in done.output and not (tmp_path / ".facemake" / "run.json").exists()


def test_a_run_that_snakemake_gives_up_ends_in_its_own_folder(bundled: Path, tmp_path: Path):
    """It cannot make the folder of the results, say, and is elsewhere when the process ends."""
    folder, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    study(folder, [("portraits", bundled / "portraits")], outdir="/proc/nowhere")
    elsewhere.mkdir()
    done = subprocess.run(
        [*FACEMAKE, "run", "-d", str(folder), "--cores", "1"],
        env=environment(folder),
        cwd=elsewhere,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "/proc/nowhere" in done.stderr
    assert "the run did not end well" in done.stderr and "the report: " not in done.stderr
    assert status(folder)["ended"]["well"] is False
    assert not list(elsewhere.iterdir())


def facemake_run(folder: Path, **more: str) -> str:
    """What `facemake run` says of one short job."""
    done = subprocess.run(
        [*FACEMAKE, "run", "-d", str(folder), "--cores", "1", "results/probe/portraits.parquet"],
        env={**environment(folder), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_goes_into_the_cache_and_comes_from_it_is_said_in_the_log_alone(
    bundled: Path, tmp_path: Path
):
    study(tmp_path, [("portraits", bundled / "portraits")], cache_dir=str(tmp_path / "cache"))
    for moved in ("Moving output file ", "Symlinking output file "):
        said = facemake_run(tmp_path)
        assert "1 sample: " in said and "output file" not in said
        last = max((tmp_path / ".snakemake" / "log").iterdir())
        assert f"{moved}results/probe/portraits.parquet" in last.read_text()
        (tmp_path / "results" / "probe" / "portraits.parquet").unlink()


# What `facemake status` says of a run that begins, and of one that ends, at moments of its own.
LOOKED_AT = """
import sys
from facemake import orphans
from facemake.store import place
from facemake.watch.state import Watcher
from facemake.watch.words import how
from snakemake.cli import main

def looked_at(function):
    def looked(*arguments, **words):
        said = how(Watcher().look()) if words.get("done", True) else "not yet"
        print(f"{function.__name__}: {said}", flush=True)
        return function(*arguments, **words)
    return looked

orphans.set_aside, place.note_use = map(looked_at, (orphans.set_aside, place.note_use))
main(sys.argv[1:])
"""


def test_a_run_that_begins_or_ends_is_not_taken_for_one_that_was_killed(
    bundled: Path, tmp_path: Path
):
    study(tmp_path, [("portraits", bundled / "portraits")])
    for _ in range(2):  # an earlier one has ended well
        told = words(tmp_path, "results/probe/portraits.parquet", "--force", cores=1)
        done = subprocess.run(
            [sys.executable, "-c", LOOKED_AT, *told],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        looks = [line for line in done.stdout.splitlines() if "not yet" not in line]
        assert [look.partition(": running since")[0] for look in looks] == ["set_aside", "note_use"]
    assert status(tmp_path)["ended"]["well"] is True


# In every Python of the run: what it was started as, and who lists the working folder.
NOTED = """
import os, sys

def note(what):
    with open(os.environ["FACEMAKE_TEST_NOTES"], "a") as handle:
        handle.write(f"{what} {sys.orig_argv}\\n")

def hook(event, args):
    if event == "os.listdir" and os.path.realpath(args[0] or ".") == FOLDER:
        note("listed")

sys.addaudithook(hook)
if not sys.flags.safe_path:
    note("unsafe")
"""


def test_no_job_looks_for_modules_among_the_recordings(bundled: Path, tmp_path: Path):
    watch, folder, notes = (tmp_path / name for name in ("watch", "study", "notes"))
    study(folder, [("portraits", bundled / "portraits")])
    watch.mkdir()
    text = f"FOLDER = {os.path.realpath(folder)!r}\n{NOTED}"
    (watch / "sitecustomize.py").write_text(text)
    watched = {
        "FACEMAKE_TEST_NOTES": str(notes),
        "PYTHONPATH": f"{watch}{os.pathsep}{environment(folder)['PYTHONPATH']}",
    }
    assert "no cache location" not in facemake_run(folder, **watched)  # none is configured
    (command,) = notes.read_text().splitlines()
    assert command.startswith("unsafe") and "facemake" in command  # it starts the safe ones

    # and `snakemake` by itself, whose own program lies elsewhere: its jobs
    notes.unlink()
    (folder / "results" / "probe" / "portraits.parquet").unlink()
    snakemake = Path(sys.executable).with_name("snakemake")
    subprocess.run(
        [
            *(str(snakemake), "-s", str(ROOT / "Snakefile"), "-d", str(folder), "--cores", "1"),
            "results/probe/portraits.parquet",
        ],
        env={**environment(folder), **watched},
        capture_output=True,
        check=True,
    )
    (command,) = notes.read_text().splitlines()
    assert command.startswith("unsafe") and "'-s'" in command
