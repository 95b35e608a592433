"""Many short clips in few shards: CPU time of detection and landmarks against the bare loop."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks.measure import ROOT, cost
from benchmarks.work import count_frames, shortened, write_plan

SECONDS = 2.0


def run(folder: Path, clip: Path, clips: int, shards: int, runs: int) -> None:
    """Print the ratio for `clips` clips of two seconds in `shards` shards.

    Whole processes on both sides: the loop is one process over all clips, ours are two a shard. The
    same as jobs of the workflow has Snakemake's own cost in it, planning and probing too.
    """
    work = folder / "clips"
    (work / "in").mkdir(parents=True)
    short = folder / f"short{clip.suffix}"
    shortened(clip, SECONDS, short)
    frames = count_frames(short)
    paths = []
    for i in range(clips):
        path = work / "in" / f"clip{i:04d}{clip.suffix}"
        path.write_bytes(short.read_bytes())
        paths.append(str(path))
    config = {"input_dir": "in", "shards": shards, "cache_dir": None}
    names = write_plan(work, config)
    ratios, whole = [], []
    for number in range(runs):
        loop = cost("-m", "benchmarks.bare_loop", *paths, folder=work).cpu
        for name in names:
            cost("-m", "benchmarks.stage", "probe", name, folder=work)
        ours = sum(
            cost("-m", "benchmarks.stage", stage, name, folder=work).cpu
            for stage in ("detect", "landmarks")
            for name in names
        )
        ratios.append(ours / loop)
        workflow = folder / f"workflow{number}"
        (workflow / "config").mkdir(parents=True)
        (workflow / "config" / "config.yaml").write_text(
            f"input_dir: {work / 'in'}\nshards: {shards}\ncache_dir: null\n"
        )
        used = cost(
            *("-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "2", "--quiet", "all"),
            *("--until", "landmarks"),
            folder=workflow,
        )
        whole.append(used.cpu / loop)
    print(
        f"detect + landmarks over the bare loop, {clips} clips of {frames} frames in {shards} "
        f"shards: median {median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f}, "
        f"{runs} runs); by Snakemake on two cores, with planning and probing: {median(whole):.2f}"
    )
