"""An IResNet-50 of random weights in ONNX, of the shape of insightface's w600k_r50.

What a network costs does not hang on its weights. A block is a batch normalisation, a convolution,
a PReLU and a second convolution, which has the stride; normalisations after convolutions are part
of them, as PyTorch's exporter has it (Duta et al. 2020, arXiv:2004.04989; insightface's
`iresnet.py`). It has 43,584,576 numbers; the file of w600k_r50 has room for 43,595,965.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_BLOCKS = (3, 4, 14, 3)
_WIDTHS = (64, 128, 256, 512)
_DIM = 512


class _Graph:
    """Nodes and weights as they are added; each call returns the name of its output."""

    def __init__(self) -> None:
        import onnx

        self.onnx: Any = onnx
        self.nodes: list[Any] = []
        self.values: list[Any] = []
        self._rng = np.random.default_rng(0)

    def weights(self, *shape: int, scale: float) -> str:
        name = f"w{len(self.values)}"
        drawn = self._rng.standard_normal(shape, np.float32) * np.float32(scale)
        self.values.append(self.onnx.numpy_helper.from_array(drawn, name))
        return name

    def filled(self, value: float, *shape: int) -> str:
        name = f"w{len(self.values)}"
        array = np.full(shape, value, np.float32)
        self.values.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def convolution(self, x: str, into: int, out: int, side: int, stride: int) -> str:
        weights = self.weights(out, into, side, side, scale=(2 / (into * side * side)) ** 0.5)
        pad = [side // 2] * 4
        bias = self.filled(0, out)
        return self.node("Conv", x, weights, bias, pads=pad, strides=[stride] * 2)

    def normalisation(self, x: str, width: int) -> str:
        one, zero = self.filled(1, width), self.filled(0, width)
        return self.node("BatchNormalization", x, one, zero, zero, self.filled(1, width))

    def prelu(self, x: str, width: int) -> str:
        return self.node("PRelu", x, self.filled(0.25, width, 1, 1))

    def block(self, x: str, into: int, out: int, stride: int) -> str:
        y = self.convolution(self.normalisation(x, into), into, out, 3, 1)
        y = self.convolution(self.prelu(y, out), out, out, 3, stride)
        if stride > 1:
            x = self.convolution(x, into, out, 1, stride)
        return self.node("Add", y, x)


def write_iresnet50(path: Path) -> None:
    """Write the network: `input.1` (None, 3, 112, 112) to `683` (1, 512), 43.6 million weights."""
    graph = _Graph()
    x = graph.prelu(graph.convolution("input.1", 3, _WIDTHS[0], 3, 1), _WIDTHS[0])
    into = _WIDTHS[0]
    for blocks, width in zip(_BLOCKS, _WIDTHS, strict=True):
        for i in range(blocks):
            x = graph.block(x, into, width, 2 if i == 0 else 1)
            into = width
    x = graph.node("Flatten", graph.normalisation(x, into), axis=1)
    last = graph.weights(_DIM, into * 49, scale=(into * 49) ** -0.5)
    x = graph.node("Gemm", x, last, graph.filled(0, _DIM), transB=1)
    graph.normalisation(x, _DIM)
    graph.nodes[-1].output[0] = "683"
    helper, kind = graph.onnx.helper, graph.onnx.TensorProto.FLOAT
    made = helper.make_graph(
        graph.nodes,
        "iresnet50",
        [helper.make_tensor_value_info("input.1", kind, ["None", 3, 112, 112])],
        [helper.make_tensor_value_info("683", kind, [1, _DIM])],
        graph.values,
    )
    opset = [helper.make_opsetid("", 11)]
    graph.onnx.save(helper.make_model(made, opset_imports=opset, ir_version=6), path)
