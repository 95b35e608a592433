"""The pages that docs/generated.py writes are what the code says."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

from conftest import ROOT
from facemake.status import FrameStatus, SampleStatus
from facemake.tables import METADATA_KEY, SCHEMAS
from runworkflow import Run


def script(name: str) -> ModuleType:
    """A script of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generated = script("generated")


@pytest.mark.parametrize("name", generated.PAGES)
def test_a_page_is_what_the_code_says(name: str):
    text = (ROOT / "docs" / name).read_text("utf-8")
    assert text == generated.PAGES[name](), "python docs/generated.py writes it again"


def test_the_heads_are_turned_as_the_code_turns_them():
    drawn = (ROOT / "docs" / "axes.svg").read_text("utf-8")
    assert drawn == script("axes").axes(), "python docs/axes.py draws it again"


def test_nothing_is_left_out():
    assert set(generated.FRAMES) == set(FrameStatus)
    assert set(generated.SAMPLES) == set(SampleStatus)
    assert set(SCHEMAS) - set(generated.SHOWN) == {"detect_segment"}  # of a run's own folder


@pytest.mark.workflow
@pytest.mark.xdist_group("run")
@pytest.mark.parametrize("stage", ["probe", "fit", "expressions", "aus", "embeddings"])
def test_a_run_writes_the_columns_that_the_page_lists(finished: Run, stage: str):
    section = (ROOT / "docs" / "columns.md").read_text("utf-8").split(f"## {stage}\n")[1]
    rows = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("| `")]
    for path in Path(finished.results / stage).glob("*.parquet"):
        assert [f"| `{name}`" for name in pq.read_schema(path).names] == [
            row.split(" | ")[0] for row in rows
        ]


@pytest.mark.workflow
@pytest.mark.xdist_group("run")
def test_the_default_models_have_the_licences_that_the_questions_name(finished: Run):
    said = (ROOT / "docs" / "faq.md").read_text("utf-8")
    named = re.search(r"The default chain has (.*?) models", said, re.S)[1]
    licences = set()
    for path in finished.results.glob("*/*.parquet"):
        document = json.loads(pq.read_schema(path).metadata[METADATA_KEY])
        licences |= {model["licence"] for model in document["recipe"]["models"]}
    assert licences == set(re.split(r", | and ", named))
