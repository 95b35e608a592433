"""What a crate of a finished run says of its jobs, beside what Snakemake itself has noted."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd

from facemake.cli import main
from facemake.exports import CRATE, as_list

RECIPES_ALONE = ("smooth/", "expressions/", "embeddings/")
"""Tables that the report's index reads for what is said in them of their making."""


def noted(folder: Path) -> dict[str, dict[str, Any]]:
    """File of the results -> what Snakemake's own records say of the job that made it."""
    found = {}
    for path in (folder / ".snakemake" / "metadata").rglob("*"):
        if path.is_file():
            name = base64.b64decode(path.name).decode()
            found[name.removeprefix("results/")] = json.loads(path.read_text())
    return found


def check_actions(folder: Path, output: Path) -> set[str]:
    """Write a crate of the run in a folder, whose results were all made there; its stages.

    Each action must be a job of Snakemake: its rule, what it read and made, and when.
    """
    assert main(["export", "rocrate", str(output), "-d", str(folder)]) == 0
    graph = json.loads((output / CRATE).read_text())["@graph"]
    known = {one["@id"]: one for one in graph}
    records = noted(folder)

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
        gone = {name for name in read if "/.segments/" in name}
        inside = {name for name in read - gone if not Path(name).is_absolute()}
        assert files(action, "object") == inside, action["@id"]
        start, end = (pd.Timestamp(action[key]).timestamp() for key in ("startTime", "endTime"))
        # Snakemake's own count has the start of Python in it
        assert record["starttime"] - 2 < start <= end < record["endtime"] + 2
    return stages
