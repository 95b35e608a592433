"""Eyes in the boxes of detectors that have no points, against those of SCRFD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facemake import recipes
from facemake.backends.detect import DETECTORS
from facemake.backends.eyes import EYE_FINDERS, eye_finder
from facemake.choosing.pictures import frames_of
from facemake.detections import landmark_box
from facemake.models import registry

NAMES = ("multi_face.jpg", "single_face.jpg", "single_face.mp4", "WolfgangLanger_Pexels.mp4")


@pytest.mark.parametrize("name", EYE_FINDERS)
def test_a_row_names_registered_models(name: str):
    row = EYE_FINDERS[name]
    assert row.use and row.stack in recipes.LIBRARIES
    assert all(model in registry() for model in row.models)


def test_a_detector_without_eyes_names_who_finds_them():
    for name, row in DETECTORS.items():
        has_eyes = any(word in row.points for word in ("all", "eyes", "five"))
        assert has_eyes != (row.eyes in EYE_FINDERS), (
            f"{name}: its points are {row.points!r} and its eyes are found by {row.eyes!r}"
        )


def test_they_are_where_scrfd_sees_them(shared: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    row = DETECTORS["scrfd"]
    detector = row.create(row.models[0], row.start_score, "cpu")
    find = eye_finder("haar")
    seen, errors = 0, []
    for recording in NAMES:
        for look in frames_of(shared / "data" / recording, 4, print):
            (found,) = detector([look.rgb])
            for box, points in zip(found.bbox, found.keypoints5, strict=True):
                apart = np.linalg.norm(points[1] - points[0])
                eyes = find(look.rgb, landmark_box(box, row.face_box))
                seen += 1
                if eyes is not None:
                    errors.append(np.linalg.norm(eyes - points[:2], axis=1).max() / apart)
    detector.close()
    assert seen >= 12
    assert len(errors) >= 0.7 * seen  # one hides behind a hand, one behind sunglasses
    assert max(errors) < 0.25 and np.median(errors) < 0.12  # shares of the distance of the eyes


def test_haar_sees_no_eyes_where_there_are_none():
    find = eye_finder("haar")
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert find(grey, np.array([50, 50, 100, 100], np.float32)) is None
    assert find(grey, np.array([50, 50, 0, 0], np.float32)) is None
