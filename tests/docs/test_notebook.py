"""The notebook of docs/notebook.md: it runs, leaves out what was not measured, and its figures are
those of the page."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient
from PIL import Image

from conftest import ROOT
from runworkflow import Run

FOLDER = ROOT / "docs" / "notebook"
NOTEBOOK = FOLDER / "figures.ipynb"
LOST = range(25, 35)


def lose(path: Path) -> None:
    """Mark frames as a run would have if it had not seen the face: a status, and nulls."""
    table = pq.read_table(path)
    lost = np.isin(table.column("frame").to_numpy(), LOST)
    for i, field in enumerate(table.schema):
        if field.name == "status":
            column = pa.array(np.where(lost, "lost", table.column(i).to_numpy()), field.type)
        elif field.nullable and pa.types.is_float32(field.type):
            column = pa.array(np.where(lost, np.nan, table.column(i).to_numpy()), field.type)
        else:
            continue
        table = table.set_column(i, field, column)
    pq.write_table(table, path)


def test_it_is_kept_without_outputs():
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("end", [slice(0, 1), slice(-1, None)])
def test_a_mean_lies_in_its_interval_also_where_the_face_moved_at_an_end_alone(end: slice):
    values = np.zeros(500)
    values[end] = 3.0
    values[200:210] = np.nan
    names: dict[str, Any] = {"np": np}
    cell = next(c for c in nbformat.read(NOTEBOOK, 4).cells if "def within" in c.source)
    exec(cell.source, names)
    low, high = names["within"](values, 50)
    assert low <= np.nanmean(values) <= high


@pytest.mark.workflow
@pytest.mark.xdist_group("run")
def test_from_results_to_the_figures_of_the_page(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(finished.results, tmp_path / "results")
    for stage in ("aus", "smooth"):
        lose(tmp_path / "results" / stage / "moving portrait.parquet")
    monkeypatch.delenv("FACEMAKE_RESULTS", raising=False)
    notebook = nbformat.read(NOTEBOOK, 4)
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=here).execute()
    said = [out.text for c in notebook.cells for out in c.get("outputs", ()) if "text" in out]
    assert f"{len(LOST)}" in said[0] and "86.7" in said[0]  # 65 of 75 frames
    table = pd.read_csv(tmp_path / "figures" / "aus.csv")
    missing = table[table.AU12_r.isna()]
    assert set(missing["sample"]) == {"moving portrait"} and list(missing.frame) == [*LOST]
    means = pd.read_csv(tmp_path / "figures" / "means.csv")
    assert (means.frames == 65).all() and (means.low <= means["mean"]).all()
    for path in (tmp_path / "figures").glob("*.png"):
        assert b"/FontFile2" in path.with_suffix(".pdf").read_bytes()  # text, and no pictures of it
    shown = {path.name: path for path in FOLDER.glob("*.png")}
    made = {path.name: path for path in (tmp_path / "figures").glob("*.png")}
    assert shown.keys() == made.keys() and len(made) == 3
    if "FACEMAKE_WRITE_FIGURES" in os.environ:
        for name, path in made.items():
            shutil.copy(path, FOLDER / name)
    for name, path in made.items():
        ours, theirs = (np.asarray(Image.open(p).convert("L"), float) for p in (path, shown[name]))
        assert ours.shape == theirs.shape and abs(ours - theirs).mean() < 1, (
            f"{name} looks different: FACEMAKE_WRITE_FIGURES=1 writes the figures of the page again"
        )


@pytest.mark.workflow
@pytest.mark.xdist_group("run")
def test_of_pictures_alone_there_are_no_curves(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    results = finished.results
    for table in [*results.glob("*/*.parquet"), results / "dataset" / "manifest.parquet"]:
        rows = pq.read_table(table)
        if "sample" in rows.column_names:
            made = tmp_path / "results" / table.relative_to(results)
            made.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(rows.filter(pc.equal(rows["sample"], "portraits")), made)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FACEMAKE_RESULTS", raising=False)
    with matplotlib.rc_context({"backend": "agg"}):
        names: dict[str, object] = {}
        for cell in nbformat.read(NOTEBOOK, 4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, cell.id, "exec"), names)
    assert names["shown"] == [] and len(names["means"]) == 0
    assert set(names["groups"].people) == {1} and names["groups"].low.isna().all()
    assert len({*(tmp_path / "figures").glob("*.pdf")}) == 3
