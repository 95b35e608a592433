"""The dense face of a fitted frame: a model's whole surface with identity, expression and pose.

A fit stores coefficients; the surface is made from them when somebody wants it. Models that come
with a mesh give a statistical surface: each vertex moves as it does over the people that the model
was made from. A model of landmarks alone, as the built-in one, gets an interpolated surface
(`facemake.backends.fit.interpolated`): exact at the landmarks, plausible between them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import facemodels, geometry, schemes
from facemake.backends.fit import FACE_MODELS, load
from facemake.backends.fit.interpolated import interpolated_mesh
from facemake.backends.fit.model import FaceMesh
from facemake.backends.fit.modelfile import load_mesh
from facemake.errors import ModelError

Array = NDArray[np.float64]

CAMERA, HEAD, CANONICAL = "camera", "head", "canonical"

SPACES: Mapping[str, str] = MappingProxyType(
    {
        CAMERA: "x right, y down, z forward from the lens; identity, expression and pose",
        HEAD: "x image-right, y down, z backwards into the head; identity and expression, no pose",
        CANONICAL: "x image-right, y up, z backwards into the head (left-handed); mean face and "
        "expression, no identity and no pose",
    }
)
"""Axes that a dense face can be in, all mm, and what of the fit it then has."""

_CANONICAL_SIGNS = np.array([1.0, -1.0, 1.0])
"""Takes model axes to those of 3DI's canonical landmarks."""


@dataclass(frozen=True)
class Surface:
    """A face model at its vertices, and how it came by them."""

    mesh: FaceMesh
    interpolated: bool
    """Whether only the landmarks are the model's and the rest of the surface is interpolated."""

    @property
    def says(self) -> str:
        """What kind of surface it is, in words."""
        if self.interpolated:
            return "interpolated surface, not a statistical one: only its landmarks are the model's"
        if not len(self.mesh.triangles):
            return "points of a statistical surface: the model's file has no triangles"
        return "statistical surface: each vertex is the model's own"


def load_surface(name: str, sha256: str | None = None) -> Surface:
    """The surface of a model of `FACE_MODELS`; a large one is large in memory.

    Args:
        name: in the config (`fit.model`).
        sha256: of the file that made a fit; coefficients mean nothing to another one.

    Raises:
        ModelError: the name is unknown, the model is not built here, its file has changed or has
            another SHA-256 than wanted, or it cannot have a surface. The message says what to do.
    """
    if name not in FACE_MODELS:
        raise ModelError(f"{name} is no face model; there are {', '.join(FACE_MODELS)}")
    if name in facemodels.SOURCES:
        built = facemodels.find(name)
        _check(name, built.sha256, sha256, f"build that one again into a folder of its own, {_USE}")
        mesh = load_mesh(built.path)
        if len(mesh.triangles) or len(mesh.mean) > max(schemes.N_POINTS.values()):
            return Surface(mesh, interpolated=False)
    model = load(name)
    _check(name, model.sha256, sha256, "install the version of facemake that made the fit")
    return Surface(interpolated_mesh(model), interpolated=True)


_USE = "and name it with --models-dir"


def _check(name: str, found: str, wanted: str | None, cure: str) -> None:
    if wanted is not None and found != wanted:
        raise ModelError(
            f"the fit was made with a face model {name} of SHA-256 {wanted[:12]}…, and the one on "
            f"this machine has {found[:12]}…, so that its surface would be another face: {cure}, "
            "or run the workflow again"
        )


def dense_faces(
    mesh: FaceMesh,
    identity: ArrayLike | None,
    expression: ArrayLike,
    rotation: ArrayLike | None = None,
    translation: ArrayLike | None = None,
) -> Iterator[Array]:
    """The surface in each of n frames, (V, 3) mm each, made when it is asked for.

    One frame is in memory at a time. A frame's numbers do not depend on the frames beside it.

    Args:
        mesh: of the model that made the fit.
        identity: (I,) of the track; None for the mean face.
        expression: (n, E); a frame with NaN gives NaN.
        rotation: (n, 3, 3), model axes to camera axes (`geometry.rotation_from_euler`); None leaves
            the head unturned.
        translation: (n, 3) mm, of the head's origin in camera axes; None leaves it at the origin.

    Raises:
        ValueError: an array does not have the shape that the mesh or the others want.
    """
    values = np.asarray(expression, np.float64)
    if values.ndim != 2 or values.shape[1] != len(mesh.expression):
        raise ValueError(
            f"{mesh.name} takes (n, {len(mesh.expression)}) expressions, got {values.shape}"
        )
    turns = _per_frame(rotation, np.eye(3), len(values))
    shifts = _per_frame(translation, np.zeros(3), len(values))
    if identity is not None:
        person = np.asarray(identity, np.float64)
        if person.shape != (len(mesh.identity),):
            raise ValueError(
                f"{mesh.name} takes ({len(mesh.identity)},) identities, got {person.shape}"
            )
        mesh = replace(mesh, mean=mesh.shape(person))
    return _faces(mesh, values, turns, shifts)


def _faces(person: FaceMesh, values: Array, turns: Array, shifts: Array) -> Iterator[Array]:
    for expression, turn, shift in zip(values, turns, shifts, strict=True):
        shape = person.shape(expression=expression).astype(np.float64)
        yield geometry.rotate(turn, shape) + shift


def _per_frame(given: ArrayLike | None, neutral: Array, n: int) -> Array:
    """(n, ...) of what was given, or `neutral` for each frame without memory of its own."""
    if given is None:
        return np.broadcast_to(neutral, (n, *neutral.shape))
    values = np.asarray(given, np.float64)
    if values.shape != (n, *neutral.shape):
        raise ValueError(f"wanted an array {(n, *neutral.shape)} for the pose, got {values.shape}")
    return values


def canonical_axes(shape: Array, triangles: NDArray[np.int32]) -> tuple[Array, NDArray[np.int32]]:
    """A face (V, 3) in model axes, taken to 3DI's canonical axes, with its triangles (T, 3).

    These axes are left-handed, so the corners of each triangle change places: cross products of
    edges go on pointing outwards.
    """
    return shape * _CANONICAL_SIGNS, np.ascontiguousarray(triangles[:, ::-1])


def vertex_normals(shape: Array, triangles: NDArray[np.int32]) -> Array:
    """(V, 3) unit vectors out of the surface (V, 3): the mean of the triangles (T, 3) at a vertex.

    Each triangle counts by its area. A vertex without a triangle has (0, 0, 0). Summed in a fixed
    order: the same bits each time.
    """
    a, b, c = (shape[triangles[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    corners = triangles.ravel()
    total = np.stack(
        [np.bincount(corners, np.repeat(across[:, i], 3), len(shape)) for i in range(3)], axis=1
    )
    length = np.sqrt((total * total).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(total, length, out=np.zeros_like(total), where=length > 0))
