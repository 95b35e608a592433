"""Real pictures and model files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def models(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    return shared / "models"


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture
def picture(shared: Path) -> Callable[[str], np.ndarray]:
    """(H, W, 3) uint8 RGB of a real picture."""

    def read(name: str) -> np.ndarray:
        return np.ascontiguousarray(cv2.imread(str(shared / "data" / name))[:, :, ::-1])

    return read
