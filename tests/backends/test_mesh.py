"""Dense faces: on the landmarks that were fitted, outwards, lazily; their files."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facemake import facemodels, geometry, schemes
from facemake.backends.fit import builtin, interpolated, sources
from facemake.backends.fit.fitter import Fitter
from facemake.backends.fit.interpolated import interpolated_mesh, mediapipe_triangles
from facemake.backends.fit.mesh import (
    canonical_axes,
    dense_faces,
    load_surface,
    vertex_normals,
)
from facemake.backends.fit.meshfile import obj_bytes, ply_bytes, write_mesh
from facemake.backends.fit.model import FaceMesh, LinearFaceModel
from facemake.backends.fit.modelfile import load_mesh, load_model
from facemake.errors import ModelError
from makefaces import CAMERA, DISTANCE
from makesources import ict_folder, openface

MODEL = builtin.load_builtin()
NAMES = MODEL.expression_names
IBUG68 = schemes.MEDIAPIPE478_TO_IBUG68


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return interpolated_mesh(MODEL)


@pytest.fixture(scope="module")
def ict(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = shared / "models" / "ict_face_f16.npz"
    return sources.build("ict-facekit", source, tmp_path_factory.mktemp("models")).path


def face(**coefficients: float) -> np.ndarray:
    """(E,) coefficients; a name without its side is both sides."""
    values = np.zeros(len(NAMES))
    for name, value in coefficients.items():
        for full in (name, f"{name}_l", f"{name}_r"):
            if full in NAMES:
                values[NAMES.index(full)] = value
    assert values.any()
    return values


def boundary(triangles: np.ndarray) -> int:
    """How many edges have a triangle on one side only."""
    edges = np.concatenate([triangles[:, [i, (i + 1) % 3]] for i in range(3)])
    seen = Counter(map(tuple, np.sort(edges, axis=1).tolist()))
    assert set(seen.values()) <= {1, 2}
    return sum(count == 1 for count in seen.values())


# --------------------------------------------------------------------- the interpolated surface


def test_the_triangles_are_a_face_with_three_holes():
    triangles = mediapipe_triangles()
    assert triangles.shape == (852, 3) and len(np.unique(triangles)) == 468
    assert boundary(triangles) == 36 + 20 + 2 * 16, "the oval, the mouth, two eyes"


def test_the_surface_goes_through_every_landmark(mesh: FaceMesh):
    rng = np.random.default_rng(1)
    for _ in range(5):
        identity = rng.normal(size=len(MODEL.identity)) * MODEL.identity_sd
        expression = rng.uniform(0, 1, len(NAMES))
        wanted = MODEL.neutral(identity) + np.tensordot(expression, MODEL.expression, 1)
        found = mesh.shape(identity, expression)[mesh.landmarks[schemes.IBUG68]]
        assert np.abs(found - wanted).max() < 1e-3


def test_its_landmarks_have_mediapipes_numbers(mesh: FaceMesh):
    assert np.array_equal(mesh.landmarks[schemes.IBUG68], IBUG68)
    assert np.array_equal(mesh.landmarks[schemes.IBUG51], IBUG68[17:])
    assert (mesh.landmarks[schemes.MEDIAPIPE478][468:] == -1).all()
    assert mesh.sha256 == MODEL.sha256 and "Apache-2.0" in mesh.licence


def test_the_surface_is_symmetric_and_has_the_size_of_a_face(mesh: FaceMesh):
    mean = mesh.mean.astype(float)
    mirrored = mean * [-1, 1, 1]
    apart = np.sqrt(((mirrored[:, None] - mean) ** 2).sum(axis=-1)).min(axis=1)
    assert apart.max() < 1.5
    width, height, depth = np.ptp(mean, axis=0)
    assert 120 < width < 170 and 150 < height < 210 and 60 < depth < 120


def test_lips_that_lie_together_part(mesh: FaceMesh):
    """Through space they are neighbours, along the surface they are not."""
    moved = (mesh.shape(expression=face(jaw_open=1)) - mesh.mean)[:, 1]
    for between, ends in ((82, (81, 13)), (312, (13, 311)), (87, (14, 178)), (317, (402, 14))):
        low, high = sorted(moved[list(ends)])
        assert low - 2 < moved[between] < high + 2
    assert moved[[14, 87, 317]].min() > 10 > 3 > np.abs(moved[[13, 82, 312]]).max()


def test_the_hairline_is_of_the_person_and_not_of_the_expression(mesh: FaceMesh):
    brows = mesh.shape(expression=face(brow_inner_raise=1, brow_outer_raise=1)) - mesh.mean
    hairline = list(interpolated.HAIRLINE)
    assert np.abs(brows[hairline]).max() == 0
    assert brows[[9, 107, 336], 1].max() < -2, "up"
    larger = LinearFaceModel(
        **{**vars(MODEL), "identity": 0.1 * MODEL.mean[None].repeat(len(MODEL.identity), axis=0)}
    )
    grown = interpolated_mesh(larger)
    wanted = 1.1 * mesh.mean[hairline]
    person = np.eye(len(MODEL.identity))[0]
    assert np.abs(grown.shape(person)[hairline] - wanted).max() < 0.5


def test_a_model_of_other_landmarks_gets_a_surface(mesh: FaceMesh):
    ours = {**vars(MODEL), "pdm": None, "pdm_name": ""}
    inner = {
        **ours,
        "scheme": schemes.IBUG51,
        "mean": MODEL.mean[17:],
        "identity": MODEL.identity[:, 17:],
        "expression": MODEL.expression[:, 17:],
    }
    found = interpolated_mesh(LinearFaceModel(**inner))
    assert np.abs(found.mean - mesh.mean).max() < 15
    assert np.abs(found.mean[IBUG68[17:]] - MODEL.mean[17:]).max() < 1e-3
    dense = {
        **ours,
        "scheme": schemes.MEDIAPIPE478,
        "points": np.arange(468),
        "mean": mesh.mean.astype(float),
        "identity": mesh.identity.astype(float),
        "expression": mesh.expression.astype(float),
    }
    same = interpolated_mesh(LinearFaceModel(**dense))
    for name in ("mean", "identity", "expression"):
        assert np.abs(getattr(same, name) - getattr(mesh, name)).max() < 1e-3


def test_the_surface_does_not_depend_on_the_threads_of_blas(mesh: FaceMesh):
    program = (
        "import hashlib; from facemake.backends.fit.mesh import load_surface;"
        "m = load_surface('builtin').mesh;"
        "print(hashlib.sha256(b''.join(a.tobytes() for a in (m.mean, m.identity, m.expression)))"
        ".hexdigest())"
    )
    here = b"".join(a.tobytes() for a in (mesh.mean, mesh.identity, mesh.expression))
    for threads in ("1", "4"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == hashlib.sha256(here).hexdigest()


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "FACEMESH_TESSELATION = frozenset([(0, 1), (1, 2)])",
        "FACEMESH_TESSELATION = frozenset([(0, 1), (1, 2), (2, 0)])",
    ],
)
def test_without_mediapipes_mesh_there_is_a_message(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    if content is not None:
        (tmp_path / interpolated.TOPOLOGY).parent.mkdir(parents=True)
        (tmp_path / interpolated.TOPOLOGY).write_text(content)
    monkeypatch.setattr(interpolated, "find_spec", lambda name: spec)
    with pytest.raises(ModelError, match=r"requirements/default\.txt"):
        mediapipe_triangles.__wrapped__()
    monkeypatch.setattr(interpolated, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="install mediapipe"):
        mediapipe_triangles.__wrapped__()


# -------------------------------------------------------------------------------- dense faces


def random_frames(model: LinearFaceModel, n: int = 6) -> tuple[np.ndarray, SimpleNamespace]:
    """Identity coefficients, and frames as the fit has them."""
    rng = np.random.default_rng(2)
    shift = np.concatenate([rng.uniform(-40, 40, (n, 2)), np.full((n, 1), DISTANCE)], axis=1)
    frames = SimpleNamespace(
        expression=rng.uniform(0, 0.8, (n, len(model.expression))),
        euler=rng.uniform(-0.5, 0.5, (n, 3)),
        translation=shift,
    )
    return rng.normal(size=len(model.identity)) * model.identity_sd, frames


def farthest(model: LinearFaceModel, mesh: FaceMesh) -> np.ndarray:
    """(L,) px between the landmarks of the surface and where the fit has them, at most."""
    coefficients, frames = random_frames(model)
    person = SimpleNamespace(shape=model.neutral(coefficients))
    wanted = Fitter(model, CAMERA).project(frames, person)
    rotation = geometry.rotation_from_euler(frames.euler)
    faces = dense_faces(mesh, coefficients, frames.expression, rotation, frames.translation)
    found = np.stack([CAMERA.project(f[mesh.landmarks[model.scheme]]) for f in faces])
    return np.abs(found - wanted).max(axis=(0, 2))


def test_its_landmarks_are_seen_where_the_fit_has_them(mesh: FaceMesh):
    away = farthest(MODEL, mesh)
    assert away.max() < 1e-3


def test_so_are_those_of_a_model_with_a_mesh(ict: Path):
    assert farthest(load_model(ict), load_mesh(ict)).max() < 1e-3


def test_faces_are_made_one_by_one_and_each_on_its_own(mesh: FaceMesh):
    coefficients, frames = random_frames(MODEL, 3)
    rotation = geometry.rotation_from_euler(frames.euler)
    frames.expression[1, 0] = np.nan
    faces = dense_faces(mesh, coefficients, frames.expression, rotation, frames.translation)
    assert iter(faces) is faces, "nothing is made before it is asked for"
    first, second, third = faces
    assert first.shape == (468, 3) and np.isfinite(first).all() and np.isfinite(third).all()
    assert np.isnan(second).any()
    alone = dense_faces(
        mesh, coefficients, frames.expression[2:], rotation[2:], frames.translation[2:]
    )
    assert np.array_equal(next(alone), third)
    plain = next(dense_faces(mesh, None, np.zeros((1, len(NAMES)))))
    assert np.array_equal(plain, mesh.mean.astype(np.float64))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("identity", (3,), "identities"),
        ("expression", (2, len(NAMES) - 1), "expressions"),
        ("expression", (len(NAMES),), "expressions"),
        ("rotation", (3, 3), "pose"),
        ("translation", (1, 3), "pose"),
    ],
)
def test_arrays_of_another_shape_are_refused(
    mesh: FaceMesh, name: str, shape: tuple[int, ...], words: str
):
    arrays = {"identity": None, "expression": np.zeros((2, len(NAMES)))}
    with pytest.raises(ValueError, match=words):
        dense_faces(mesh, **{**arrays, name: np.zeros(shape)})


def test_normals_point_out_of_the_face(mesh: FaceMesh):
    normals = vertex_normals(mesh.mean.astype(float), mesh.triangles)
    assert np.allclose(np.sqrt((normals**2).sum(axis=1)), 1)
    assert normals[:, 2].mean() < -0.5, "a frontal face looks into the lens"
    assert normals[4, 2] < -0.5, "the nose tip"
    assert normals[234, 0] < -0.5 < 0.5 < normals[454, 0], "the cheeks to their sides"
    assert normals[152, 1] > 0.3, "the chin downwards"
    # each triangle by its area; a vertex without one has no normal
    flat = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9]], float)
    assert vertex_normals(flat, np.array([[0, 1, 2]], np.int32)).tolist() == [
        *[[0, 0, 1]] * 3,
        [0, 0, 0],
    ]


def test_canonical_axes_are_those_of_3di(mesh: FaceMesh):
    shape, triangles = canonical_axes(mesh.mean.astype(float), mesh.triangles)
    points = shape[mesh.landmarks[schemes.IBUG68]]
    assert points[30] == pytest.approx([0, points[30, 1], -41], abs=0.1), "the nose tip"
    assert points[27, 1] > points[30, 1] > points[8, 1], "y is up"
    left, right = points[list(schemes.EYE_CORNERS_IBUG68)]
    assert right[0] - left[0] == pytest.approx(89, abs=0.5)
    assert vertex_normals(shape, triangles)[:, 2].mean() < -0.5, "outwards here, too"


# ------------------------------------------------------------------------------ which surface


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_the_surface_is_that_of_the_model_and_says_of_which_kind(home: Path, tmp_path: Path):
    assert load_surface("builtin").interpolated
    assert "not a statistical one" in load_surface("builtin", MODEL.sha256).says
    sources.build("ict-facekit", ict_folder(tmp_path / "FaceXModel"), home)
    surface = load_surface("ict-facekit", facemodels.find("ict-facekit").sha256)
    assert not surface.interpolated and surface.says.startswith("statistical surface")
    assert len(surface.mesh.mean) == 9409
    sources.build("openface-pdm", openface(tmp_path / "pdm.txt"), home)
    surface = load_surface("openface-pdm")
    assert surface.interpolated and len(surface.mesh.mean) == 468


def test_a_file_without_triangles_gives_its_points(ict: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACEMAKE_MODELS", str(ict.parent))
    surface = load_surface("ict-facekit")
    assert len(surface.mesh.mean) == 9409 and not surface.interpolated
    assert "no triangles" in surface.says


def test_another_file_than_that_of_the_fit_is_refused(home: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="install the version of facemake"):
        load_surface("builtin", "0" * 64)
    sources.build("ict-facekit", ict_folder(tmp_path / "FaceXModel"), home)
    with pytest.raises(ModelError, match=r"000000000000….*--models-dir"):
        load_surface("ict-facekit", "0" * 64)
    with pytest.raises(ModelError, match="models build bfm2009"):
        load_surface("bfm2009")
    with pytest.raises(ModelError, match="flame is no face model; there are builtin"):
        load_surface("flame")


# ------------------------------------------------------------------------------------- files

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.25]], float)
ONE = np.array([[0, 1, 2]], np.int32)


def test_a_ply_file_is_what_its_format_says():
    data = ply_bytes(CORNERS, ONE, ["Zoë\nand more"])
    header, _, body = data.partition(b"end_header\n")
    assert header.decode("ascii").splitlines() == [
        "ply",
        "format binary_little_endian 1.0",
        "comment Zo\\xeb and more",
        "element vertex 3",
        *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
        "element face 1",
        "property list uchar int vertex_indices",
    ]
    values = np.frombuffer(body, "<f4", 18).reshape(3, 6)
    assert np.array_equal(values[:, :3], CORNERS)
    assert np.allclose(values[:, 3:], np.array([0, -0.25, 1]) / np.hypot(0.25, 1))
    assert body[72:] == b"\x03" + np.arange(3, dtype="<i4").tobytes()
    assert ply_bytes(CORNERS, ONE, ["Zoë\nand more"]) == data


def test_points_without_triangles_have_no_normals():
    none = np.empty((0, 3), np.int32)
    header, _, body = ply_bytes(CORNERS, none, []).partition(b"end_header\n")
    assert b"nx" not in header and b"face" not in header and len(body) == 36
    assert obj_bytes(CORNERS, none, []).decode().split("\n") == [
        "v 0.0000 0.0000 0.0000",
        "v 1.0000 0.0000 0.0000",
        "v 0.0000 1.0000 0.2500",
        "",
    ]


def test_an_obj_file_counts_from_one():
    lines = obj_bytes(CORNERS, ONE, ["mm"]).decode().splitlines()
    assert lines[0] == "# mm" and lines[-1] == "f 1//1 2//2 3//3"
    assert [line.split()[0] for line in lines] == ["#", *"vvv", *["vn"] * 3, "f"]


def test_a_file_is_whole_or_not_there(tmp_path: Path):
    path = tmp_path / "new" / "a.ply"
    write_mesh(path, CORNERS, ONE, [])
    assert path.read_bytes() == ply_bytes(CORNERS, ONE, [])
    with pytest.raises(KeyError):
        write_mesh(tmp_path / "a.stl", CORNERS, ONE, [])
    assert [p.name for p in sorted(tmp_path.rglob("*"))] == ["new", "a.ply"]
