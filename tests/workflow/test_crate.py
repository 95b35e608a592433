"""A crate of a real run says of each job what Snakemake itself has noted of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from crates import check_actions
from runworkflow import Run

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]


def test_each_action_is_a_job_of_snakemake(finished: Run, tmp_path: Path):
    stages = check_actions(finished.folder, tmp_path / "crate")
    assert stages >= {"probe", "detect", "landmarks", "fit", "aus", "embed", "dataset", "people"}
    assert stages >= {"merge_dataset", "manifest", "report_pages", "report"}
