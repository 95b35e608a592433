"""A real SLURM of one node; skipped where there is none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import ROOT
from debian import UnavailableError, script
from setups import found

SECONDS_BETWEEN_LOOKS = 2
"""The next look comes 12 s later: by then most short jobs have ended, on a busy machine too."""


setup = script(Path(__file__).with_name("setup.py"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[object]:
    """The cluster (`setup.Cluster`); its programs are on PATH and find it."""
    left = found(setup.SETUP, "SLURM", "test-slurm")
    cluster = setup.Cluster(Path(left["folder"]))
    try:
        cluster.start()
    except UnavailableError as reason:
        pytest.skip(f"no SLURM on this machine: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment().items():
            patch.setenv(name, value)
        yield cluster


@dataclass
class Site:
    """A user's account on the cluster: a home of its own, with the profile as a site edits it."""

    home: Path
    profile: Path

    def environment(self) -> dict[str, str]:
        """Of a user who has activated facemake's environment."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "XDG"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "HOME": str(self.home), "PATH": path}

    def start(self, folder: Path, *words: str) -> subprocess.Popen[str]:
        """Start a command in a folder; what it says goes to `run.log` there."""
        with (folder / "run.log").open("a") as log:
            return subprocess.Popen(
                words,
                cwd=folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def run(self, folder: Path, *words: str, seconds: float = 240) -> str:
        """Run a command to its end; what it said. It fails the test where the command fails."""
        running = self.start(folder, *words)
        try:
            code = running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            pytest.fail(f"{words} did not end:\n{self.said(folder)[-6000:]}")
        assert code == 0, self.said(folder)[-6000:]
        return self.said(folder)

    def said(self, folder: Path) -> str:
        return (folder / "run.log").read_text()

    def edit(self, **values: object) -> None:
        """Set keys of the installed profile, `_` for `-`."""
        document = yaml.safe_load(self.profile.read_text())
        document |= {key.replace("_", "-"): value for key, value in values.items()}
        self.profile.write_text(yaml.safe_dump(document))


@pytest.fixture(scope="session")
def site(cluster: object, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The profile is installed by the command, and edited as it asks for."""
    home = tmp_path_factory.mktemp("home")
    site = Site(home, home / ".config" / "snakemake" / "slurm" / "config.yaml")
    said = site.run(home, "facemake", "profile", "install", "slurm")
    assert str(site.profile) in said and site.profile.is_file()
    site.edit(
        slurm_init_seconds_before_status_checks=SECONDS_BETWEEN_LOOKS,
        # a task of an array waits so long for the outputs of the array's first
        latency_wait=120,
        partitions={"cpu": {"max_runtime": "7d"}, "gpu": {"max_runtime": "7d", "max_gpu": 2}},
    )
    return site


@pytest.fixture(scope="session")
def waited() -> Callable[..., bool]:
    """Waits until something is so; False where it is not in time (`setup.waited`)."""
    return setup.waited  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def jobs_of(cluster: Any) -> Callable[[Path], list[dict[str, str]]]:
    """Every job of a folder that the controller still knows."""

    def jobs(folder: Path) -> list[dict[str, str]]:
        lines = cluster.call("scontrol", "--oneliner", "show", "job").splitlines()
        known = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [job for job in known if job.get("WorkDir") == str(folder)]

    return jobs


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, as a user clones it for a study."""
    folder = tmp_path_factory.mktemp("clone") / "facemake"
    for name in ("rules", "scripts", "config", "profiles", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder
