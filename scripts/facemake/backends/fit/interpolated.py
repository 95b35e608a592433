"""A surface for face models that are landmarks alone: interpolated, not statistical.

`data/face_surface.npz` holds the vertices of an average face in MediaPipe's numbering
(`face_surface.md` says what it was made from); which of them make a triangle stands in MediaPipe's
package. The average face is laid on the model's mean landmarks by a similarity; what is left
between the two, and every identity and every expression of the model, is interpolated from the
landmarks along the surface. So the result is linear as the model is, and exact at its landmarks.

Between them it is what bends least, not what faces were measured to do. Known at 68 landmarks,
people of ICT-FaceKit with random expressions are 2.2 mm from their surface in the median, 5 mm in
nine vertices of ten and 8 mm in 99 of 100; 1.9 mm of it, in the median, is the average face, 0.8 mm
the identity, 0.2 mm the expression. Eyes and mouth are holes, and behind the face is no head.
"""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.fit import archive, linalg
from facemake.backends.fit.model import FaceMesh, LinearFaceModel
from facemake.errors import ModelError

Array = NDArray[np.float64]
Triangles = NDArray[np.int32]

PATH = Path(__file__).resolve().parents[2] / "data" / "face_surface.npz"

N_VERTICES = 468
"""MediaPipe's 478 points without the irises, which lie in no triangle."""

TOPOLOGY = "python/solutions/face_mesh_connections.py"
"""The file of MediaPipe's package (Apache-2.0) that names the edges of its face mesh."""

TOPOLOGY_LICENCE = "triangles: MediaPipe, Apache-2.0"

TENSION_MM = 10.0
"""Distance over which a displacement fades to that of its surroundings instead of swinging beyond
it. On ICT-FaceKit's people 5 to 40 mm differ by 0.1 mm; with 2 mm each landmark makes a tip."""

HAIRLINE = (389, 251, 284, 332, 297, 338, 10, 109, 67, 103, 54, 21, 162)
"""Vertices along the upper edge of the face, from ear to ear: no expression moves them, or raised
brows would carry the whole forehead up. Upper half of MediaPipe's face oval."""


def interpolated_mesh(model: LinearFaceModel) -> FaceMesh:
    """A model's landmarks with an interpolated surface between them.

    Its identity and expression are the model's at the landmarks, so the coefficients of a fit hold
    for it.

    Args:
        model: at landmarks that MediaPipe's mesh has: iBUG-68, iBUG-51 or MediaPipe's own.

    Raises:
        ModelError: MediaPipe's package is not installed, or is not the version that it should be.
    """
    triangles = mediapipe_triangles()
    vertices = schemes.subset(schemes.MEDIAPIPE478, model.scheme)
    if model.points is not None:
        vertices = vertices[model.points]
    there = vertices < N_VERTICES
    pins = vertices[there]
    template = average_face()
    scale, rotation, shift = geometry.similarity3d(template[pins], model.mean[there])
    template = scale * geometry.rotate(rotation, template) + shift

    free, held = _operators(template, triangles, pins)
    mean = template + _product(free, model.mean[there] - template[pins])
    known = np.arange(schemes.N_POINTS[schemes.MEDIAPIPE478])
    known[N_VERTICES:] = -1
    return FaceMesh(
        name=model.name,
        mean=mean.astype(np.float32),
        identity=_spread(free, model.identity[:, there]),
        expression=_spread(held, model.expression[:, there]),
        triangles=triangles,
        landmarks={
            scheme: known[schemes.subset(schemes.MEDIAPIPE478, scheme)]
            for scheme in (schemes.IBUG68, schemes.IBUG51, schemes.MEDIAPIPE478)
        },
        identity_names=model.identity_names,
        expression_names=model.expression_names,
        licence=f"{model.licence}; {TOPOLOGY_LICENCE}",
        citation=model.citation,
        sha256=model.sha256,
    )


def bent(face: Array, pins: schemes.Indices, target: Array) -> Array:
    """A face (468, 3) bent until its vertices `pins` (P,) are at `target` (P, 3)."""
    free, _ = _operators(face, mediapipe_triangles(), pins)
    return face + _product(free, target - face[pins])


def average_face() -> Array:
    """(468, 3) mm: the average face in MediaPipe's numbering, in model axes."""
    content = archive.read(PATH.read_bytes(), str(PATH))
    return content["vertices"].astype(np.float64)


@cache
def mediapipe_triangles() -> Triangles:
    """(852, 3) triangles of MediaPipe's face mesh, anticlockwise seen from outside.

    MediaPipe's own face has eyes and mouth closed by 46 more. The package is found and its text
    read as data, not imported: three edges after each other go around a triangle.

    Raises:
        ModelError: the package is not installed, or its file does not hold such a mesh.
    """
    spec = find_spec("mediapipe")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    path = next((f / TOPOLOGY for f in folders if (f / TOPOLOGY).is_file()), None)
    if path is None:
        raise ModelError(
            "the surface of a model without a mesh takes the triangles of MediaPipe's face: "
            "install mediapipe, as requirements/default.txt pins it"
        )
    edges = _edges(path.read_text(encoding="utf-8"))
    triangles = np.ascontiguousarray(edges[:, :, 0])
    # each starts where the one before ended, and two neighbours go along their edge contrariwise
    closed = (edges[:, :, 1] == np.roll(edges[:, :, 0], -1, axis=1)).all()
    directed = np.unique(edges.reshape(-1, 2), axis=0)
    whole = len(directed) == 3 * len(edges) and len(np.unique(triangles)) == N_VERTICES
    if not (len(edges) and closed and whole and triangles.max() == N_VERTICES - 1):
        raise ModelError(
            f"{path} does not hold the face mesh of {N_VERTICES} points: install the version of "
            "mediapipe that requirements/default.txt pins"
        )
    triangles.flags.writeable = False
    return triangles


def _edges(text: str) -> Triangles:
    """(T, 3, 2) edges, by three, of FACEMESH_TESSELATION = frozenset([...]); (0, 3, 2) if none."""
    none = np.empty((0, 3, 2), np.int32)
    try:
        for node in ast.parse(text).body:
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Name)
                and node.targets[0].id == "FACEMESH_TESSELATION"
                and isinstance(node.value, ast.Call)
            ):
                return np.array(ast.literal_eval(node.value.args[0]), np.int32).reshape(-1, 3, 2)
    except (SyntaxError, ValueError, IndexError, TypeError):
        return none
    return none


def _operators(vertices: Array, triangles: Triangles, pins: schemes.Indices) -> tuple[Array, Array]:
    """Displacements of all vertices from those of the pins, (V, P) twice.

    The first is for people, who differ in size and proportions, which go on beyond the landmarks:
    the affine map that explains most, then what is left. The second is for expressions, which end
    at the hairline.
    """
    rest = _bending(vertices, triangles)
    affine = _affine(vertices, pins)
    residual = _interpolation(rest, pins)
    still = np.setdiff1d(HAIRLINE, pins)
    held = _interpolation(rest, np.concatenate([pins, still]))[:, : len(pins)]
    return affine + residual - _product(residual, affine[pins]), held


def _bending(vertices: Array, triangles: Triangles) -> Array:
    """(V, V): what a displacement of the vertices costs, for one coordinate, as a quadratic form.

    Bending and tension of a thin plate over the surface: the squares of the Laplacian and, over
    `TENSION_MM`, of the gradient, both with cotangent weights and lumped masses (Botsch & Sorkine,
    On linear variational surface deformation methods, IEEE TVCG 14(1), 2008). Over the surface and
    not through space: the lips lie together and go apart.
    """
    n = len(vertices)
    stiffness, mass = np.zeros((n, n)), np.zeros(n)
    for k in range(3):
        i, j, opposite = (triangles[:, (k + step) % 3] for step in range(3))
        a, b = vertices[i] - vertices[opposite], vertices[j] - vertices[opposite]
        across = np.cross(a, b)
        double_area = np.sqrt((across * across).sum(axis=1))
        half_cotangent = 0.5 * (a * b).sum(axis=1) / double_area
        for row, column, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
            np.add.at(stiffness, (row, column), sign * half_cotangent)
        np.add.at(mass, opposite, double_area / 6)
    cost = stiffness / TENSION_MM**2
    for column, area in zip(stiffness.T, mass, strict=True):
        near = np.flatnonzero(column)  # a vertex and its neighbours
        cost[np.ix_(near, near)] += column[near, None] * column[near] / area
    return cost


def _interpolation(rest: Array, pins: schemes.Indices) -> Array:
    """(V, P): displacements of all vertices from those of the pinned ones, at the least cost."""
    free = np.setdiff1d(np.arange(len(rest)), pins)
    out = np.zeros((len(rest), len(pins)))
    out[pins, np.arange(len(pins))] = 1.0
    if len(free):
        pull = -rest[np.ix_(free, pins)]
        out[free] = linalg.cholesky_solve(rest[np.ix_(free, free)][None], pull[None])[0]
    return out


def _affine(vertices: Array, pins: schemes.Indices) -> Array:
    """(V, P): the affine map that best explains displacements of the pins, at all vertices."""
    centred = vertices - vertices[pins].mean(axis=0)
    design = np.concatenate([centred, np.ones((len(vertices), 1))], axis=1)
    rows = np.ascontiguousarray(design[pins].T)[None]
    gram = linalg.weighted_gram(rows, rows)
    return _product(design, linalg.cholesky_solve(gram, rows)[0])


def _product(left: Array, right: Array) -> Array:
    """The matrix product, with the same bits on any number of threads."""
    columns = np.ascontiguousarray(right.T)
    return np.asarray(linalg.weighted_gram(left[None], columns[None])[0])


def _spread(operator: Array, basis: Array) -> NDArray[np.float32]:
    """(K, P, 3) shapes at the landmarks to (K, V, 3), one after the other."""
    out = np.empty((len(basis), len(operator), 3), np.float32)
    for i, shape in enumerate(basis):
        out[i] = _product(operator, shape)
    return out
