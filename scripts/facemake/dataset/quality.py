"""Which faces become examples: cut-offs with names, and a quality score in 0-1.

The rule and its numbers are those of pyfaceau's training data, so that sets made by either can be
mixed, with the landmark network's confidence in the place of the detector's: detectors do not agree
on what 0.8 means. Theirs lowers the score of a face whose fit did not converge; here such a face
has no parameters to learn from, and is rejected as `fit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

MIN_CONFIDENCE = 0.8
MAX_ANGLE_DEGREES = 45.0
SIZE_RANGE = (50.0, 500.0)
FULL_SPREAD = 20.0
MOST_MOTION = 10.0

WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "confidence": 2.0,
        "convergence": 3.0,
        "pose": 1.5,
        "size": 1.0,
        "spread": 1.5,
        "motion": 1.0,
    }
)
"""Of the parts in the geometric mean; convergence counts as a part that is always 1."""

KEPT = 0
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "landmarks": "the landmark stage is not sure of the face",
        "fit": "the face model was not fitted, or its fit did not converge",
        "aus": "no action unit was estimated",
        "confidence": f"landmark confidence below {MIN_CONFIDENCE:g}",
        "pose": f"pitch, yaw or roll beyond {MAX_ANGLE_DEGREES:g} degrees",
        "quality": "quality score below dataset.min_quality",
        "surplus": "its track has more examples than dataset.max_per_track",
        "excluded": "left out by a person (dataset.exclude)",
    }
)
"""Why a face is no example, in words; the first that holds counts, `excluded` before all."""

CODES: Mapping[str, int] = MappingProxyType(
    {reason: code for code, reason in enumerate(REASONS, start=KEPT + 1)}
)
"""Reason -> its number in an array of verdicts; 0 is `KEPT`."""


@dataclass(frozen=True)
class Evidence:
    """What the tables say of n faces.

    Attributes:
        sure: (n,) bool, the landmark stage's status is `ok`.
        confidence: (n,) 0-1, the landmark network's; NaN where the engine gives none (3DI): then
            it holds nothing against a face, and does not count as a part.
        fitted: (n,) bool, the fit's status is `ok`: it converged, and there are pose and shape
            parameters.
        angles: (n, 3) rad: pitch, yaw, roll.
        labelled: (n,) bool, there is an action unit.
        width: (n,) px, of the detected box.
        points: (n, K, 2) px of the frame.
        motion: (n,) px, root mean square since the frame before; NaN where that is not known.
    """

    sure: NDArray[np.bool_]
    confidence: NDArray[np.float32]
    fitted: NDArray[np.bool_]
    angles: NDArray[np.float32]
    labelled: NDArray[np.bool_]
    width: NDArray[np.float32]
    points: NDArray[np.float32]
    motion: NDArray[np.float64]


def parts(evidence: Evidence) -> dict[str, NDArray[np.float64]]:
    """The parts of the score by name, (n,) float64 each in 0-1; NaN where nothing is known.

    confidence: its share of 0.8, at most 1. pose: mean over the three angles of 1 - |angle| / 45
    degrees. size: 1 for a box 50 to 500 px wide, falling in proportion outside. spread: the longer
    side of the landmarks' bounding box as a share of 20 px, at most 1. motion: 1 - motion / 10 px;
    1 where it is not known (the first frame of a track, a picture), for there is nothing to hold
    against that frame.
    """
    width = evidence.width.astype(np.float64)
    extent = (evidence.points.max(axis=1) - evidence.points.min(axis=1)).max(axis=1)
    degrees = np.rad2deg(np.abs(evidence.angles.astype(np.float64)))
    low, high = SIZE_RANGE
    with np.errstate(divide="ignore"):
        size = np.minimum(np.minimum(width / low, high / width), 1.0)
    found = {
        "confidence": np.nan_to_num(evidence.confidence, nan=1.0) / MIN_CONFIDENCE,
        "pose": (1.0 - degrees / MAX_ANGLE_DEGREES).mean(axis=1),
        "size": size,
        "spread": extent / FULL_SPREAD,
        "motion": 1.0 - np.nan_to_num(evidence.motion, nan=0.0) / MOST_MOTION,
    }
    return {name: np.clip(part, 0.0, 1.0).astype(np.float64) for name, part in found.items()}


def score(evidence: Evidence) -> NDArray[np.float32]:
    """The quality score of n faces, (n,) float32 in 0-1: the weighted geometric mean of `parts`.

    A part of 0 makes it 0, and so does a part that is not known.
    """
    found = parts(evidence)
    total = sum(WEIGHTS.values())
    product = np.ones(len(evidence.width))
    for name, part in found.items():
        # by the C library: the last bit of numpy.power can depend on where an array lies
        product *= [value ** (WEIGHTS[name] / total) for value in part.tolist()]
    return np.nan_to_num(product, nan=0.0).astype(np.float32)


def judge(evidence: Evidence, min_quality: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Verdict (a number of `CODES`, or `KEPT`) and score of n faces, (n,) each.

    `surplus` is not decided here: it takes the whole track (`spread_evenly`).
    """
    scores = score(evidence)
    steep = ~(np.abs(evidence.angles) <= np.deg2rad(MAX_ANGLE_DEGREES)).all(axis=1)
    failed = {
        "landmarks": ~evidence.sure,
        "fit": ~evidence.fitted,
        "aus": ~evidence.labelled,
        "confidence": evidence.confidence < MIN_CONFIDENCE,
        "pose": steep,
        "quality": ~(scores >= np.float32(min_quality)),
    }
    verdicts = np.full(len(scores), KEPT, np.uint8)
    for name in reversed(failed):
        verdicts[failed[name]] = CODES[name]
    return verdicts, scores


def spread_evenly(
    verdicts: NDArray[np.uint8], tracks: NDArray[np.int16], most: int | None
) -> NDArray[np.uint8]:
    """`verdicts` with the faces beyond `most` a track marked `surplus`.

    Of a track's n kept faces, in time order, those stay that lie in the middle of `most` equal
    parts of them.
    """
    out = verdicts.copy()
    if most is None:
        return out
    for track in np.unique(tracks).tolist():
        rows = np.flatnonzero((tracks == track) & (verdicts == KEPT))
        if len(rows) > most:
            stay = ((np.arange(most) + 0.5) * len(rows) / most).astype(np.int64)
            out[rows] = CODES["surplus"]
            out[rows[stay]] = KEPT
    return out
