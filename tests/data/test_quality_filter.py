"""QualityFilter: FACTS section 4's rule, face by face."""

from __future__ import annotations

import numpy as np
import pytest

from facemake.data import QualityFilter

POINTS = np.stack([np.linspace(0, 100, 68), np.linspace(0, 50, 68)], axis=1)
POSE = [1.0, 0.1, -0.2, 0.05, 50, 50]
BOX = [0, 0, 100, 100]


def by_hand(confidence: float, converged: bool, pose: list[float], width: float, jitter: float):
    """The weighted geometric mean, written out."""
    angles = np.rad2deg(np.abs(pose[1:4]))
    parts = [
        (2.0, min(confidence / 0.8, 1)),
        (3.0, 1 if converged else 0.7),
        (1.5, float(np.mean(1 - angles / 45))),
        (1.0, min(width / 50, 500 / width, 1)),
        (1.5, min(100 / 20, 1)),
        (1.0, 1 - jitter / 10),
    ]
    return float(np.exp(sum(w * np.log(p) for w, p in parts) / 10))


def test_the_score_is_the_weighted_geometric_mean():
    judge = QualityFilter()
    kept, score, parts = judge.should_include(POINTS, POSE, BOX, 0.9, True)
    assert kept and score == pytest.approx(by_hand(0.9, True, POSE, 100, 0), rel=1e-5)
    # moved by 3 and 4 pixels: 5
    kept, score, parts = judge.should_include(
        POINTS + np.array([3, 4]), POSE, [0, 0, 40, 40], 0.9, False
    )
    assert kept and score == pytest.approx(by_hand(0.9, False, POSE, 40, 5), rel=1e-5)
    assert parts["motion"] == pytest.approx(0.5) and parts["convergence"] == 0.7
    judge.reset()
    assert judge.should_include(POINTS, POSE, BOX)[2]["motion"] == 1


@pytest.mark.parametrize(
    ("confidence", "yaw", "least", "said"),
    [(0.79, 0.0, 0.5, "confidence"), (1.0, 0.8, 0.5, "45 degrees"), (1.0, 0.5, 0.99, "below 0.99")],
)
def test_why_a_face_is_left_out(confidence: float, yaw: float, least: float, said: str):
    pose = [1, 0, yaw, 0, 0, 0]
    kept, _, parts = QualityFilter().should_include(
        POINTS, pose, BOX, confidence, min_quality=least
    )
    assert not kept and said in str(parts["reject_reason"])


def test_other_shapes_are_named():
    with pytest.raises(ValueError, match="bbox"):
        QualityFilter().should_include(POINTS, POSE, [1, 2, 3])
    with pytest.raises(ValueError, match="landmarks"):
        QualityFilter().should_include(POINTS[:, 0], POSE, BOX)
