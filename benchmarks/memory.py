"""Peak memory of each stage on a clip, and on the same clip made longer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import cost
from benchmarks.work import planned, repeated

STAGES = (
    *("probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus"),
    *("embed", "dataset", "report_pages"),
)


def run(folder: Path, clip: Path, times: int) -> None:
    """Print the ratio of the largest peaks."""
    long = folder / f"long{clip.suffix}"
    repeated(clip, times, long)
    peaks: dict[str, dict[str, int]] = {}
    for name, video in (("short", clip), ("long", long)):
        shard = planned(folder / f"memory_{name}", video, 1)
        work = folder / f"memory_{name}"
        peaks[name] = {
            stage: cost("-m", "benchmarks.stage", stage, shard, folder=work).peak
            for stage in STAGES
        }
    for stage in STAGES:
        short, grown = peaks["short"][stage], peaks["long"][stage]
        print(f"{stage}: {short / 1e6:.0f} MB, {times} times as long {grown / 1e6:.0f} MB")
    ratio = max(peaks["long"].values()) / max(peaks["short"].values())
    print(f"largest job's peak, {times} times as long over the clip: {ratio:.3f}")
