"""Real pictures, model files, and small networks with the outputs of large ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


@pytest.fixture
def make_network() -> Callable[..., None]:
    """Writes an ONNX network that gives the same outputs for every picture."""
    onnx = pytest.importorskip("onnx")

    def make(path: Path, shape: Sequence[int | str], outputs: Mapping[str, np.ndarray]) -> None:
        helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
        nodes = [
            # an output must hang on the input: nothing times the picture's mean is added
            helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        ]
        values = [onnx.numpy_helper.from_array(np.float32(0), "nothing")]
        for name, array in outputs.items():
            values.append(onnx.numpy_helper.from_array(array.astype(np.float32), f"c_{name}"))
            nodes.append(helper.make_node("Add", [f"c_{name}", "zero"], [name]))
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("images", float_, shape)],
            [helper.make_tensor_value_info(n, float_, a.shape) for n, a in outputs.items()],
            values,
        )
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)

    return make
