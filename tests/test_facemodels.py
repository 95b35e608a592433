"""Face models that a user built: found, pinned, refused when changed, named in the recipe."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from facemake import facemodels, pins, recipes, settings
from facemake.backends.fit import builtin, load
from facemake.backends.fit.modelfile import save_model
from facemake.errors import ModelError
from makemedia import public_folder, unprivileged


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without models; FACEMAKE_MODELS is empty."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    return tmp_path


def put(folder: Path, name: str = "ict-facekit") -> Path:
    """A face model file under that name: the built-in model."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(builtin.load_builtin(), folder / f"{name}.npz")
    return folder / f"{name}.npz"


def test_it_is_found_in_models_dir_then_in_facemake_models_then_in_the_default_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    third = put(facemodels.default_folder())
    assert facemodels.find("ict-facekit").path == third
    second = put(home / "second")
    monkeypatch.setenv("FACEMAKE_MODELS", os.pathsep.join(["/nowhere", str(home / "second")]))
    assert facemodels.find("ict-facekit").path == second
    first = put(home / "first")
    assert facemodels.find("ict-facekit", home / "first").path == first
    monkeypatch.chdir(home)
    assert facemodels.find("ict-facekit", "first").path == first


def test_its_hash_is_pinned_once_and_a_changed_file_is_refused(home: Path):
    path = put(home / "models")
    found = facemodels.find("ict-facekit", home / "models")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.sha256 == digest
    pin = home / "models" / "ict-facekit.npz.sha256"
    assert pin.read_text() == f"{digest}  ict-facekit.npz\n", "as sha256sum writes it"
    assert facemodels.find("ict-facekit", home / "models") == found
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ModelError, match=r"ict-facekit\.npz has changed: .*build it again"):
        facemodels.find("ict-facekit", home / "models")
    pin.unlink()
    assert facemodels.find("ict-facekit", home / "models").sha256 != digest
    pin.write_text("")
    with pytest.raises(ModelError, match=r"pinned in .* is nothing"):
        facemodels.find("ict-facekit", home / "models")


def test_a_file_that_cannot_be_pinned_is_refused_with_the_cure():
    with public_folder() as folder:
        put(folder).chmod(0o444)
        folder.chmod(0o555)
        said = unprivileged(lambda: facemodels.find("ict-facekit", folder))
        folder.chmod(0o755)
    assert re.search(r"ModelError.*cannot be pinned.*sha256sum", said), said


@pytest.mark.parametrize("name", list(facemodels.SOURCES))
def test_one_that_is_not_built_says_what_to_run_and_where_its_files_are(home: Path, name: str):
    with pytest.raises(ModelError) as caught:
        load(name)
    text = str(caught.value)
    assert f"run `facemake models build {name} FOLDER`" in text
    assert "https://" in text and str(facemodels.default_folder()) in text


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_model_is_named(home: Path, data: bytes):
    folder = home / "models"
    folder.mkdir()
    (folder / "bfm2009.npz").write_bytes(data)
    with pytest.raises(ModelError, match=r"bfm2009\.npz is not a face model file"):
        facemodels.find("bfm2009", folder)
    np.savez(folder / "openface-pdm.npz", neutral=np.zeros((68, 3)))
    with pytest.raises(ModelError, match=r"openface-pdm\.npz is not a face model file"):
        facemodels.find("openface-pdm", folder)


def test_the_recipe_names_the_model_in_use_and_changes_with_its_file(home: Path):
    config = settings.filled({"fit": {"model": "ict-facekit"}, "models_dir": str(home / "m")})
    settings.check(config)
    with pytest.raises(ModelError, match="facemake models build ict-facekit"):
        recipes.recipe("fit", config)
    path = put(home / "m")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    fit, expressions = recipes.recipe("fit", config), recipes.recipe("expressions", config)
    assert [(m["name"], m["sha256"]) for m in fit.models] == [("ict-facekit", digest)]
    assert fit.models[0]["licence"] == "MIT" and fit.models[0]["citation"]
    assert fit.models[0]["pdm"] == "34 modes derived from facemake-1"
    names = [m["name"] for m in expressions.models]
    assert names == ["ict-facekit", "facemake_face_model_1"], "the localized basis is another model"
    assert fit.settings["model"] == "ict-facekit"
    builtin_fit = recipes.recipe("fit", settings.filled({}))
    assert [m["name"] for m in builtin_fit.models] == ["facemake_face_model_1"]
    assert builtin_fit.models[0]["pdm"] == "34 modes derived from facemake-1"
    path.write_bytes(path.read_bytes() + b"\0")
    pins.pin(path)
    assert recipes.recipe("fit", config).models[0]["sha256"] != digest
    assert recipes.recipe("fit", config).to_dict() != fit.to_dict()


def test_a_changed_file_is_refused_when_it_is_loaded(home: Path, monkeypatch: pytest.MonkeyPatch):
    path = put(home / "models")
    monkeypatch.setenv("FACEMAKE_MODELS", str(home / "models"))
    assert load("ict-facekit").name == "facemake-1"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ModelError, match="has changed"):
        load("ict-facekit")
