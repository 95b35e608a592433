"""The whole workflow on the cluster (docs/cluster.md) gives what it gives on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runworkflow import bytes_of, run, study

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]


def sheet(folder: Path, samples: list[tuple[str, Path]], **config: object) -> Path:
    """Samples and settings of a user, whose cache is on as it comes."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    lines = ["sample\tpath", *(f"{name}\t{path}" for name, path in samples)]
    (folder / "config" / "samples.tsv").write_text("\n".join(lines) + "\n")
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def samples(bundled: Path, shared: Path) -> list[tuple[str, Path]]:
    """The bundled sample, and a real clip."""
    return [
        ("moving", bundled / "moving_portrait.mp4"),
        ("portraits", bundled / "portraits"),
        ("real", shared / "data" / "single_face.mp4"),
    ]


@pytest.fixture(scope="module")
def local(samples: list[tuple[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on this machine, without a cluster: its results."""
    done = run(study(tmp_path_factory.mktemp("local"), samples))
    assert done.code == 0, done.output
    return done.results


def test_a_clone_and_the_two_commands_give_the_same_bytes(
    site: Any,
    jobs_of: Any,
    project: Path,
    samples: list[tuple[str, Path]],
    local: Path,
):
    sheet(project, samples)
    site.edit(slurm_array_jobs="probe,detect")
    said = site.run(project, "snakemake", "--profile", "slurm")
    assert "3 samples: 3 ok" in said
    assert bytes_of(project / "results") == bytes_of(local)
    site.run(project, "facemake", "compare", "results", str(local))
    jobs = jobs_of(project)
    arrays = [job["Comment"].split("_")[1] for job in jobs if "ArrayJobId" in job]
    # detection's jobs are one array only where the probes were seen to end together
    assert arrays.count("probe") == len(samples) and set(arrays) <= {"probe", "detect"}
    assert {job["JobState"] for job in jobs} == {"COMPLETED"}


@pytest.mark.parametrize("words", [("snakemake",), ("facemake", "run")])
def test_no_job_takes_modules_from_the_working_folder(
    site: Any, project: Path, bundled: Path, tmp_path: Path, words: tuple[str, ...]
):
    """Each of its names would be looked at, and what is named like a plugin imported."""
    sheet(tmp_path, [("portraits", bundled / "portraits")], cache_dir=None)
    plugin = tmp_path / "snakemake_executor_plugin_planted" / "__init__.py"
    plugin.parent.mkdir()
    plugin.write_text("raise SystemExit('a module of the working folder was imported')\n")
    command = [*words, "--profile", "slurm", "results/probe/portraits.parquet"]
    if words == ("snakemake",):
        command += ["--snakefile", str(project / "Snakefile")]
    site.run(tmp_path, *command)
    assert (tmp_path / "results" / "probe" / "portraits.parquet").is_file()
