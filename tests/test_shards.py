"""A shard at work: parts, resumption, locks."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemake.errors import BusyError, FacemakeError
from facemake.provenance import Recipe
from facemake.runtime import heartbeat, locks, runs
from facemake.samples import Sample, plan_file, shard_text
from facemake.shards import ShardRun, read_metadata

SAMPLES = [Sample(name, Path(f"/{name}.mp4"), name, sha256=name) for name in ("a", "b", "c")]


def recipe(setting: int = 1, code: str = "x") -> Recipe:
    return Recipe("probe", None, {"setting": setting}, (), code)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = plan_file("s")
    path.parent.mkdir(parents=True)
    path.write_text(shard_text(SAMPLES))
    return path


def work(plan: Path, output: Path, recipe: Recipe, stop_at: str | None = None) -> list[str]:
    """Run a stage that writes a row a sample; the samples that it computed."""
    done = []
    with ShardRun(recipe, plan, [], {"probe": output}) as run:
        for sample, part in run.pending():
            if sample.sample == stop_at:
                raise KeyboardInterrupt
            part.table("probe").append(
                sample=sample.sample, kind="video", status="ok", reason=str(recipe.settings)
            )
            done.append(sample.sample)
    return done


@pytest.mark.parametrize(("lost", "raised"), [("/a.mp4", FacemakeError), ("x", OSError)])
def test_a_recording_that_goes_during_a_run_is_said_in_words(
    plan: Path, tmp_path: Path, lost: str, raised: type[Exception]
):
    with (
        pytest.raises(raised, match=r"take a out of the sample sheet|No such file") as caught,
        ShardRun(recipe(), plan, [], {"probe": tmp_path / "t.parquet"}) as run,
    ):
        next(iter(run.pending()))
        Path(lost).read_bytes()
    assert type(caught.value) is (raised if raised is FacemakeError else FileNotFoundError)
    assert len(work(plan, tmp_path / "t.parquet", recipe())) == 3  # the lock is free


def test_a_stopped_shard_goes_on_where_it_stopped_to_the_same_bytes(plan: Path, tmp_path: Path):
    whole, resumed = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    assert work(plan, whole, recipe()) == ["a", "b", "c"]
    with pytest.raises(KeyboardInterrupt):
        work(plan, resumed, recipe(), stop_at="c")
    assert not resumed.exists()
    assert work(plan, resumed, recipe()) == ["c"]
    assert resumed.read_bytes() == whole.read_bytes()
    assert not list(Path(".facemake/parts").rglob("*.parquet"))


def test_parts_of_another_recipe_are_thrown_away(plan: Path, tmp_path: Path):
    output = tmp_path / "o.parquet"
    with pytest.raises(KeyboardInterrupt):
        work(plan, output, recipe(1), stop_at="b")
    assert work(plan, output, recipe(2)) == ["a", "b", "c"]
    assert set(pq.read_table(output)["reason"].to_pylist()) == {"{'setting': 2}"}


def test_parts_of_other_recordings_are_thrown_away(plan: Path, tmp_path: Path):
    output = tmp_path / "o.parquet"
    with pytest.raises(KeyboardInterrupt):
        work(plan, output, recipe(), stop_at="b")
    changed = [Sample("a", Path("/a.mp4"), "a", sha256="other"), *SAMPLES[1:]]
    plan.write_text(shard_text(changed))
    assert work(plan, output, recipe()) == ["a", "b", "c"]


def test_a_damaged_upstream_file_is_named(plan: Path, tmp_path: Path):
    (tmp_path / "up.parquet").write_text("PAR1 nonsense")
    with pytest.raises(FacemakeError, match=r"up\.parquet cannot be read"):
        ShardRun(recipe(), plan, [tmp_path / "up.parquet"], {"probe": tmp_path / "o.parquet"})


def test_two_processes_do_not_work_on_one_shard(plan: Path, tmp_path: Path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from facemake.provenance import Recipe\n"
        "from facemake.shards import ShardRun\n"
        "r = Recipe('probe', None, {}, (), 'x')\n"
        f"with ShardRun(r, Path({str(plan)!r}), [], {{'probe': Path('other.parquet')}}):\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "at work\n"
        with pytest.raises(FacemakeError, match="another process is at work on probe of shard s"):
            work(plan, tmp_path / "o.parquet", recipe())
    finally:
        other.kill()
        other.wait()
    # the lock goes with its process, however that ends
    assert work(plan, tmp_path / "o.parquet", recipe()) == ["a", "b", "c"]


def test_a_shard_that_cannot_begin_lets_go_of_its_lock(plan: Path, tmp_path: Path):
    run = ShardRun(recipe(), plan, [], {"probe": tmp_path / "o.parquet"})
    run._parts.parent.mkdir(parents=True)
    run._parts.touch()
    with pytest.raises(FileExistsError), run:
        pass
    run._parts.unlink()
    assert work(plan, tmp_path / "o.parquet", recipe()) == ["a", "b", "c"]


def test_a_job_of_a_run_waits_for_its_turn(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(locks, "_SECONDS_TO_SETTLE", 0.0)
    monkeypatch.setenv(runs.VARIABLE, "mine")
    path = tmp_path / "work" / "locks" / "probe.s"
    path.parent.mkdir(parents=True)
    code = (
        "import fcntl, pathlib, sys\n"
        f"handle = open({str(path)!r}, 'a')\n"
        "fcntl.flock(handle, fcntl.LOCK_EX)\n"
        "handle.write('process 1 on node7'); handle.flush()\n"
        "print('at work', flush=True)\n"
        "sys.stdin.read(1)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "at work\n"
    caplog.set_level("INFO")

    def end_it() -> None:
        deadline = time.monotonic() + 120
        while "waiting for another job" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.02)
        other.kill()

    ending = threading.Thread(target=end_it)
    ending.start()
    output = {"probe": tmp_path / "o.parquet"}
    with ShardRun(recipe(), plan, [], output, work=tmp_path / "work") as run:
        ending.join()
        for sample, part in run.pending():
            part.table("probe").append(sample=sample.sample, status="ok", reason="")
    assert "probe of shard s: waiting for another job at work on it (process 1 on node7)" in (
        caplog.text
    )
    assert path.read_text().startswith(f"process {os.getpid()} on ")
    other.wait()


def test_who_only_asks_whether_a_lock_is_held_stops_nobody(tmp_path: Path):
    path = tmp_path / "locks" / "probe.s"
    path.parent.mkdir()
    with path.open("a") as asking:
        fcntl.flock(asking, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (asking, fcntl.LOCK_UN)).start()
        with locks.ShardLock(path, "probe of shard s", tmp_path):
            assert heartbeat._is_locked(path)


def test_a_lock_goes_where_the_disk_has_no_room_for_its_owners_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full() -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "probe.s"
    lock = locks.ShardLock(path, "probe of shard s", tmp_path)
    monkeypatch.setattr(locks.socket, "gethostname", full)
    with pytest.raises(OSError, match="No space left"), lock:
        pass
    assert not heartbeat._is_locked(path)


def test_a_job_of_a_run_that_was_replaced_leaves_what_it_has_done(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(runs.VARIABLE, "old")
    folder, output = tmp_path / "work", {"probe": tmp_path / "o.parquet"}
    seen: list[str] = []

    def go_on() -> None:
        with ShardRun(recipe(), plan, [], output, work=folder) as run:
            for sample, part in run.pending():
                part.table("probe").append(sample=sample.sample, status="ok", reason="")
                seen.append(sample.sample)
                if sample.sample == "b":
                    (folder / "run").write_text("new\n")

    with pytest.raises(BusyError, match="another run was started in this folder"):
        go_on()
    assert seen == ["a", "b"] and not output["probe"].exists()
    monkeypatch.setenv(runs.VARIABLE, "new")
    go_on()
    assert seen == ["a", "b", "c"] and output["probe"].exists()


def test_a_job_of_a_run_that_was_replaced_publishes_nothing(
    plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(runs.VARIABLE, "old")
    output = {"probe": tmp_path / "o.parquet"}
    with (
        pytest.raises(BusyError),
        ShardRun(recipe(), plan, [], output, work=tmp_path / "work") as run,
    ):
        for sample, part in run.pending():
            part.table("probe").append(sample=sample.sample, status="ok", reason="")
        (tmp_path / "work" / "run").write_text("new\n")
    assert not output["probe"].exists()


def test_a_failure_names_the_sample(plan: Path, tmp_path: Path):
    shard = ShardRun(recipe(), plan, [], {"probe": tmp_path / "o.parquet"})
    with pytest.raises(ZeroDivisionError) as caught, shard as run:
        for sample, part in run.pending():
            part.table("probe").append(sample=sample.sample, status="ok", reason="")
            if sample.sample == "b":
                1 / 0  # noqa: B018
    assert caught.value.__notes__ == ["in sample b (/b.mp4)"]
    assert not (tmp_path / "o.parquet").exists()


def test_a_file_says_what_made_it_and_what_came_before(plan: Path, tmp_path: Path):
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    work(plan, first, recipe())
    later = Recipe("detect", "mediapipe", {}, (), "y")
    with ShardRun(later, plan, [first], {"probe": second}) as run:
        for sample, part in run.pending():
            part.table("probe").append(sample=sample.sample, status="ok", reason="")
    document = read_metadata(second)
    assert document["recipe"]["stage"] == "detect"
    assert document["upstream"]["probe"]["settings"] == {"setting": 1}
    assert document["lineage"] != read_metadata(first)["lineage"]
