"""ONNX networks in batches: those made for one picture take many on a GPU, or say why not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime")

from facemake.backends import onnx_model
from facemake.backends.detect import DETECTORS
from facemake.backends.onnx_model import OnnxModel
from standingpu import Gpu, stand_in

onnx = pytest.importorskip("onnx")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> type[Gpu]:
    monkeypatch.setattr(onnx_model, "BATCH_ON_GPU", 4)
    return stand_in(monkeypatch)


@pytest.mark.parametrize("name", ["scrfd-500m", "yolov8-face", "ultralight"])
def test_a_detector_made_for_one_picture_takes_many_on_a_gpu(
    name: str, shared: Path, monkeypatch: pytest.MonkeyPatch, gpu: type[Gpu]
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    row = DETECTORS[name]
    with Image.open(shared / "data" / "multi_face.jpg") as file:
        whole = np.asarray(file.convert("RGB"))
    pictures = [np.ascontiguousarray(whole[:, 60 * i :]) for i in range(5)]
    alone = row.create(row.models[0], row.min_score, "cpu")(pictures)
    detector = row.create(row.models[0], row.min_score, "cuda")
    assert detector.batch_size == 4
    gpu.fed.clear()
    together = detector(pictures)
    assert gpu.fed == [4, 4]  # the last one filled up
    assert sum(len(found.score) for found in alone) > 15
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(many.bbox, one.bbox, atol=0.01)
        np.testing.assert_allclose(many.score, one.score, atol=1e-4)


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., Path]:
    """Writes a network of (batch, 3, 32, 32): a convolution, and then what its maker did."""

    def write(batch: int | str, *nodes: Any, values: dict[str, list[int]] | None = None) -> Path:
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        rng = np.random.default_rng(0)
        numbers = {"kernel": rng.normal(size=(4, 3, 3, 3)).astype(np.float32)}
        numbers |= {k: np.array(v, np.int64) for k, v in (values or {}).items()}
        graph = helper.make_graph(
            [helper.make_node("Conv", ["images", "kernel"], ["map"]), *nodes],
            "small",
            [helper.make_tensor_value_info("images", kind, [batch, 3, 32, 32])],
            [helper.make_tensor_value_info("out", kind, None)],
            [onnx.numpy_helper.from_array(v, k) for k, v in numbers.items()],
        )
        path = tmp_path / "small.onnx"
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
        return path

    return write


def rows(*order: int) -> list[Any]:
    """A list of rows of all pictures, in an order of (picture, channel, row, column)."""
    make = onnx.helper.make_node
    return [
        make("Transpose", ["map"], ["turned"], perm=order),
        make("Reshape", ["turned", "shape"], ["out"]),
    ]


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (2, 3, 0, 1)])
def test_rows_of_all_pictures_in_one_list_follow_each_other(order, network, gpu: type[Gpu]):
    path = network(1, *rows(*order), values={"shape": [-1, 4]})  # the last one: insightface's
    pictures = np.random.default_rng(1).random((5, 3, 32, 32)).astype(np.float32)
    (wanted,) = OnnxModel(path)(pictures)
    made = OnnxModel(path, "cuda")
    assert (made.batch_size, made.fixed_batch) == (4, None)
    np.testing.assert_allclose(made(pictures)[0], wanted, atol=1e-5)


MADE_FOR_ONE = {
    "what one is hangs on the others": (
        [onnx.helper.make_node("Softmax", ["map"], ["out"], axis=0)],
        "gives something else for several pictures",
    ),
    "a shape of one picture": (rows(0, 2, 3, 1), "cannot be computed for several pictures"),
}


@pytest.mark.parametrize("why", MADE_FOR_ONE)
def test_a_network_that_cannot_take_many_goes_one_by_one_and_says_so(
    why: str, network, gpu: type[Gpu], caplog: pytest.LogCaptureFixture
):
    nodes, said = MADE_FOR_ONE[why]
    path = network(1, *nodes, values={"shape": [900, 4]})
    made = OnnxModel(path, "cuda")
    assert (made.batch_size, made.fixed_batch) == (1, 1)
    assert f"small.onnx was made for one picture at a time, and {said}" in caplog.text
    pictures = np.random.default_rng(1).random((3, 3, 32, 32)).astype(np.float32)
    gpu.fed.clear()
    (found,) = made(pictures)
    assert gpu.fed == [1, 1, 1]
    np.testing.assert_allclose(found, OnnxModel(path)(pictures)[0], atol=1e-5)


def test_without_the_package_that_can_change_it_it_goes_one_by_one(
    network, gpu: type[Gpu], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    path = network(1, *rows(0, 2, 3, 1), values={"shape": [-1, 4]})
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert OnnxModel(path, "cuda").batch_size == 1
    assert "cannot be changed without the package onnx (pip install onnx)" in caplog.text


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_network_of_four_is_given_four(device: str, network, gpu: type[Gpu]):
    """Else three of four that it computes would be black."""
    made = OnnxModel(network(4, *rows(0, 2, 3, 1), values={"shape": [-1, 4]}), device)
    assert made.batch_size == 4
    assert list(map(len, made.portions(list(range(9))))) == [4, 4, 1]


def test_a_gpu_computes_in_float32_and_the_same_again(network, gpu: type[Gpu]):
    OnnxModel(network("n", *rows(0, 2, 3, 1), values={"shape": [-1, 4]}), "cuda:1")
    exact = {"device_id": "1", "use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert gpu.asked == [[("CUDAExecutionProvider", exact), "CPUExecutionProvider"]]
