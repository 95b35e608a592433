"""The state of a run by stage and by sample, from the files that it and its jobs write."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemake.runtime import disks, failures, heartbeat
from facemake.runtime.failures import Failure
from facemake.runtime.heartbeat import Beat
from facemake.samples import WORK, plan_file
from facemake.watch import run as runs
from facemake.watch.damage import damage
from facemake.watch.files import Files
from facemake.watch.run import Job, Run
from facemake.watch.shard import JobState, SampleState, Shard, is_nothing
from facemake.watch.whole import Whole
from facemake.watch.work import Work, measure

RUN = "run"
"""The stage whose beat is that of the run itself."""

KILLED = "ended without a word: killed (out of memory?), or its machine went down"


def killed(folder: Path, outdir: str) -> str:
    """Of a job that left no note: killed, or there was no room for one.

    Args:
        folder: the working directory of the run.
        outdir: the results.
    """
    if disk := disks.full([folder / outdir, folder / WORK]):
        return f"ended without a word; the disk {disk} is full: make room there and run again"
    return KILLED


CLOCKS_DIFFER = 2.0
"""Seconds that the clocks of the results' and the working directory's file systems may differ."""


@dataclass
class State:
    """The state of a run.

    Attributes:
        time: of this look, in seconds since the epoch.
        started: of the run, by the clock of the file system.
        outdir: the results.
        is_alive: the run goes on.
        ended: when it ended and whether well; None: it goes on, or was killed.
        stages: in the order of the chain.
        shards: by name; "" is what is made once.
        work: how much of its work the run has done.
    """

    time: float
    started: float
    outdir: str
    is_alive: bool
    ended: tuple[float, bool] | None
    stages: list[str]
    shards: dict[str, Shard]
    work: Work = field(default_factory=Work)

    def samples(self) -> Counter[SampleState]:
        """How many samples are in each state."""
        counts: Counter[SampleState] = Counter()
        for shard in self.shards.values():
            common = shard.state_of_samples()
            if common is SampleState.HELD_UP or (common is SampleState.DONE and shard.said):
                counts.update(state for _, state in shard.by_sample())
            else:
                counts[common] += len(shard.samples)
        return counts

    def jobs(self, stage: str) -> Counter[JobState]:
        """How many jobs of a stage are in each state."""
        return Counter(
            state
            for shard in self.shards.values()
            for (of, _), state in shard.states.items()
            if of == stage
        )

    def failed(self) -> list[Failure]:
        """Why jobs failed, by stage and shard."""
        order = {stage: index for index, stage in enumerate(self.stages)}
        all_of_them = [f for shard in self.shards.values() for f in shard.failures]
        return sorted(all_of_them, key=lambda f: (order.get(f.stage, len(order)), f.shard))

    def running(self) -> list[Beat]:
        """What the running jobs said last."""
        return [beat for shard in self.shards.values() for beat in shard.beats]

    def nothing(self) -> Iterator[tuple[str, str, str]]:
        """Samples with a status other than ok: name, status, reason."""
        for shard in self.shards.values():
            for sample in shard.samples:
                status, reason = shard.said.get(sample, ("ok", ""))
                if is_nothing(status, reason):
                    yield sample, status, reason


class Watcher:
    """Looks at a folder, again and again: what did not change is not read again.

    Args:
        folder: the working directory of the run.
        opens: whether results that are there are opened, to see that they are whole.
    """

    def __init__(self, folder: Path = Path(), *, opens: bool = False) -> None:
        self._folder = folder
        self._damage: dict[str, tuple[int, str | None]] = {}
        self._work = folder / WORK
        self._whole = Whole(folder) if opens else None
        self._run: tuple[int, Run] | None = None
        self._samples: dict[str, list[str]] = {}
        self._tables: dict[Path, tuple[int, dict[str, Any]]] = {}

    def look(self, *, ends: bool = False) -> State:
        """The state now.

        Args:
            ends: the run is this process's own and ends: that it says that it lives is no matter.

        Raises:
            FacemakeError: nothing was ever run here.
        """
        now = time.time()
        run = self._read_run()
        beats = {(b.stage, b.shard): b for b in heartbeat.read_all(self._work)}
        notes = {(f.stage, f.shard): f for f in failures.read_all(self._work)}
        beats.pop((RUN, ""), None)
        is_alive, ended = (False, None) if ends else self._life(now)
        files = Files(self._folder)
        state = State(now, run.started, run.outdir, is_alive, ended, [], {})
        made = _Made(run, files)
        for job in run.jobs:
            shard = state.shards.get(job.samples_of)
            if shard is None:
                shard = state.shards[job.samples_of] = Shard(job.samples_of)
            key = (job.stage, job.shard)
            beat, note = beats.get(key), notes.get(key)
            if is_alive:  # what an earlier run left is tried again by this one
                note = note if note and note.time >= run.started else None
                if beat and beat.time < run.started and not beat.is_alive(now, self._work):
                    beat = None
            is_made = made(job)
            if self._whole and is_made and (said := self._damaged(job, files, self._whole)):
                note = Failure(job.stage, job.shard, "", said, False, now, "", "")
                is_made, beat = False, None
            self._judge(job, shard, is_made, beat, note, run.outdir)
        state.stages = list(dict.fromkeys(job.stage for job in run.jobs))
        for shard in state.shards.values():
            if shard.name:
                shard.samples = self._samples_of(shard.name)
                self._read_tables(shard, run.outdir, files)
        if self._whole is not None:
            self._whole.keep()
        at = now if is_alive else ended[0] if ended else now
        state.work = measure(run, state.shards, files, at)
        return state

    def _life(self, now: float) -> tuple[bool, tuple[float, bool] | None]:
        """Whether the run goes on, and when it ended and whether well.

        A run says that it lives before it takes back how the one before it ended, and until it has
        written how it ended itself: asked for in this order, one that begins or ends meanwhile is
        not taken for one that was killed.
        """
        ended = runs.ended(self._work)
        if ended is None:
            own = heartbeat.read(RUN, work=self._work)
            if own is not None and own.is_alive(now, self._work):
                return True, None
            ended = runs.ended(self._work)
        return False, ended

    def _judge(
        self,
        job: Job,
        shard: Shard,
        made: bool,
        beat: Beat | None,
        note: Failure | None,
        outdir: str,
    ) -> None:
        key = (job.stage, job.shard)
        if beat is not None and beat.is_alive(work=self._work):
            shard.states[key] = JobState.RUNNING
            shard.beats.append(beat)
            return
        if made:
            shard.states[key] = JobState.DONE
            return
        if beat is not None and (note is None or note.time < beat.time):
            # it may have ended in order since the folders were listed, and its words are there now
            later = failures.read(*key, work=self._work)
            note = later if later and later.time >= beat.time else note
            beat = heartbeat.read(*key, work=self._work)
        if beat is not None and (note is None or note.time < beat.time):
            said = killed(self._folder, outdir)
            note = Failure(*key, beat.sample, said, True, beat.time, beat.host, beat.log)
        if note is not None:
            shard.states[key] = JobState.FAILED
            shard.failures.append(note)
        else:
            shard.states[key] = JobState.WAITING

    def _damaged(self, job: Job, files: Files, whole: Whole) -> str:
        """What is wrong with a result of a job; "" where nothing is."""
        for path in job.outputs:
            changed = files.nanoseconds(path)
            if changed is None:
                continue
            known = self._damage.get(path)
            if known is None or known[0] != changed:
                known = self._damage[path] = changed, self._damage_of(path, whole)
            if known[1]:
                return known[1]
        return ""

    def _damage_of(self, name: str, whole: Whole) -> str | None:
        if whole.has(name):
            return ""
        found = damage(self._folder / name)
        if found == "":
            whole.add(name)
        return found

    def _read_run(self) -> Run:
        try:
            changed = (self._work / "run.json").stat().st_mtime_ns
        except OSError:
            changed = 0
        if self._run is None or self._run[0] != changed:
            self._run = changed, runs.read(self._work)
            self._samples.clear()
        return self._run[1]

    def _samples_of(self, shard: str) -> list[str]:
        if shard not in self._samples:
            try:
                path = plan_file(shard, self._work)
                with path.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
                    rows = csv.reader(handle, dialect="excel-tab")
                    next(rows, None)
                    self._samples[shard] = [row[0] for row in rows]
            except OSError:
                self._samples[shard] = []
        return self._samples[shard]

    def _read_tables(self, shard: Shard, outdir: str, files: Files) -> None:
        """Statuses, from what is known last, and frames."""
        name = f"{shard.name}.parquet"
        probe, counts = f"{outdir}/probe/{name}", f"{outdir}/counts/{name}"
        if shard.states.get(("probe", shard.name), JobState.DONE) is JobState.DONE:
            table = self._table(probe, files, ["sample", "status", "reason", "n_frames"])
            shard.frames = table.get("frames", {})
            shard.said = table.get("said", {})
        if shard.states.get(("dataset", shard.name)) is JobState.DONE:
            table = self._table(counts, files, ["sample", "status", "reason"])
            shard.said = table.get("said", shard.said)

    def _table(self, name: str, files: Files, columns: list[str]) -> dict[str, Any]:
        changed = files.nanoseconds(name)
        if changed is None:
            return {}
        path = self._folder / name
        known = self._tables.get(path)
        if known is None or known[0] != changed:
            known = self._tables[path] = changed, _read_statuses(path, columns)
        return known[1]


class _Made:
    """Whether a job's outputs are there, as this run makes them."""

    def __init__(self, run: Run, files: Files) -> None:
        self._run = run
        self._files = files
        self._jobs = {(job.stage, job.shard): job for job in run.jobs if job.until is None}

    def __call__(self, job: Job) -> bool:
        times = [self._files.time(path) for path in job.outputs]
        oldest = self._run.started - CLOCKS_DIFFER if job.to_do else 0.0
        if all(time is not None and time >= oldest for time in times):
            return True
        after = self._jobs.get((job.until[0], job.until[1])) if job.until else None
        return after is not None and self(after)


def _read_statuses(path: Path, columns: list[str]) -> dict[str, Any]:
    """Of the samples whose status is another than plain ok: it and its reason; and the frames."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns, use_threads=False)
    except (pa.ArrowException, OSError):
        return {}  # being replaced, or damaged: what reads it next says so
    names = table["sample"].to_pylist()
    statuses = zip(names, table["status"].to_pylist(), table["reason"].to_pylist(), strict=True)
    found: dict[str, Any] = {"said": {n: (s, r) for n, s, r in statuses if is_nothing(s, r)}}
    if "n_frames" in columns:
        found["frames"] = {
            name: frames or 0
            for name, frames in zip(names, table["n_frames"].to_pylist(), strict=True)
        }
    return found
