"""What a cluster adds to each job: submission, start, and the wait until the run looks again.

On the one-node SLURM of `make test-slurm`, where nobody else queues: what is left is Snakemake's
and SLURM's own. Times of the controller and of Snakemake's log are whole seconds.
"""

from __future__ import annotations

import importlib.util
import os
import re
import statistics
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import ModuleType

import yaml

from benchmarks.measure import ROOT

SHARE = 0.05
PROFILE = ROOT / "profiles" / "slurm" / "config.yaml"


def _setup() -> ModuleType:
    path = ROOT / "tests" / "slurm" / "setup.py"
    spec = importlib.util.spec_from_file_location("slurm_setup", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder: Path, clip: Path, shards: int = 6) -> None:
    """Send a job a shard and print, in seconds a job, where its time went.

    Args:
        folder: to work in.
        clip: each shard's one recording.
        shards: how many; two at a time, so that none waits for a processor.
    """
    setup = _setup()
    place = setup.cache_folder()
    place.mkdir(parents=True, exist_ok=True)
    found = setup.set_up(place)
    if "missing" in found:
        print(f"cluster: not measured: {found['missing']}")
        return
    cluster = setup.Cluster(place)
    try:
        looks = yaml.safe_load(PROFILE.read_text())["slurm-init-seconds-before-status-checks"]
        measured = _jobs(cluster, folder / "cluster", clip, shards)
    finally:
        cluster.stop()
    print(f"cluster, {shards} jobs of stage probe, a look every {looks} s at first:")
    total = 0.0
    for what in ("submission and queue", "start and end", "until it is noticed"):
        mean = statistics.fmean(job[what] for job in measured)
        total += mean
        print(f"  {what:22} {mean:6.1f} s a job")
    print(f"  {'together':22} {total:6.1f} s a job")
    many = total * (1 - SHARE) / SHARE
    began = statistics.fmean(job["submission and queue"] + job["start and end"] for job in measured)
    alone = _alone(began, looks)
    print(
        f"  under {SHARE:.0%} where a shard's stage takes {many / 60:.1f} minutes or more, if other"
    )
    print("  jobs end meanwhile (each end makes the next look soon); of a job that runs alone, for")
    print(f"  which looks grow rarer, from {alone / 60:.0f} minutes on")


def _alone(start: float, first: float) -> float:
    """From how many seconds on a job that runs alone loses less than SHARE.

    The plugin looks after `first` seconds, and after each look that found nothing 10 s later than
    before, every 180 s at most; a job ends in the middle of two looks on average.
    """
    length, wait = first, first
    while (start + wait / 2) / (start + wait / 2 + length) > SHARE:
        wait = min(wait + 10, 180)
        length += wait
    return length


def _jobs(cluster: object, folder: Path, clip: Path, shards: int) -> list[dict[str, float]]:
    (folder / "config").mkdir(parents=True)
    lines = ["sample\tpath", *(f"clip{i}\t{clip}" for i in range(shards))]
    (folder / "config" / "samples.tsv").write_text("\n".join(lines) + "\n")
    (folder / "config" / "config.yaml").write_text("cache_dir: null\n")
    environment = {**os.environ, **cluster.environment(), "HOME": str(folder)}  # type: ignore[attr-defined]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--profile", str(PROFILE.parent), "--until", "probe"]
    command += ["--jobs", "2"]
    began = time.time()
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, cwd=folder
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    numbers = dict(re.findall(r"Job (\d+) has been submitted with SLURM jobid (\d+)", done.stderr))
    noticed = {
        job: datetime.strptime(when, "%a %b %d %H:%M:%S %Y").timestamp()
        for when, job in re.findall(r"\[(.*?)\]\nFinished jobid: (\d+)", done.stderr)
    }
    measured = []
    for job, number in numbers.items():
        said = cluster.call("scontrol", "--oneliner", "show", "job", number)  # type: ignore[attr-defined]
        fields = dict(re.findall(r"(\S+?)=(\S*)", said))
        submitted, started, ended = (
            datetime.fromisoformat(fields[name]).timestamp()
            for name in ("SubmitTime", "StartTime", "EndTime")
        )
        shard = fields["Comment"].removeprefix("rule_probe_wildcards_")
        log = (folder / "results" / "logs" / "probe" / f"{shard}.log").read_text()
        worked = float(re.findall(r"INFO ([\d.]+) s, [\d.]+ s of CPU", log)[-1])
        assert submitted >= began - 1
        measured.append(
            {
                "submission and queue": started - submitted,
                "start and end": ended - started - worked,
                "until it is noticed": noticed[job] - ended,
            }
        )
    return measured
