"""A shard while its jobs run: their states, and its samples'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from facemake.runtime.failures import Failure
from facemake.runtime.heartbeat import Beat
from facemake.status import ENGINE_FAILED, SampleStatus


class JobState(StrEnum):
    """Of a job, that is a stage of a shard."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    WAITING = "waiting"


class SampleState(StrEnum):
    """Of a sample, over all the stages that the run was asked for."""

    DONE = "done"
    NOTHING = "nothing"
    """Done, and its status is another than ok: `reason` says why."""
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    HELD_UP = "held_up"
    """Another sample of its shard made a job fail."""


@dataclass
class Shard:
    """A shard's jobs.

    Attributes:
        name: "" for what is made once, of all shards.
        samples: their names, in the order of the tables.
        frames: of each sample that was probed, decoded frames.
        said: of each sample that has one, its status and reason.
        states: of each job, by stage and name: the shard's, or a segment's.
        failures: those that stand.
        beats: of the jobs that run.
    """

    name: str
    samples: Sequence[str] = ()
    frames: Mapping[str, int] = field(default_factory=dict)
    said: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    states: dict[tuple[str, str], JobState] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    beats: list[Beat] = field(default_factory=list)

    def state_of_samples(self) -> SampleState:
        """What all its samples have in common, whatever their statuses: never NOTHING."""
        states = set(self.states.values())
        if JobState.FAILED in states:
            return SampleState.HELD_UP if self.blamed() else SampleState.FAILED
        if states <= {JobState.DONE}:
            return SampleState.DONE
        return SampleState.RUNNING if JobState.RUNNING in states else SampleState.WAITING

    def blamed(self) -> set[str]:
        """The samples that failures name; none where one of them is of the whole shard."""
        names = {failure.sample for failure in self.failures}
        return names if names <= set(self.samples) else set()

    def by_sample(self) -> Iterator[tuple[str, SampleState]]:
        """Every sample with its state."""
        common = self.state_of_samples()
        blamed = self.blamed() if common is SampleState.HELD_UP else ()
        for sample in self.samples:
            if sample in blamed:
                yield sample, SampleState.FAILED
            elif common is SampleState.DONE and is_nothing(*self.said.get(sample, ("ok", ""))):
                yield sample, SampleState.NOTHING
            else:
                yield sample, common


def is_nothing(status: str, reason: str) -> bool:
    """Whether a sample is one that a person should look at."""
    return status != SampleStatus.OK or ENGINE_FAILED in reason
