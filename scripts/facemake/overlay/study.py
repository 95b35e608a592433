"""The folder of a run: where a sample's recording and tables are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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


def find(directory: Path, names: Sequence[str]) -> list[Recorded]:
    """Samples of the run in a folder, whose recordings can be decoded, in the order of `names`.

    Raises:
        FacemakeError: there is no run, no such sample, or it gave no frames; with the reason.
    """
    work, results = _run_in(directory)
    found: dict[str, Recorded] = {}
    # most often a shard is one sample
    for path in sorted(_probes(results), key=lambda path: path.stem not in names):
        if len(found) == len(set(names)):
            break
        for probe, sample in _members(path, work, frozenset(names)):
            if probe["status"] not in DECODABLE:
                raise FacemakeError(
                    f"{sample.sample} has no frames: {probe['status']}, {probe['reason']}"
                )
            found[sample.sample] = Recorded(sample, probe, results, path.stem)
    for name in names:
        if name not in found:
            raise FacemakeError(
                f"{results / 'probe'} has no sample {name}: `facemake status -d {directory} "
                "--samples` lists them"
            )
    return [found[name] for name in dict.fromkeys(names)]


def find_all(directory: Path) -> list[Recorded]:
    """All samples of the run in a folder that have frames, by shard.

    Raises:
        FacemakeError: there is no run.
    """
    work, results = _run_in(directory)
    return [
        Recorded(sample, probe, results, path.stem)
        for path in sorted(_probes(results))
        for probe, sample in _members(path, work, None)
        if probe["status"] in DECODABLE and probe["n_frames"]
    ]


def _run_in(directory: Path) -> tuple[Path, Path]:
    """The folders of the plan and of the results."""
    work = directory / WORK
    try:
        config = json.loads((work / "plan.json").read_text(encoding="utf-8"))["config"]
    except FileNotFoundError:
        raise FacemakeError(
            f"{work / 'plan.json'} is missing: -d names the folder in which the workflow was run, "
            "which knows where the recordings are"
        ) from None
    return work, directory / config["outdir"]


def _probes(results: Path) -> list[Path]:
    return [path for path in (results / "probe").glob("*.parquet") if path.name[0] != "."]


def _members(
    path: Path, work: Path, names: frozenset[str] | None
) -> Iterator[tuple[dict[str, Any], Sample]]:
    """The samples of a probe table that the plan still has, of these names."""
    with TableReader(path) as reader:
        wanted = [name for name in reader.samples if names is None or name in names]
        if not wanted:
            return
        planned = {sample.sample: sample for sample in read_shard(plan_file(path.stem, work))}
        for name in wanted:
            if name in planned:
                yield reader.read(name).to_pylist()[0], planned[name]
