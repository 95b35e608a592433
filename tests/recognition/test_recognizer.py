from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from facemake.errors import ConfigError
from facemake.recognition.recognizer import Recognizer


@pytest.fixture(scope="module")
def recognizer():
    with Recognizer.of_backends("mediapipe", "dlib") as one:
        yield one


def picture(path) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB")))


def test_faces_of_pictures_have_vectors_that_tell_people_apart(recognizer, bundled):
    names = ("grace_hopper.jpg", "eileen_collins.png")
    pictures = [picture(bundled / "portraits" / name) for name in names]
    found = recognizer.find(pictures)
    assert [len(faces) for faces in found] == [1, 1]
    vectors = [
        recognizer.embed(rgb, [face.face for face in faces])[0]
        for rgb, faces in zip(pictures, found, strict=True)
    ]
    mirrored = recognizer.embed(pictures[0], [found[0][0].face], flip=True)[0]
    np.testing.assert_allclose([np.linalg.norm(v) for v in (*vectors, mirrored)], 1, atol=1e-6)
    assert vectors[0] @ vectors[1] < recognizer.row.same_person < vectors[0] @ mirrored


def test_no_faces_are_no_vectors(recognizer):
    black = np.zeros((90, 160, 3), np.uint8)
    assert recognizer.find([black]) == [[]]
    assert recognizer.find([]) == []
    assert recognizer.embed(black, []).shape == (0, 128)


def test_a_file_of_the_users_is_for_backends_that_take_one():
    for given, kind in (
        ({"embed_model": "mine.dat"}, "embedder dlib"),
        ({"detect_model": "mine.dat"}, "detector mediapipe"),
    ):
        with pytest.raises(ConfigError, match=rf"{kind} loads its own model.* \(.*\)"):
            Recognizer.of_backends("mediapipe", "dlib", **given)


def test_a_place_that_is_none_is_refused(recognizer):
    for box, words in (
        ([np.nan, 0, 10, 10], "nan"),
        ([300, 300, 40, 40], "no pixel in a picture of 160 x 90 px"),
        ([-60, 10, 40, 40], "no pixel"),
        ([20, 20, 0, 0], "not above 0"),
    ):
        face = recognizer.face_of(np.array(box, np.float32))
        with pytest.raises(ValueError, match=words):
            recognizer.embed(np.zeros((90, 160, 3), np.uint8), [face])
