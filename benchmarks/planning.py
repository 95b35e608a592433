"""What a plan of many samples costs, and the start of one of its jobs."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.measure import ROOT, cost
from benchmarks.work import write_plan
from facemake.orphans import STAGE_FOLDERS

# How a cluster's executor starts a job (snakemake.spawn_jobs and RealExecutor.format_job_exec).
_AS_A_JOB = (
    *("--cores", "1", "--attempt", "1", "--force-use-threads", "--force"),
    *("--target-files-omit-workdir-adjustment", "--max-inventory-time", "0", "--retries", "0"),
    *("--nocolor", "--no-hooks", "--nolock", "--ignore-incomplete", "--mode", "remote"),
)


def run(folder: Path, samples: int, shards: int) -> None:
    """Print time and memory of `snakemake -n`, and the time of one job."""
    work = folder / "planning"
    clips = work / "clips"
    clips.mkdir(parents=True)
    for i in range(samples):
        (clips / f"clip{i:06d}.mp4").write_bytes(b"%d" % i)
    config = {"input_dir": "clips", "shards": shards, "cache_dir": "cache"}
    (work / "config").mkdir()
    (work / "config" / "config.yaml").write_text(
        "".join(f"{name}: {value}\n" for name, value in config.items())
    )
    snakemake = ("-m", "snakemake", "-s", str(ROOT / "Snakefile"))
    for name in ("first (each file is hashed)", "again"):
        start = time.monotonic()
        used = cost(*snakemake, "-n", "--quiet", "all", folder=work)
        print(
            f"plan of {samples} samples in {shards} shards, {name}: "
            f"{time.monotonic() - start:.1f} s, {used.peak / 1e6:.0f} MB"
        )
    names = write_plan(work, config)
    shard = names[0]
    target = ("--target-jobs", f"probe:shard={shard}", "--allowed-rules", "probe")
    job = _seconds(*snakemake, *target, *_AS_A_JOB, folder=work)
    if not (work / "results" / "probe" / f"{shard}.parquet").is_file():
        raise RuntimeError("the job ended well and wrote nothing")
    alone = _seconds("-m", "benchmarks.stage", "probe", shard, folder=work)
    imports = _seconds("-c", "import facemake.stages.probe", folder=work)
    print(
        f"one job of that plan (probe, of files that are no videos) as a cluster starts it: "
        f"{job:.1f} s; the stage without Snakemake {alone:.1f} s, its imports {imports:.1f} s"
    )
    _pretend_done(work / "results", names)
    cost(*snakemake, "--touch", "--cores", "1", "--quiet", "all", folder=work)
    start = time.monotonic()
    used = cost(*snakemake, "-n", "--quiet", "all", folder=work)
    if "Nothing to be done" not in (work / "output.txt").read_text():
        raise RuntimeError("a plan in which all is done still has jobs")
    print(f"the same, all done: {time.monotonic() - start:.1f} s, {used.peak / 1e6:.0f} MB")


def _pretend_done(results: Path, shards: list[str]) -> None:
    """Empty files under all final names: planning looks at names, times and records, not inside."""
    for folder in STAGE_FOLDERS:
        for shard in shards:
            path = results / folder / shard
            if folder == "report/samples":
                path.mkdir(parents=True, exist_ok=True)
                continue
            suffix = ".h5" if folder in ("faces", "dataset") else ".parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{shard}{suffix}").touch()
    for name in ("training_data.h5", "people.parquet", "manifest.parquet", "manifest.json"):
        (results / "dataset" / name).touch()
    (results / "report" / "index.html").touch()


def _seconds(*arguments: str, folder: Path) -> float:
    start = time.monotonic()
    cost(*arguments, folder=folder)
    return time.monotonic() - start
