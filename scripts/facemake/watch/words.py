"""A run's state in words: a line for its log and terminal, a page for `facemake status`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.runtime.failures import INTERRUPTED, Failure
from facemake.runtime.screen import duration
from facemake.watch.shard import JobState, SampleState
from facemake.watch.state import State, Watcher

MOST_NAMED = 20
_MOST_STAGES = 3
_WORTH_SAYING = 5.0  # seconds

_SAID = {
    SampleState.DONE: "done",
    SampleState.NOTHING: "done, but empty or incomplete",
    SampleState.RUNNING: "running",
    SampleState.WAITING: "waiting",
    SampleState.FAILED: "failed",
    SampleState.HELD_UP: "held up by another sample of their shard",
}


def line(state: State) -> str:
    """How far the run is, in one line."""
    counts = state.samples()
    finished = counts[SampleState.DONE] + counts[SampleState.NOTHING]
    samples = counted(counts.total(), "sample", form=",")
    parts = [f"{finished:,} of {samples} ({100 * state.work.done:.0f} %)"]
    elapsed = state.time - state.started
    if state.is_alive and elapsed >= _WORTH_SAYING:
        parts.append(f"{duration(elapsed)} so far")
    if state.is_alive and state.work.seconds_left:
        parts.append(f"{duration(state.work.seconds_left)} left")
    at = Counter(beat.stage for beat in state.running())
    stages = [
        f"{stage} ({at[stage]})" if at[stage] > 1 else stage
        for stage in state.stages
        if stage in at
    ]
    if stages:
        parts.append(
            f"at {' and '.join(stages[:_MOST_STAGES])}"
            + (" ..." if len(stages) > _MOST_STAGES else "")
        )
    if counts[SampleState.NOTHING]:
        parts.append(f"{counts[SampleState.NOTHING]:,} not ok")
    failed = counts[SampleState.FAILED]
    if failed or state.failed():
        parts.append(f"{failed:,} failed" if failed else "a job failed")
    if state.is_alive and state.work.frames_per_second is not None:
        rate = state.work.frames_per_second
        parts.append(f"{rate:,.0f} frames/s" if rate >= 10 else f"{rate:.1f} frames/s")
    return ", ".join(parts)


def page(state: State, most_named: int = MOST_NAMED) -> str:
    """The whole state: how the run is, counts by stage, what failed and what is not ok."""
    return "\n".join(_page(state, most_named))


def _page(state: State, most_named: int) -> Iterator[str]:
    yield f"{how(state)}: {line(state)}"
    yield ""
    width = max(map(len, state.stages), default=0)
    yield f"{'stage':{width}}" + "".join(f"{word:>9}" for word in JobState) + "  now"
    for stage in state.stages:
        jobs = state.jobs(stage)
        row = f"{stage:{width}}" + "".join(f"{jobs[word]:>9,}" for word in JobState)
        running = [beat for beat in state.running() if beat.stage == stage]
        samples, done = (sum(getattr(b, n) for b in running) for n in ("samples", "samples_done"))
        hosts = sorted({beat.host for beat in running})
        if running:
            row += f"  sample {done:,} of {samples:,}" if samples > len(running) else "  "
            row += f" on {', '.join(hosts[:3])}{', ...' if len(hosts) > 3 else ''}"
        yield row.rstrip()
    counts = state.samples()
    words = [f"{counts[word]:,} {_SAID[word]}" for word in SampleState if counts[word]]
    yield ""
    yield "samples: " + ", ".join(words)
    failed = state.failed()
    if failed:
        yield "\nfailed:"
        yield from _most([failure_in_words(one) for one in failed], most_named)
    nothing = [f"  {name}: {status}, {reason}" for name, status, reason in state.nothing()]
    if nothing:
        yield "\nempty or incomplete:"
        yield from _most(nothing, most_named)


def _most(lines: list[str], most: int) -> Iterable[str]:
    rest = len(lines) - most
    return [*lines[:most], f"  ... and {rest:,} more (--samples)"] if rest > 0 else lines


def failure_in_words(failure: Failure, indent: str = "  ") -> str:
    """Which job failed, why, and where its log is."""
    of = f" of {failure.shard}" if failure.shard else ""
    message = failure.message
    at = f", in sample {failure.sample}" if failure.sample and failure.sample not in message else ""
    message = message.replace("\n", f"\n{indent}  ")
    log = f"\n{indent}  log: {failure.log}" if failure.log else ""
    return f"{indent}{failure.stage}{of}{at}: {message}{log}"


def failures_of(folder: Path) -> tuple[str, bool]:
    """What failed in the run of a folder that ends, and whether everything is done.

    Returns:
        Lines, empty where nothing failed; True where every job is done.
    """
    try:
        state = Watcher(folder).look(ends=True)
    except FacemakeError:
        return "", True  # nothing was ever to be done here
    failed = [failure_in_words(one) for one in state.failed()]
    states = {s for shard in state.shards.values() for s in shard.states.values()}
    if not failed:
        return "", states <= {JobState.DONE}
    jobs = counted(len(failed), "job")
    if all(one.message == INTERRUPTED for one in state.failed()):
        return f"{jobs} interrupted: start the run again, and it goes on where it was", False
    return "\n".join([f"{jobs} failed:", *_most(failed, MOST_NAMED)]), False


def how(state: State) -> str:
    """Whether the run goes on, and how it ended."""
    if state.is_alive:
        return f"running since {clock(state.started)}"
    if state.ended is None:
        return "the run was killed, or its machine went down"
    seconds, well = state.ended
    broken = any(one.message != INTERRUPTED for one in state.failed())
    word = "ended well" if well else "ended with failures" if broken else "was stopped"
    return f"{word} {clock(seconds)}"


def clock(seconds: float) -> str:
    """Local time, with the date where it is not today's."""
    then = time.localtime(seconds)
    today = time.localtime()[:3] == then[:3]
    return time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", then)
