"""Rockchip's networks, on a stand-in for its package (tests/standin_rknn)."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ROOT
from facemake import create_backend
from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS, Face
from facemake.backends.embed.arcface import ArcFace
from facemake.backends.embed.rknn import RknnArcFace
from facemake.backends.rknn_model import Board
from facemake.errors import ConfigError, DeviceError, ModelError
from makenetworks import write_recogniser

pytest.importorskip("onnxruntime")

EXTRA = {"rknn_target": "rk3588", "rknn_device_id": "0", "rec_input_h": "112", "rec_input_w": 112}


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("rknnlite", "rknn")]:
        del sys.modules[name]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """With the stand-in installed: what is asked of it."""
    forget()
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "standin_rknn"))
    from rknnlite.api import CALLS

    yield CALLS
    forget()


def test_vectors_are_those_of_the_network_one_by_one(
    tmp_path: Path, calls: list[tuple[str, dict[str, Any]]]
):
    path = write_recogniser(tmp_path / "recognition.rknn")
    chips = list(np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8))
    wanted = ArcFace(write_recogniser(tmp_path / "r.onnx"))(chips)
    network = RknnArcFace(path, Board(core=1))
    assert network.provider == "rknnlite NPU core 1" and network.batch_size == 1
    np.testing.assert_allclose(network(chips), wanted, atol=1e-6)
    network.close()
    assert [name for name, _ in calls] == ["load_rknn", "init_runtime", "release"]
    assert calls[1][1] == {"target": None, "device_id": None, "core_mask": 2}


def test_words_go_to_the_package_and_a_board_that_names_itself_is_no_other_board(
    tmp_path: Path, calls: list[tuple[str, dict[str, Any]]], caplog: pytest.LogCaptureFixture
):
    path = write_recogniser(tmp_path / "recognition.rknn")
    extra = {"rknn_target": "rk3588", "rknn_device_id": "0", "rknn_perf_debug": "1"}
    with caplog.at_level(logging.WARNING):
        RknnArcFace(path, Board.of(extra, "rknpu0")).close()
    asked = [said for name, said in calls if name == "init_runtime"]
    assert asked == [
        {"target": "rk3588", "device_id": "0", "core_mask": 1},
        {"target": None, "device_id": None, "core_mask": 1},
    ]
    assert [r.message.split(":")[0] for r in caplog.records] == [
        "rknn_perf_debug is of rknn-toolkit2 alone",
        "no board rk3588 is connected",
    ]


def test_files_and_sizes_that_do_not_fit_are_said(
    tmp_path: Path, calls: list[tuple[str, dict[str, Any]]]
):
    (tmp_path / "text.rknn").write_text("no network")
    with pytest.raises(DeviceError, match=r"could not start .*text\.rknn on an NPU.*converted for"):
        RknnArcFace(tmp_path / "text.rknn", Board())
    with pytest.raises(ModelError, match=r"none\.rknn cannot be loaded by rknnlite"):
        RknnArcFace(tmp_path / "none.rknn", Board())
    path = write_recogniser(tmp_path / "recognition.rknn")
    network = RknnArcFace(path, Board(), (96, 112))
    with pytest.raises(ModelError, match=r"nothing for a picture of 96 x 112 px .*rec_input_w"):
        network([np.zeros((112, 96, 3), np.uint8)])
    write_recogniser(path, gain=0.0)
    with pytest.raises(ModelError, match="zero or not finite"):
        RknnArcFace(path, Board())([np.full((112, 112, 3), 9, np.uint8)])


def test_a_machine_without_rockchips_package_is_told_which_and_what_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("rknnlite", "rknnlite.api", "rknn", "rknn.api"):
        monkeypatch.setitem(sys.modules, name, None)
    path = write_recogniser(tmp_path / "recognition.rknn")
    with pytest.raises(DeviceError, match=r"rknn-toolkit-lite2.*LUMEN_FACE_RUNTIME=onnxrt"):
        RknnArcFace(path, Board())
    folder = tmp_path / "scrfd_10g_iresnet50" / "rknn" / "int8"
    folder.mkdir(parents=True)
    shutil.copy(path, folder)
    with pytest.raises(DeviceError, match="rknn-toolkit-lite2"):
        create_backend("rknn", precision="int8", local_dir=tmp_path, repo_base="")
    monkeypatch.setenv("FACEMAKE_MODELS", "")
    row = EMBEDDERS["rknn"]
    with pytest.raises(ModelError, match=r"rknn-toolkit2: .*put it as recognition\.rknn into"):
        row.create(row.models[0], "cpu")


def test_the_registered_one_is_the_users_file_of_that_name(
    tmp_path: Path,
    calls: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    write_recogniser(tmp_path / "recognition.rknn")
    row = EMBEDDERS["rknn"]
    embedder = row.create(row.models[0], "cpu")
    rgb = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    chip = embedder.chip(rgb, Face(np.array([10, 10, 60, 60], np.float32)))
    assert embedder([chip]).shape == (1, 512)
    assert (tmp_path / "recognition.rknn.sha256").is_file()


def test_a_pack_detects_and_embeds(
    shared: Path,
    tmp_path: Path,
    calls: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
):
    import cv2

    folder = tmp_path / "scrfd_10g_iresnet50" / "rknn" / "int8"
    write_recogniser(folder / "recognition.rknn")
    shutil.copy(shared / "models" / "scrfd_2.5g_kps.onnx", folder / "detection.rknn")
    rgb = cv2.imread(str(shared / "data" / "multi_face.jpg"))[:, :, ::-1]
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    (wanted,) = DETECTORS["scrfd"].create("scrfd_2.5g_kps", 0.5, "cpu")([rgb])
    made = create_backend(
        "rknn", "rknpu0", precision="int8", local_dir=tmp_path, repo_base="", extra=EXTRA
    )
    with made as backend:
        boxes = backend.detect(rgb)
        assert len(boxes) == len(wanted.score)
        np.testing.assert_allclose(np.array(boxes)[:, :2] - 0.5, wanted.bbox[:, :2], atol=1e-3)
        vectors = backend.embed(rgb, boxes, align=True)
        assert backend.info.face_embedding_dim == 512 == len(vectors[0])
        assert backend.info.provider == "rknnlite NPU core 0"
        assert "uint8" not in str(backend.info.chip) and "in the network" in str(backend.info.chip)
    shutil.copy(folder / "recognition.rknn", folder / "detection.rknn")
    (folder / "detection.rknn.sha256").unlink()
    with (
        create_backend("rknn", precision="int8", local_dir=tmp_path, repo_base="") as backend,
        pytest.raises(ModelError, match="gives nothing for a picture of 640 x 640 px"),
    ):
        backend.detect(rgb)
    with pytest.raises(ConfigError, match=r"rec_input_h in LUMEN_FACE_EXTRA is 'high'"):
        create_backend(
            "rknn",
            precision="int8",
            local_dir=tmp_path,
            repo_base="",
            extra={"rec_input_h": "high"},
        )
