"""Runs of the real workflow for the tests."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import snakemakes
from conftest import ROOT

# Files that are no results: links to look at, what a job said and cost, the machine's name.
NO_RESULTS = ("report/", "logs/", "run.log", "benchmarks/", ".orphans/")


@dataclass(frozen=True)
class Run:
    """What a run of Snakemake gave."""

    code: int
    output: str
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"


def study(folder: Path, samples: Sequence[tuple[str, Path]], **config: object) -> Path:
    """A working directory with a sheet and a config of its own."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    lines = ["sample\tpath"] + [f"{name}\t{path}" for name, path in samples]
    (folder / "config" / "samples.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    document = {"cache_dir": None, **config}
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder


def bundled_samples(bundled: Path) -> list[tuple[str, Path]]:
    """The samples of the sheet that `make demo` uses."""
    return [
        ("portraits", bundled / "portraits"),
        ("moving portrait", bundled / "moving_portrait.mp4"),
    ]


def words(folder: Path, *arguments: str, cores: int = 2, root: Path = ROOT) -> list[str]:
    """What Snakemake is told of a run; `root` is the project's folder, or that of a copy."""
    place = ["--snakefile", str(root / "Snakefile"), "--directory", str(folder)]
    return [*place, "--cores", str(cores), *arguments]


def command(folder: Path, *arguments: str, cores: int = 2, root: Path = ROOT) -> list[str]:
    """The command line of a run."""
    return [sys.executable, "-m", "snakemake", *words(folder, *arguments, cores=cores, root=root)]


def environment(folder: Path, root: Path = ROOT) -> dict[str, str]:
    """A home of its own, so that no run sees another's profiles or caches."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "XDG"))}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(root / "scripts")}


def run(folder: Path, *arguments: str, cores: int = 2, root: Path = ROOT) -> Run:
    """Run the workflow in `folder`."""
    told = words(folder, *arguments, cores=cores, root=root)
    code, said = snakemakes.run(told, folder, environment(folder, root), 900)
    return Run(code, said, folder)


def bytes_of(results: Path) -> dict[str, str]:
    """Name -> SHA-256 of every result, links followed."""
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and not path.name.startswith(".")
        and not (name := path.relative_to(results).as_posix()).startswith(NO_RESULTS)
        and not name.endswith(".json")
    }
