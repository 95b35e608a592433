"""facemake profile: a site's settings where Snakemake finds them, and who wins."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_args

from conftest import ROOT
from facemake.cli import main
from facemake.cli.profile import PROFILES, names, user_folder
from runworkflow import environment

SITE_KEYS = {
    *("executor", "cores", "jobs", "retries", "resources", "default-resources", "set-resources"),
    *("latency-wait", "keep-going", "software-deployment-method", "apptainer-args"),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path / "home"


def test_a_profile_is_installed_where_snakemake_looks(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["profile", "list"]) == 0
    assert capsys.readouterr().out == "gpu\tnot installed\nslurm\tnot installed\n"
    assert main(["profile", "install", "slurm"]) == 0
    path = home / ".config" / "snakemake" / "slurm" / "config.yaml"
    said = capsys.readouterr().out
    assert said.splitlines()[0] == str(path)
    assert "edit the partitions and the account" in said and "snakemake --profile slurm" in said
    assert path.read_bytes() == (PROFILES / "slurm" / "config.yaml").read_bytes()
    assert main(["profile", "list"]) == 0
    assert capsys.readouterr().out == f"gpu\tnot installed\nslurm\t{path}\n"


def test_the_folder_is_the_one_that_snakemake_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    code = "from snakemake.common import get_appdirs; print(get_appdirs().user_config_dir)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert str(user_folder()) == done.stdout.strip() == str(tmp_path / "xdg" / "snakemake")
    assert main(["profile", "install", "gpu"]) == 0
    assert (tmp_path / "xdg" / "snakemake" / "gpu" / "config.yaml").is_file()


def test_an_edited_copy_is_left_alone_unless_asked(home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["profile", "install", "slurm"]) == 0
    assert main(["profile", "install", "slurm"]) == 0  # the same again is no quarrel
    path = home / ".config" / "snakemake" / "slurm" / "config.yaml"
    path.write_text("executor: slurm\njobs: 7\n")
    assert main(["profile", "install", "slurm"]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and "--force" in said
    assert path.read_text().endswith("jobs: 7\n")
    assert main(["profile", "install", "slurm", "--force"]) == 0
    assert path.read_bytes() == (PROFILES / "slurm" / "config.yaml").read_bytes()
    assert (path.parent / "config.yaml.old").read_text().endswith("jobs: 7\n")


def test_the_default_profile_holds_only_what_no_site_sets():
    default = yaml.safe_load((PROFILES / "default" / "config.yaml").read_text())
    assert not default.keys() & SITE_KEYS
    for name in names():
        site = yaml.safe_load((PROFILES / name / "config.yaml").read_text())
        assert not default.keys() & site.keys(), name


def test_no_attempt_of_a_rule_asks_for_more_than_the_profile_has():
    """Else it would go to the cluster's default partition, and may wait there for ever."""
    site = yaml.safe_load((PROFILES / "slurm" / "config.yaml").read_text())
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    for key, limit in (("runtime", "max_runtime"), ("mem_mb", "max_mem_mb")):
        least = min(part[limit] for part in site["partitions"].values())
        asked = re.findall(rf"^ +{key}=(.*?),(?:  #.*)?$", rules, re.MULTILINE)
        assert len(asked) > 25
        for words in asked:
            number = re.fullmatch(r"(grows\()?(\d+)( .*?)?(?:, most=(\d+))?\)?", words)
            assert number, words
            grows, first, _, most = number.groups()
            last = int(first) * (1 + site["retries"] if grows else 1)
            assert min(last, int(most or last)) <= least, f"{key}={words}"


def test_what_a_site_sets_wins(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The default profile is merged last, so it would win: it must not have the key."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    assert main(["profile", "install", "slurm"]) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("snakemake.common.APPDIRS", None)
    _, args = parse_args(["--profile", "slurm", "--snakefile", str(ROOT / "Snakefile")])
    site = yaml.safe_load((PROFILES / "slurm" / "config.yaml").read_text())
    assert args.executor == site["executor"] == "slurm"
    assert (args.jobs, args.retries) == (site["jobs"], site["retries"])
    assert args.latency_wait == site["latency-wait"]
    assert args.keep_going is True
    assert args.slurm_status_command == "squeue"
    assert args.slurm_partition_config == user_folder() / "slurm" / "config.yaml"
    # and the default profile's own are there too
    assert args.rerun_incomplete is True and args.cache == []


def test_the_gpu_profile_runs(home: Path, tmp_path: Path):
    assert main(["profile", "install", "gpu"]) == 0
    (tmp_path / "Snakefile").write_text(
        "rule a:\n    output: 'o'\n    resources: gpu=1\n    shell: 'touch {output}'\n"
    )
    env = {**environment(tmp_path), "HOME": str(home)}
    command = [sys.executable, "-m", "snakemake", "--profile", "gpu"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gpu=1" in done.stderr and (tmp_path / "o").exists()
