"""YOLOv8-face, Ultra-Light and YuNet against decodings of their own making and OpenCV's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemake.backends.detect import DETECTORS
from facemake.backends.detect.boxes import letterbox, network_input
from facemake.detections import Detections
from facemake.errors import ModelError
from facemake.models import model_path

onnxruntime = pytest.importorskip("onnxruntime")

Picture = Callable[[str], np.ndarray]
NAMES = {"multi_face.jpg": 5, "single_face.jpg": 1}


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("mean", "std"), [(127.5, 128.0), (127.0, 128.0), (0.0, 255.0)])
def test_a_networks_input_is_what_computing_with_every_pixel_gives(mean: float, std: float):
    pictures = np.random.default_rng(0).integers(0, 256, (2, 37, 53, 3), dtype=np.uint8)
    wanted = (pictures.transpose(0, 3, 1, 2).astype(np.float32) - mean) / std
    found = network_input(list(pictures), mean=mean, std=std)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.array_equal(found, wanted)


def compare(
    found: Detections, wanted: list[tuple[float, np.ndarray, np.ndarray | None]], faces: int
) -> None:
    """Scores, x1 y1 x2 y2 and five points, each by falling score."""
    assert len(found.score) == len(wanted) == faces
    for i, (score, corners, five) in enumerate(wanted):
        assert found.score[i] == pytest.approx(score, abs=1e-3)
        box = found.bbox[i]
        assert np.abs([*box[:2], *(box[:2] + box[2:])] - corners).max() < 1
        if five is None:
            assert np.isnan(found.keypoints5[i]).all()
            continue
        assert np.abs(found.keypoints5[i] - five).max() < 1
        eyes, mouth = found.keypoints5[i, :2], found.keypoints5[i, 3:]
        assert eyes[0, 0] < eyes[1, 0] and mouth[0, 0] < mouth[1, 0]  # the image's left first
        assert eyes[:, 1].max() < found.keypoints5[i, 2, 1] < mouth[:, 1].min()


def kept(found: list[tuple[float, np.ndarray, np.ndarray | None]], overlap: float) -> list:
    found = sorted(found, key=lambda one: -one[0])
    boxes = [[*c[:2], *(c[2:] - c[:2])] for _, c, _ in found]
    return [found[i] for i in np.ravel(cv2.dnn.NMSBoxes(boxes, [f[0] for f in found], 0, overlap))]


def yolo_input(rgb: np.ndarray) -> tuple[np.ndarray, float, int, int]:
    scale = 640 / max(rgb.shape[:2])
    h, w = round(rgb.shape[0] * scale), round(rgb.shape[1] * scale)
    top, left = (640 - h) // 2, (640 - w) // 2
    canvas = np.full((640, 640, 3), 114, np.uint8)
    canvas[top : top + h, left : left + w] = cv2.resize(rgb, (w, h))
    return canvas.transpose(2, 0, 1)[None].astype(np.float32) / 255, scale, left, top


def yolo_by_cells(path: Path, rgb: np.ndarray) -> list:
    """Cell by cell, as its maker's README has it: DFL is the mean of a softmax over 16 bins."""
    blob, scale, left, top = yolo_input(rgb)
    found = []
    for maps in session(path).run(None, {"images": blob}):
        stride = 640 // maps.shape[2]
        for y, x in zip(*np.nonzero(maps[0, 64] > 0), strict=True):
            values = maps[0, :, y, x].astype(np.float64)
            sides = []
            for side in range(4):
                bins = values[16 * side : 16 * side + 16]
                share = np.exp(bins) / np.exp(bins).sum()
                sides.append(sum(i * part for i, part in enumerate(share)))
            corners = np.array([x + 0.5 - sides[0], y + 0.5 - sides[1],
                                x + 0.5 + sides[2], y + 0.5 + sides[3]])  # fmt: skip
            five = [(values[65 + 3 * k] * 2 + x, values[66 + 3 * k] * 2 + y) for k in range(5)]
            offset = np.array([left, top])
            found.append(
                (
                    1 / (1 + np.exp(-values[64])),
                    (corners * stride - np.tile(offset, 2)) / scale,
                    (np.array(five) * stride - offset) / scale,
                )
            )
    return kept(found, 0.5)


@pytest.mark.parametrize("centred", [False, True])
def test_a_letterbox_leads_back_to_where_a_point_was(centred: bool):
    """Also in a strip that is a few pixels high in the network's input."""
    picture = np.zeros((5001, 12000, 3), np.uint8)
    canvas, where = letterbox(picture + np.uint8(9), 640, 640, centred=centred, fill=0)
    (rows,) = np.nonzero(canvas[:, 320, 0])
    ends = np.array([[0.0, rows[0]], [640.0, rows[-1] + 1]])  # the picture's corners
    assert np.allclose(where.back(ends), [[0, 0], [12000, 5001]])


@pytest.mark.parametrize("name", NAMES)
def test_yolov8_of_three_maps(models: Path, picture: Picture, name: str):
    row = DETECTORS["yolov8-face"]
    rgb = picture(name)
    (found,) = row.create(row.models[0], 0.5, "cpu")([rgb])
    compare(found, yolo_by_cells(model_path(row.models[0]), rgb), NAMES[name])


def test_yolov8_of_one_list(own_models: Path, make_network: Callable[..., None]):
    """The form that ultralytics exports: centre, size, score, x, y and visibility of points."""
    rows = np.zeros((1, 20, 8400))
    points = [150, 300, 1, 250, 300, 1, 200, 350, 0.9, 160, 400, 1, 240, 400, 1]
    rows[0, :, 17] = [200, 340, 160, 200, 0.8, *points]
    rows[0, :, 4000] = [205, 342, 160, 200, 0.7, *points]  # the same face
    rows[0, :, 8000] = [500, 340, 60, 80, 0.6, *points]
    rows[0, :, 8001] = [100, 100, 60, 80, 0.4, *points]  # not sure enough
    make_network(own_models / "mine.onnx", (1, 3, 640, 640), {"output0": rows})
    detector = DETECTORS["yolov8-face"].create("mine.onnx", 0.5, "cpu")
    (found,) = detector([np.zeros((640, 1280, 3), np.uint8)])  # half as large, 160 px above
    assert found.score.tolist() == [np.float32(0.8), np.float32(0.6)]
    assert np.allclose(found.bbox[0], [240 - 0.5, 160 - 0.5, 320, 400])
    assert np.allclose(found.keypoints5[0, 2], [400 - 0.5, 380 - 0.5])


def test_a_pytorch_file_is_refused_with_the_line_that_exports_it(own_models: Path):
    (own_models / "yolov8n-face.pt").write_bytes(b"PK")
    with pytest.raises(ModelError, match=r"yolo export model=yolov8n-face\.pt format=onnx"):
        DETECTORS["yolov8-face"].create("yolov8n-face.pt", 0.5, "cpu")


@pytest.mark.parametrize("name", NAMES)
def test_ultralight(models: Path, picture: Picture, name: str):
    row = DETECTORS["ultralight"]
    rgb = picture(name)
    blob = (cv2.resize(rgb, (320, 240)).astype(np.float32) - 127) / 128
    scores, boxes = session(model_path(row.models[0])).run(
        None, {"input": blob.transpose(2, 0, 1)[None]}
    )
    size = np.tile(rgb.shape[1::-1], 2)
    wanted = [
        (float(scores[0, i, 1]), boxes[0, i] * size, None)
        for i in np.flatnonzero(scores[0, :, 1] > 0.7)
    ]
    (found,) = row.create(row.models[0], 0.7, "cpu")([rgb])
    compare(found, kept(wanted, 0.3), NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_yunet(models: Path, picture: Picture, name: str):
    row = DETECTORS["yunet"]
    rgb = picture(name)
    scale = min(1, 640 / max(rgb.shape[:2]))
    bgr = cv2.resize(rgb[:, :, ::-1], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    theirs = cv2.FaceDetectorYN.create(str(model_path(row.models[0])), "", bgr.shape[1::-1], 0.7)
    _, rows = theirs.detect(bgr)
    wanted = [
        (float(r[14]), np.array([*r[:2], *(r[:2] + r[2:4])]) / scale, r[4:14].reshape(5, 2) / scale)
        for r in rows
    ]
    (found,) = row.create(row.models[0], 0.7, "cpu")([rgb])
    compare(found, sorted(wanted, key=lambda one: -one[0]), NAMES[name])


@pytest.mark.parametrize("height", [30, 32])
def test_yunet_sees_what_is_in_a_narrow_strip_and_no_more(
    models: Path, picture: Picture, height: int
):
    row = DETECTORS["yunet"]
    face = picture("single_face.jpg")[112:434]
    scale = height / len(face)
    small = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    strip = np.zeros((height, 640, 3), np.uint8)
    strip[:, 300 : 300 + small.shape[1]] = small
    found = []
    for seed in range(6):  # each after another picture: OpenCV's memory is another one
        detector = row.create(row.models[0], 0.5, "cpu")
        detector([np.random.default_rng(seed).integers(0, 256, (640, 640, 3), np.uint8)])
        found += detector([strip])
    (box,) = found[0].bbox
    assert abs(box[0] + box[2] / 2 - (300 + 282 * scale)) < 3  # its middle is at 282 px
    assert 0.6 * height < box[3] < height
    assert len({one.bbox.tobytes() for one in found}) == 1


FILES = {
    "yolov8-face": ("yolov8-lite-t.onnx", "scrfd_500m_kps.onnx"),
    "ultralight": ("version-RFB-320.onnx", "scrfd_500m_kps.onnx"),
    "yunet": ("yunet_n_640_640.onnx", "scrfd_500m_kps.onnx"),
}


@pytest.mark.parametrize("name", ["scrfd-500m", *FILES])
def test_pictures_of_any_shape_and_in_any_company(models: Path, picture: Picture, name: str):
    row = DETECTORS[name]
    detector = row.create(row.models[0], row.start_score, "cpu")
    shapes = [(1, 1), (1, 300), (300, 1), (12, 12000), (3000, 4000)]
    pictures = [np.full((*shape, 3), 128, np.uint8) for shape in shapes]
    pictures += [picture("multi_face.jpg"), picture("free-mountain-vector-01.jpg")]
    together = detector(pictures)
    assert [len(found.score) for found in together] == [0, 0, 0, 0, 0, 5, 0]
    (alone,) = detector(pictures[5:6])
    assert alone.bbox.tobytes() == together[5].bbox.tobytes()
    assert alone.score.tobytes() == together[5].score.tobytes()


OUTPUTS_OF_NONE = {
    "yolov8-face": ((1, 3, 640, 640), {"output0": np.full((1, 20, 8400), np.nan)}),
    "ultralight": (
        (1, 3, 240, 320),
        {"scores": np.full((1, 4420, 2), np.nan), "boxes": np.zeros((1, 4420, 4))},
    ),
    "scrfd": (
        (1, 3, 640, 640),
        {
            f"{name}{stride}": np.full((1, 2 * (640 // stride) ** 2, width), np.nan)
            for name, width in (("score", 1), ("box", 4), ("points", 10))
            for stride in (8, 16, 32)
        },
    ),
}


@pytest.mark.parametrize("name", OUTPUTS_OF_NONE)
def test_scores_that_are_no_numbers_are_an_error_and_not_a_picture_without_a_face(
    own_models: Path, make_network: Callable[..., None], name: str
):
    make_network(own_models / "mine.onnx", *OUTPUTS_OF_NONE[name])
    detector = DETECTORS[name].create("mine.onnx", 0.5, "cpu")
    with pytest.raises(ModelError, match=r"scores that are no numbers: .* take one in float32"):
        detector([np.zeros((64, 64, 3), np.uint8)])


@pytest.mark.filterwarnings("ignore:invalid value")
def test_boxes_that_are_no_numbers_are_an_error_and_not_a_track(
    own_models: Path, make_network: Callable[..., None]
):
    rows = np.zeros((1, 20, 8400))
    rows[0, :5, 7] = 320, np.inf, 100, 100, 0.9
    make_network(own_models / "mine.onnx", (1, 3, 640, 640), {"output0": rows})
    detector = DETECTORS["yolov8-face"].create("mine.onnx", 0.5, "cpu")
    with pytest.raises(ModelError, match="boxes, scores or points that are no numbers"):
        detector([np.zeros((64, 64, 3), np.uint8)])
