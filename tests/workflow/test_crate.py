"""A crate of a real run says of each job what Snakemake itself has noted of it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from facemake.cli import main
from facemake.exports import CRATE, as_list
from runworkflow import Run

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]

# read for the recipes in them
RECIPES_ALONE = ("smooth/", "expressions/", "embeddings/")


def noted(folder: Path) -> dict[str, dict[str, Any]]:
    """File of the results -> what Snakemake's own records say of the job that made it."""
    found = {}
    for path in (folder / ".snakemake" / "metadata").rglob("*"):
        if path.is_file():
            name = base64.b64decode(path.name).decode()
            found[name.removeprefix("results/")] = json.loads(path.read_text())
    return found


def test_each_action_is_a_job_of_snakemake(finished: Run, tmp_path: Path):
    assert main(["export", "rocrate", str(tmp_path / "c"), "-d", str(finished.folder)]) == 0
    graph = json.loads((tmp_path / "c" / CRATE).read_text())["@graph"]
    known = {one["@id"]: one for one in graph}
    records = noted(finished.folder)

    def files(action: dict[str, Any], key: str) -> set[str]:
        found = (known[one["@id"]] for one in as_list(action.get(key)))
        return {one["name"] for one in found if "contentSize" in one}

    stages = set()
    for action in (one for one in graph if one["@id"].startswith("#action-")):
        made = files(action, "result")
        folders = {str(Path(name).parent) for name in made}
        record = next(records[name] for name in (*sorted(made), *folders) if name in records)
        stages.add(record["rule"])
        assert known[action["instrument"]["@id"]]["@id"] == f"#tool-{record['rule']}"
        read = {name.removeprefix("results/") for name in record["input"]}
        if record["rule"] == "report":
            pages = {name for name in read if name.startswith("report/samples/")}
            assert {str(Path(n).parent) for n in files(action, "object")} >= pages
            read = {n for n in read - pages if not n.startswith(RECIPES_ALONE)}
            read |= {n for n in files(action, "object") if n.startswith("report/samples/")}
        inside = {name for name in read if not Path(name).is_absolute()}
        assert files(action, "object") == inside, action["@id"]
        start, end = (pd.Timestamp(action[key]).timestamp() for key in ("startTime", "endTime"))
        # Snakemake's own count has the start of Python in it
        assert record["starttime"] - 2 < start <= end < record["endtime"] + 2
    assert stages >= {"probe", "detect", "landmarks", "fit", "aus", "embed", "dataset", "people"}
    assert stages >= {"merge_dataset", "manifest", "report_pages", "report"}
