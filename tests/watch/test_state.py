"""The state of a run from its files: made by hand here, by real runs in tests/workflow."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemake.cli import main
from facemake.errors import FacemakeError
from facemake.runtime import failures, heartbeat
from facemake.runtime.failures import Failure
from facemake.runtime.heartbeat import Beat
from facemake.samples import PLAN_COLUMNS
from facemake.watch import run as runs
from facemake.watch.damage import damage
from facemake.watch.run import Job
from facemake.watch.shard import JobState, SampleState
from facemake.watch.state import KILLED, Watcher
from facemake.watch.words import failures_of, line, page

OUTPUTS = {
    "probe": "results/probe/{}.parquet",
    "detect": "results/detections/{}.parquet",
    "dataset": "results/counts/{}.parquet",
}


class Folder:
    """A working directory with a run, stage by stage written by hand."""

    def __init__(self, path: Path, shards: dict[str, Sequence[str]]) -> None:
        self.path = path
        self.work = path / ".facemake"
        self.shards = shards
        (self.work / "plan").mkdir(parents=True)
        for shard, samples in shards.items():
            rows = [f"{sample}\t/x/{sample}.mp4" + "\t" * 7 for sample in samples]
            text = "\n".join(["\t".join(PLAN_COLUMNS), *rows, ""])
            (self.work / "plan" / f"{shard}.tsv").write_text(text)
        jobs = [Job(s, n, True, [o.format(n)]) for s, o in OUTPUTS.items() for n in shards]
        runs.write_start("results", [*jobs, Job("report", "", True, ["results/report/i.html"])])
        self.write("progress", "run", self.beat("run", ""))

    def beat(self, stage: str, shard: str, **what: int | str) -> Beat:
        """Of this very process."""
        started = psutil.Process().create_time()
        beat = Beat(
            stage, shard, os.uname().nodename, heartbeat.space(), os.getpid(), started, time.time()
        )
        return replace(beat, **what)

    def write(self, folder: str, name: str, what: Beat | Failure) -> None:
        (self.work / folder).mkdir(exist_ok=True)
        (self.work / folder / f"{name}.json").write_text(json.dumps(what.__dict__))

    def runs(self, stage: str, shard: str, **what: int | str) -> None:
        self.write("progress", f"{stage}.{shard}", self.beat(stage, shard, **what))

    def fails(self, stage: str, shard: str, sample: str = "", message: str = "no room") -> None:
        log = f"results/logs/{stage}/{shard}.log"
        failure = Failure(stage, shard, sample, message, False, time.time(), "node1", log)
        self.write("failed", f"{stage}.{shard}", failure)

    def finish(self, stage: str, shard: str, statuses: Sequence[str] = ()) -> None:
        path = self.path / OUTPUTS[stage].format(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        n = len(self.shards[shard])
        words = list(statuses) or ["ok"] * n
        columns = {
            "sample": list(self.shards[shard]),
            "status": words,
            "reason": ["" if word == "ok" else f"{word} it is" for word in words],
            "n_frames": pa.array([100] * n, pa.int32()),
        }
        pq.write_table(pa.table(columns), path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".facemake").mkdir()
    return Folder(tmp_path, {"p0": ["a", "b"], "p1": ["c"], "p2": ["d", "e"], "p3": ["f"]})


def states(folder: Folder) -> dict[str, str]:
    state = Watcher(folder.path).look()
    return {s: str(t) for shard in state.shards.values() for s, t in shard.by_sample()}


def test_every_sample_has_the_state_of_its_shard_and_its_own_status(folder: Folder):
    for stage in OUTPUTS:
        folder.finish(stage, "p0", ["ok", "unreadable"])
    folder.finish("probe", "p1")
    folder.runs("detect", "p1", samples=1)
    folder.fails("probe", "p2", sample="e")
    assert states(folder) == {
        "a": "done",
        "b": "nothing",
        "c": "running",
        "d": "held_up",
        "e": "failed",
        "f": "waiting",
    }
    state = Watcher(folder.path).look()
    assert state.is_alive
    assert state.jobs("detect") == {
        JobState.DONE: 1,
        JobState.RUNNING: 1,
        JobState.WAITING: 2,
    }
    assert list(state.nothing()) == [("b", "unreadable", "unreadable it is")]
    text = page(state)
    assert "2 of 6 samples" in text and "1 not ok, 1 failed" in text
    assert "probe of p2, in sample e: no room\n    log: results/logs/probe/p2.log" in text


def test_who_interrupts_a_run_is_told_to_start_it_again(folder: Folder):
    folder.fails("probe", "p0", message=failures.INTERRUPTED)
    folder.fails("probe", "p1", message=failures.INTERRUPTED)
    said, done = failures_of(folder.path)
    assert said == "2 jobs interrupted: start the run again, and it goes on where it was"
    assert not done
    runs.write_end(False)
    assert page(Watcher(folder.path).look()).startswith("was stopped")
    folder.fails("probe", "p2")
    assert page(Watcher(folder.path).look()).startswith("ended with failures")
    assert failures_of(folder.path)[0].startswith("3 jobs failed:\n")


def test_a_run_that_begins_or_ends_while_it_is_asked_for_was_not_killed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    own = folder.work / "progress" / "run.json"
    beat = own.read_text()
    read = heartbeat.read

    def and_ends(*job: str, work: Path) -> Beat | None:
        runs.write_end(True)
        own.unlink()
        return read(*job, work=work)

    monkeypatch.setattr(heartbeat, "read", and_ends)
    state = Watcher(folder.path).look()
    assert state.ended and not state.is_alive
    monkeypatch.undo()
    assert page(Watcher(folder.path).look()).startswith("ended well")

    read_all = heartbeat.read_all

    def and_begins(work: Path) -> list[Beat]:
        beats = list(read_all(work))
        own.write_text(beat)
        (folder.work / "ended.json").unlink()
        return beats

    monkeypatch.chdir(folder.path)
    monkeypatch.setattr(heartbeat, "read_all", and_begins)
    assert Watcher(folder.path).look().is_alive


def test_a_failure_of_no_sample_is_one_of_all(folder: Folder):
    folder.fails("detect", "p0")
    assert states(folder)["a"] == states(folder)["b"] == "failed"


def test_a_killed_job_is_a_failure_and_a_killed_run_does_not_run(folder: Folder):
    folder.write("progress", "detect.p0", replace(folder.beat("detect", "p0"), started=1.0))
    folder.write("progress", "run", replace(folder.beat("run", ""), started=1.0))
    state = Watcher(folder.path).look()
    assert not state.is_alive and "killed" in page(state)
    (failure,) = state.failed()
    assert (failure.stage, failure.shard, failure.message) == ("detect", "p0", KILLED)


@pytest.mark.parametrize(("noted", "state"), [(True, "failed"), (False, "waiting")])
def test_a_job_that_ends_between_two_looks_was_not_killed(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, noted: bool, state: str
):
    gone = replace(folder.beat("detect", "p0"), started=1.0)
    if noted:
        folder.fails("detect", "p0", message="no room")
    # as they were listed: before the job removed its progress and wrote its note
    monkeypatch.setattr(heartbeat, "read_all", lambda work: iter([folder.beat("run", ""), gone]))
    monkeypatch.setattr(failures, "read_all", lambda work: iter([]))
    seen = Watcher(folder.path).look()
    assert seen.shards["p0"].states["detect", "p0"] == state
    assert [failure.message for failure in seen.failed()] == ["no room"] * noted


def test_what_another_machine_said_is_held_against_the_locks_of_its_own_folder(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ago = time.time() - 600
    beat = replace(folder.beat("detect", "p0"), host="elsewhere", time=ago)
    folder.write("progress", "detect.p0", beat)
    (folder.work / "locks").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with (folder.work / "locks" / "detect.p0").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert states(folder)["a"] == "running"


@pytest.mark.parametrize("text", ["{", "{}", '{"outdir": "x", "jobs": [[1, 2, 3, 4, 5, 6, 7]]}'])
def test_a_run_of_another_version_is_refused_in_words(
    folder: Folder, capsys: pytest.CaptureFixture[str], text: str
):
    (folder.work / "run.json").write_text(text)
    assert main(["status"]) == 2
    assert "of another version" in capsys.readouterr().err


def test_the_command_names_results_that_cannot_be_opened(
    folder: Folder, capsys: pytest.CaptureFixture[str]
):
    for shard in folder.shards:
        for stage in OUTPUTS:
            folder.finish(stage, shard)
    assert main(["status", "--samples"]) == 0
    assert capsys.readouterr().out.count("\tdone\t") == 6
    torn = folder.path / "results" / "detections" / "p2.parquet"
    torn.write_bytes(torn.read_bytes()[:-9])
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "4 of 6 samples" in said and "2 failed" in said
    assert "detect of p2: results/detections/p2.parquet is damaged (" in said
    assert f"delete {torn} and run again" in said and "log:" not in said
    watcher = Watcher(folder.path, opens=True)
    assert [f.shard for f in watcher.look().failed()] == ["p2"]
    folder.finish("detect", "p2")
    assert watcher.look().failed() == []
    torn.unlink()
    torn.symlink_to(folder.path / "store" / "pruned.parquet")
    (failure,) = watcher.look().failed()
    assert "p2.parquet is a link to nothing" in failure.message


def test_what_was_found_whole_is_not_opened_at_the_next_look(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    for shard in folder.shards:
        for stage in OUTPUTS:
            folder.finish(stage, shard)
    opened: list[str] = []

    def looked_at(path: Path) -> str | None:
        opened.append(path.stem)
        return damage(path)

    monkeypatch.setattr("facemake.watch.state.damage", looked_at)
    torn = folder.path / "results" / "detections" / "p2.parquet"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-9])
    assert [f.shard for f in Watcher(folder.path, opens=True).look().failed()] == ["p2"]
    assert len(opened) > 3
    opened.clear()  # a new process, in another folder: what was not whole is looked at again
    monkeypatch.chdir(folder.path / "results")
    assert [f.shard for f in Watcher(Path(".."), opens=True).look().failed()] == ["p2"]
    assert opened == ["p2"]
    torn.write_bytes(whole)
    assert not Watcher(folder.path, opens=True).look().failed()
    assert opened == ["p2", "p2"]
    Watcher(folder.path, opens=True).look()
    assert opened == ["p2", "p2"]
    monkeypatch.setattr("facemake.watch.whole.space", lambda: "after a power cut")
    Watcher(folder.path, opens=True).look()
    assert len(opened) > 5


def test_a_result_that_is_somebody_elses_is_not_damaged(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
):
    for shard in folder.shards:
        for stage in OUTPUTS:
            folder.finish(stage, shard)

    def refuse(path: object, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (folder.path / "a.h5").touch()
    assert "a.h5 is damaged (" in damage(folder.path / "a.h5")
    monkeypatch.setattr(pq, "ParquetFile", refuse)
    monkeypatch.setattr(h5py, "File", refuse)
    assert Watcher(folder.path, opens=True).look().failed() == []
    assert damage(folder.path / "a.h5") is None


def test_what_an_earlier_run_noted_waits_while_this_run_goes_on(folder: Folder):
    folder.fails("detect", "p0")
    folder.write("progress", "detect.p2", replace(folder.beat("detect", "p2"), started=1.0))
    for stage in OUTPUTS:
        folder.finish(stage, "p1")
    later = time.time() + 60
    os.utime(folder.work / "run.json", (later, later))
    assert set(states(folder).values()) == {"waiting"}
    runs.write_end(False)
    assert states(folder)["a"] == states(folder)["d"] == "failed"


def test_segments_are_jobs_of_their_samples_shard_and_go_when_they_are_joined(folder: Folder):
    def of(number: int) -> Job:
        name = f"a.000{number}"
        path = f"results/detections/.segments/{name}.parquet"
        return Job("detect_segment", name, True, [path], "p0", ["detect", "p0"])

    runs.write_start("results", [of(1), of(2), *runs.read().jobs])
    folder.runs("detect_segment", "a.0001", samples=1)
    folder.fails("detect_segment", "a.0002", sample="a")
    assert states(folder)["a"] == "failed" and states(folder)["b"] == "held_up"
    assert Watcher(folder.path).look().jobs("detect_segment") == {"running": 1, "failed": 1}
    for place in ("progress/detect_segment.a.0001.json", "failed/detect_segment.a.0002.json"):
        (folder.work / place).unlink()
    assert states(folder)["a"] == "waiting"
    for stage in OUTPUTS:
        folder.finish(stage, "p0")
    assert Watcher(folder.path).look().jobs("detect_segment") == {"done": 2}
    assert states(folder)["a"] == "done"


def test_a_retry_that_runs_has_not_failed_and_success_wins(folder: Folder):
    folder.fails("detect", "p0")
    folder.runs("detect", "p0")
    assert states(folder)["a"] == "running"
    (folder.work / "progress" / "detect.p0.json").unlink()
    for stage in OUTPUTS:
        folder.finish(stage, "p0")
    assert states(folder)["a"] == "done"


def test_the_rest_takes_as_long_as_the_run_so_far_says(folder: Folder):
    ago = time.time() - 100
    os.utime(folder.work / "run.json", (ago, ago))
    (folder.work / "locks").mkdir()
    for shard in ("p0", "p1"):  # half of the frames through all stages, in 100 s on one core
        for stage in OUTPUTS:
            folder.finish(stage, shard)
            lock = folder.work / "locks" / f"{stage}.{shard}"
            lock.touch()
            now = time.time()
            os.utime(lock, (now - 16, now - 16))
    work = Watcher(folder.path).look().work
    assert work.done == pytest.approx(0.5, abs=0.05)
    assert work.seconds_left == pytest.approx(100, rel=0.15)
    assert work.frames_per_second == pytest.approx(3, rel=0.15)
    text = line(Watcher(folder.path).look())
    assert text.startswith("3 of 6 samples (") and text.endswith(" frames/s")
    assert ", 2 min so far, " in text and " left, " in text and ", at " not in text
    folder.runs("detect", "p2")
    folder.runs("probe", "p3")
    folder.runs("detect", "p3")
    assert ", at probe and detect (2), " in line(Watcher(folder.path).look())


@pytest.mark.parametrize(
    ("ran", "left", "rate"), [("p0 p1", 100, 3.0), ("p0", 200, 1.5), ("", None, None)]
)
def test_what_was_computed_counts_where_the_cache_has_it_and_what_came_from_there_does_not(
    folder: Folder, ran: str, left: float | None, rate: float | None
):
    ago = time.time() - 100
    os.utime(folder.work / "run.json", (ago, ago))
    (folder.work / "locks").mkdir()
    (folder.path / "store").mkdir()
    for shard in ("p0", "p1"):
        for stage in OUTPUTS:
            folder.finish(stage, shard)
            path = folder.path / OUTPUTS[stage].format(shard)
            path.rename(stored := folder.path / "store" / f"{stage}.{shard}.parquet")
            path.symlink_to(stored)
            lock = folder.work / "locks" / f"{stage}.{shard}"
            lock.touch()
            began = time.time() - (16 if shard in ran else 1000)
            os.utime(lock, (began, began))
    work = Watcher(folder.path).look().work
    assert work.done == pytest.approx(0.5, abs=0.05)
    assert work.seconds_left == (left and pytest.approx(left, rel=0.15))
    assert work.frames_per_second == (rate and pytest.approx(rate, rel=0.15))


def test_nothing_is_said_of_a_rate_before_there_is_one(folder: Folder):
    assert line(Watcher(folder.path).look()) == "0 of 6 samples (0 %)"


def test_a_folder_without_a_run_is_refused_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(FacemakeError, match="no run was started"):
        Watcher(tmp_path).look()
    assert main(["status", "-d", str(tmp_path)]) == 2
    assert "facemake run" in capsys.readouterr().err


def test_the_command_lists_samples_for_people_and_for_scripts(
    folder: Folder, capsys: pytest.CaptureFixture[str]
):
    for stage in OUTPUTS:
        folder.finish(stage, "p0", ["ok", "no_face"])
    folder.fails("detect", "p1", message="two\nlines")
    assert main(["status", "--samples"]) == 0
    rows = [text.split("\t") for text in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["sample", "state", "stage", "status", "reason", "log"]
    assert rows[1] == ["a", "done", "", "ok", "", ""]
    assert rows[2] == ["b", "nothing", "", "no_face", "no_face it is", ""]
    assert rows[3] == ["c", "failed", "detect", "", "two lines", "results/logs/detect/p1.log"]
    assert main(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["running"] is True
    assert document["counts"] == {"done": 1, "nothing": 1, "failed": 1, "waiting": 3}
    assert document["stages"]["detect"] == {"done": 1, "failed": 1, "waiting": 2}
    assert document["failures"][0]["message"] == "two\nlines"
    runs.write_end(False)
    assert main(["status", "--watch"]) == 0  # ends with the run
    assert "2 of 6 samples" in capsys.readouterr().out


def test_a_look_at_300_000_samples_in_512_shards_is_cheap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".facemake").mkdir()
    each = 300_000 // 512 + 1
    folder = Folder(
        tmp_path, {f"p{i:03}": [f"s{i:03}_{j:04}" for j in range(each)] for i in range(512)}
    )
    for index, shard in enumerate(folder.shards):
        statuses = ["ok"] * (each - 1) + ["unreadable"]
        for stage in list(OUTPUTS)[: index % 4]:
            folder.finish(stage, shard, statuses)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    watcher = Watcher(tmp_path)
    state = watcher.look()
    text = page(state)
    first = resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun
    state = watcher.look()
    again = resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun - first
    assert f"of {512 * each:,} samples" in text
    assert state.samples()[SampleState.NOTHING] == 128
    print(f"first look {first:.2f} s of CPU, again {again:.2f} s")
    # about 1 s where this was written; what did not change is not read again
    assert first < 10 and again < first / 4
