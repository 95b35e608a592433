"""The piece of R in docs/exports.md says what pandas says; only where there is an R."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from documentation import block
from facemake.cli import main
from runworkflow import Run

R = shutil.which("Rscript")


@pytest.mark.workflow
@pytest.mark.xdist_group("run")
@pytest.mark.skipif(R is None, reason="there is no R on this machine")
def test_means_of_action_units(finished: Run, tmp_path: Path):
    tables, out = ["--tables", "aus", "detections"], tmp_path / "results" / "export" / "csv"
    options = ["--results", str(finished.results), "--output", str(out)]
    assert main(["export", "csv", "--all", *tables, *options]) == 0
    script = tmp_path / "smiles.R"
    script.write_text(block("exports", "r", "read <-"), encoding="utf-8")
    done = subprocess.run([str(R), str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    aus = pd.read_parquet(finished.results / "aus").query("status == 'ok' and track == 0")
    said = done.stdout.splitlines()[-2:]
    for line, (name, mean) in zip(said, aus.groupby("sample").AU12_r.mean().items(), strict=True):
        assert str(name) in line and float(line.split()[-1]) == pytest.approx(mean, abs=1e-5)
