"""Files of face models: read, checked and written.

A model file is an .npz of plain arrays (nothing is unpickled):

| key | what |
|---|---|
| `neutral` | (V, 3) the mean face at V vertices |
| `identity`, `expression` | (I, V, 3), (E, V, 3) differences from it at coefficient 1 |
| `expr_names`, `identity_names`, `expression_regions` | (E,), (I,), (E,) words |
| `identity_sd`, `expression_sd`, `expression_lower`, `expression_upper` | as in `LinearFaceModel` |
| `unit`, `axes` | one of `UNITS`, one of `AXES` |
| `name`, `licence`, `citation` | words |
| `landmarks_ibug68`, `landmarks_ibug51`, `landmarks_mediapipe478` | (68,), (51,), (478,) the vertex of each point, -1 where the mesh has none (irises) |
| `triangles` | (T, 3) vertices, anticlockwise seen from outside |
| `pdm`, `pdm_name` | (3L, M) modes at the L default landmarks, and whose they are |

Where there is no key of landmarks the vertices are the 68 or 51 points themselves; `triangles`,
`pdm` and `pdm_name` may be left out. Shapes of big meshes may be float16.
"""  # noqa: E501  (a table)

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake import schemes
from facemake.backends.fit import archive
from facemake.backends.fit.archive import Content
from facemake.backends.fit.model import (
    NUMBERS,
    SCHEMES,
    FaceMesh,
    LinearFaceModel,
    factor,
    head_origin,
    make_model,
)
from facemake.errors import ModelError

_SHAPES = ("neutral", "identity", "expression")
_NAMES = {
    "expr_names": "expression_names",
    "identity_names": "identity_names",
    "expression_regions": "expression_regions",
}
_WORDS = ("name", "unit", "axes", "licence", "citation")
LANDMARKS = {scheme: f"landmarks_{scheme}" for scheme in SCHEMES}
"""Scheme -> the key of a model file that has the vertex of each of its points."""


def load_model(path: Path, scheme: str | None = None) -> LinearFaceModel:
    """The model of a file at its landmarks, which the module describes.

    Args:
        path: the .npz file.
        scheme: of the landmarks; None takes the first of iBUG-68, iBUG-51 and MediaPipe's 478
            points that the file has. Of 478 points the model gets those that its mesh has.

    Raises:
        ModelError: where the file is not such a file or has no such landmarks; the message names
            the file and what is missing or wrong.
        FileNotFoundError: where there is no file.
    """
    data = path.read_bytes()
    content = archive.read(data, str(path))
    return model_of(content, str(path), scheme, hashlib.sha256(data).hexdigest())


def model_of(
    content: Content, where: str, scheme: str | None = None, sha256: str = ""
) -> LinearFaceModel:
    """As `load_model`, from the arrays of a file.

    Args:
        content: key -> array.
        where: the file's name, for messages.
        scheme: of the landmarks; None takes the file's default.
        sha256: of the file.

    Raises:
        ModelError: as `load_model`.
    """
    try:
        _check_keys(content)
        known = _landmarks(content)
        default = next(s for s in SCHEMES if s in known)
        scheme = scheme or default
        vertices = _vertices(known, scheme)
        there = np.flatnonzero(vertices >= 0)
        at = vertices[there]
        rest: dict[str, Any] = {key: content[key] for key in NUMBERS}
        rest |= {ours: _words(content[key]) for key, ours in _NAMES.items()}
        rest |= {key: str(content[key]) for key in _WORDS}
        if scheme == default:  # modes of other points would be modes of something else
            rest |= {"pdm": content.get("pdm"), "pdm_name": str(content.get("pdm_name", ""))}
        return make_model(
            mean=content["neutral"][at],
            identity=content["identity"][:, at],
            expression=content["expression"][:, at],
            scheme=scheme,
            points=None if len(there) == len(vertices) else there,
            head=content["neutral"][_vertices(known, schemes.IBUG51)],
            sha256=sha256,
            **rest,
        )
    except ModelError as error:
        raise ModelError(f"face model {where}: {error}") from error


def load_mesh(path: Path) -> FaceMesh:
    """The model of a file at all its vertices.

    Raises:
        ModelError: where the file is not a face model file, or a vertex or a triangle of it is
            impossible.
        FileNotFoundError: where there is no file.
    """
    data = path.read_bytes()
    content = archive.read(data, str(path))
    # checks unit, axes and names
    model = model_of(content, str(path), sha256=hashlib.sha256(data).hexdigest())
    to_ours = factor(model.name, str(content["unit"]), str(content["axes"]))
    known = _landmarks(content)
    inner = content["neutral"][_vertices(known, schemes.IBUG51)].astype(np.float64) * to_ours
    mean = content["neutral"].astype(np.float64) * to_ours - head_origin(inner)
    triangles = np.asarray(content.get("triangles", np.empty((0, 3))), dtype=np.int32)
    shapes = [mean, *(content[key].astype(np.float32) for key in ("identity", "expression"))]
    if not all(np.isfinite(shape).all() for shape in shapes):
        raise ModelError(f"face model {path}: a vertex of its mesh is not finite")
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not _inside(triangles, len(mean)):
        raise ModelError(
            f"face model {path}: triangles has shape {triangles.shape} or names vertices that are "
            f"not there; wanted (count, 3) of 0 to {len(mean) - 1}"
        )
    for shape in shapes[1:]:
        shape *= to_ours.astype(np.float32)
    return FaceMesh(
        name=model.name,
        mean=shapes[0].astype(np.float32),
        identity=shapes[1],
        expression=shapes[2],
        triangles=triangles,
        landmarks=known,
        identity_names=model.identity_names,
        expression_names=model.expression_names,
        licence=model.licence,
        citation=model.citation,
        sha256=model.sha256,
    )


def save_model(model: LinearFaceModel, path: Path) -> None:
    """Write a model of landmarks as a file of float32 arrays and strings, in mm and our axes."""
    content: Content = {
        key: np.asarray(getattr(model, key), dtype=np.float32)
        for key in ("identity", "expression", *NUMBERS)
    }
    # about the origin of its PDM, which loading takes from here
    content["neutral"] = (model.mean - model.pdm_origin).astype(np.float32)
    content |= {key: np.array(getattr(model, ours), dtype=np.str_) for key, ours in _NAMES.items()}
    content |= {key: np.array(getattr(model, key)) for key in ("name", "licence", "citation")}
    content["unit"] = np.array("mm")
    content["axes"] = np.array("x-right y-down z-forward")
    if model.scheme == schemes.MEDIAPIPE478:
        vertices = np.full(schemes.N_POINTS[model.scheme], -1, np.int32)
        vertices[slice(None) if model.points is None else model.points] = np.arange(model.n_points)
        content[LANDMARKS[model.scheme]] = vertices
    if model.pdm is not None:
        content["pdm"] = model.pdm.astype(np.float32)
        if model.pdm_name:
            content["pdm_name"] = np.array(model.pdm_name)
    archive.write(content, path)


def _check_keys(content: Content) -> None:
    wanted = (*_SHAPES, *NUMBERS, *_NAMES, *_WORDS)
    missing = [key for key in wanted if key not in content]
    if missing:
        raise ModelError(
            f"it lacks {', '.join(missing)}; `facemake models build` makes model files from what "
            "makers of models publish"
        )
    count = len(content["neutral"]) if content["neutral"].ndim else 0
    for key in _SHAPES:
        shape = content[key].shape
        if len(shape) != (2 if key == "neutral" else 3) or shape[-2:] != (count, 3):
            wanted_shape = f"({'' if key == 'neutral' else 'count, '}{count or 'V'}, 3)"
            raise ModelError(f"{key} has shape {shape}, wanted {wanted_shape}")
        if content[key].dtype.kind != "f":
            raise ModelError(f"{key} is of type {content[key].dtype}, wanted floating point")


def _landmarks(content: Content) -> dict[str, schemes.Indices]:
    """Scheme -> the vertex of each of its points, for the schemes that the file names."""
    count = len(content["neutral"])
    found: dict[str, schemes.Indices] = {}
    for scheme, key in LANDMARKS.items():
        if key not in content:
            continue
        vertices = content[key]
        if vertices.shape != (schemes.N_POINTS[scheme],) or vertices.dtype.kind not in "iu":
            raise ModelError(
                f"{key} has shape {vertices.shape} and type {vertices.dtype}, wanted "
                f"({schemes.N_POINTS[scheme]},) whole numbers"
            )
        lowest = -1 if scheme == schemes.MEDIAPIPE478 else 0
        if vertices.min() < lowest or vertices.max() >= count:
            raise ModelError(f"{key} names vertices that are not there; it has 0 to {count - 1}")
        found[scheme] = vertices.astype(np.intp)
    if not found:
        for scheme in (schemes.IBUG68, schemes.IBUG51):
            if count == schemes.N_POINTS[scheme]:
                return {scheme: np.arange(count)}
        raise ModelError(
            f"it has {count} vertices and does not say which of them are landmarks (as "
            f"{', '.join(LANDMARKS.values())}); without that it must have 68 or 51"
        )
    return found


def _vertices(known: Mapping[str, schemes.Indices], scheme: str) -> schemes.Indices:
    """The vertex of each point of a scheme, from the schemes that the file names."""
    for source in (scheme, *SCHEMES):
        if source in known:
            try:
                vertices = known[source][schemes.subset(source, scheme)]
            except ValueError:
                continue
            if scheme != schemes.MEDIAPIPE478 and (vertices < 0).any():
                raise ModelError(f"its mesh does not have all points of {scheme}")
            return vertices
    raise ModelError(f"it has landmarks of {', '.join(known)} and none of {scheme}")


def _words(array: NDArray[np.generic]) -> list[str]:
    return [str(s) for s in np.atleast_1d(array)]


def _inside(indices: NDArray[np.int32], count: int) -> bool:
    return not len(indices) or bool(indices.min() >= 0 and indices.max() < count)
