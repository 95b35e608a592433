"""Small ONNX networks with the inputs and outputs of recognition networks that cannot be had here.

The weights are random: what they give tells nobody apart, but it hangs on what is seen and where.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

DIM = 512


def write_recogniser(
    path: Path,
    *,
    size: tuple[int, int] | None = (112, 112),
    batch: int | None = None,
    precision: str = "fp32",
    dim: int = DIM,
    gain: float = 1.0,
    first: bool = False,
    normalises: bool = False,
) -> Path:
    """A network as insightface's w600k_r50: `input.1` (None, 3, 112, 112) to `683` (1, 512).

    Args:
        path: of the file; its folder is made.
        size: height and width; None: left open.
        batch: how many pictures it takes; None: any number, as the real ones.
        precision: `fp32`, `fp16` (input and output too) or `int8` (QDQ: float32 outside).
        dim: length of the vector.
        gain: of the vector.
        first: with another output before the vector.
        normalises: it subtracts and scales itself, as those converted from MXNet.
    """
    onnx = pytest.importorskip("onnx")
    helper, types, array = onnx.helper, onnx.TensorProto, onnx.numpy_helper.from_array
    rng = np.random.default_rng(1)
    half = precision == "fp16"
    dtype, kind = (np.float16, types.FLOAT16) if half else (np.float32, types.FLOAT)
    kernel = rng.normal(size=(8, 3, 5, 5)).astype(np.float32) / 8
    height, width = size or ("height", "width")
    nodes, values, seen = [], [], "input.1"
    if precision == "int8":
        scale = np.abs(kernel).max() / 127
        values += [
            array(np.round(kernel / scale).astype(np.int8), "kernel8"),
            array(np.float32(scale), "kernel_scale"),
            array(np.float32(1 / 127), "input_scale"),
            array(np.int8(0), "zero"),
        ]
        nodes += [
            helper.make_node("QuantizeLinear", ["input.1", "input_scale", "zero"], ["input8"]),
            helper.make_node("DequantizeLinear", ["input8", "input_scale", "zero"], ["seen"]),
            helper.make_node("DequantizeLinear", ["kernel8", "kernel_scale", "zero"], ["kernel"]),
        ]
        seen = "seen"
    else:
        values.append(array(kernel.astype(dtype), "kernel"))
    if normalises:
        values += [array(np.float32(127.5), "mean"), array(np.float32(1 / 127.5), "scale")]
        nodes += [
            helper.make_node("Sub", [seen, "mean"], ["less"], name="_minusscalar0"),
            helper.make_node("Mul", ["less", "scale"], ["scaled"], name="_mulscalar0"),
        ]
        seen = "scaled"
    nodes += [
        helper.make_node("Conv", [seen, "kernel"], ["map"], strides=[4, 4], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["map"], ["lit"]),
    ]
    if size is None:
        places = 1
        nodes.append(helper.make_node("GlobalAveragePool", ["lit"], ["pooled"]))
    else:
        places = 16
        patch = [-(-side // 4) // 4 for side in size]
        nodes.append(
            helper.make_node("AveragePool", ["lit"], ["pooled"], kernel_shape=patch, strides=patch)
        )
    last = np.clip(rng.normal(size=(8 * places, dim)) * gain, -6e4, 6e4).astype(dtype)
    values.append(array(last, "last"))
    nodes += [
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "last"], ["683"]),
    ]
    outputs = [helper.make_tensor_value_info("683", kind, [batch or 1, dim])]
    if first:
        outputs.insert(0, helper.make_tensor_value_info("flat", kind, [batch or 1, 8 * places]))
    shape = ["None" if batch is None else batch, 3, height, width]
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("input.1", kind, shape)], outputs, values
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path
