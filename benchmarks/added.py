"""What a run does again when a clip is added to many."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

from benchmarks.measure import ROOT, cost

SHARDS = 16


def run(folder: Path, samples: int) -> None:
    """Run the whole workflow over files that are no videos, add one, and print what ran again.

    What a sample holds makes no difference to which jobs run, and a file that is no video is
    looked at in no time.
    """
    work = folder / "added"
    (work / "clips").mkdir(parents=True)
    (work / "config").mkdir()
    for i in range(samples):
        (work / "clips" / f"clip{i:06d}.mp4").write_bytes(b"%d" % i)
    (work / "config" / "config.yaml").write_text(
        f"input_dir: clips\nshards: {SHARDS}\ncache_dir: null\n"
    )
    for name in ("new", "one clip more", "nothing new"):
        start = time.monotonic()
        jobs = _jobs(work)
        print(
            f"{samples} samples in {SHARDS} shards, {name}: {sum(jobs.values())} jobs in "
            f"{time.monotonic() - start:.0f} s"
            + (f", at most {max(jobs.values())} of a rule" if jobs else "")
        )
        (work / "clips" / "another.mp4").write_bytes(b"another")


def _jobs(work: Path) -> Counter[str]:
    """Run; rule -> how many of its jobs ran, `all` apart."""
    cost("-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--cores", "2", folder=work)
    said = (work / "output.txt").read_text(errors="replace")
    jobs = Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", said))
    del jobs["all"]
    return jobs
