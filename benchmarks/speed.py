"""CPU time of the stages against the bare loop, whole processes on both sides."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.measure import cost
from benchmarks.work import count_frames, planned

DOWNSTREAM = ("fit", "smooth", "expressions", "aus", "dataset")


def run(folder: Path, clip: Path, runs: int, copies: int) -> None:
    """Print the ratios for one clip and for `copies` of it in one shard."""
    frames = count_frames(clip)
    for n in (1, copies):
        shard = planned(folder / f"speed{n}", clip, n)
        work = folder / f"speed{n}"
        cost("-m", "benchmarks.stage", "probe", shard, folder=work)
        ratios, loops = [], []
        for _ in range(runs):
            loop = cost("-m", "benchmarks.bare_loop", *[str(clip.resolve())] * n, folder=work)
            ours = sum(
                cost("-m", "benchmarks.stage", stage, shard, folder=work).cpu
                for stage in ("detect", "landmarks")
            )
            loops.append(loop.cpu)
            ratios.append(ours / loop.cpu)
        print(
            f"detect + landmarks over the bare loop, {n} x {frames} frames: median "
            f"{median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}, {runs} runs; "
            f"the loop: {1e3 * median(loops) / n / frames:.2f} ms of CPU a frame)"
        )
        if n > 1:
            each = {
                stage: 1e3
                * cost("-m", "benchmarks.stage", stage, shard, folder=work).cpu
                / (n * frames)
                for stage in DOWNSTREAM
            }
            listed = ", ".join(f"{stage} {value:.2f}" for stage, value in each.items())
            print(f"CPU a frame after the landmarks: {sum(each.values()):.2f} ms ({listed})")
