"""Small networks with the outputs of large ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest


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
