"""UnifiedLandmarkPoseNet as a landmark backend, on a network that was not trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

import makepredictors  # noqa: E402
from facemake import nn  # noqa: E402
from facemake.alignment import align  # noqa: E402
from facemake.backends.landmarks import LANDMARKERS, Face  # noqa: E402
from facemake.errors import ModelError  # noqa: E402
from facemake.geometry import apply_affine, invert_affine  # noqa: E402
from facemake.template import SQUARE, affine_of_square, crop_affine, square_of_affine  # noqa: E402

RGB = np.random.default_rng(5).integers(0, 256, (300, 400, 3), np.uint8)
BOX = np.array([120, 60, 160, 160], np.float32)
NOWHERE = np.full((5, 2), np.nan, np.float32)
TILTED = NOWHERE.copy()
TILTED[:2] = [(160, 110), (230, 130)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    makepredictors.landmark_pose(folder)
    return folder


def test_the_square_lies_in_the_crop_as_it_is_said():
    for tilt in (0.0, 0.3, -1.0):
        affine = affine_of_square(BOX, tilt)
        (middle,) = apply_affine(affine, [(200.0, 140.0)])
        np.testing.assert_allclose(middle, SQUARE[:2], atol=1e-9)
        eyes = apply_affine(
            affine, [(200.0, 140.0), (200 + 10 * np.cos(tilt), 140 + 10 * np.sin(tilt))]
        )
        np.testing.assert_allclose(eyes[1] - eyes[0], (10 * SQUARE[2] / 160, 0), atol=1e-9)
        np.testing.assert_allclose(square_of_affine(affine), BOX, atol=1e-4)


def test_points_are_those_of_two_looks(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """By the predictor, written out: the crop of the box, then the one of its landmarks."""
    monkeypatch.setenv("FACEMAKE_MODELS", str(folder))
    network = LANDMARKERS["unified68"].network()
    predictor = nn.load_predictor(folder, "pytorch")
    for points, tilt in ((NOWHERE, 0.0), (TILTED, np.arctan2(20, 70))):
        (found,) = network([Face.of(RGB, BOX, points)])
        affine = affine_of_square(BOX, tilt)
        for _ in range(2):
            bgr = np.ascontiguousarray(align(RGB, affine)[..., ::-1])
            marks = predictor.predict(bgr)["landmarks"].astype(np.float64)
            wanted = apply_affine(invert_affine(affine), marks)
            affine = crop_affine(wanted[17:].astype(np.float32))
        assert found.points.shape == (68, 2) and found.points.dtype == np.float32
        assert found.depth is None and found.confidence is None
        np.testing.assert_allclose(found.points, wanted, atol=0.01)
    together = network([Face.of(RGB, BOX, p) for p in (NOWHERE, TILTED)])
    assert together[1].points.tobytes() == found.points.tobytes()


def test_points_that_are_no_face_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    makepredictors.landmark_pose(tmp_path, bias=0.05)  # all of them about the middle
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    assert LANDMARKERS["unified68"].network()([Face.of(RGB, BOX, NOWHERE)]) == [None]


def test_without_a_network_it_is_said_how_to_train_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    with pytest.raises(
        ModelError,
        match=r"landmark_pose is not on this machine: train it on your own training set: python -m "
        r"facemake\.nn\.train_landmark_pose .* put it as landmark_pose\.onnx into models_dir",
    ):
        LANDMARKERS["unified68"].source(())


def test_another_network_in_its_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    makepredictors.au_prediction(tmp_path)
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=r"au_prediction\.onnx is no UnifiedLandmarkPoseNet"):
        LANDMARKERS["unified68"].network("cpu", "au_prediction.onnx")
