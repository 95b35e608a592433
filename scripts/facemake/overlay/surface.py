"""The fitted surface in a frame, in pixels: as lines, or shaded in the place of a face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake import geometry
from facemake.backends.fit import load_as_planned
from facemake.backends.fit.interpolated import interpolated_mesh
from facemake.backends.fit.mesh import dense_faces, vertex_normals
from facemake.backends.fit.model import FaceMesh
from facemake.errors import TableError
from facemake.overlay.fixed import SHIFT, fixed
from facemake.overlay.rows import Array, Face
from facemake.tables import TableReader

Pixels = NDArray[np.uint8]
Project = Callable[[Array], Array]
"""(V, 3) mm in camera axes to (V, 2) pixels."""

_SKIN = np.array([205.0, 196.0, 186.0])
_LIGHT = np.array([-0.35, -0.5, -0.79])
"""Where the light comes from, in camera axes: above, image-left, from the camera."""
_AMBIENT = 0.35


class Surface:
    """The face model's surface of 468 points, whatever mesh the model has: made for drawing.

    Args:
        recipe: of the fit; it names the face model.

    Raises:
        ModelError: the model is not there, or is another one now.
        TableError: the recipe names none (3DI's fit has a model of its own).
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        name = recipe.get("settings", {}).get("model")
        if recipe.get("stage") != "fit" or not name:
            raise TableError(
                "the fit names no face model of facemake's own, so that it has no surface here: "
                "leave `mesh` out"
            )
        self._mesh = interpolated_mesh(load_as_planned(name, recipe.get("models", ())))
        self._people: dict[int, FaceMesh] = {}
        triangles = self._mesh.triangles
        pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
        self._edges, self._edge_of = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
        self._edge_of = self._edge_of.reshape(3, -1)

    @property
    def coefficients(self) -> int:
        """How many an expression has."""
        return len(self._mesh.expression)

    def know(self, identities: TableReader, sample: str) -> None:
        """Take the people of a sample from the identity table; others have the mean face."""
        self._people = {}
        for row in identities.read(sample, ["track", "identity"]).to_pylist():
            if row["identity"] is not None:
                person = np.array(row["identity"], np.float64)
                self._people[row["track"]] = replace(
                    self._mesh, mean=self._mesh.shape(person).astype(np.float32)
                )

    def knows(self, track: int) -> bool:
        """Whether the identity of a track is known."""
        return track in self._people

    def lines(
        self, rgb: Pixels, face: Face, project: Project, colour: tuple[int, int, int]
    ) -> None:
        """Draw the edges of the triangles that look at the camera; nothing without a fit."""
        shape = self._shape(face, self._people.get(face.track))
        if shape is None:
            return
        pixels = project(shape)
        front = self._front(pixels)
        shown = np.zeros(len(self._edges), bool)
        shown[self._edge_of[:, front].ravel()] = True
        lines = pixels[self._edges[shown]]
        if np.isfinite(lines).all():
            cv2.polylines(rgb, list(fixed(lines)), False, colour, 1, cv2.LINE_AA, SHIFT)

    def shaded(self, rgb: Pixels, face: Face, project: Project) -> None:
        """Draw the expression on the model's mean face, lit from the camera."""
        shape = self._shape(face, None)
        if shape is None:
            return
        pixels = project(shape)
        triangles = self._mesh.triangles
        front = np.flatnonzero(self._front(pixels))
        if not np.isfinite(pixels).all():
            return
        normals = vertex_normals(shape, triangles)[triangles[front]].mean(axis=1)
        light = np.clip(normals @ _LIGHT, 0.0, 1.0)
        colours = _SKIN * (_AMBIENT + (1 - _AMBIENT) * light)[:, None]
        order = np.argsort(-shape[triangles[front], 2].mean(axis=1), kind="stable")
        corners = fixed(pixels[triangles[front]])
        for i in order.tolist():
            cv2.fillConvexPoly(rgb, corners[i], colours[i].tolist(), cv2.LINE_8, SHIFT)

    def _shape(self, face: Face, person: FaceMesh | None) -> Array | None:
        """(V, 3) mm in camera axes; None without a pose or an expression."""
        if face.pose is None or face.expression is None or not np.isfinite(face.pose).all():
            return None
        turn = geometry.rotation_from_euler(face.pose[None, :3])
        shapes = dense_faces(
            person or self._mesh, None, face.expression[None], turn, face.pose[None, 3:]
        )
        return next(shapes)

    def _front(self, pixels: Array) -> NDArray[np.bool_]:
        """(T,) which triangles look at the camera: those that stay anticlockwise in the picture."""
        a, b, c = (pixels[self._mesh.triangles[:, i]] for i in range(3))
        u, v = b - a, c - a
        return np.asarray(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] < 0)
