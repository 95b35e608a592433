"""The stage expressions: what is always in its table, and what the config adds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from facemake import recipes, settings
from facemake.backends.fit import builtin
from facemake.backends.fit.dictionary import REGIONS, load_basis
from facemake.backends.fit.normalize import normalize, shipped_noise
from facemake.errors import ModelError, TableError
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages.aus import aus
from facemake.stages.expressions import expressions
from facemake.tables import SCHEMAS, TableReader, TableWriter, units

MODEL = builtin.load_builtin()
NAMES = MODEL.expression_names


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Plan, probe and fit tables of a clip of 40 frames, one of them not fitted."""
    monkeypatch.chdir(tmp_path)
    plan, probe, fit = (tmp_path / n for n in ("s.tsv", "probe.parquet", "fit.parquet"))
    plan.write_text(shard_text([Sample("clip", tmp_path / "clip", "clip", sha256="clip")]))
    detect = {"stage": "detect", "settings": {"track": {"image_folders": "pictures"}}}
    about = {"recipe": {"stage": "fit"}, "lineage": "x", "upstream": {"detect": detect}}
    with TableWriter(probe, SCHEMAS["probe"], about) as writer:
        writer.append(sample="clip", kind="video", n_frames=40, status="ok", reason="")
    rng = np.random.default_rng(0)
    with TableWriter(fit, SCHEMAS["fit"], about) as writer:
        for frame in range(40):
            values = rng.uniform(0, 0.8, len(NAMES)).astype(np.float32)
            there = {"expression": values, "status": "ok"}
            row = there if frame != 7 else {"status": "not_converged"}
            writer.append(sample="clip", frame=frame, track=0, **row)
    return plan, probe, fit


def recipe(**wanted: Any) -> Recipe:
    return recipes.recipe("expressions", settings.filled({"expressions": wanted}))


def write_basis(path: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    params = {
        "transform_algorithm": "lasso_cd",
        "transform_alpha": 0.4,
        "positive_code": True,
        "split_sign": False,
    }
    counts = {"lb": 2, "ul": 3}
    rows = {k: rng.normal(size=(n, 3 * len(REGIONS[k]))) for k, n in counts.items()}
    said = {f"{k}_params": json.dumps(params) for k in counts}
    np.savez(path, use_abs=True, regions=list(counts), **rows, **said)
    return path


def test_by_default_the_movements_alone_with_their_size(
    tmp_path: Path, inputs: tuple[Path, Path, Path]
) -> None:
    plan, _, fit = inputs
    out = tmp_path / "e.parquet"
    expressions(plan, fit, out, recipe())
    table = pd.read_parquet(out)
    assert list(table.columns) == ["sample", "frame", "track", *NAMES, "status"]
    raw = np.stack(pd.read_parquet(fit).expression.dropna())
    assert np.array_equal(table[list(NAMES)].dropna(), raw)
    assert table.loc[7, list(NAMES)].isna().all()
    with TableReader(out) as reader:
        assert "mm at iBUG-68 point" in reader.metadata["units"]["jaw_open"]
        assert reader.metadata["units"] == units(reader.schema)


def test_normalised_columns_come_after_and_change_nothing_else(
    tmp_path: Path, inputs: tuple[Path, Path, Path]
) -> None:
    plan, probe, fit = inputs
    tables, action_units = {}, {}
    for name, wanted in {"plain": {}, "z": {"normalize": True, "k": 0.5}}.items():
        out = tmp_path / f"{name}.parquet"
        expressions(plan, fit, out, recipe(**wanted))
        tables[name] = pd.read_parquet(out)
        aus(
            plan,
            probe,
            out,
            tmp_path / f"aus_{name}.parquet",
            recipes.recipe("aus", settings.filled({})),
        )
        action_units[name] = pd.read_parquet(tmp_path / f"aus_{name}.parquet")
    wanted_z = [f"{name}_z" for name in NAMES]
    assert list(tables["z"].columns) == [*tables["plain"].columns[:-1], *wanted_z, "status"]
    pd.testing.assert_frame_equal(tables["z"][tables["plain"].columns], tables["plain"])
    pd.testing.assert_frame_equal(action_units["z"], action_units["plain"])
    plain = tables["plain"][list(NAMES)].to_numpy(np.float64)
    z = normalize(plain, shipped_noise().of(NAMES), 0.5)
    assert np.allclose(tables["z"][wanted_z], z, rtol=1e-5, atol=1e-5, equal_nan=True)
    with TableReader(tmp_path / "z.parquet") as reader:
        assert "0.5 half-widths" in reader.metadata["units"]["jaw_open_z"]


def test_3dis_columns_come_after(tmp_path: Path, inputs: tuple[Path, Path, Path]) -> None:
    plan, _, fit = inputs
    path = write_basis(tmp_path / "mine.npz")
    out = tmp_path / "e.parquet"
    expressions(plan, fit, out, recipe(basis=str(path), normalize=True), path)
    table = pd.read_parquet(out)
    assert list(table.columns)[-7:] == [
        "lips_pucker_z",
        "lb0",
        "lb1",
        "ul0",
        "ul1",
        "ul2",
        "status",
    ]
    raw = pd.read_parquet(fit).expression.dropna()
    wanted = load_basis(path).localize(np.stack(raw), MODEL)
    theirs = ["lb0", "lb1", "ul0", "ul1", "ul2"]
    assert np.allclose(table[theirs].dropna(), wanted, rtol=1e-5, atol=1e-6)
    assert table.loc[7, theirs].isna().all()
    with TableReader(out) as reader:
        assert reader.metadata["units"]["lb0"].startswith("3DI's localized basis mine: ")


def test_a_basis_that_the_plan_did_not_see_is_refused(
    tmp_path: Path, inputs: tuple[Path, Path, Path]
) -> None:
    plan, _, fit = inputs
    path = write_basis(tmp_path / "mine.npz")
    made = recipe(basis=str(path))
    write_basis(path, seed=1)
    with pytest.raises(ModelError, match="the plan of this run names another file"):
        expressions(plan, fit, tmp_path / "e.parquet", made, path)


def test_a_table_without_the_expressions_of_an_action_unit_is_named(
    tmp_path: Path, inputs: tuple[Path, Path, Path]
) -> None:
    plan, probe, fit = inputs
    with pytest.raises(TableError, match="lacks the column brow_inner_raise_l"):
        aus(
            plan,
            probe,
            fit,
            tmp_path / "a.parquet",
            replace(recipe(), stage="aus", backend="proxy"),
        )
