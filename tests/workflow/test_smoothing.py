"""Smoothing switched off and on again: what is made of what, and what is not made again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from runworkflow import Run, run, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]

AUS = "results/aus/clip.parquet"
STAGES = {"probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus"}


def jobs(done: Run) -> set[str]:
    """The stages that a run, dry or not, has jobs for."""
    assert done.code == 0, done.output
    return STAGES & set(re.findall(r"^(\w+) +\d+$", done.output, re.MULTILINE))


def upstream(folder: Path, table: str) -> set[str]:
    schema = pq.read_schema(folder / "results" / table / "clip.parquet")
    return set(json.loads(schema.metadata[b"facemake"])["upstream"])


def test_smoothing_off_and_on(bundled: Path, tmp_path: Path):
    clip = [("clip", bundled / "moving_portrait.mp4")]
    study(tmp_path, clip, fit={"smoothing": 0})
    assert jobs(run(tmp_path, AUS)) == STAGES - {"smooth"}
    assert not (tmp_path / "results" / "smooth").exists()
    assert "smooth" not in upstream(tmp_path, "aus") and "fit" in upstream(tmp_path, "aus")
    assert "Nothing to be done" in run(tmp_path, AUS).output

    study(tmp_path, clip, fit={"smoothing": 1.0})
    assert jobs(run(tmp_path, AUS)) == {"smooth", "expressions", "aus"}
    assert {"smooth", "fit"} <= upstream(tmp_path, "expressions")

    study(tmp_path, clip, fit={"smoothing": 2.0})
    assert jobs(run(tmp_path, "--dry-run", AUS)) == {"smooth", "expressions", "aus"}
