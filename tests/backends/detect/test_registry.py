"""The rows of the detectors: the config knows them, and each says what a user chooses by."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facemake import recipes, settings
from facemake.backends.detect import DETECTORS
from facemake.backends.detect.boxes import logit
from facemake.backends.landmarks import LANDMARKERS
from facemake.detections import landmark_box
from facemake.errors import ConfigError, ModelError
from facemake.models import registry


def filled(**config: object) -> dict[str, object]:
    return settings.filled({"embed": "off", **config})


def test_the_config_offers_every_detector_and_no_other():
    enum = settings.schema()["properties"]["detect"]["properties"]["backend"]["enum"]
    assert list(enum) == list(DETECTORS)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_row_says_when_to_use_it_and_names_registered_models(name: str):
    row = DETECTORS[name]
    assert row.use and row.scores and row.points
    assert 0 < row.min_score <= row.start_score < 1
    assert row.stack in recipes.LIBRARIES and row.devices[0] == "cpu"
    assert all(model in registry() for model in row.models)


def test_a_package_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for module in [name for name in sys.modules if name.startswith("facemake.backends.")]:
        monkeypatch.delitem(sys.modules, module)
    for make in (
        lambda: DETECTORS["scrfd"].create("scrfd_2.5g_kps", 0.5, "cpu"),
        lambda: LANDMARKERS["pfld68"].network(),
    ):
        with pytest.raises(ModelError, match=r"needs the package onnxruntime.*facemake\[onnx\]"):
            make()
    with pytest.raises(ModelError, match=r"facemake\[onnx-gpu\]"):
        DETECTORS["scrfd"].create("scrfd_2.5g_kps", 0.5, "cuda")


@pytest.mark.parametrize(
    ("probability", "margin"), [(0, -np.inf), (0.5, 0), (0.9, 2.1972), (1, np.inf)]
)
def test_every_least_score_that_the_config_allows_has_a_margin(probability: float, margin: float):
    assert logit(probability) == pytest.approx(margin, abs=1e-4)


@pytest.mark.parametrize("name", ["dlib", "mediapipe", "opencv", "yolov8-face", "scrfd", "yunet"])
def test_nothing_is_as_sure_as_one(name: str, models: Path, picture: Callable[[str], np.ndarray]):
    detector = DETECTORS[name].create(DETECTORS[name].models[0], 1.0, "cpu")
    (found,) = detector([picture("single_face.jpg")])
    assert len(found.score) == 0


def test_a_device_that_nothing_computes_on_is_refused():
    with pytest.raises(ConfigError, match=r"device is cuda, and no backend .* scrfd"):
        settings.check(filled(device="cuda"))
    settings.check(filled(device="cuda", detect={"backend": "scrfd"}))


def test_a_model_of_the_users_is_refused_where_the_backend_loads_its_own():
    with pytest.raises(ConfigError, match=r"detect.model is of no use with .* mediapipe"):
        settings.check(filled(detect={"model": "mine.onnx"}))
    settings.check(filled(detect={"backend": "scrfd", "model": "mine.onnx"}))


def test_the_device_is_part_of_a_recipe_only_where_there_is_a_choice():
    def of(**config: object) -> dict[str, object]:
        return dict(recipes.recipe("detect", filled(**config)).settings)

    assert "device" not in of()
    assert of(detect={"backend": "scrfd"})["device"] == "cpu"
    assert of(detect={"backend": "scrfd"}, device="cuda")["device"] == "cuda"


def test_a_box_becomes_the_square_that_landmark_networks_expect():
    box = np.array([10, 20, 40, 90], np.float32)  # a square of its area has 60 px
    square = landmark_box(box, (0.0, 0.25, 1.5))
    assert np.allclose(square, [30 - 45, 65 + 15 - 45, 90, 90])
    assert landmark_box(np.zeros((3, 4), np.float32), (0.0, 0.0, 1.0)).shape == (3, 4)


def test_landmarks_are_told_how_the_detector_draws_its_boxes():
    def of(backend: str) -> dict[str, object]:
        return dict(recipes.recipe("landmarks", filled(detect={"backend": backend})).settings)

    assert "face_box" not in of("mediapipe")  # as networks expect them
    assert of("scrfd")["face_box"] == list(DETECTORS["scrfd"].face_box)
