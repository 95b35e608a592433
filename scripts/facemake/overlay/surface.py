"""The fitted surface in a frame, in pixels: as lines, or shaded in the place of a face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake import geometry
from facemake.backends.fit import load_as_planned
from facemake.backends.fit.interpolated import bent, interpolated_mesh
from facemake.backends.fit.mesh import vertex_normals
from facemake.backends.fit.model import FaceMesh
from facemake.backends.threedi import FACTS, Engine
from facemake.backends.threedi.model import load as load_install_model
from facemake.errors import FacemakeError
from facemake.overlay.fixed import SHIFT, fixed
from facemake.overlay.rows import Array, Face
from facemake.overlay.view import View
from facemake.schemes import IBUG51
from facemake.tables import TableReader

Pixels = NDArray[np.uint8]

_SKIN = np.array([205.0, 196.0, 186.0])
_LIGHT = np.array([-0.35, -0.5, -0.79])
"""Where the light comes from, in camera axes: above, image-left, from the camera."""
_AMBIENT = 0.35

_SEEN = 0.4
"""How much of a line of the mesh is its own colour."""


_MESHES: dict[str, FaceMesh] = {}
"""SHA-256 of a face model -> its surface: many samples have one."""


class Surface:
    """A face model's surface, interpolated between its landmarks, and the people of a sample.

    Args:
        mesh: the model's mean face.
        everyone: whether a track whose person is not known has the mean face.
    """

    def __init__(self, mesh: FaceMesh, *, everyone: bool = False) -> None:
        self._mesh = mesh
        self._everyone = everyone
        self._people: dict[int, FaceMesh] = {}
        self._edges, self._beside = _lines(mesh)

    @classmethod
    def of(cls, recipe: Mapping[str, Any], faces_of_3di: Path) -> Self:
        """That of a fit.

        Args:
            recipe: of the fit; it names the face model.
            faces_of_3di: what an install of 3DI says of its face model, where that made the fit.

        Raises:
            ModelError: the model is not there, or is another one now.
            FacemakeError: what 3DI's install said is not there.
        """
        backend = recipe.get("backend")
        if backend in tuple(Engine):
            if not faces_of_3di.is_file():
                raise FacemakeError(
                    f"{faces_of_3di} is missing, which has the face model of the install of 3DI at "
                    "its landmarks: finish the run first"
                )
            return cls(_of_install(faces_of_3di), everyone=backend == Engine.LITE)
        model = load_as_planned(recipe["settings"]["model"], recipe.get("models", ()))
        if model.sha256 not in _MESHES:  # half a second
            _MESHES[model.sha256] = interpolated_mesh(model)
        return cls(_MESHES[model.sha256])

    @property
    def coefficients(self) -> int:
        """How many an expression has."""
        return len(self._mesh.expression)

    def know(self, identities: TableReader, sample: str) -> None:
        """Take the people of a sample from the identity table.

        A model that has a person's coefficients gives their face; that of 3DI, of which the 51
        landmarks alone are known, is bent to theirs.
        """
        self._people = {}
        mesh = self._mesh
        for row in identities.read(sample, ["track", "identity", "neutral"]).to_pylist():
            mean: NDArray[Any] | None = None
            if len(mesh.identity):
                if row["identity"] is not None:
                    mean = mesh.shape(np.array(row["identity"], np.float64))
            elif row["neutral"] is not None:
                points = np.array(row["neutral"], np.float64).reshape(-1, 3)
                mean = bent(mesh.mean.astype(np.float64), mesh.landmarks[IBUG51], points)
            if mean is not None:
                self._people[row["track"]] = replace(mesh, mean=mean.astype(np.float32))

    def knows(self, track: int) -> bool:
        """Whether there is a face to draw for a track."""
        return self._everyone or track in self._people

    def lines(self, rgb: Pixels, face: Face, view: View, colour: tuple[int, int, int]) -> None:
        """Draw the edges of the triangles that look at the camera; nothing without a fit.

        The face shows through them: in a small one they are as dense as a mask.
        """
        placed = self._placed(face, view, self._people.get(face.track))
        if placed is None:
            return
        _, pixels = placed
        front = self._front(pixels)
        shown = front[self._beside[0]] | front[self._beside[1]]
        width = max(1, round(min(rgb.shape[:2]) / 720))
        low = np.maximum(np.floor(pixels.min(axis=0)) - width, 0).astype(int)
        high = np.minimum(np.ceil(pixels.max(axis=0)) + width + 1, rgb.shape[1::-1]).astype(int)
        if (high <= low).any():
            return
        part = rgb[low[1] : high[1], low[0] : high[0]]
        drawn = part.copy()
        lines = fixed(pixels - low)[self._edges[shown]]
        cv2.polylines(drawn, list(lines), False, colour, width, cv2.LINE_AA, SHIFT)
        part[:] = cv2.addWeighted(part, 1 - _SEEN, drawn, _SEEN, 0)

    def shaded(self, rgb: Pixels, face: Face, view: View) -> None:
        """Draw the expression on the model's mean face, lit from the camera."""
        placed = self._placed(face, view, None)
        if placed is None:
            return
        shape, pixels = placed
        triangles = self._mesh.triangles
        front = np.flatnonzero(self._front(pixels))
        normals = vertex_normals(shape, triangles)[triangles[front]].mean(axis=1)
        light = np.clip(normals @ _LIGHT, 0.0, 1.0)
        colours = _SKIN * (_AMBIENT + (1 - _AMBIENT) * light)[:, None]
        order = np.argsort(-shape[triangles[front], 2].mean(axis=1), kind="stable")
        corners = fixed(pixels[triangles[front]])
        for i in order.tolist():
            cv2.fillConvexPoly(rgb, corners[i], colours[i].tolist(), cv2.LINE_8, SHIFT)

    def _placed(
        self, face: Face, view: View, person: FaceMesh | None
    ) -> tuple[Array, Array] | None:
        """The turned shape (V, 3) mm, and where it is seen (V, 2) px; None where that is unknown.

        Unknown too where a part of it is behind the lens.
        """
        if face.pose is None or face.expression is None or not np.isfinite(face.pose[:3]).all():
            return None
        still = (person or self._mesh).shape(expression=face.expression).astype(np.float64)
        shape = geometry.rotate(geometry.rotation_from_euler(face.pose[:3]), still)
        pixels = view.place(shape, face)
        return None if pixels is None else (shape, pixels)

    def _front(self, pixels: Array) -> NDArray[np.bool_]:
        """(T,) which triangles look at the camera: those that stay anticlockwise in the picture."""
        a, b, c = (pixels[self._mesh.triangles[:, i]] for i in range(3))
        u, v = b - a, c - a
        return np.asarray(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] < 0)


def _lines(mesh: FaceMesh) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The edges that are drawn (E, 2), and the triangles at each (2, E): at the rim one, twice.

    Where two triangles make a quadrangle, its diagonal is none of them: an edge that is the longest
    of both. They say nothing, and a third of all lines would be such.
    """
    corners = mesh.triangles
    pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    edges, edge = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
    edge = edge.ravel()
    order = np.argsort(edge, kind="stable")
    ends = np.cumsum(np.bincount(edge))
    beside = np.stack([order[np.r_[0, ends[:-1]]], order[ends - 1]]) % len(corners)
    length = np.linalg.norm(mesh.mean[edges[:, 0]] - mesh.mean[edges[:, 1]], axis=1)
    of_triangle = edge.reshape(3, -1)
    longest = of_triangle[length[of_triangle].argmax(axis=0), np.arange(len(corners))]
    drawn = np.bincount(longest, minlength=len(edges)) < 2
    return edges[drawn], beside[:, drawn]


def _of_install(path: Path) -> FaceMesh:
    """The surface between the landmarks of an install's face model, about the install's origin."""
    known = load_install_model(path)
    model = known.as_face_model(FACTS[Engine.FULL].name)
    mesh = interpolated_mesh(model)
    # `as_face_model` moves it to the origin of facemake's models, and 3DI's poses are about its own
    moved = known.mean[0] - model.mean[0]
    return replace(mesh, mean=(mesh.mean + moved).astype(np.float32))
