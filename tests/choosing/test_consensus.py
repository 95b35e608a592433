"""Faces that detectors agree on, and what that says of each."""

from __future__ import annotations

import math

import numpy as np

from facemake.choosing.consensus import Standing, faces_of, overlap, standings


def boxes(*corners: tuple[float, float]) -> np.ndarray:
    return np.array([(x, y, 100, 100) for x, y in corners], np.float32).reshape(-1, 4)


def test_boxes_of_one_face_are_joined_and_those_of_two_are_not():
    squares = {
        "a": boxes((0, 0), (130, 0)),
        "b": boxes((125, 5)),
        "c": boxes((10, 0), (140, 0), (700, 0)),
        "d": boxes(),
    }
    faces = sorted(faces_of(squares), key=lambda face: face.bbox[0])
    assert [dict(face.found) for face in faces] == [
        {"a": 0, "c": 0},
        {"a": 1, "b": 0, "c": 1},
        {"c": 2},
    ]
    assert faces[1].bbox.tolist() == [130, 0, 100, 100]


def test_a_detector_has_each_face_once():
    """Two boxes of one detector on one face are a face, and something that it sees alone."""
    faces = faces_of({"a": boxes((0, 0), (20, 0)), "b": boxes((5, 0))})
    assert sorted(len(face.found) for face in faces) == [1, 2]
    assert {"a": 0, "b": 0} in [dict(face.found) for face in faces]


def test_no_detections_are_no_faces():
    assert faces_of({"a": boxes(), "b": boxes()}) == []


def test_three_others_make_a_face():
    pictures = [
        faces_of({"a": boxes((0, 0)), "b": boxes((0, 0)), "c": boxes((0, 0)), "d": boxes()}),
        faces_of({"a": boxes((0, 0)), "b": boxes((0, 0)), "c": boxes(), "d": boxes((300, 0))}),
    ]
    judged = standings(pictures, ["a", "b", "c", "d"])
    assert judged["d"] == Standing(agreed=1, found=0, alone=1, total=1)
    assert judged["d"].recall == 0
    # a's face in the first picture has two others only
    assert judged["a"] == Standing(agreed=0, found=0, alone=0, total=2)
    assert math.isnan(judged["a"].recall)


def test_of_few_detectors_all_others_make_a_face_and_one_has_no_others():
    faces = faces_of({"a": boxes((0, 0)), "b": boxes((0, 0))})
    assert standings([faces], ["a", "b"])["a"] == Standing(1, 1, 0, 1)
    alone = standings([faces_of({"a": boxes((0, 0))})], ["a"])["a"]
    assert alone == Standing(0, 0, 1, 1)


def test_overlap_is_intersection_over_union():
    a = np.array([[0, 0, 10, 10]], np.float64)
    b = np.array([[5, 0, 10, 10], [20, 0, 5, 5], [0, 0, 10, 10]], np.float64)
    assert np.allclose(overlap(a, b), [[50 / 150, 0, 1]])
