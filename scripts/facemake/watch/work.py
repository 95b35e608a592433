"""How much of its work a run has done, how fast, and how long the rest takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from facemake.samples import WORK
from facemake.watch.files import Files
from facemake.watch.run import Job, Run
from facemake.watch.shard import JobState, Shard

# CPU seconds a frame of 640 x 360 pixels with one face, and of a job's start, from the logs of a
# run over a clip of 472 frames: what a stage weighs until jobs of it have ended in this run.
_SECONDS_A_FRAME = {
    "probe": 0.0006,
    "detect": 0.007,
    "detect_segment": 0.007,
    "landmarks": 0.0055,
    "landmarks_segment": 0.0055,
    "fit": 0.0028,
    "smooth": 0.0004,
    "expressions": 0.0004,
    "aus": 0.0004,
    "embed": 0.002,
    "dataset": 0.0004,
    "report_pages": 0.0008,
    "overlay": 0.012,
}
_OF_ANOTHER_STAGE = 0.0005
_SECONDS_A_START = 0.5

_SOONEST = 5.0  # seconds of a run, and of work done, before a rate means something
_ENOUGH = 0.05  # of all the work: means something too, where jobs are short


@dataclass(frozen=True)
class Work:
    """The work that a run set out to do.

    Attributes:
        done: fraction of it, 0-1; 1 where there was none.
        frames_per_second: through all stages, without what came from the cache; None where nothing
            can be said yet.
        seconds_left: at the rate so far; None where nothing can be said yet.
    """

    done: float = 1.0
    frames_per_second: float | None = None
    seconds_left: float | None = None


def measure(run: Run, shards: Mapping[str, Shard], files: Files, now: float) -> Work:
    """The work of a run so far.

    A job weighs what such a job took in this run, by the frames of its shard: from the file that it
    locked at its start to its output. How many jobs run at once is not asked: the rate of the whole
    run so far says it.

    Args:
        run: what it set out to do.
        shards: with their states, frames and beats.
        files: of its folder.
        now: seconds since the epoch.
    """
    jobs = [job for job in run.jobs if job.to_do]
    of_shards = _frames(shards)
    if not jobs or not of_shards:
        return Work() if not jobs else Work(0.0)
    siblings = Counter((job.stage, job.samples_of) for job in jobs)
    frames = {
        (job.stage, job.shard): of_shards[job.samples_of] / siblings[job.stage, job.samples_of]
        for job in jobs
    }
    took: dict[str, float] = defaultdict(float)
    weighed: dict[str, float] = defaultdict(float)
    for job in jobs:
        seconds = _seconds(job, shards[job.samples_of], run, files)
        if seconds is not None:
            took[job.stage] += seconds
            weighed[job.stage] += _weight(job.stage, frames[job.stage, job.shard])
    usual = sum(took.values()) / sum(weighed.values()) if weighed else 1.0
    ratios = {stage: took[stage] / weighed[stage] for stage in took}
    total = done = paid = 0.0
    for job in jobs:
        weight = _weight(job.stage, frames[job.stage, job.shard]) * ratios.get(job.stage, usual)
        part = weight * _fraction(job, shards[job.samples_of])
        total += weight
        done += part
        if not _is_from_cache(job, run, files):
            paid += part
    elapsed = now - run.started
    if elapsed < _SOONEST or paid < min(_SOONEST, _ENOUGH * total):
        return Work(done / total)
    rate = paid / elapsed
    of_all = sum(of_shards[shard] for shard in {job.samples_of for job in jobs})
    return Work(done / total, of_all * paid / total / elapsed, (total - done) / rate)


def _frames(shards: Mapping[str, Shard]) -> dict[str, float]:
    """Frames of each shard; of samples that were not probed yet, as of the others on average.

    Empty where no sample was probed.
    """
    known = sum(sum(shard.frames.values()) for shard in shards.values())
    probed = sum(len(shard.frames) for shard in shards.values())
    if not probed:
        return {}
    mean = known / probed
    frames = {
        name: sum(shard.frames.values()) + mean * (len(shard.samples) - len(shard.frames))
        for name, shard in shards.items()
    }
    # what is made once takes little
    frames[""] = 0.0
    return frames


def _weight(stage: str, frames: float) -> float:
    return _SECONDS_A_START + frames * _SECONDS_A_FRAME.get(stage, _OF_ANOTHER_STAGE)


def _seconds(job: Job, shard: Shard, run: Run, files: Files) -> float | None:
    """How long a job of this run took; None where it did not run or has no lock."""
    if shard.states[job.stage, job.shard] is not JobState.DONE or not job.outputs:
        return None
    began, ended = _began(job, run, files), files.time(job.outputs[0])
    return None if began is None or ended is None or ended < began else ended - began


def _began(job: Job, run: Run, files: Files) -> float | None:
    """When a job locked its shard; None where it did not in this run."""
    began = files.time(f"{WORK}/locks/{job.stage}.{job.shard}")
    return None if began is None or began < run.started else began


def _is_from_cache(job: Job, run: Run, files: Files) -> bool:
    """Whether results are another run's: what was computed is a link into the cache, too."""
    is_link = bool(job.outputs) and files.is_link(job.outputs[0])
    return is_link and _began(job, run, files) is None


def _fraction(job: Job, shard: Shard) -> float:
    """Of a job that is done, 0-1."""
    state = shard.states[job.stage, job.shard]
    if state is JobState.RUNNING:
        for beat in shard.beats:
            if (beat.stage, beat.shard) == (job.stage, job.shard):
                of_frames = beat.frames_done / beat.frames if beat.frames else 0.0
                of_samples = beat.samples_done / beat.samples if beat.samples else 0.0
                return min(1.0, max(of_frames, of_samples))
    return float(state is JobState.DONE)
