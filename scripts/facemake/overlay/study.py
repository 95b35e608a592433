"""The folder of a run: where a sample's recording and tables are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError
from facemake.samples import WORK, Sample, plan_file, read_shard
from facemake.status import DECODABLE
from facemake.tables import TableReader


@dataclass(frozen=True)
class Recorded:
    """A sample of a run.

    Attributes:
        sample: with its recording's path and time range.
        probe: its row of the probe table.
        results: folder of the results.
        shard: name of its tables.
    """

    sample: Sample
    probe: dict[str, Any]
    results: Path
    shard: str

    def table(self, stage: str) -> Path:
        """A table of its shard.

        Raises:
            FacemakeError: it is not there.
        """
        path = self.results / stage / f"{self.shard}.parquet"
        if not path.is_file():
            raise FacemakeError(f"{path} is missing: finish the run first")
        return path


def find(directory: Path, name: str) -> Recorded:
    """A sample of the run in a folder, whose recording can be decoded.

    Raises:
        FacemakeError: there is no run, no such sample, or it gave no frames; with the reason.
    """
    work = directory / WORK
    try:
        config = json.loads((work / "plan.json").read_text(encoding="utf-8"))["config"]
    except FileNotFoundError:
        raise FacemakeError(
            f"{work / 'plan.json'} is missing: -d names the folder in which the workflow was run, "
            "which knows where the recordings are"
        ) from None
    results = directory / config["outdir"]
    tables = sorted(p for p in (results / "probe").glob("*.parquet") if p.name[0] != ".")
    tables.sort(key=lambda path: path.stem != name)  # most often a shard is one sample
    for path in tables:
        with TableReader(path) as reader:
            if name not in reader.samples:
                continue
            probe = reader.read(name).to_pylist()[0]
        if probe["status"] not in DECODABLE:
            raise FacemakeError(f"{name} has no frames: {probe['status']}, {probe['reason']}")
        for sample in read_shard(plan_file(path.stem, work)):
            if sample.sample == name:
                return Recorded(sample, probe, results, path.stem)
    raise FacemakeError(
        f"{results / 'probe'} has no sample {name}: `facemake status -d {directory} --samples` "
        "lists them"
    )
