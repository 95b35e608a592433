"""facemake status: what became of each sample, during a run and after it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from facemake.watch.shard import JobState, Shard
from facemake.watch.state import State, Watcher
from facemake.watch.words import line, page

_LEAST_SECONDS = 2.0
_LARGEST_SHARE = 0.1  # of one core, for a view that is looked at all day


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "status",
        help="show which samples are finished, running, waiting or failed, and why",
        description="Show the progress of the run in this folder, from its files alone: during the "
        "run or after it, also from another machine that can see the folder. A result that cannot "
        "be opened is listed as failed.",
        epilog="example: facemake status -d my_study --watch",
    )
    parser.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="the run's folder (default: this one)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--samples", action="store_true", help="one tab-separated line per sample")
    form.add_argument("--json", action="store_true", help="print everything as JSON, for scripts")
    form.add_argument("--watch", action="store_true", help="keep refreshing until the run ends")
    parser.set_defaults(function=_status)


def _status(options: argparse.Namespace, rest: list[str]) -> int:
    watcher = Watcher(options.directory, opens=True)
    if options.watch:
        return _watch(watcher)
    state = watcher.look()
    if options.json:
        json.dump(document(state), sys.stdout, indent=1)
        print()
    elif options.samples:
        print("sample\tstate\tstage\tstatus\treason\tlog")
        for row in samples(state):
            keys = ("sample", "state", "stage", "status", "reason", "log")
            print("\t".join(" ".join(str(row[key]).split()) for key in keys))
    else:
        print(page(state))
    return 0


def _watch(watcher: Watcher) -> int:
    terminal = sys.stdout.isatty()
    try:
        while True:
            began = time.monotonic()
            state = watcher.look()
            if terminal:
                # home, each line cleared to its end, then what is below: no flicker
                text = page(state, 5).replace("\n", "\x1b[K\n")
                print(f"\x1b[H{text}\x1b[K\n\x1b[J", end="", flush=True)
            else:
                print(f"{time.strftime('%H:%M:%S')}  {line(state)}", flush=True)
            if not state.is_alive:
                return 0
            cost = time.monotonic() - began
            time.sleep(max(_LEAST_SECONDS if terminal else 10.0, cost / _LARGEST_SHARE))
    except KeyboardInterrupt:
        return 0


def samples(state: State) -> Iterator[dict[str, str]]:
    """Every sample: its state, the stage it is at or failed in, its status with reason, the log."""
    for shard in state.shards.values():
        stage = _stage(shard)
        of_sample = {failure.sample: failure for failure in reversed(shard.failures)}
        of_shard = shard.failures[0] if shard.failures else None
        for sample, sample_state in shard.by_sample():
            failure = of_sample.get(sample, of_shard)
            status, reason = shard.said.get(sample, ("", ""))
            if not status and shard.frames:
                status = "ok"
            yield {
                "sample": sample,
                "state": sample_state.value,
                "shard": shard.name,
                "stage": failure.stage if failure else stage,
                "status": status,
                "reason": failure.message if failure else reason,
                "log": failure.log if failure else "",
            }


def _stage(shard: Shard) -> str:
    """The stage that runs, else the first that waits; "" where all is done."""
    for wanted in (JobState.RUNNING, JobState.WAITING):
        for (stage, _), state in shard.states.items():
            if state is wanted:
                return stage
    return ""


def document(state: State) -> dict[str, Any]:
    """The state as plain lists and dictionaries."""
    return {
        "time": state.time,
        "started": state.started,
        "running": state.is_alive,
        "ended": state.ended and {"time": state.ended[0], "well": state.ended[1]},
        "work": asdict(state.work),
        "counts": dict(state.samples()),
        "stages": {stage: dict(state.jobs(stage)) for stage in state.stages},
        "jobs": [asdict(beat) for beat in state.running()],
        "failures": [asdict(failure) for failure in state.failed()],
        "samples": list(samples(state)),
    }
