"""The networks that are trained here, as backends of landmarks and action units."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

import makepredictors  # noqa: E402
from facemake import nn  # noqa: E402
from facemake.backends.aus import AU_COLUMNS, INTENSITY_COLUMNS  # noqa: E402
from facemake.shards import read_metadata  # noqa: E402
from runworkflow import run, study  # noqa: E402

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]


def test_both_networks_of_ones_own(bundled: Path, tmp_path: Path):
    makepredictors.landmark_pose(tmp_path / "trained")
    network = makepredictors.au_prediction(tmp_path / "trained")
    models = tmp_path / "models"
    models.mkdir()
    (tmp_path / "trained" / "landmark_pose.onnx").rename(models / "my_points.onnx")
    (tmp_path / "trained" / "au_prediction.onnx").rename(models / "au_prediction.onnx")
    folder = study(
        tmp_path / "study",
        [("hopper", bundled / "portraits" / "grace_hopper.jpg")],
        landmarks={"backend": "unified68", "model": "my_points.onnx"},
        aus={"backend": "network"},
        embed="off",
        models_dir=str(models),
    )
    done = run(folder, "training_set", cores=1)
    assert done.code == 0, done.output
    marks = pd.read_parquet(done.results / "landmarks")
    assert list(marks.scheme) == ["ibug68"] and list(marks.status) == ["ok"]
    (path,) = (done.results / "landmarks").glob("*.parquet")
    recipe = read_metadata(path)["recipe"]
    pinned = (models / "my_points.onnx.sha256").read_text().split()[0]
    (model,) = recipe["models"]
    assert (model["name"], model["sha256"]) == ("my_points.onnx", pinned)
    assert recipe["settings"] == {"min_confidence": 0.5, "device": "cpu"}
    assert "onnxruntime" in recipe["libraries"]

    table = pd.read_parquet(done.results / "aus")
    (path,) = (done.results / "aus").glob("*.parquet")
    metadata = read_metadata(path)
    (model,) = metadata["recipe"]["models"]
    pinned = (models / "au_prediction.onnx.sha256").read_text().split()[0]
    assert (model["name"], model["sha256"]) == ("au_prediction", pinned)
    with h5py.File(done.results / "faces" / "hopper.h5") as file:
        crop = file["hopper/crops"][0]
    planes = torch.from_numpy(np.moveaxis(crop, 2, 0)[None].astype(np.float32) / 255)
    with torch.no_grad():
        wanted = network(planes).numpy()[0]
    found = table[list(INTENSITY_COLUMNS)].to_numpy()[0]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert 0 < (wanted >= 1).sum() < 17
    occurs = table[[f"{name[:4]}_c" for name in INTENSITY_COLUMNS]].to_numpy()[0]
    assert list(occurs) == list((wanted >= 1).astype(float))
    empty = [name for name in AU_COLUMNS if name == "AU28_c" or "_r_" in name]
    assert table[empty].isna().all(axis=None)

    # another file under its name is no longer the one that was pinned
    makepredictors.landmark_pose(models, bias=0.9)
    (models / "landmark_pose.onnx").rename(models / "my_points.onnx")
    refused = run(folder, "training_set", cores=1)
    assert refused.code != 0 and "my_points.onnx has changed" in refused.output


def test_what_does_not_go_together_is_refused_before_any_job(bundled: Path, tmp_path: Path):
    folder = study(
        tmp_path,
        [("hopper", bundled / "portraits" / "grace_hopper.jpg")],
        landmarks={"model": "mine.onnx"},
        aus={"model": "mine.onnx"},
    )
    done = run(folder, "-n", cores=1)
    assert done.code != 0
    for section, able in (("landmarks", "unified68"), ("aus", "network")):
        assert f"{section}.model" in done.output and f"choose the backend {able}" in done.output
    folder = study(
        tmp_path,
        [("hopper", bundled / "portraits" / "grace_hopper.jpg")],
        aus={"backend": "network"},
    )
    done = run(folder, "-n", cores=1)
    assert done.code != 0
    assert "the model au_prediction is not on this machine: train it on your own" in done.output


def test_from_python(bundled: Path, tmp_path: Path):
    from facemake.data import TrainingDataGenerator

    makepredictors.au_prediction(tmp_path)
    config = {"aus": {"backend": "network"}, "models_dir": str(tmp_path)}
    generator = TrainingDataGenerator(config, verbose=False)
    (example,) = generator.process_video(bundled / "portraits" / "grace_hopper.jpg")
    with nn.load_au_predictor(tmp_path, "pytorch") as predictor:
        bgr = np.ascontiguousarray(example["image"][..., ::-1])
        wanted = predictor.predict(bgr)["au_intensities"]
    np.testing.assert_allclose(example["au_intensities"], wanted, atol=1e-4)
