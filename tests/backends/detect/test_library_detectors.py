"""The detectors of MediaPipe, OpenCV and dlib against the libraries' own calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest

from facemake.backends.detect import DETECTORS
from facemake.errors import ModelError
from facemake.models import model_path

Picture = Callable[[str], np.ndarray]


@pytest.mark.parametrize(
    ("name", "selection", "least", "faces"),
    [("mediapipe", 1, 0.6, 5), ("mediapipe-short", 0, 0.5, 1)],
)
def test_the_detectors_of_mediapipe(
    picture: Picture, name: str, selection: int, least: float, faces: int
):
    """Its own class has these thresholds fixed inside; its boxes are means of all above them."""
    row = DETECTORS[name]
    detector = row.create(row.models[0], least, "cpu")  # first: it sees to what MediaPipe imports
    import mediapipe as mp

    rgb = picture("multi_face.jpg" if faces == 5 else "single_face.jpg")
    height, width = rgb.shape[:2]
    (found,) = detector([rgb])
    with mp.solutions.face_detection.FaceDetection(model_selection=selection) as library:
        theirs = sorted(library.process(rgb).detections, key=lambda one: -one.score[0])
    assert len(theirs) == len(found.score) == faces
    for i, one in enumerate(theirs):
        box, points = one.location_data.relative_bounding_box, one.location_data.relative_keypoints
        wanted = [box.xmin * width, box.ymin * height, box.width * width, box.height * height]
        assert found.score[i] == pytest.approx(one.score[0], abs=1e-6)
        assert np.abs(found.bbox[i] - wanted).max() < 1
        five = np.array([(p.x * width, p.y * height) for p in points[:3]])
        assert np.abs(found.keypoints5[i, :3] - five).max() < 1
        assert found.keypoints5[i, 0, 0] < found.keypoints5[i, 1, 0]  # the image's left first
        assert np.isnan(found.keypoints5[i, 3:]).all()


def test_the_cascade_of_opencv(picture: Picture):
    row = DETECTORS["opencv"]
    rgb = picture("multi_face.jpg")
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    theirs = cascade.detectMultiScale(grey, 1.1, 3, minSize=(24, 24))
    (found,) = row.create(row.models[0], 0.0, "cpu")([rgb])
    mine = sorted(map(tuple, (found.bbox + np.array([0.5, 0.5, 0, 0])).astype(int).tolist()))
    assert mine == sorted(map(tuple, theirs.tolist())) and len(mine) >= 5
    assert (np.diff(found.score) <= 0).all() and ((found.score >= 0) & (found.score < 1)).all()
    assert np.isnan(found.keypoints5).all()
    (sure,) = row.create(row.models[0], 0.6, "cpu")([rgb])
    assert len(sure.score) == (found.score >= 0.6).sum()


@pytest.mark.parametrize("name", ["dlib", "dlib-cnn"])
def test_the_detectors_of_dlib(picture: Picture, name: str):
    row = DETECTORS[name]
    rgb = picture("single_face.jpg")
    if name == "dlib":
        theirs, margins, _ = dlib.get_frontal_face_detector().run(rgb, 1, 0)
    else:
        network = dlib.cnn_face_detection_model_v1(str(model_path(row.models[0])))
        faces = network(rgb, 0)
        theirs, margins = [face.rect for face in faces], [face.confidence for face in faces]
    (found,) = row.create(row.models[0], 0.5, "cpu")([rgb])
    assert len(found.score) == len(theirs) == 1
    box = [theirs[0].left(), theirs[0].top(), theirs[0].width(), theirs[0].height()]
    assert np.abs(found.bbox[0] - box).max() <= 0.5  # their corners are pixels, ours sides
    assert found.score[0] == pytest.approx(1 / (1 + np.exp(-margins[0])), abs=1e-6)
    left, right = found.keypoints5[0, :2]
    assert left[0] < right[0] and np.isnan(found.keypoints5[0, 2:]).all()
    x, y, w, h = found.bbox[0]
    assert x < left[0] < right[0] < x + w and y < left[1] < y + h / 2


@pytest.mark.parametrize("name", ["opencv", "dlib"])
def test_pictures_of_any_shape_are_looked_at(name: str):
    row = DETECTORS[name]
    detector = row.create(row.models[0], row.min_score, "cpu")
    shapes = [(1, 1), (1, 300), (300, 1), (12, 12000)]
    found = detector([np.full((*shape, 3), 128, np.uint8) for shape in shapes])
    assert [len(one.score) for one in found] == [0] * 4


PROTOTXT = """
name: "small"
input: "data"
input_shape { dim: 1 dim: 3 dim: 300 dim: 300 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
        pooling_param { pool: AVE kernel_size: 60 stride: 60 } }
layer { name: "loc" type: "Convolution" bottom: "pool" top: "loc"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "conf" type: "Convolution" bottom: "pool" top: "conf"
        convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "loc_p" type: "Permute" bottom: "loc" top: "loc_p"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_f" type: "Flatten" bottom: "loc_p" top: "loc_f" }
layer { name: "conf_p" type: "Permute" bottom: "conf" top: "conf_p"
        permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_f" type: "Flatten" bottom: "conf_p" top: "conf_f" }
layer { name: "conf_r" type: "Reshape" bottom: "conf_f" top: "conf_r"
        reshape_param { shape { dim: 0 dim: -1 dim: 2 } } }
layer { name: "conf_s" type: "Softmax" bottom: "conf_r" top: "conf_s" softmax_param { axis: 2 } }
layer { name: "conf_o" type: "Flatten" bottom: "conf_s" top: "conf_o" }
layer { name: "prior" type: "PriorBox" bottom: "pool" bottom: "data" top: "prior"
        prior_box_param { min_size: 90 aspect_ratio: 1 flip: false clip: false
                          variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 offset: 0.5 } }
layer { name: "detection_out" type: "DetectionOutput" bottom: "loc_f" bottom: "conf_o"
        bottom: "prior" top: "detection_out"
        detection_output_param { num_classes: 2 share_location: true background_label_id: 0
          nms_param { nms_threshold: 0.45 top_k: 400 } code_type: CENTER_SIZE
          keep_top_k: 200 confidence_threshold: 0.01 } }
"""


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def blob(values: np.ndarray) -> bytes:
    """A BlobProto: its shape (7) and float data (5), as caffe.proto has them."""
    shape = b"".join(varint(n) for n in values.shape)
    return field(7, field(1, shape)) + field(5, values.astype("<f4").tobytes())


def caffe_model(layers: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """A NetParameter of convolutions: layer (100) with name (1), type (2) and blobs (7)."""
    out = b""
    for name, (weight, bias) in layers.items():
        layer = field(1, name.encode()) + field(2, b"Convolution")
        out += field(100, layer + field(7, blob(weight)) + field(7, blob(bias)))
    return out


@pytest.fixture
def small_ssd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers that end OpenCV's network, on 5 x 5 cells: the brighter a cell, the surer."""
    from facemake.backends.detect import ssd

    conf = np.zeros((2, 3, 1, 1))
    conf[1] = 0.01  # mean-free brightness, of three channels
    layers = {
        "loc": (np.zeros((4, 3, 1, 1)), np.zeros(4)),
        "conf": (conf, np.array([0.0, -2.0])),
    }
    (tmp_path / "w.caffemodel").write_bytes(caffe_model(layers))
    (tmp_path / "p.prototxt").write_text(PROTOTXT)
    files = {"res10_ssd": "w.caffemodel", ssd.PROTOTXT: "p.prototxt"}
    monkeypatch.setattr(ssd, "model_path", lambda name: tmp_path / files[name])


def test_ssd_on_a_small_network_with_the_outputs_of_opencvs(small_ssd: None):
    detector = DETECTORS["ssd"].create("res10_ssd", 0.5, "cpu")
    rgb = np.zeros((600, 1200, 3), np.uint8)
    rgb[240:360, 720:960] = 255  # the cell of row 2, column 3
    (found,) = detector([rgb])
    assert len(found.score) == 1
    # a prior of 90 px around the cell's middle, in a picture squeezed from 1200 x 600 to 300 x 300
    assert np.allclose(found.bbox[0], [840 - 180 - 0.5, 300 - 90 - 0.5, 360, 180], atol=0.5)
    margin = 0.01 * (255 * 3 - (104 + 177 + 123)) - 2
    assert found.score[0] == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-3)
    assert np.isnan(found.keypoints5).all()
    (nothing,) = detector([np.zeros((50, 50, 3), np.uint8)])
    assert len(nothing.score) == 0


def test_ssd_without_its_files_or_with_damaged_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from facemake.backends.detect import ssd

    monkeypatch.delenv("FACEMAKE_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"`facemake models fetch res10_ssd`"):
        ssd.create("res10_ssd", 0.5, "cpu")
    (tmp_path / "damaged").write_bytes(b"no network")
    monkeypatch.setattr(ssd, "model_path", lambda name: tmp_path / "damaged")
    with pytest.raises(ModelError, match=r"damaged .* cannot be loaded as a Caffe network"):
        ssd.create("res10_ssd", 0.5, "cpu")
