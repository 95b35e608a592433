"""MediaPipe's points on ICT-FaceKit's face: the table, and the registration that made it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facemake import schemes
from facemake.backends.fit import sources
from facemake.backends.fit.model import FaceMesh
from facemake.backends.fit.modelfile import load_mesh, load_model
from facemake.backends.fit.sources import ict_facekit, register_mediapipe
from facemake.backends.fit.sources.ict_mediapipe import MEDIAPIPE468
from facemake.errors import ModelError
from facemake.geometry import rotation_from_euler

INNER = schemes.subset(schemes.MEDIAPIPE478, schemes.IBUG51)


@pytest.fixture(scope="module")
def built(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = shared / "models" / "ict_face_f16.npz"
    return sources.build("ict-facekit", source, tmp_path_factory.mktemp("models")).path


@pytest.fixture(scope="module")
def mesh(built: Path) -> FaceMesh:
    return load_mesh(built)


def test_the_table_is_of_vertices_of_the_face():
    table = np.array(MEDIAPIPE468)
    assert table.shape == (468,)
    assert table.min() >= 0 and table.max() < ict_facekit.FACE_VERTICES
    assert len(set(MEDIAPIPE468)) >= 460, "hardly two points on one vertex"


def test_the_model_has_478_points_without_the_irises(built: Path, mesh: FaceMesh):
    model = load_model(built, "mediapipe478")
    assert model.points is not None and (model.points == np.arange(468)).all()
    assert (model.inner == INNER).all() and model.eye_corners == (33, 263)
    assert (mesh.landmarks["mediapipe478"][468:] == -1).all()
    surface = mesh.mean[mesh.landmarks["mediapipe478"][:468]]
    assert np.allclose(model.mean, surface, atol=1e-4), "one origin for points and surface"
    assert np.allclose(load_model(built).mean, mesh.mean[mesh.landmarks["ibug68"]], atol=1e-4)


def test_the_points_lie_where_the_landmarks_do(built: Path, mesh: FaceMesh):
    there, points = load_model(built), load_model(built, "mediapipe478")
    apart = np.linalg.norm(points.mean[INNER] - there.mean[17:], axis=1)
    assert np.median(apart) < 2 and apart.max() < 6.5
    exact = np.array([36, 39, 42, 45, 48, 54, 57, 62, 66]) - 17
    assert apart[exact].max() < 2.1, "corners of eyes and mouth, middle of the lips"
    mirrored = points.mean[INNER][schemes.MIRROR_IBUG68[17:] - 17] * [-1, 1, 1]
    assert np.abs(mirrored - points.mean[INNER]).max() < 0.1


def test_lips_and_lids_are_on_their_own_side(mesh: FaceMesh):
    where = mesh.landmarks["mediapipe478"]
    jaw = mesh.expression[mesh.expression_names.index("jawOpen")]
    blink = mesh.expression[mesh.expression_names.index("eyeBlink_L")]
    blink = blink + mesh.expression[mesh.expression_names.index("eyeBlink_R")]
    for upper, lower in ((13, 14), (0, 17), (82, 87), (81, 178), (312, 317), (37, 84)):
        assert jaw[where[lower], 1] > 25 > 12 > abs(jaw[where[upper], 1])
    for upper, lower in ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380)):
        assert blink[where[upper], 1] > 5 > abs(blink[where[lower], 1])
        assert mesh.mean[where[upper], 1] < mesh.mean[where[lower], 1] - 5


@pytest.mark.slow
def test_registration_finds_the_vertices_of_another_persons_face(
    mesh: FaceMesh, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(register_mediapipe, "ROUNDS", 15)
    rng = np.random.default_rng(6)
    person = mesh.shape(rng.normal(size=100) * 0.7).astype(np.float64)
    neutral = mesh.mean.astype(np.float64)
    mirror, apart = register_mediapipe._nearest(neutral * [-1, 1, 1], neutral)
    assert apart.max() < 0.1, "the kit's neutral face is symmetric"
    person = 0.5 * (person + person[mirror] * [-1, 1, 1])
    turn = rotation_from_euler(np.array([0.15, 0.0, 0.0]))
    table = np.array(MEDIAPIPE468)
    # a symmetric choice of vertices, as the canonical face is
    points = 1.03 * person[table] @ turn.T + [0, 4, -6]
    found = register_mediapipe.register(points, np.empty((0, 3), np.int32), mesh)
    assert np.median(found.to_surface) < 0.3
    error = np.linalg.norm(neutral[found.vertices] - neutral[table], axis=1)
    assert (error == 0).mean() > 0.6 and np.percentile(error, 95) < 5 and error.max() < 15


def test_what_cannot_be_registered_is_refused(mesh: FaceMesh):
    with pytest.raises(ModelError, match=r"shape \(400, 3\), wanted \(468, 3\)"):
        register_mediapipe.register(np.zeros((400, 3)), np.empty((0, 3), np.int32), mesh)
    other = replace(mesh, expression_names=tuple(f"e{i}" for i in range(57)))
    with pytest.raises(ModelError, match="lacks the expressions browDown_L"):
        register_mediapipe.register(np.zeros((468, 3)), np.empty((0, 3), np.int32), other)
