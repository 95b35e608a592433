"""Embedders other than the default, within the whole workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake import schemes
from facemake.backends.embed import EMBEDDERS, Face
from facemake.backends.embed.arcface import arcface_chip
from facemake.shards import read_metadata
from makenetworks import write_recogniser
from runworkflow import run, study

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]


def test_a_recognition_network_of_ones_own(bundled: Path, tmp_path: Path):
    network = write_recogniser(tmp_path / "models" / "mine.onnx", dim=64, precision="fp16")
    embed = {"backend": "onnx", "model": "mine.onnx"}
    folder = study(
        tmp_path / "study",
        [("hopper", bundled / "portraits" / "grace_hopper.jpg")],
        embed=embed,
        models_dir=str(tmp_path / "models"),
    )
    done = run(folder, "--until", "embed")
    assert done.code == 0, done.output
    (path,) = (done.results / "embeddings").glob("*.parquet")
    table = pd.read_parquet(path)
    (vector,) = table.embedding
    assert vector.dtype == np.float32 and vector.shape == (64,)
    recipe = read_metadata(path)["recipe"]
    assert recipe["settings"]["chip"] == EMBEDDERS["onnx"].chip
    assert recipe["backend"] == "onnx" and "onnxruntime" in recipe["libraries"]
    (model,) = recipe["models"]
    pinned = (tmp_path / "models" / "mine.onnx.sha256").read_text().split()[0]
    assert (model["name"], model["sha256"]) == ("mine.onnx", pinned)

    # by the landmarks of the run and the network alone
    rgb = np.asarray(Image.open(bundled / "portraits" / "grace_hopper.jpg").convert("RGB"))
    marks = pd.read_parquet(done.results / "landmarks").points[0].reshape(-1, 2)
    ibug = schemes.convert(marks, schemes.MEDIAPIPE478, schemes.IBUG68)
    chip = arcface_chip(np.ascontiguousarray(rgb), Face(np.zeros(4, np.float32), ibug))
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    blob = ((chip.astype(np.float64) - 127.5) / 127.5).transpose(2, 0, 1)[None].astype(np.float16)
    wanted = session.run(None, {"input.1": blob})[-1][0].astype(np.float64)
    np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-6)

    # another file under its name is no longer the one that was pinned
    write_recogniser(network, dim=32)
    refused = run(folder, "--until", "embed")
    assert refused.code != 0 and "mine.onnx has changed" in refused.output
