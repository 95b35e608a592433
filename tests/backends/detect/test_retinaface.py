"""RetinaFace through the package retina-face, on a small network with the outputs of its own.

Its weights cannot be had where there is no network: the network here is a TEST DOUBLE with the
inputs and outputs of retinaface.onnx; what makes boxes of them is the package's own code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facemake.backends.detect import DETECTORS
from facemake.errors import ModelError
from standingpu import stand_in

pytest.importorskip("retinaface", reason="the detector retinaface is not installed (make onnx)")
onnx = pytest.importorskip("onnx")

SIZE = (96, 160)  # of the picture, multiples of 32 so that no level is cut


@pytest.fixture
def double(own_models: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Takes (1, H, W, 3); gives class scores, box and point offsets of strides 32, 16, 8."""
    monkeypatch.setenv("DEEPFACE_BACKEND_ENGINE", "onnx")
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    outputs, nodes, values = [], [], []
    for stride in (32, 16, 8):
        h, w = SIZE[0] // stride, SIZE[1] // stride
        arrays = {
            f"cls{stride}": np.zeros((1, h, w, 4)),  # two anchors: not a face, then a face
            f"box{stride}": np.zeros((1, h, w, 8)),
            f"lm{stride}": np.zeros((1, h, w, 20)),
        }
        if stride == 16:  # the second anchor, of 64 px, at row 2, column 5
            arrays["cls16"][0, 2, 5, 3] = 0.97
            arrays["lm16"][0, 2, 5, 10:] = [-0.2, -0.2, 0.2, -0.2, 0, 0, -0.15, 0.2, 0.15, 0.2]
        for name, array in arrays.items():
            values.append(onnx.numpy_helper.from_array(array.astype(np.float32), f"c_{name}"))
            nodes.append(helper.make_node("Add", [f"c_{name}", "zero"], [name]))
            outputs.append(helper.make_tensor_value_info(name, float_, array.shape))
    values.append(onnx.numpy_helper.from_array(np.float32(0), "nothing"))
    start = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
    ]
    images = helper.make_tensor_value_info("images", float_, ["n", "h", "w", 3])
    graph = helper.make_graph(start + nodes, "double", [images], outputs, values)
    opset = [helper.make_opsetid("", 17)]
    file = own_models / "double.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), file)
    # the package makes a picture larger or smaller before its network sees it
    from retinaface.commons import preprocess

    real = preprocess.preprocess_image
    monkeypatch.setattr(
        preprocess,
        "preprocess_image",
        lambda img, allow_upscaling: (real(img, False)[0][:, : SIZE[0], : SIZE[1]], SIZE, 1.0),
    )
    return file.name


def test_boxes_and_points_are_the_packages_in_the_images_order(double: str):
    from retinaface import RetinaFace

    detector = DETECTORS["retinaface"].create(double, 0.9, "cpu")
    rgb = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    (found,) = detector([rgb])
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    (theirs,) = RetinaFace.detect_faces(bgr, 0.9, detector._outputs).values()
    assert found.score.tolist() == [np.float32(0.97)]
    x, y, w, h = found.bbox[0]
    assert np.abs(np.array([x, y, x + w, y + h]) - theirs["facial_area"]).max() < 1
    names = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")  # the person's sides
    assert np.allclose(found.keypoints5[0], [theirs["landmarks"][name] for name in names])
    left, right, nose, mouth_left, mouth_right = found.keypoints5[0]
    assert left[0] < nose[0] < right[0] and mouth_left[0] < mouth_right[0]
    assert left[1] < nose[1] < mouth_left[1]
    (nothing,) = DETECTORS["retinaface"].create(double, 0.98, "cpu")([rgb])
    assert len(nothing.score) == 0


def test_outputs_that_are_no_numbers_are_an_error(double: str, monkeypatch: pytest.MonkeyPatch):
    detector = DETECTORS["retinaface"].create(double, 0.9, "cpu")
    real = detector._network
    monkeypatch.setattr(detector, "_network", lambda picture: [x * np.nan for x in real(picture)])
    with pytest.raises(ModelError, match=r"double\.onnx gives scores, boxes or points that are no"):
        detector([np.zeros((*SIZE, 3), np.uint8)])


def test_without_its_file_it_says_where_that_is_got(
    own_models: Path, monkeypatch: pytest.MonkeyPatch
):
    row = DETECTORS["retinaface"]
    with pytest.raises(ModelError, match=r"get it from https://github.com/serengil/.*retinaface"):
        row.create(row.models[0], 0.9, "cpu")


def test_it_asks_the_network_for_nothing(double: str, monkeypatch: pytest.MonkeyPatch):
    import socket

    def refused(*_: object) -> None:
        raise AssertionError("it tried the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    detector = DETECTORS["retinaface"].create(double, 0.9, "cpu")
    assert len(detector([np.zeros((*SIZE, 3), np.uint8)])[0].score) == 1


def test_on_a_gpu_the_package_gets_its_picture_and_no_black_ones_beside_it(
    double: str, monkeypatch: pytest.MonkeyPatch
):
    gpu = stand_in(monkeypatch)
    detector = DETECTORS["retinaface"].create(double, 0.9, "cuda")
    detector([np.zeros((*SIZE, 3), np.uint8)])
    assert gpu.fed == [1]


def test_a_picture_of_which_the_package_would_leave_no_pixel(double: str):
    detector = DETECTORS["retinaface"].create(double, 0.9, "cpu")
    for shape in ((1, 12000), (12000, 1), (20, 6000)):
        assert len(detector([np.zeros((*shape, 3), np.uint8)])[0].score) == 0


def test_nine_outputs_of_another_network_are_refused(
    own_models: Path, make_network: Callable[..., None]
):
    outputs = {f"o{k}": np.zeros((1, 4, 4, k % 3 + 1)) for k in range(9)}
    make_network(own_models / "nine.onnx", ("n", "h", "w", 3), outputs)
    with pytest.raises(ModelError, match=r"nine\.onnx is no RetinaFace of the package retina-face"):
        DETECTORS["retinaface"].create("nine.onnx", 0.9, "cpu")
