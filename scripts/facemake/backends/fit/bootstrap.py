"""The mean face of the built-in model, from landmarks of real faces.

Everything here turns FaceMesh points of people into one neutral, symmetric, metric iBUG-68 shape.
What the picture plane shows is measured; depth is FaceMesh's own, which has the right form but not
the right size, brought to size by one published length (`EYE_TO_NOSE_DEPTH`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.fit.model import head_origin

Array = NDArray[np.float64]

EYE_DISTANCE = 89.0
"""mm between the outer eye corners of an adult (Farkas, Anthropometry, 1994)."""

EYE_TO_NOSE_DEPTH = 43.0
"""mm from the outer eye corners forward to the nose tip, at an eye distance of 88.9 mm: vertices 33
and 1 of MediaPipe's published metric `canonical_face_model.obj`."""

CHIN_BEHIND_NASION = 8.0
"""mm that iBUG point 8 (menton) lies behind point 27 (nasion) in a level head. Soft-tissue nasion
and the chin stand nearly on one vertical (Legan & Burstone, J. Oral Surgery 38, 1980), in
ICT-FaceKit 3 mm apart; but FaceMesh's points are not quite those, and what counts is when a head is
called level: with 8 mm here heads of ICT-FaceKit that are level are found level (mean pitch within
half a degree over synthetic people, benchmarks/accuracy.py), with 3 mm they seemed 2.3 degrees
down."""

LIP_GAP = 0.6
"""mm between the inner lips of the neutral mouth: closed, without touching in the model."""

_CLOSED = 0.025  # inner-lip gap over outer eye distance: below, the mouth counts as closed
_NARROW = 0.62  # mouth width over outer eye distance: below, it does not smile
_MOUTH = np.concatenate([schemes.IBUG68_GROUPS["mouth"], np.arange(3, 14)])
"""Points that an open or smiling mouth moves: lips, chin and lower jaw."""


@dataclass(frozen=True)
class Person:
    """FaceMesh points of one person: (n, 68, 3) px, z away from the camera."""

    name: str
    points: Array


def mean_face(people: Sequence[Person], rounds: int = 8) -> Array:
    """The neutral mean (68, 3) mm in model axes, by generalised Procrustes (Gower 1975).

    Raises:
        ValueError: where nobody has a closed mouth in any frame, so that lips cannot be measured.
    """
    shapes = [_typical(person) for person in people]
    neutral = [_mouth_is_neutral(shape) for shape in shapes]
    if not any(neutral):
        raise ValueError("no face with a closed, unsmiling mouth among the pictures")
    reference = _normalised(shapes[neutral.index(True)])
    for _ in range(rounds):
        total, count = np.zeros((68, 3)), np.zeros((68, 1))
        for shape, is_neutral in zip(shapes, neutral, strict=True):
            use = np.ones(68, dtype=bool)
            use[_MOUTH] = is_neutral
            inner = use.copy()
            inner[:17] = False
            scale, rotation, shift = geometry.similarity3d(shape[inner], reference[inner])
            total[use] += (scale * shape @ rotation.T + shift)[use]
            count[use] += 1
        reference = _normalised(total / count)
    return _close_mouth(_to_size(reference))


def _typical(person: Person) -> Array:
    """The median shape of a person's most neutral quarter of frames."""
    points = person.points
    if len(points) > 3:
        unrest = np.array([_gap(p) + max(0.0, _width(p) - 0.5) for p in points])
        points = points[unrest <= np.quantile(unrest, 0.25)]
    reference = points[0] - points[0].mean(axis=0)
    aligned = []
    for p in points:
        scale, rotation, shift = geometry.similarity3d(p, reference)
        aligned.append(scale * p @ rotation.T + shift)
    return np.asarray(np.median(aligned, axis=0))


def _eyes(shape: Array) -> float:
    left, right = schemes.EYE_CORNERS_IBUG68
    return float(np.linalg.norm(shape[left] - shape[right]))


def _gap(shape: Array) -> float:
    return float(np.linalg.norm(shape[62] - shape[66])) / _eyes(shape)


def _width(shape: Array) -> float:
    return float(np.linalg.norm(shape[48] - shape[54])) / _eyes(shape)


def _mouth_is_neutral(shape: Array) -> bool:
    return _gap(shape) < _CLOSED and _width(shape) < _NARROW


def _normalised(shape: Array) -> Array:
    """Symmetric, level, at the head's origin, with eyes EYE_DISTANCE apart."""
    # Upright first, so that mirroring in x is mirroring of the face.
    mirrored = shape[schemes.MIRROR_IBUG68] * [-1, 1, 1]
    _, rotation, _ = geometry.similarity3d(shape, mirrored)
    half = _half_turn(rotation)
    shape = (shape - shape.mean(axis=0)) @ half.T
    mirrored = shape[schemes.MIRROR_IBUG68] * [-1, 1, 1]
    shape = 0.5 * (shape + mirrored)
    shape = shape * (EYE_DISTANCE / _eyes(shape))
    return _level(shape)


def _half_turn(rotation: Array) -> Array:
    """The rotation whose square is `rotation`: the same axis by half the angle."""
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    if angle < 1e-9:
        return np.eye(3)
    axis = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    ) / (2 * np.sin(angle))
    # The Cayley map takes 2 tan(a/2) along the axis to a turn by a, here a = angle / 2.
    return geometry.rotation_from_vector(2 * np.tan(angle / 4) * axis)


def _level(shape: Array) -> Array:
    """Turned about x until the chin lies CHIN_BEHIND_NASION behind the nasion; origin set."""
    step = shape[8] - shape[27]
    length = np.hypot(step[1], step[2])
    wanted = np.arcsin(CHIN_BEHIND_NASION / length)
    # Rx(a) adds a to the angle of (y, z), measured from y towards z.
    turn = geometry.rotation_from_euler([wanted - np.arctan2(step[2], step[1]), 0.0, 0.0])
    shape = shape @ turn.T
    return shape - head_origin(shape)


def _to_size(shape: Array) -> Array:
    """Depth scaled until the nose tip stands EYE_TO_NOSE_DEPTH before the outer eye corners."""
    wanted = EYE_TO_NOSE_DEPTH * EYE_DISTANCE / 88.9
    for _ in range(20):  # levelling after scaling changes the relief a little
        relief = shape[list(schemes.EYE_CORNERS_IBUG68), 2].mean() - shape[30, 2]
        shape = _level(shape * [1.0, 1.0, wanted / relief])
        shape = shape * (EYE_DISTANCE / _eyes(shape))
    return shape - head_origin(shape)


def _close_mouth(shape: Array) -> Array:
    """Inner lips brought together to LIP_GAP around their common line, the outer ones following."""
    shape = shape.copy()
    for upper, lower, outer_upper, outer_lower in (
        (61, 67, (49, 50), (58, 59)),
        (62, 66, (51,), (57,)),
        (63, 65, (52, 53), (55, 56)),
    ):
        middle = 0.5 * (shape[upper] + shape[lower])
        half = np.array([0.0, LIP_GAP / 2, 0.0])
        shape[list(outer_upper)] += (middle - half - shape[upper]) * [0, 1, 0]
        shape[list(outer_lower)] += (middle + half - shape[lower]) * [0, 1, 0]
        shape[upper], shape[lower] = middle - half, middle + half
    return shape - head_origin(shape)
