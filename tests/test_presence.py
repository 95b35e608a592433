"""What stages load is looked for before a run starts."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from facemake import models, presence
from facemake.models import Model
from facemake.provenance import file_sha256
from makemedia import public_folder, unprivileged


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two registered models of the user's and one that a package has; only `here` is there."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "here.onnx").write_bytes(b"network")
    sha = file_sha256(folder / "here.onnx")
    rows = {
        "here": Model("here", "detection", sha, 7, "MIT", "", url="https://example.org/here.onnx"),
        "gone": Model("gone", "detection", "0" * 64, 9, "MIT", "", url="https://example.org/g"),
        "packaged": Model("packaged", "", "1" * 64, 8, "MIT", "", package="nowhere", file="x"),
    }
    monkeypatch.setattr(models, "registry", lambda: rows)
    monkeypatch.setattr(presence, "registry", lambda: rows)
    monkeypatch.setattr(models, "fetched_folder", lambda: tmp_path / "fetched")
    monkeypatch.setenv("FACEMAKE_MODELS", str(folder))
    return folder


def recipe(stage: str, *names: str, **libraries: str) -> dict[str, object]:
    return {"stage": stage, "models": [{"name": name} for name in names], "libraries": libraries}


def test_all_that_is_missing_is_said_at_once_with_its_cure(folder: Path, tmp_path: Path):
    recipes = [
        recipe("detect", "here", "gone", "no model of the registry", numpy="0.1"),
        recipe("embed", "packaged", "gone", **{"no-such-package": "1.0"}),
        recipe("aus", numpy=version("numpy")),
    ]
    gone, packaged, numpy, package = presence.faults(recipes, tmp_path / "memo", apart=False)
    assert "`facemake models fetch gone`" in gone and gone.endswith("(needed by detect, embed)")
    assert "install the package nowhere" in packaged and packaged.endswith("(needed by embed)")
    assert numpy.startswith(f"numpy is {version('numpy')}, not 0.1: requirements/ has the pins")
    assert package.startswith("no-such-package 1.0 is missing: requirements/ has the pins")


def test_a_model_that_may_not_be_read_is_said_and_is_in_nobodys_way(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with public_folder() as shared:
        places = [shared / name for name in ("a", "b", "barred")]
        for place in places:
            place.mkdir()
            shutil.copy(folder / "here.onnx", place)
        places[2].chmod(0o744)  # its names may be read, not what they name
        (places[0] / "here.onnx").chmod(0)
        monkeypatch.setenv("FACEMAKE_MODELS", os.pathsep.join(map(str, places)))
        shared.chmod(0o777)

        def faults() -> str:
            found = presence.faults([recipe("detect", "here")], shared / "memory", apart=False)
            return "\n".join(found)

        assert unprivileged(lambda: models.model_path("here")) == str(places[1] / "here.onnx")
        assert unprivileged(faults) == ""
        (places[1] / "here.onnx").unlink()
        said = unprivileged(faults)
        assert "the model here is not on this machine; " in said
        assert f"{places[0] / 'here.onnx'} cannot be read (Permission denied)" in said


def test_what_environments_of_their_own_bring_is_not_looked_for_here(folder: Path, tmp_path: Path):
    recipes = [recipe("embed", "packaged", "gone", **{"no-such-package": "1.0"})]
    (gone,) = presence.faults(recipes, tmp_path / "memo", apart=True)
    assert gone.startswith("the model gone is not on this machine")


def test_a_model_is_hashed_once_and_again_when_it_has_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    hashed: list[str] = []

    def counting(path: Path) -> str:
        hashed.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr("facemake.hashes.file_sha256", counting)
    recipes = [recipe("detect", "here"), recipe("identify", "here")]
    for _ in range(2):
        assert presence.faults(recipes, tmp_path / "memo", apart=False) == []
    assert hashed == ["here.onnx"]
    (folder / "here.onnx").write_bytes(b"damaged")
    (said,) = presence.faults(recipes, tmp_path / "memo", apart=False)
    assert "here.onnx is not it, with 7 bytes" in said and hashed == ["here.onnx"] * 2
