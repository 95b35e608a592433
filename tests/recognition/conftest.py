"""Packs of small networks: what create_backend is given here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from makenetworks import write_recogniser

NAME = "scrfd_10g_iresnet50"


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of the variables of lumen-face, and a home of its own."""
    for name in list(os.environ):
        if name.startswith(("LUMEN_FACE_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def make_pack(shared: Path) -> Callable[..., Path]:
    """Write a pack into a folder: a small recogniser, and a real SCRFD."""

    def make(folder: Path, precision: str = "fp16", **recogniser: object) -> Path:
        inner = folder / NAME / "onnxrt" / precision
        write_recogniser(inner / "recognition.onnx", precision=precision, **recogniser)
        shutil.copy(shared / "models" / "scrfd_2.5g_kps.onnx", inner / "detection.onnx")
        return folder

    return make
