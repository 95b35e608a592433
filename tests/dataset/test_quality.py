from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from facemake.dataset import quality
from facemake.dataset.motion import Motion
from facemake.dataset.quality import CODES, KEPT, Evidence, judge, parts, score, spread_evenly
from facemake.tables import REJECTIONS


def faces(n: int = 1, **changes: object) -> Evidence:
    """n perfect faces: frontal, sure, at rest, 200 px wide."""
    square = np.array([[0, 0], [100, 0], [100, 90], [0, 90]], np.float32)
    perfect = Evidence(
        sure=np.ones(n, bool),
        confidence=np.full(n, 0.9, np.float32),
        fitted=np.ones(n, bool),
        angles=np.zeros((n, 3), np.float32),
        labelled=np.ones(n, bool),
        width=np.full(n, 200, np.float32),
        points=np.tile(square, (n, 1, 1)),
        motion=np.zeros(n),
    )
    arrays = {
        name: np.asarray(value, getattr(perfect, name).dtype) for name, value in changes.items()
    }
    return dataclasses.replace(perfect, **arrays)


def verdict(evidence: Evidence, min_quality: float = 0.5) -> str:
    code = int(judge(evidence, min_quality)[0][0])
    return "kept" if code == KEPT else {v: k for k, v in CODES.items()}[code]


def test_a_perfect_face_has_quality_one_and_is_kept():
    assert score(faces()).tolist() == [1.0]
    assert verdict(faces()) == "kept"


@pytest.mark.parametrize(
    ("changes", "part", "value"),
    [
        ({"confidence": [0.4]}, "confidence", 0.5),
        ({"confidence": [0.8]}, "confidence", 1.0),
        ({"angles": np.deg2rad([[45, 0, 0]])}, "pose", 2 / 3),
        ({"angles": np.deg2rad([[-9, 18, -18]])}, "pose", 1 - (9 + 18 + 18) / 135),
        ({"width": [25]}, "size", 0.5),
        ({"width": [1000]}, "size", 0.5),
        ({"width": [50]}, "size", 1.0),
        ({"points": [[[3, 3], [7, 3], [7, 8]]]}, "spread", 0.25),
        ({"motion": [2.5]}, "motion", 0.75),
        ({"motion": [12]}, "motion", 0.0),
        ({"motion": [np.nan]}, "motion", 1.0),
    ],
)
def test_each_part_counts_with_its_weight(changes, part, value):
    evidence = faces(**changes)
    assert parts(evidence)[part][0] == pytest.approx(value, abs=1e-6)
    weights = {
        "confidence": 2,
        "convergence": 3,
        "pose": 1.5,
        "size": 1,
        "spread": 1.5,
        "motion": 1,
    }
    assert score(evidence)[0] == pytest.approx(value ** (weights[part] / 10), abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sure": [False]}, "landmarks"),
        ({"fitted": [False], "angles": [[np.nan] * 3]}, "fit"),
        ({"labelled": [False]}, "aus"),
        ({"confidence": [0.79]}, "confidence"),
        ({"confidence": [np.nan]}, "kept"),  # 3DI gives none
        ({"angles": np.deg2rad([[0, 0, 46]])}, "pose"),
        ({"angles": np.deg2rad([[-46, 0, 0]])}, "pose"),
        ({"motion": [11]}, "quality"),
        ({"sure": [False], "fitted": [False], "motion": [11]}, "landmarks"),
    ],
)
def test_the_first_reason_that_holds_counts(changes, reason):
    assert verdict(faces(**changes)) == reason


def test_min_quality_is_the_lowest_that_is_kept():
    evidence = faces(motion=[5.0])
    lowest = float(score(evidence)[0])
    assert verdict(evidence, lowest) == "kept"
    assert verdict(evidence, lowest + 1e-4) == "quality"


def test_every_reason_has_a_column():
    assert tuple(quality.REASONS) == REJECTIONS


def test_surplus_is_taken_evenly_from_each_track():
    tracks = np.array([0, 1] * 50, np.int16)
    verdicts = np.zeros(100, np.uint8)
    verdicts[:20] = CODES["pose"]
    thinned = spread_evenly(verdicts, tracks, 4)
    for track in (0, 1):
        rows = np.flatnonzero((tracks == track) & (thinned == KEPT))
        assert len(rows) == 4
        assert set(np.diff(rows)) == {20}
    assert (thinned[:20] == CODES["pose"]).all()
    assert (spread_evenly(verdicts, tracks, None) == verdicts).all()
    assert (spread_evenly(verdicts, tracks, 1000) == verdicts).all()


def test_motion_is_that_of_the_same_track_since_the_frame_before():
    frames = np.array([0, 0, 1, 1, 2, 4, 5], np.int32)
    tracks = np.array([0, 1, 0, 1, 0, 0, 0], np.int16)
    points = np.zeros((7, 2, 2), np.float32)
    points[2] = (3, 4)  # track 0 moves by 5
    points[3, 0] = (0, 2)  # one of two points of track 1 moves by 2
    points[4] = np.nan  # lost
    points[6] = (0, 1)
    expected = [np.nan, np.nan, 5, np.sqrt(2), np.nan, np.nan, 1]
    np.testing.assert_allclose(Motion()(frames, tracks, points), expected)
    cut = Motion()
    pieces = [
        cut(frames[a:b], tracks[a:b], points[a:b]) for a, b in [(0, 1), (1, 3), (3, 6), (6, 7)]
    ]
    np.testing.assert_allclose(np.concatenate(pieces), expected)
