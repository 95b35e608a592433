"""facemake as a part of another workflow, as docs/your-own-data.md has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import snakemakes
from conftest import ROOT
from runworkflow import Run, environment

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]

OUTER = """
configfile: "config/config.yaml"

module facemake:
    snakefile: {snakefile}
    config: config["faces"]

use rule * from facemake as facemake_*

onstart:
    print("the outer workflow begins")

rule all:
    default_target: True
    input: rules.facemake_training_set.input, "smiles.tsv"

rule smiles:
    input: "results/aus/portraits.parquet"
    output: "smiles.tsv"
    script: "smiles.py"
"""

SMILES = """
import pandas as pd

aus = pd.read_parquet(snakemake.input[0])
aus[["sample", "frame", "AU12_r"]].to_csv(snakemake.output[0], sep="\\t", index=False)
"""


def outer(folder: Path, sample: Path, snakefile: str, text: str = OUTER) -> Path:
    (folder / "workflow").mkdir()
    (folder / "workflow" / "Snakefile").write_text(text.format(snakefile=snakefile))
    (folder / "workflow" / "smiles.py").write_text(SMILES)
    (folder / "config").mkdir()
    (folder / "config" / "samples.tsv").write_text(f"sample\tpath\nportraits\t{sample}\n")
    document = {"faces": {"cache_dir": None}, "mine": 1}
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(document))
    return folder


def snakemake(folder: Path, *arguments: str) -> Run:
    words = ["--cores", "2", *arguments]
    return Run(*snakemakes.run(words, folder, environment(folder), 600), folder)


def test_another_workflow_imports_it_and_reads_its_tables(bundled: Path, tmp_path: Path):
    folder = outer(tmp_path, bundled / "portraits", repr(str(ROOT / "Snakefile")))
    dry = snakemake(folder, "-n")
    assert dry.code == 0, dry.output
    assert not (folder / ".facemake" / "plan.json").exists()
    done = snakemake(folder)
    assert done.code == 0, done.output
    smiles = pd.read_csv(folder / "smiles.tsv", sep="\t")
    assert smiles["sample"].tolist() == ["portraits", "portraits"]
    assert (folder / "results" / "dataset" / "training_data.h5").is_file()
    # what its own hooks do where it runs by itself, and the outer workflow's own
    assert "the outer workflow begins" in done.output
    assert "1 sample in 1 shard" in done.output and "1 sample: 1 ok" in done.output
    status = subprocess.run(
        [sys.executable, "-m", "facemake", "status"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=True,
    )
    assert status.stdout.startswith("ended well") and "1 of 1 sample (100 %)" in status.stdout
    again = snakemake(folder)
    assert "Nothing to be done" in again.output


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


def test_it_can_stand_below_a_prefix_under_its_own_names(bundled: Path, tmp_path: Path):
    text = "\n".join(
        [
            'configfile: "config/config.yaml"',
            "module facemake:",
            "    snakefile: {snakefile}",
            '    prefix: "faces"',
            '    config: config["faces"]',
            "use rule * from facemake",
        ]
    )
    folder = outer(tmp_path, bundled / "portraits", repr(str(ROOT / "Snakefile")), text)
    done = snakemake(folder, "faces/results/probe/portraits.parquet")
    assert done.code == 0, done.output
    table = pd.read_parquet(folder / "faces" / "results" / "probe")
    assert table["sample"].tolist() == ["portraits"]
    assert "1 sample: 1 ok" in done.output  # found below the prefix
    assert not (folder / "results").exists()


def test_rules_without_the_library_are_refused_in_words(bundled: Path, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "Snakefile").write_bytes((ROOT / "Snakefile").read_bytes())
    git(source, "init", "-q", "-b", "main")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "one")
    (tmp_path / "study").mkdir()
    uri = repr(f"git+file://{source}/Snakefile@main")
    done = snakemake(outer(tmp_path / "study", bundled / "portraits", uri), "-n")
    assert done.code != 0 and "clone its repository" in done.output
