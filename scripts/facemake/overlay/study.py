"""The folder of a run: where a sample's recording and tables are."""

from __future__ import annotations

import difflib
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

    @property
    def has_frames(self) -> bool:
        """Whether its recording can be decoded."""
        return self.probe["status"] in DECODABLE and bool(self.probe["n_frames"])

    @property
    def faces_of_3di(self) -> Path:
        """The mean face and the expressions of the install, in a run with 3DI or 3DI-lite."""
        return self.results / "3di" / ".steps" / "model.npz"

    def table(self, stage: str) -> Path:
        """A table of its shard.

        Raises:
            FacemakeError: it is not there.
        """
        path = self.results / stage / f"{self.shard}.parquet"
        if not path.is_file():
            if stage == "smooth" and not any((self.results / stage).glob("[!.]*.parquet")):
                raise FacemakeError(
                    f"{path} is missing: this run's config smooths nothing (fit.smoothing is 0, or "
                    "the engine is 3dilite); take the pose of the fit"
                )
            raise FacemakeError(f"{path} is missing: finish the run first")
        return path


def find(directory: Path, names: Sequence[str]) -> list[Recorded]:
    """Samples of the run in a folder, in the order of `names`, also those without frames.

    Raises:
        FacemakeError: there is no run, or no such sample in it; all such names are said.
    """
    work, results = _run_in(directory)
    found: dict[str, Recorded] = {}
    known: list[str] = []
    wanted = frozenset(names)
    # most often a shard is one sample
    for path in sorted(_probes(results), key=lambda path: (path.stem not in wanted, path)):
        if len(found) == len(wanted):
            break
        for probe, sample in _members(path, work, wanted, known):
            found[sample.sample] = Recorded(sample, probe, results, path.stem)
    if unknown := [name for name in dict.fromkeys(names) if name not in found]:
        near = difflib.get_close_matches(unknown[0], known, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise FacemakeError(
            f"{results / 'probe'} has no sample {', '.join(unknown)}{meant} (`facemake status -d "
            f"{directory} --samples` lists them)"
        )
    return [found[name] for name in dict.fromkeys(names)]


def find_all(directory: Path) -> list[Recorded]:
    """All samples of the run in a folder that have frames, by shard.

    Raises:
        FacemakeError: there is no run, or it has no probe table yet.
    """
    work, results = _run_in(directory)
    probes = sorted(_probes(results))
    if not probes:
        raise FacemakeError(f"there is no table in {results / 'probe'}: finish the run first")
    every = [
        Recorded(sample, probe, results, path.stem)
        for path in probes
        for probe, sample in _members(path, work, None)
    ]
    return [recorded for recorded in every if recorded.has_frames]


def recordings(directory: Path) -> frozenset[Path]:
    """Where the recordings of the whole run are, links followed; folders of pictures as such."""
    work, _ = _run_in(directory)
    plans = (work / "plan").glob("*.tsv")
    return frozenset(sample.path.resolve() for plan in plans for sample in read_shard(plan))


def _run_in(directory: Path) -> tuple[Path, Path]:
    """The folders of the plan and of the results."""
    work = directory / WORK
    try:
        plan = json.loads((work / "plan.json").read_text(encoding="utf-8"))
        return work, directory / plan["config"]["outdir"]
    except FileNotFoundError:
        raise FacemakeError(
            f"{work / 'plan.json'} is missing: -d names the folder in which the workflow was run, "
            "which knows where the recordings are"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise FacemakeError(f"{work / 'plan.json'} is damaged: run the workflow again") from None


def _probes(results: Path) -> list[Path]:
    return [path for path in (results / "probe").glob("*.parquet") if path.name[0] != "."]


def _members(
    path: Path, work: Path, names: frozenset[str] | None, known: list[str] | None = None
) -> Iterator[tuple[dict[str, Any], Sample]]:
    """The samples of a probe table that the plan still has, of these names; all go to `known`."""
    with TableReader(path) as reader:
        if known is not None:
            known += reader.samples
        wanted = [name for name in reader.samples if names is None or name in names]
        if not wanted:
            return
        planned = {sample.sample: sample for sample in read_shard(plan_file(path.stem, work))}
        for name in wanted:
            if name in planned:
                yield reader.read(name).to_pylist()[0], planned[name]
