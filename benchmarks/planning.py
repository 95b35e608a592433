"""What a plan of many samples costs, and the start of one job."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.measure import ROOT, cost


def run(folder: Path, samples: int, shards: int) -> None:
    """Print time and memory of `snakemake -n`."""
    work = folder / "planning"
    clips = work / "clips"
    clips.mkdir(parents=True)
    for i in range(samples):
        (clips / f"clip{i:06d}.mp4").write_bytes(b"%d" % i)
    (work / "config").mkdir()
    (work / "config" / "config.yaml").write_text(
        f"input_dir: clips\nshards: {shards}\ncache_dir: cache\n"
    )
    snakemake = ("-m", "snakemake", "-s", str(ROOT / "Snakefile"), "-n", "--quiet", "all")
    for name in ("first (each file is hashed)", "again"):
        start = time.monotonic()
        used = cost(*snakemake, folder=work)
        print(
            f"plan of {samples} samples in {shards} shards, {name}: "
            f"{time.monotonic() - start:.1f} s, {used.peak / 1e6:.0f} MB"
        )
