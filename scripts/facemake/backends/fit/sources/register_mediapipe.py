"""Which vertex of ICT-FaceKit's face is which point of MediaPipe's face mesh, by registration.

`python -m facemake.backends.fit.sources.register_mediapipe CANONICAL MODEL` prints the table that
`ict_mediapipe` holds and how good it is. CANONICAL is MediaPipe's `canonical_face_model.obj`
(mediapipe/modules/face_geometry/data, Apache-2.0; the wheel of 0.10.21 does not carry it), MODEL
the file that `facemake models build` made from the kit.

The kit's model is fitted to the canonical face, surface to surface: identity, a few expressions
(the canonical mouth is a little open) and a similarity, by least squares, so that every canonical
point lies in the plane of its nearest vertex, while eyes, lips, nose tip and chin are held by the
landmarks that both have. Each canonical point then takes the nearest vertex of the fitted face on
its own side of the lips (the lower lip is what `jawOpen` carries along) whose surface is turned the
same way. Both faces are symmetric, and so is the table: it is made for one half. Tried on the face
of another person of the kit, it finds three quarters of the vertices again, 95 % within 4.3 mm.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake import schemes
from facemake.backends.fit.model import FaceMesh
from facemake.backends.fit.modelfile import load_mesh
from facemake.backends.fit.sources.ict_facekit import read_obj
from facemake.errors import ModelError

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

N_POINTS = 468
"""Points of the canonical face: MediaPipe's 478 without the irises."""

ROUNDS = 40
_WARM_UP = 5  # rounds in which surfaces come to count
_NEIGHBOURS = 12
_IDENTITY_SD, _EXPRESSION_SD = 1.5, 0.3
_SURFACE, _LANDMARK = 0.25, 2.0  # weights of a point's plane and of a landmark
_TURNED_MM2 = 9.0  # what a surface that is turned away costs, in mm² of distance
_CARRIED_MM = 12.0  # what jawOpen moves by more is the lower lip's

_EXPRESSIONS = (
    *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower", "mouthRollUpper"),
    *("mouthShrugLower", "mouthShrugUpper", "mouthSmile_L", "mouthSmile_R", "eyeBlink_L"),
    *("eyeBlink_R", "eyeWide_L", "eyeWide_R", "browInnerUp_L", "browInnerUp_R", "browDown_L"),
    "browDown_R",
)
_UPPER_LIP = (
    *(185, 40, 39, 37, 0, 267, 269, 270, 409, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(183, 42, 41, 38, 12, 268, 271, 272, 407, 191, 80, 81, 82, 13, 312, 311, 310, 415),
)
_LOWER_LIP = (
    *(146, 91, 181, 84, 17, 314, 405, 321, 375, 77, 90, 180, 85, 16, 315, 404, 320, 307),
    *(96, 89, 179, 86, 15, 316, 403, 319, 325, 95, 88, 178, 87, 14, 317, 402, 318, 324),
)
"""Rings of the lips in MediaPipe's numbering, from the outer contour to the inner, without the
corners."""


def _landmark_weights() -> Array:
    """(68,) how far each iBUG-68 point is the same anatomical point in both, 0 to 1.

    Jaw, nostrils and the ridge of the nose are not: their makers put them elsewhere.
    """
    weights = np.zeros(68)
    weights[[36, 39, 42, 45, 48, 51, 54, 57, 62, 66]] = 1.0
    weights[[37, 38, 40, 41, 43, 44, 46, 47, 50, 52]] = 0.7
    weights[[30, 33]] = 0.5
    weights[8] = 0.3
    weights[[27, 49, 53, 55, 56, 58, 59, 60, 61, 63, 64, 65, 67]] = 0.2
    weights[17:27] = 0.15
    return weights


@dataclass(frozen=True)
class Registration:
    """What was found.

    Attributes:
        vertices: (468,) the vertex of each canonical point.
        distance: (468,) mm between the two on the fitted face.
        to_surface: (468,) mm from each canonical point to the plane of the fitted face there.
    """

    vertices: Indices
    distance: Array
    to_surface: Array


def register(canonical: Array, triangles: NDArray[np.int32], mesh: FaceMesh) -> Registration:
    """Find the vertices.

    Args:
        canonical: (468, 3) MediaPipe's canonical face, in mm and our axes, symmetric in x.
        triangles: (T, 3) of it, anticlockwise seen from outside.
        mesh: the kit's face.

    Raises:
        ModelError: the canonical face has another number of points, or the mesh other expressions.
    """
    if canonical.shape != (N_POINTS, 3):
        raise ModelError(f"the canonical face has shape {canonical.shape}, wanted {(N_POINTS, 3)}")
    missing = set(_EXPRESSIONS) - set(mesh.expression_names)
    if missing:
        raise ModelError(f"{mesh.name} lacks the expressions {', '.join(sorted(missing))}")
    neutral = mesh.mean.astype(np.float64)
    mirror, _ = _nearest(neutral * [-1.0, 1.0, 1.0], neutral)
    canonical_mirror, _ = _nearest(canonical * [-1.0, 1.0, 1.0], canonical)
    neighbours = _neighbours(neutral)
    face, points = _fit(canonical, mesh, neighbours)
    face = 0.5 * (face + face[mirror] * [-1.0, 1.0, 1.0])
    points = 0.5 * (points + points[canonical_mirror] * [-1.0, 1.0, 1.0])

    outwards = _point_normals(points, triangles)
    normals = _normals(face, neighbours)
    jaw = mesh.expression[mesh.expression_names.index("jawOpen")].astype(np.float64)
    carried = np.sqrt((jaw * jaw).sum(axis=1)) > _CARRIED_MM
    middle = np.abs(neutral[:, 0]) < 0.05
    vertices = np.full(N_POINTS, -1, np.intp)
    right = points[:, 0] > 1e-6
    for i in np.flatnonzero(~right).tolist():
        cost = ((points[i] - face) ** 2).sum(axis=1)
        if i in _LOWER_LIP or i in _UPPER_LIP:
            cost[carried != (i in _LOWER_LIP)] = np.inf
        if canonical_mirror[i] == i:
            cost[~middle] = np.inf
        else:
            cost += _TURNED_MM2 * (np.abs(normals @ outwards[i]) < 0.5)
        vertices[i] = cost.argmin()
    vertices[right] = mirror[vertices[canonical_mirror[right]]]
    nearest, _ = _nearest(points, face)
    return Registration(
        vertices=vertices,
        distance=np.sqrt(((points - face[vertices]) ** 2).sum(axis=1)),
        to_surface=np.abs(((points - face[nearest]) * normals[nearest]).sum(axis=1)),
    )


def _fit(canonical: Array, mesh: FaceMesh, neighbours: Indices) -> tuple[Array, Array]:
    """The kit's face (V, 3) nearest to the canonical one, and that (468, 3) moved onto it."""
    weights = _landmark_weights()
    used = np.flatnonzero(weights)
    weights = weights[used]
    mine = schemes.MEDIAPIPE478_TO_IBUG68[used]
    theirs = mesh.landmarks[schemes.IBUG68][used]
    chosen = [mesh.expression_names.index(name) for name in _EXPRESSIONS]
    basis = np.concatenate([mesh.identity, mesh.expression[chosen]]).astype(np.float64)
    n_identity = len(mesh.identity)
    prior = np.full(len(basis), 1 / _EXPRESSION_SD)
    prior[:n_identity] = 1 / _IDENTITY_SD
    neutral = mesh.mean.astype(np.float64)

    face = neutral
    points = _similar(canonical, canonical[mine], neutral[theirs], weights)
    root = np.sqrt(_LANDMARK * weights)
    for number in range(ROUNDS):
        trust = min(1.0, number / _WARM_UP)
        nearest, distance = _nearest(points, face)
        normals = _normals(face, neighbours)[nearest]
        # far points, as the ears at first, pull less
        limit = max(6.0, 25.0 - number)
        plane = np.sqrt(_SURFACE * trust * np.minimum(1.0, limit / np.maximum(distance, limit)))
        design = np.concatenate(
            [
                np.einsum("kva,va->vk", basis[:, nearest], normals) * plane[:, None],
                (basis[:, theirs] * root[None, :, None]).reshape(len(basis), -1).T,
                np.diag(prior),
            ]
        )
        wanted = np.concatenate(
            [
                ((points - neutral[nearest]) * normals).sum(axis=1) * plane,
                ((points[mine] - neutral[theirs]) * root[:, None]).ravel(),
                np.zeros(len(basis)),
            ]
        )
        coefficients = np.linalg.lstsq(design, wanted, rcond=None)[0]
        face = neutral + np.tensordot(coefficients, basis, 1)
        nearest, _ = _nearest(points, face)
        normals = _normals(face, neighbours)[nearest]
        height = ((points - face[nearest]) * normals).sum(axis=1)
        points = _similar(
            canonical,
            np.concatenate([canonical[mine], canonical]),
            np.concatenate([face[theirs], points - height[:, None] * normals]),
            np.concatenate([3 * weights, np.full(len(canonical), 0.1 * trust)]),
        )
    return face, points


def _similar(points: Array, source: Array, target: Array, weights: Array) -> Array:
    """`points` moved by the similarity that takes `source` to `target` (Umeyama, 1991)."""
    w = weights / weights.sum()
    source_mean, target_mean = w @ source, w @ target
    a, b = source - source_mean, target - target_mean
    u, s, vt = np.linalg.svd((b * w[:, None]).T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u * sign) @ vt
    scale = (s * sign).sum() / (w @ (a * a).sum(axis=1))
    return np.asarray(scale * (points - source_mean) @ turn.T + target_mean)


def _nearest(points: Array, vertices: Array) -> tuple[Indices, Array]:
    """The nearest vertex of each point, and how far it is."""
    found = np.empty(len(points), np.intp)
    distance = np.empty(len(points))
    for start in range(0, len(points), 256):
        part = slice(start, start + 256)
        squares = ((points[part, None] - vertices[None]) ** 2).sum(axis=-1)
        found[part] = squares.argmin(axis=1)
        distance[part] = np.sqrt(squares.min(axis=1))
    return found, distance


def _neighbours(vertices: Array) -> Indices:
    """(V, 12) the nearest vertices of each, itself among them."""
    out = np.empty((len(vertices), _NEIGHBOURS), np.intp)
    for start in range(0, len(vertices), 256):
        part = slice(start, start + 256)
        squares = ((vertices[part, None] - vertices[None]) ** 2).sum(axis=-1)
        out[part] = np.argpartition(squares, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    return out


def _normals(face: Array, neighbours: Indices) -> Array:
    """(V, 3) unit normals of the plane through each vertex's neighbours; of either sign."""
    near = face[neighbours]
    near = near - near.mean(axis=1, keepdims=True)
    return np.asarray(np.linalg.svd(near, full_matrices=False)[2][:, 2])


def _point_normals(points: Array, triangles: NDArray[np.int32]) -> Array:
    """(468, 3) unit normals at the points of a mesh, by area."""
    corners = points[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    out = np.zeros_like(points)
    for k in range(3):
        np.add.at(out, triangles[:, k], faces)
    return np.asarray(out / np.maximum(np.sqrt((out * out).sum(axis=1)), 1e-12)[:, None])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, four to a row of MediaPipe's numbering, and how good it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("canonical", type=Path, help="canonical_face_model.obj of MediaPipe")
    parser.add_argument("model", type=Path, help="ict-facekit.npz")
    options = parser.parse_args(arguments)
    vertices, faces = read_obj(options.canonical)
    mesh = load_mesh(options.model)
    canonical = 10.0 * vertices * [1.0, -1.0, -1.0]
    found = register(canonical, np.array(faces, np.int32), mesh)
    for start in range(0, N_POINTS, 12):
        print("    *(" + ", ".join(map(str, found.vertices[start : start + 12])) + "),")
    shared = mesh.mean[found.vertices[schemes.subset(schemes.MEDIAPIPE478, schemes.IBUG51)]]
    ibug51 = mesh.mean[mesh.landmarks[schemes.IBUG68][schemes.IBUG68_TO_IBUG51]]
    for what, values in (
        ("canonical point to its vertex", found.distance),
        ("canonical point to the fitted surface", found.to_surface),
        ("the 51 shared landmarks, vertex to vertex", np.linalg.norm(shared - ibug51, axis=1)),
    ):
        print(f"# {what}: median {np.median(values):.2f} mm, max {values.max():.2f} mm")


if __name__ == "__main__":
    main()
