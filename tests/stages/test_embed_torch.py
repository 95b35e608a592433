"""The stage embed with the networks of PyTorch, on doubles and random weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import makeclone
from facemake import clones, tables
from facemake import plan as planning
from facemake.backends.embed import EMBEDDERS
from facemake.errors import ConfigError, ModelError
from facemake.provenance import Recipe
from facemake.stages.embed import embed
from makestudy import Study, inside

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make facenet)")

pytestmark = pytest.mark.xdist_group("dataset")

SHARD = "pack0of1"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of models with doubles of DINOv3, and FaceNet with random weights."""
    makeclone.make_clone(tmp_path / "clone")
    makeclone.write_weights(tmp_path).rename(tmp_path / "tiny.pth")
    makeclone.write_onnx(tmp_path / "tiny.onnx")
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    monkeypatch.setenv(clones.VARIABLE, "")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "dinov3"]:
        del sys.modules[name]


def recipe(study: Study, **chosen: Any) -> tuple[Recipe, str]:
    """Of the stage under a config with another embedder, and its environment."""
    with inside(study.folder):
        config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
        plan = planning.make({**config, "embed": chosen}, [])
    return Recipe.from_dict(plan.recipes["embed"]), plan.stack("embed")  # noqa: PD013


def table(study: Study, output: Path, recipe: Recipe) -> pd.DataFrame:
    inputs = (study.table(n, SHARD) for n in ("probe", "detections", "landmarks", "fit"))
    with inside(study.folder):
        embed(study.plan_file(SHARD), *inputs, output, recipe)
    return pd.read_parquet(output)


def test_dinov3_by_clone_and_by_export_give_the_same_rows(
    portraits: Study, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clone = str(files / "clone")
    cloned, stack = recipe(portraits, backend="dinov3", model="tiny.pth", repo=clone)
    assert stack == "facenet" and "torch" in cloned.libraries
    # the clone counts by its code, not by its place; weights by their hash
    assert cloned.settings["repo"] == clones.code_sha256(files / "clone")
    assert cloned.models[0]["sha256"] and str(files) not in str(cloned.to_dict())
    exported, stack = recipe(portraits, backend="dinov3", model="tiny.onnx")
    assert stack == "onnx" and "onnxruntime" in exported.libraries
    assert "repo" not in exported.settings

    clones.use_clone(clone)  # as the rules do
    one = table(portraits, tmp_path / "one.parquet", cloned)
    other = table(portraits, tmp_path / "other.parquet", exported)
    assert one[["sample", "frame", "track"]].equals(other[["sample", "frame", "track"]])
    vectors = np.stack(one.embedding)
    assert vectors.shape == (len(one), 768) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.stack(other.embedding), vectors, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    with tables.TableReader(tmp_path / "one.parquet") as reader:
        assert reader.metadata["recipe"]["settings"]["chip"] == EMBEDDERS["dinov3"].chip
    table(portraits, tmp_path / "again.parquet", cloned)
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()

    (files / "clone" / "dinov3" / "more.py").write_text("changed = True\n")
    with pytest.raises(ModelError, match=r"had .* when the run was planned: start it again"):
        table(portraits, tmp_path / "late.parquet", cloned)
    monkeypatch.delitem(sys.modules, "dinov3", raising=False)
    changed, _ = recipe(portraits, backend="dinov3", model="tiny.pth", repo=clone)
    assert changed.settings["repo"] != cloned.settings["repo"]


def test_facenet_on_random_weights(portraits: Study, files: Path, tmp_path: Path):
    from facemake.backends import torchvision_parts

    torchvision_parts.provide()
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.save(InceptionResnetV1(classify=True, num_classes=3).state_dict(), files / "mine.pt")
    chosen, stack = recipe(portraits, backend="facenet", model="mine.pt", flip=True)
    assert stack == "facenet" and "repo" not in chosen.settings
    found = table(portraits, tmp_path / "one.parquet", chosen)
    vectors = np.stack(found.embedding)
    assert vectors.shape == (len(found), EMBEDDERS["facenet"].dim) and len(found) >= 4
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"backend": "dinov3"}, r"embed\.repo is not set: no clone of DINOv3 .*ai\.meta\.com"),
        ({"backend": "dinov3", "repo": "nowhere"}, r"is nowhere: .* there is no such folder"),
        ({"backend": "dinov3", "repo": "."}, r"it has no hubconf\.py"),
        ({"backend": "dinov3", "model": "tiny.onnx", "repo": "x"}, "an ONNX network, which needs"),
        ({"backend": "dlib", "repo": "x"}, "of no use with the backend dlib"),
    ],
)
def test_configs_without_a_clone_that_is_needed_are_refused(
    portraits: Study, files: Path, chosen: dict[str, str], words: str
):
    with pytest.raises(ConfigError, match=words):
        recipe(portraits, **chosen)


def test_missing_weights_are_told_by_the_plan(portraits: Study, files: Path):
    clone = str(files / "clone")
    with pytest.raises(ModelError, match=r"dinov3_vitb16 is not on this machine: .*ai\.meta\.com"):
        recipe(portraits, backend="dinov3", repo=clone)
    with pytest.raises(ModelError, match=r"no model is called none\.pth"):
        recipe(portraits, backend="dinov3", repo=clone, model="none.pth")


def test_a_bare_off_needs_no_clone(portraits: Study, files: Path):
    with inside(portraits.folder):
        config = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
        plan = planning.make({**config, "embed": {"backend": "off", "repo": "x"}}, [])
    assert not plan.enabled("embed")
