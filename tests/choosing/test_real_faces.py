"""Which faces each detector misses that at least three others find, on real recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from facemake.backends.detect import DETECTORS
from facemake.choosing.consensus import Standing, standings
from facemake.choosing.pictures import frames_of, recordings
from facemake.choosing.run import compare

# takes more than a second a frame, which is the whole test's time for the others
SLOW = ("dlib-cnn",)
FRAMES = 3  # of each clip: docs/backends.md has the figures of 24


@pytest.fixture(scope="module")
def judged(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Standing]:
    pytest.importorskip("onnxruntime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEMAKE_MODELS", str(shared / "models"))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        names = [name for name in DETECTORS if name not in SLOW]
        paths = recordings([shared / "data"])
        pictures = (one for path in paths for one in frames_of(path, FRAMES, print))
        result = compare(pictures, names)
    assert set(result.missing) <= {"scrfd-10g", "retinaface", "ssd", "mtcnn"}
    return standings([picture.faces for picture in result.pictures], result.detectors)


SURE = ("scrfd", "scrfd-500m", "yolov8-face", "ultralight", "yunet", "mtcnn")


@pytest.mark.parametrize("name", SURE)
def test_these_find_every_face_that_three_others_agree_on(judged: dict[str, Standing], name: str):
    if name not in judged:
        pytest.skip(f"{name} is not installed")
    assert judged[name].agreed >= 12
    assert judged[name].found == judged[name].agreed
    assert judged[name].alone == 0


@pytest.mark.parametrize(
    ("name", "recall"),
    [
        # full range wants to be surer of a single picture than of a track: hands before a face
        ("mediapipe", 0.9),
        # near faces: not the five people of multi_face.jpg
        ("mediapipe-short", 0.6),
        # frontal faces: not one that looks down
        ("opencv", 0.85),
        # half a profile
        ("dlib", 0.9),
    ],
)
def test_these_miss_some(judged: dict[str, Standing], name: str, recall: float):
    assert recall <= judged[name].recall
    assert judged[name].alone <= 3
