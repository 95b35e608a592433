"""Pictures as they come, through the readers that stages use, before every detector and network."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import makepredictors
from facemake.alignment import LONGEST
from facemake.backends.detect import DETECTORS
from facemake.backends.eyes import eye_finder
from facemake.backends.landmarks import LANDMARKERS, Face
from facemake.detections import landmark_box
from facemake.extraction.cutting import Cutter
from facemake.extraction.inputs import listed
from facemake.extraction.looking import Extractor
from facemake.extraction.settings import CropSettings
from facemake.media import open_media
from facemake.samples import Sample
from facemake.schemes import IBUG68, convert

NO_WEIGHTS = {"scrfd-10g", "retinaface", "ssd"}
NAMES = [name for name in DETECTORS if name not in NO_WEIGHTS]
LIBRARY = {"onnx": "onnxruntime", "facenet": "torch"}
FACE = (100, 80, 110, 140)
"""x, y, w, h px of the face in the pictures that have one: from brows to chin."""
BROWS_TO_LIP = (110, 118, 82, 79)
"""x, y, w, h px of its landmarks without the jaw."""
SEEN = ("grey.png", "grey16.png", "colour16.png", "alpha.png", "cmyk.jpg", "turned.jpg")
EMPTY = ("1x1.png", "1x300.png", "300x1.png", "3000x20.png", "20x3000.png", "black.png")
WIDE = "wide.png"
FINDS_IN_WIDE = {"mtcnn", "opencv", "dlib"}
"""They look at its pixels as they are, two of them in tiles; the others make a large picture as
small as their network's input."""


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    image = Image.open(shared / "data" / "single_face.jpg").convert("RGB").resize((318, 312))
    rgb, grey = np.asarray(image), np.asarray(image.convert("L"))
    image.convert("L").save(folder / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "grey16.png")
    cv2.imwrite(str(folder / "colour16.png"), rgb[:, :, ::-1].astype(np.uint16) * 257)
    alpha = image.copy()
    alpha.putalpha(255)
    alpha.save(folder / "alpha.png")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter clockwise to be upright
    image.rotate(90, expand=True).save(folder / "turned.jpg", exif=exif, quality=95)
    for name in EMPTY[:-1]:
        size = tuple(int(n) for n in name.removesuffix(".png").split("x"))
        Image.new("RGB", size, (120, 120, 120)).save(folder / name)
    Image.new("RGB", (640, 480)).save(folder / "black.png")
    wide = np.full((250, 12_000, 3), 128, np.uint8)
    small = cv2.resize(rgb, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    wide[: len(small), 5000 : 5000 + small.shape[1]] = small
    Image.fromarray(wide).save(folder / WIDE, compress_level=1)
    return folder


def create(name: str):
    row = DETECTORS[name]
    if row.stack in LIBRARY and find_spec(LIBRARY[row.stack]) is None:
        pytest.skip(f"{LIBRARY[row.stack]} is not installed")
    return row.create(row.models[0], row.start_score, "cpu")


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[:2] + box[2:], other[:2] + other[2:])
    common = np.prod(np.maximum(high - low, 0))
    return float(common / (np.prod(box[2:]) + np.prod(other[2:]) - common))


@pytest.mark.parametrize("name", NAMES)
def test_every_detector_gets_through_odd_pictures(
    shared: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    detector = create(name)
    cutter = Cutter.of(name, CropSettings("arcface112", None, "png", 95))
    extract = Extractor(detector, cutter, tmp_path, "png", 95, 1)
    inputs = listed([folder], tmp_path, "png").inputs
    if name == "dlib-cnn":  # a second a picture, and 15 for that one
        inputs = [one for one in inputs if one.name not in (*SEEN[1:-1], "black.png", WIDE)]
    found = {inputs[given.index].name: given.rows for given in extract(enumerate(inputs))}
    assert len(found) == len(inputs) > 5
    for each in set(SEEN) & set(found):
        (row,) = found[each]
        assert row["status"] == "ok", (each, row)
        box = np.array([row[k] for k in "xywh"])
        assert overlap(box, np.array(FACE)) > 0.45, (each, box)
        assert Image.open(tmp_path / row["output"]).size == (112, 112)
    for each in set(EMPTY) & set(found):
        assert [row["status"] for row in found[each]] == ["no_face"], each
    if WIDE in found:
        seen = [row["status"] for row in found[WIDE]]
        assert seen == (["ok"] if name in FINDS_IN_WIDE else ["no_face"])


@pytest.mark.parametrize("name", [n for n, row in LANDMARKERS.items() if not row.given])
def test_every_landmark_network_gets_through_odd_pictures(
    shared: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    models = [shared / "models", tmp_path / "trained"]
    monkeypatch.setenv("FACEMAKE_MODELS", os.pathsep.join(map(str, models)))
    if LANDMARKERS[name].stack == "onnx":
        pytest.importorskip("onnxruntime")
    if name == "unified68":  # no weights are published: the mean face with noise on it
        pytest.importorskip("torch")
        makepredictors.landmark_pose(tmp_path / "trained")
    network = LANDMARKERS[name].network()
    least = 0.5 if name == "unified68" else 0.8  # it moves with the box alone
    square = landmark_box(np.array(FACE, np.float32), (0.0, 0.0, 1.1))
    nowhere = np.full((5, 2), np.nan, np.float32)
    with open_media(Sample("odd", folder, "odd")) as media:
        for path, frame in zip(media.paths, media, strict=True):
            # in the small ones it lies outside, in part or whole
            (found,) = network([Face(frame, square, nowhere)])
            assert found is None or np.isfinite(found.points).all(), path.name
            if path.name in SEEN:
                assert found is not None
                points = convert(found.points, network.scheme, IBUG68)[17:]
                low, high = points.min(axis=0), points.max(axis=0)
                assert overlap(np.concatenate([low, high - low]), np.array(BROWS_TO_LIP)) > least
    network.close()


@pytest.fixture(scope="module")
def strips(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """One face in a picture that is longer than OpenCV's and MediaPipe's warps take; and in one
    that is not, with the same around it.
    """
    image = Image.open(shared / "data" / "single_face.jpg").convert("RGB").resize((318, 312))
    long = np.full((312, LONGEST + 900, 3), 128, np.uint8)
    long[:, LONGEST + 200 : LONGEST + 518] = np.asarray(image)
    return long, np.ascontiguousarray(long[:, LONGEST - 800 :])


def test_landmarks_in_a_picture_that_is_too_long_for_a_warp(
    strips: tuple[np.ndarray, np.ndarray],
):
    network = LANDMARKERS["mediapipe478"].network()
    found = []
    for rgb, left in zip(strips, (LONGEST + 200, 1000), strict=True):
        x, y, w, h = FACE
        square = landmark_box(np.array((left + x, y, w, h), np.float32), (0.0, 0.0, 1.1))
        (marks,) = network([Face.of(rgb, square)])
        assert marks is not None
        found.append(marks.points - (left, 0))
    assert np.abs(found[0] - found[1]).max() < 0.05
    network.close()


def test_faces_and_eyes_in_a_picture_that_is_too_long_for_a_warp(
    strips: tuple[np.ndarray, np.ndarray],
):
    for name in ("mediapipe", "mediapipe-short"):
        row = DETECTORS[name]
        (nothing,) = row.create(row.models[0], row.start_score, "cpu")([strips[0]])
        (found,) = row.create(row.models[0], row.start_score, "cpu", 640)([strips[0]])
        assert len(nothing.score) == 0 and len(found.score) == 1
        x, y, w, h = found.bbox[0]
        assert overlap(np.array([x - LONGEST - 200, y, w, h]), np.array(FACE)) > 0.45
    row = DETECTORS["opencv"]
    (found,) = row.create(row.models[0], row.start_score, "cpu")([strips[0]])
    assert overlap(found.bbox[0] - (LONGEST + 200, 0, 0, 0), np.array(FACE)) > 0.45
    eyes = []
    for rgb, left in zip(strips, (LONGEST + 200, 1000), strict=True):
        x, y, w, h = FACE
        seen = eye_finder("haar")(rgb, np.array((left + x - 10, y, w + 20, h), np.float32))
        assert seen is not None
        eyes.append(seen - (left, 0))
        points = np.full((5, 2), np.nan, np.float32)
        points[:2] = seen
        assert (
            Cutter.of("opencv", CropSettings("arcface112", None, "png", 95))(
                rgb, np.array((left + x, y, w, h), np.float32), points
            ).status
            == "ok"
        )
    assert np.abs(eyes[0] - eyes[1]).max() < 0.05
