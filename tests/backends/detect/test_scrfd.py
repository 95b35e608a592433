"""SCRFD on real faces, against a decoding of its own making, and files that are no SCRFD."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemake.backends.detect import DETECTORS
from facemake.errors import ModelError
from facemake.models import model_path

onnxruntime = pytest.importorskip("onnxruntime")


def decoded_by_cells(path: Path, rgb: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Score, x1 y1 x2 y2 and five points of each face: cell by cell, as the paper's code has it."""
    scale = 640 / max(rgb.shape[:2])
    h, w = round(rgb.shape[0] * scale), round(rgb.shape[1] * scale)
    blob = np.zeros((640, 640, 3), np.float32)
    blob[:h, :w] = cv2.resize(rgb, (w, h))
    blob[:] = (blob - 127.5) / 128
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = [o[0] for o in session.run(None, {"images": blob.transpose(2, 0, 1)[None]})]
    found = []
    for level, stride in enumerate((8, 16, 32)):
        score, box, points = outputs[level], outputs[level + 3], outputs[level + 6]
        for row in range(len(score)):
            if score[row, 0] < 0.5:
                continue
            cell = row // 2
            x, y = (cell % (640 // stride)) * stride, (cell // (640 // stride)) * stride
            left, top, right, bottom = box[row] * stride
            corners = np.array([x - left, y - top, x + right, y + bottom]) / scale
            five = (points[row].reshape(5, 2) * stride + (x, y)) / scale
            found.append((float(score[row, 0]), corners, five))
    found.sort(key=lambda one: -one[0])
    boxes = [[*c[:2], *(c[2:] - c[:2])] for _, c, _ in found]
    kept = cv2.dnn.NMSBoxes(boxes, [s for s, _, _ in found], 0.5, 0.4)
    return [found[i] for i in np.ravel(kept)]


@pytest.mark.parametrize("backend", ["scrfd", "scrfd-500m"])
@pytest.mark.parametrize("name", ["multi_face.jpg", "single_face.jpg"])
def test_boxes_and_points_are_those_of_an_independent_decoding(
    models: Path, picture: Callable[[str], np.ndarray], backend: str, name: str
):
    row = DETECTORS[backend]
    rgb = picture(name)
    wanted = decoded_by_cells(model_path(row.models[0]), rgb)
    (found,) = row.create(row.models[0], 0.5, "cpu")([rgb])
    assert len(found.score) == len(wanted) == (5 if name == "multi_face.jpg" else 1)
    for i, (score, corners, five) in enumerate(wanted):
        assert found.score[i] == pytest.approx(score, abs=1e-5)
        box = found.bbox[i]
        assert np.abs([*box[:2], *(box[:2] + box[2:])] - corners).max() < 1
        assert np.abs(found.keypoints5[i] - five).max() < 1
        eyes, mouth = found.keypoints5[i, :2], found.keypoints5[i, 3:]
        assert eyes[0, 0] < eyes[1, 0] and mouth[0, 0] < mouth[1, 0]  # the image's left first
        assert eyes[:, 1].max() < found.keypoints5[i, 2, 1] < mouth[:, 1].min()


def test_a_gpu_that_is_not_there_is_said_and_never_the_cpu_in_its_place(
    models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    row = DETECTORS["scrfd-500m"]
    with pytest.raises(ModelError, match=r"device is cuda, and onnxruntime here computes on"):
        row.create(row.models[0], 0.5, "cuda")


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (12, 12000), (3000, 4000)])
def test_pictures_of_any_shape_are_looked_at(models: Path, shape: tuple[int, int]):
    row = DETECTORS["scrfd-500m"]
    (found,) = row.create(row.models[0], 0.5, "cpu")([np.full((*shape, 3), 128, np.uint8)])
    assert len(found.score) == 0


def test_outputs_without_an_axis_for_pictures_and_a_free_size(
    own_models: Path, make_network: Callable[..., None]
):
    """As those of insightface's packs: (rows, k), and height and width left open."""
    outputs = {}
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            outputs[f"{kind}{stride}"] = np.zeros((2 * (640 // stride) ** 2, width))
    row = 2 * (10 * 40 + 5)  # at stride 16: row 10, column 5, the first anchor
    outputs["score16"][row] = 0.9
    outputs["box16"][row] = 1, 2, 3, 4
    outputs["points16"][row] = np.arange(10) / 10
    make_network(own_models / "large.onnx", (1, 3, "h", "w"), outputs)
    detector = DETECTORS["scrfd-10g"].create("large.onnx", 0.5, "cpu")
    pictures = [np.zeros((320, 640, 3), np.uint8), np.zeros((1280, 640, 3), np.uint8)]
    for scale, rgb in ((1, pictures[0]), (0.5, pictures[1])):
        (found,) = detector([rgb])
        assert found.score.tolist() == [np.float32(0.9)]
        corners = np.array([80 - 16, 160 - 32, 80 + 48, 160 + 64]) / scale
        box = found.bbox[0]
        assert np.allclose([*(box[:2] + 0.5), *(box[:2] + box[2:] + 0.5)], corners)
        five = (np.arange(10).reshape(5, 2) * 1.6 + (80, 160)) / scale
        assert np.allclose(found.keypoints5[0] + 0.5, five, atol=1e-4)


def outputs_of(height: int, width: int) -> dict[str, np.ndarray]:
    """Nine outputs at this size, of zeros."""
    return {
        f"{kind}{stride}": np.zeros((2 * -(-height // stride) * -(-width // stride), numbers))
        for kind, numbers in (("score", 1), ("box", 4), ("points", 10))
        for stride in (8, 16, 32)
    }


def test_a_size_that_strides_do_not_divide(own_models: Path, make_network: Callable[..., None]):
    """A convolution of stride 2 gives a cell for what is left: 13 x 25 of 8 px, not 12 x 24."""
    outputs = outputs_of(100, 196)
    row = 2 * (2 * 25 + 3)  # at stride 8: row 2, column 3
    outputs["score8"][row], outputs["box8"][row] = 0.9, 1
    make_network(own_models / "mine.onnx", (1, 3, 100, 196), outputs)
    detector = DETECTORS["scrfd"].create("mine.onnx", 0.5, "cpu")
    (found,) = detector([np.zeros((100, 196, 3), np.uint8)])
    assert np.allclose(found.bbox, [[24 - 8 - 0.5, 16 - 8 - 0.5, 16, 16]])


def test_a_network_of_other_rows_or_of_scalars_is_refused(
    own_models: Path, make_network: Callable[..., None]
):
    make_network(own_models / "rows.onnx", (1, 3, 640, 640), outputs_of(320, 320))
    detector = DETECTORS["scrfd"].create("rows.onnx", 0.5, "cpu")
    with pytest.raises(ModelError, match=r"rows\.onnx is no SCRFD .* have \[3200, 800, 200"):
        detector([np.zeros((64, 64, 3), np.uint8)])
    make_network(own_models / "scalar.onnx", (1, 3, 640, 640), {"one": np.float32(1)})
    for name in ("scrfd", "ultralight", "yolov8-face"):
        with pytest.raises(ModelError, match=r"scalar\.onnx is no "):
            DETECTORS[name].create("scalar.onnx", 0.5, "cpu")
