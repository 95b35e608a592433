"""The whole workflow on the cluster (docs/cluster.md) gives what it gives on one machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from facemake.doctor.findings import Finding
from facemake.doctor.slurm import slurm
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
    failed = [job for job in jobs if job["JobState"] != "COMPLETED"]
    assert jobs and not failed, f"{failed}\n{said[-6000:]}"


def test_the_doctor_tries_the_profile_on_the_cluster(
    site: Any, monkeypatch: pytest.MonkeyPatch, cluster: Any
):
    monkeypatch.setenv("HOME", str(site.home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    before, jobs = site.profile.read_text(), cluster.call("squeue", "-h", "-o", "%i")

    def said() -> dict[str, Finding]:
        return {one.what: one for one in slurm()}

    assert {one.level for one in said().values()} == {"ok"}
    document = yaml.safe_load(before)
    try:
        gpu = {"max_runtime": "8d", "max_gpu": 3}
        cpu = {"max_runtime": "7d", "max_mem_mb": 10**9}
        site.edit(partitions={"cpu": cpu, "gpu": gpu, "bigmem": {}})
        found = said()
        assert "bigmem of the profile are not there" in found["partitions"].said
        assert "max_mem_mb 1000000000 in the profile, and takes no" in found["partition cpu"].said
        assert "max_runtime 11520 in the profile, and takes jobs of 10080" in (
            found["partition gpu"].said
        )
        site.edit(partitions=document["partitions"], default_resources={"constraint": "'nope'"})
        found = said()
        assert "(--constraint=nope --mem=1000 --time=240)" in found["partition cpu"].said
        assert "Invalid feature specification" in found["partition cpu"].said
    finally:
        site.profile.write_text(before)
    assert cluster.call("squeue", "-h", "-o", "%i") == jobs, "nothing was sent"


def test_what_the_cluster_refuses_is_said_in_its_words(site: Any, bundled: Path, tmp_path: Path):
    """By facemake run, which leaves out what Snakemake says of it, and by facemake status."""
    sheet(tmp_path, [("portraits", bundled / "portraits")], cache_dir=None)
    command = ["facemake", "run", "--profile", "slurm", "results/probe/portraits.parquet"]
    command += ["--retries", "0", "--default-resources", "constraint='nope'"]
    assert site.start(tmp_path, *command).wait(120) == 1
    words = "portraits: the cluster does not take the job: sbatch: error: "
    said = site.said(tmp_path)
    assert words in said and "Invalid feature specification" in said, said
    assert "log: results/logs" not in said and "Auto-selected" not in said
    assert words in site.run(tmp_path, "facemake", "status")


BY_A_JOB = ("sbatch", "--wait", "--time", "7-0", "--mem", "2000", "--wrap")


@pytest.mark.parametrize("words", [("snakemake",), BY_A_JOB])
def test_no_job_takes_modules_from_the_working_folder(
    site: Any, project: Path, bundled: Path, tmp_path: Path, words: tuple[str, ...]
):
    """Each of its names would be looked at, and what is named like a plugin imported."""
    sheet(tmp_path, [("portraits", bundled / "portraits")], cache_dir=None)
    plugin = tmp_path / "snakemake_executor_plugin_planted" / "__init__.py"
    plugin.parent.mkdir()
    plugin.write_text("raise SystemExit('a module of the working folder was imported')\n")
    asked = ["--profile", "slurm", "results/probe/portraits.parquet"]
    if words == BY_A_JOB:
        command = [*words, shlex.join(["facemake", "run", "-d", str(tmp_path), *asked])]
    else:
        command = [*words, *asked, "--snakefile", str(project / "Snakefile")]
    site.run(tmp_path, *command)
    assert (tmp_path / "results" / "probe" / "portraits.parquet").is_file()
