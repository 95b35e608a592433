"""The raw files of 3DI, out of the shard's archives into a folder a sample."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from facemake.archives import Archive
from facemake.provenance import file_sha256
from facemake.runtime.atomic import replacing, write_text
from facemake.samples import read_shard


def threedi_files(plan: Path, steps: Sequence[Path], results: Path, output: Path) -> None:
    """Put each sample's raw files and their sidecars into `3di/{sample}/`.

    A file that is there with the same content is left alone; the word of a failure that was made
    good goes.

    Args:
        plan: the shard's plan file.
        steps: archives of the steps (`facemake.stages.threedi_step`).
        results: the folder `3di`.
        output: a list of the files with their SHA-256, by sample (`facemake.exports`).
    """
    samples = [sample.sample for sample in read_shard(plan)]
    listed: dict[str, dict[str, str]] = {name: {} for name in samples}
    # a longer name first: `a_pose` is a sample too, and its files are not those of `a`
    longest = sorted(samples, key=len, reverse=True)
    for path in steps:
        with Archive(path) as archive:
            for name in archive.names:
                sample = next(s for s in longest if name.startswith(f"{s}_"))
                target = results / sample / name
                sha256 = archive.sha256(name)
                if not target.is_file() or file_sha256(target) != sha256:
                    with replacing(target) as beside:
                        archive.copy(name, beside)
                listed[sample][f"{sample}/{name}"] = sha256
    for name in samples:
        for stale in (results / name).glob("*_failed_*.txt"):
            if f"{name}/{stale.name}" not in listed[name]:
                stale.unlink()
    write_text(output, json.dumps({"files": listed}, indent=1, sort_keys=True) + "\n")
