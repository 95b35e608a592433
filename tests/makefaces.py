"""Faces of known shape, pose and expression, as 2-D points, for the tests of the fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemake import geometry
from facemake.backends.fit.model import LinearFaceModel, make_model
from facemake.backends.fit.proportions import FREE
from facemake.geometry import Camera

SIZE = (640, 480)
CAMERA = Camera.from_fov(*SIZE, 30)
DISTANCE = CAMERA.focal * 89 / 130  # 130 px between the outer eye corners


@dataclass(frozen=True)
class Truth:
    points: np.ndarray  # (n, 68, 2) px
    angles: np.ndarray  # (n, 3) rad
    translation: np.ndarray  # (n, 3) mm
    expression: np.ndarray  # (n, E)
    canonical: np.ndarray  # (n, 51, 3) mm


def seen(
    model: LinearFaceModel,
    angles: np.ndarray,
    expression: np.ndarray,
    identity: np.ndarray | None = None,
    shift: np.ndarray | None = None,
    noise: float = 0.0,
    outliers: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Truth:
    """What CAMERA sees of one person; angles (n, 3) in degrees, shift (n, 2) mm."""
    n = len(angles)
    radians = np.deg2rad(np.asarray(angles, dtype=float))
    translation = np.zeros((n, 3))
    translation[:, 2] = DISTANCE
    if shift is not None:
        translation[:, :2] = shift
    deformation = np.tensordot(expression, model.expression, 1)
    shape = model.neutral(identity) + deformation
    turned = geometry.rotate(geometry.rotation_from_euler(radians), shape)
    points = CAMERA.project(turned + translation[:, None])
    if rng is not None:
        points = points + rng.normal(size=points.shape) * noise
        wrong = rng.random(points.shape[:2]) < outliers
        where = rng.uniform(0, 2 * np.pi, points.shape[:2])
        points += 15 * wrong[..., None] * np.stack([np.cos(where), np.sin(where)], axis=-1)
    canonical = (model.mean + deformation)[:, model.inner] * [1, -1, 1]
    return Truth(points, radians, translation, np.asarray(expression), canonical)


def proportions(model: LinearFaceModel, rng: np.random.Generator, spread: float) -> np.ndarray:
    """(I,) identity coefficients of a person; the built-in model's free modes are at rest."""
    named = [not name.startswith(FREE) for name in model.identity_names]
    values = np.zeros(len(named))
    values[named] = rng.normal(size=sum(named)) * spread
    return values


def random_person(
    model: LinearFaceModel,
    seed: int,
    frames: int = 20,
    spread: float = 0.7,
    active: int = 4,
    noise: float = 1.0,
    outliers: float = 0.05,
) -> Truth:
    """A person of identity coefficients of that spread, a few expressions at 0.2-1 a frame."""
    rng = np.random.default_rng(seed)
    identity = proportions(model, rng, spread)
    expression = np.zeros((frames, len(model.expression)))
    for row in expression:
        chosen = rng.choice(len(row), active, replace=False)
        row[chosen] = rng.uniform(0.2, 1.0, active)
    angles = rng.uniform(-1, 1, (frames, 3)) * [30, 50, 30]
    shift = rng.uniform(-30, 30, (frames, 2))
    return seen(model, angles, expression, identity, shift, noise, outliers, rng)


def ict(folder: Path) -> LinearFaceModel:
    """ICT-FaceKit at its 68 landmarks; its _L and _R are the subject's sides."""
    with np.load(folder / "models" / "ict_lm68.npz", allow_pickle=False) as data:
        n_identity, n_expression = len(data["identity"]), len(data["expression"])
        return make_model(
            name="ict",
            mean=data["neutral"],
            identity=data["identity"],
            expression=data["expression"],
            identity_sd=np.full(n_identity, 0.7),
            expression_sd=np.full(n_expression, 0.6),
            expression_lower=np.zeros(n_expression),
            expression_upper=np.ones(n_expression),
            identity_names=[f"id{i}" for i in range(n_identity)],
            expression_names=data["expr_names"].tolist(),
            unit="cm",
            axes="x-right y-up z-backward",
            licence="MIT",
            citation="ICT-FaceKit",
        )
