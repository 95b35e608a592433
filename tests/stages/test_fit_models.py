"""The stages fit and expressions with the face models that a user builds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facemake import facemodels, geometry, recipes, schemes, settings
from facemake.backends.fit import load, sources
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.sources import openface_pdm
from facemake.errors import ModelError
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages.expressions import expressions
from facemake.stages.fit import fit
from facemake.tables import SCHEMAS, TableReader, TableWriter
from makefaces import SIZE, seen
from makesources import bfm, bfm_prepared, ict_folder, openface

N = 30


@pytest.fixture(autouse=True)
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and a home of their own; FACEMAKE_MODELS as use_models_dir leaves it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path / "models"))


def build(name: str, folder: Path) -> LinearFaceModel:
    source = {
        "ict-facekit": lambda: ict_folder(folder / "kit"),
        "bfm2009": lambda: bfm_prepared(folder / "BFMmm-00500", bfm()),
        "openface-pdm": lambda: openface(folder / openface_pdm.FILE),
    }[name]()
    sources.build(name, source, folder / "models")
    return load(name)


def recipe(stage: str, name: str) -> Recipe:
    config = settings.filled({"fit": {"model": name}})
    return Recipe.from_dict(recipes.recipe(stage, config).to_dict())


def landmarks_of(model: LinearFaceModel) -> np.ndarray:
    """(N, 478, 2) points of a still face of the model that turns; its jaw is made up."""
    t = np.arange(N) / 8
    angles = np.stack([6 * np.sin(t), 20 * np.sin(t / 2), 4 * np.cos(t)], axis=1)
    truth = seen(model, angles, np.zeros((N, len(model.expression))))
    full = np.zeros((N, 478, 2))
    full[:] = truth.points.mean(axis=1, keepdims=True)
    full[:, schemes.subset("mediapipe478", model.scheme)] = truth.points
    return full


def write_inputs(folder: Path, points: np.ndarray) -> tuple[Path, Path, Path]:
    folder.mkdir(exist_ok=True)
    plan, probe, landmarks = (folder / n for n in ("s.tsv", "probe.parquet", "lm.parquet"))
    plan.write_text(shard_text([Sample("a", folder / "a", "a", sha256="a")]))
    detect = {"settings": {"track": {"image_folders": "pictures"}}}
    about = {"recipe": {"stage": "landmarks"}, "lineage": "x", "upstream": {"detect": detect}}
    with TableWriter(probe, SCHEMAS["probe"], about) as writer:
        row = {"sample": "a", "kind": "video", "width": SIZE[0], "height": SIZE[1], "rotation": 0}
        writer.append(**row, n_frames=len(points), status="ok", reason="")
    with TableWriter(landmarks, SCHEMAS["landmarks"], about) as writer:
        for frame, one in enumerate(points):
            writer.append(
                sample="a",
                frame=frame,
                track=0,
                time=frame / 25,
                scheme="mediapipe478",
                points=one.ravel().astype(np.float32),
                confidence=1.0,
                status="ok",
            )
    return plan, probe, landmarks


@pytest.mark.parametrize("name", facemodels.SOURCES)
def test_each_model_fits_its_own_face_and_fills_every_column(name: str, tmp_path: Path) -> None:
    model = build(name, tmp_path)
    plan, probe, landmarks = write_inputs(tmp_path / "in", landmarks_of(model))
    out = {n: tmp_path / f"{n}.parquet" for n in ("fit", "identity", "expressions")}
    fit(plan, probe, landmarks, out["fit"], out["identity"], recipe("fit", name))
    table = pd.read_parquet(out["fit"])
    assert (table.status == "ok").all()
    assert table.error_px.max() < 1.0
    yaw = np.deg2rad(20 * np.sin(np.arange(N) / 16))
    assert np.abs(table.ry - yaw).max() < np.deg2rad(2)
    lengths = {"global_params": 6, "local_params": 34, "canonical": 153}
    lengths["expression"] = len(model.expression)
    for column, length in lengths.items():
        values = np.stack(table[column].to_list())
        assert values.shape == (N, length) and np.isfinite(values).all(), column
    with TableReader(out["fit"]) as reader:
        (row,) = reader.metadata["recipe"]["models"]
    assert (row["name"], row["sha256"]) == (name, model.sha256)
    assert row["licence"] == model.licence and row["pdm"] == model.local_params_are
    expressions(plan, out["fit"], out["expressions"], recipe("expressions", name))
    found = pd.read_parquet(out["expressions"])
    assert "jaw_open" in found and found.jaw_open.notna().all(), "on the built-in localized basis"


def test_a_model_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    model = build("openface-pdm", tmp_path)
    inputs = write_inputs(tmp_path / "in", landmarks_of(model))
    planned = recipe("fit", "openface-pdm")
    openface(tmp_path / openface_pdm.FILE, 10.0)
    sources.build("openface-pdm", tmp_path / openface_pdm.FILE, tmp_path / "models")
    with pytest.raises(ModelError, match=r"the plan of this run says.*run again"):
        fit(*inputs, tmp_path / "fit.parquet", tmp_path / "identity.parquet", planned)
    assert not (tmp_path / "fit.parquet").exists()


def test_openfaces_own_formula_gives_the_landmarks_back(tmp_path: Path) -> None:
    """x2d = s R[0:2] (mean + Phi p) + t with the mean as it stands in the maker's file."""
    model = build("openface-pdm", tmp_path)
    inputs = write_inputs(tmp_path / "in", landmarks_of(model))
    out = tmp_path / "fit.parquet"
    fit(*inputs, out, tmp_path / "identity.parquet", recipe("fit", "openface-pdm"))
    table = pd.read_parquet(out)
    lines = (tmp_path / openface_pdm.FILE).read_text().split("\n")
    numbers = [line for line in lines if line.strip() and not line.startswith("#")]
    mean = np.array(" ".join(numbers[3:]).split()[:204], dtype=float)
    assert model.pdm is not None
    globals_ = np.stack(table.global_params.to_list()).astype(float)
    local = np.stack(table.local_params.to_list()).astype(float)
    shape = (mean + local @ model.pdm.T).reshape(-1, 3, 68).transpose(0, 2, 1)
    turned = geometry.rotate(geometry.rotation_from_euler_xyz(globals_[:, 1:4]), shape)
    seen_at = globals_[:, :1, None] * turned[..., :2] + globals_[:, None, 4:]
    known = landmarks_of(model)[:, schemes.subset("mediapipe478", model.scheme)]
    # a weak-perspective camera is 1 to 2 px off a perspective one at this distance
    assert np.linalg.norm(seen_at - known, axis=-1)[:, 17:].mean() < 3
