"""Exports, read by packages that are not ours: `make readers` installs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from debian import script
from facemake import settings
from facemake.crate.finished import FinishedRun
from facemake.crate.workflow import About
from facemake.exports import CRATE
from facemake.samples import read_shard
from facemake.stages.export_bids import export_bids, labels
from facemake.stages.export_crate import export_crate
from facemake.stages.export_openface import OpenFaceWriter
from facemake.stages.export_pyfeat import PyFeatWriter
from facemake.stages.exporting import Tables
from makestudy import Study
from setups import found

READERS = ROOT / "tests" / "readers"
STAGES = ("probe", "detect", "landmarks", "fit", "smooth", "expressions", "aus")


@pytest.fixture(scope="module")
def python() -> str:
    return found(script(READERS / "setup.py").SETUP, "readers", "readers")["python"]


def run(*command: str | Path, home: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command without a network that it could ask, and with a home of its own."""
    nowhere = "http://127.0.0.1:9"
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
        **{"HOME": str(home), "DENO_DIR": str(home / "deno"), "PYTHONWARNINGS": "ignore"},
    }
    words = [str(word) for word in command]
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=300, **more)


def reading(python: str, home: Path, *command: str | Path) -> Any:
    done = run(python, READERS / "reading.py", *command, home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


WHO = ('"anna" b', "Anna-b", "anna b", "日本", "1")


@pytest.fixture(scope="module")
def layout(portraits: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All recordings in the layout of BIDS, of people whose names make it difficult."""
    (shard,) = portraits.plan.shards
    members = read_shard(portraits.plan_file(shard))
    people = [replace(one, subject=name) for one, name in zip(members, WHO, strict=True)]
    results, output = portraits.folder / "results", tmp_path_factory.mktemp("read") / "study"
    tables = ["fit", "smooth", "expressions", "aus"]
    return export_bids({shard: people}, results, output, tables, licence="CC0")


def errors_of_bids(python: str, folder: Path, home: Path) -> set[str]:
    code = "from bids_validator_deno import cli; cli()"
    done = run(python, "-c", code, "--json", folder, home=home)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return {one["code"] for one in issues if one["severity"] == "error"}


def test_the_validator_of_bids(python: str, layout: Path, tmp_path: Path):
    assert errors_of_bids(python, layout, tmp_path) == set()
    broken = tmp_path / "broken"
    shutil.copytree(layout, broken)
    next(broken.glob("sub-*")).rename(broken / "anna")
    assert errors_of_bids(python, broken, tmp_path)


def test_pybids(python: str, layout: Path, portraits: Study, tmp_path: Path):
    read = reading(python, tmp_path, "pybids", layout)
    assert read["subjects"] == sorted(labels(WHO).values()) and len(read["subjects"]) == len(WHO)
    assert read["tasks"] == ["blank", "clip", "collins", "hopper", "nonsense"]
    (shard,) = portraits.plan.shards
    for table in ("fit", "aus"):
        rows = pd.read_parquet(portraits.table(table, shard))["sample"].value_counts()
        for task in read["tasks"]:
            end = f"_task-{task}_acq-{table}_beh.tsv"
            (count,) = [n for name, n in read["rows"].items() if name.endswith(end)]
            assert count == rows.get(task, 0)
    assert set(read["units"].values()) == {"s"} and len(read["units"]) == 20


@pytest.fixture(scope="module")
def crate(portraits: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = settings.without_words(settings.filled({}))
    run = FinishedRun(portraits.folder / "results", portraits.plan.shards, STAGES, config)
    about = About(author="A. Author", orcid="0000-0002-1825-0097", licence="https://example.org/l")
    return export_crate(run, tmp_path_factory.mktemp("read") / "crate", about)


def test_the_validator_of_crates(python: str, crate: Path, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(crate, broken)
    document = json.loads((crate / CRATE).read_text())
    for one in document["@graph"]:
        if one["@id"].startswith("#action-fit"):
            del one["instrument"]
        if one["@id"] == "./":
            del one["license"]
    (broken / CRATE).write_text(json.dumps(document))
    run_of, workflow = "provenance-run-crate-0.5", "workflow-ro-crate-1.0"
    wanted = [crate, run_of, crate, workflow, broken, run_of]
    one, other, lacks = reading(python, tmp_path, "validate", tmp_path / "cache", *wanted)
    assert one == other == []
    assert any("instrument" in text for text in lacks) and any("license" in t for t in lacks)


def test_a_reader_of_crates(python: str, crate: Path, portraits: Study, tmp_path: Path):
    read = reading(python, tmp_path, "rocrate", crate)
    (shard,) = portraits.plan.shards
    assert read["workflow"] == read["instrument"] == "workflow/Snakefile"
    assert read["actions"] == sorted(["#run", *(f"#action-{one}-{shard}" for one in STAGES)])
    there = {p.relative_to(crate).as_posix() for p in crate.rglob("*") if p.is_file()}
    assert set(read["files"]) == there - {CRATE}


def test_pyfeat(portraits: Study, tmp_path: Path):
    """By hand, since py-feat needs 2 GB of packages:

    python3 -m venv pyfeat; pyfeat/bin/pip install py-feat==2.1.5
    FACEMAKE_TEST_PYFEAT=pyfeat/bin/python python -m pytest tests/stages/test_export_readers.py
    """
    python = os.environ.get("FACEMAKE_TEST_PYFEAT")
    if not python:
        pytest.skip("FACEMAKE_TEST_PYFEAT is not set to a Python with py-feat")
    (shard,) = portraits.plan.shards
    names = ("probe", "detections", "landmarks", "fit", "identity", "aus")
    with Tables.open({name: portraits.table(name, shard) for name in names}) as tables:
        for form in (PyFeatWriter, OpenFaceWriter):
            (tmp_path / form.__name__).mkdir()
            form(tables).write("clip", tmp_path / form.__name__)
    files = [tmp_path / form / "clip.csv" for form in ("PyFeatWriter", "OpenFaceWriter")]
    read = reading(str(Path(python).absolute()), tmp_path, "pyfeat", *files)
    fit, aus = (pd.read_parquet(portraits.table(name, shard)) for name in ("fit", "aus"))
    fit, aus = (table[table["sample"] == "clip"] for table in (fit, aus))
    assert read["rows"] == [len(fit), len(fit)]
    np.testing.assert_allclose(read["au12"], [aus["AU12_r"] / 5, aus["AU12_r"]], rtol=1e-6)
    np.testing.assert_allclose(read["pitch"][0], -fit["rx"], rtol=1e-6)
    assert read["x"][0] == read["x"][1] and np.isfinite(read["pitch"][1]).all()
    assert len(read["aus"][0]) == 20 and len(read["aus"][1]) >= 35
    assert read["boxes"][:4] == [f"FaceRect{n}" for n in ("X", "Y", "Width", "Height")]
