"""Linear face models: one interface for every 3D morphable model, and the door they come in by.

A face is `mean + sum(a_i * identity_i) + sum(e_j * expression_j)` at L landmarks. In memory every
model is in millimetres and in model axes (x image-right, y down, z forward, so the nose tip has
negative z), with one origin for all, so that translations mean the same whatever the model: on the
midline, level with the mean height of the iBUG-51 points, 41 mm behind the nose tip.

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

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import schemes
from facemake.backends.fit import archive
from facemake.backends.fit.archive import Content
from facemake.errors import ModelError

Array = NDArray[np.float64]

UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
"""Millimetres in each unit that a model file may be in."""

AXES = {
    "x-right y-down z-forward": (1.0, 1.0, 1.0),
    "x-right y-up z-backward": (1.0, -1.0, -1.0),
}
"""Signs that take each system of axes a model file may be in to ours. x is the image's right."""

NOSE_TIP_DEPTH = 41.0
"""mm from the origin to the nose tip, as in 3DI's canonical landmarks."""

EYE_CORNERS_MM = 89.0
"""mm between the outer eye corners of an adult; what models without a unit are scaled to."""

SCHEMES = (schemes.IBUG68, schemes.IBUG51, schemes.MEDIAPIPE478)
"""Landmark schemes that a model may be at; the first of them that a file has is its default."""

_AT_ORIGIN_MM = 1e-4
"""A head that is as near to the origin as single precision allows is there, and stays as it is: a
file that is read and written again is the same file."""

# Of iBUG-51: the bridge between the eyes, the nose tip, the outer eye corners, the lower lip.
_BRIDGE, _NOSE_TIP, _EYE_L, _EYE_R, _LIP = 10, 13, 19, 28, 40
_PLAUSIBLE_EYES = (65.0, 120.0)
"""mm between the outer eye corners: an adult has about 89; beyond this the unit must be wrong."""


@dataclass(frozen=True)
class LinearFaceModel:
    """A linear model of a face at the landmarks of one scheme; see the module for unit and axes.

    Left and right in `*_l` and `*_r` names of the built-in model are the image's; models of others
    keep their makers' names.
    """

    name: str
    scheme: str
    """Landmark scheme of the points: `ibug68`, `ibug51` or `mediapipe478`."""
    mean: Array
    """(L, 3) mm."""
    identity: Array
    """(I, L, 3) mm at coefficient 1."""
    expression: Array
    """(E, L, 3) mm at coefficient 1."""
    identity_sd: Array
    """(I,) standard deviation of each coefficient over people."""
    expression_sd: Array
    """(E,) scale of each coefficient over frames: the prior of the fit."""
    expression_lower: Array
    """(E,) smallest value allowed; 0 for blendshapes."""
    expression_upper: Array
    """(E,) largest value allowed."""
    identity_names: tuple[str, ...]
    expression_names: tuple[str, ...]
    expression_regions: tuple[str, ...]
    """The one region that each expression moves, or '' where it is not localized."""
    licence: str
    citation: str
    sha256: str = ""
    """Of the file it came from; '' for a model made in memory."""
    pdm: Array | None = field(default=None, repr=False)
    """(3L, M) orthonormal modes, all x, all y, all z, where the file brings them."""
    pdm_name: str = ""
    """Whose modes `pdm` are; '' for modes derived from this model."""
    pdm_origin: Array = field(default_factory=lambda: np.zeros(3), repr=False)
    """(3,) mm: where the origin of that PDM lies, which its maker's tx and ty are of."""
    points: schemes.Indices | None = field(default=None, repr=False)
    """(L,) rising: which points of the scheme these are; None where they are all of them."""

    def __post_init__(self) -> None:
        """Refuse anything that is not what this class says it is."""
        _validate(self)

    @property
    def n_points(self) -> int:
        """L, the number of landmarks."""
        return self.mean.shape[0]

    @property
    def localized(self) -> bool:
        """Whether each expression moves one named region only."""
        return bool(self.expression_regions) and all(self.expression_regions)

    @property
    def inner(self) -> schemes.Indices:
        """(51,) where its iBUG-51 points are among its points."""
        return _inner(self.name, self.scheme, self.points)

    @property
    def eye_corners(self) -> tuple[int, int]:
        """Where the outer eye corners are among its points: image-left, then image-right."""
        inner = self.inner
        return int(inner[_EYE_L]), int(inner[_EYE_R])

    @property
    def local_params_are(self) -> str:
        """Along which modes the 34 local parameters are, in words for tables and data sets."""
        return self.pdm_name or f"34 modes derived from {self.name}"

    def neutral(self, coefficients: ArrayLike | None = None) -> Array:
        """(L, 3) mm: the face without expression of one identity, of the mean where none is given.

        Summed in a fixed order without BLAS: the same bits on any number of threads.
        """
        shape = self.mean.copy()
        if coefficients is not None:
            for value, basis in zip(
                np.asarray(coefficients, np.float64), self.identity, strict=True
            ):
                shape += value * basis
        return shape


@dataclass(frozen=True)
class FaceMesh:
    """The same model at all V vertices of its surface: axes, unit and origin of `LinearFaceModel`.

    So a coefficient or a pose that was fitted at the landmarks holds for the surface. It is large
    (ICT-FaceKit: 18 MB): load it where a surface is needed and let it go.
    """

    name: str
    mean: NDArray[np.float32]
    """(V, 3) mm."""
    identity: NDArray[np.float32]
    """(I, V, 3) mm at coefficient 1."""
    expression: NDArray[np.float32]
    """(E, V, 3) mm at coefficient 1."""
    triangles: NDArray[np.int32]
    """(T, 3) vertices, anticlockwise seen from outside; (0, 3) where the file has none."""
    landmarks: Mapping[str, schemes.Indices]
    """Scheme -> the vertex of each of its points, -1 where the surface has none."""
    identity_names: tuple[str, ...]
    expression_names: tuple[str, ...]
    licence: str
    citation: str
    sha256: str = ""

    def shape(
        self, identity: ArrayLike | None = None, expression: ArrayLike | None = None
    ) -> NDArray[np.float32]:
        """(V, 3) mm: the surface of one identity (I,) with one expression (E,); None is 0.

        Summed in a fixed order without BLAS: the same bits on any number of threads.
        """
        shape = self.mean.copy()
        for basis, coefficients in ((self.identity, identity), (self.expression, expression)):
            if coefficients is not None:
                values = np.asarray(coefficients, np.float32)
                for value, one in zip(values, basis, strict=True):
                    if value:
                        shape += value * one
        return shape


def head_origin(points: ArrayLike) -> Array:
    """The origin (3,) that a head of iBUG-68 or iBUG-51 landmarks (L, 3) gets; see the module."""
    p = np.asarray(points, dtype=np.float64)
    inner = p if len(p) == schemes.N_POINTS[schemes.IBUG51] else p[schemes.IBUG68_TO_IBUG51]
    return np.array(
        [
            0.5 * (inner[_EYE_L, 0] + inner[_EYE_R, 0]),
            inner[:, 1].mean(),
            inner[_NOSE_TIP, 2] + NOSE_TIP_DEPTH,
        ]
    )


def make_model(
    *,
    name: str,
    mean: ArrayLike,
    identity: ArrayLike,
    expression: ArrayLike,
    identity_sd: ArrayLike,
    expression_sd: ArrayLike,
    expression_lower: ArrayLike,
    expression_upper: ArrayLike,
    identity_names: Sequence[str],
    expression_names: Sequence[str],
    expression_regions: Sequence[str] | None = None,
    unit: str,
    axes: str,
    licence: str,
    citation: str,
    scheme: str = schemes.IBUG68,
    sha256: str = "",
    pdm: ArrayLike | None = None,
    pdm_name: str = "",
    points: ArrayLike | None = None,
    head: ArrayLike | None = None,
) -> LinearFaceModel:
    """A model from arrays in any unit and axes of `UNITS` and `AXES`, taken to ours.

    Args that `LinearFaceModel` does not have:
        unit, axes: of mean, identity, expression and head.
        head: (51, 3) iBUG-51 points of the mean face that give the origin, where a file has better
            ones than those of `mean` (points of another scheme lie a little elsewhere).

    Raises:
        ModelError: for an unknown unit, axes or scheme, for arrays that do not fit each other, and
            for a face of impossible size (what a wrong unit looks like).
    """
    factor = _factor(name, unit, axes)
    try:
        arrays = [np.asarray(a, dtype=np.float64) for a in (mean, identity, expression)]
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {name!r}: its shapes are not numbers: {error}") from error
    which = None if points is None else np.asarray(points, dtype=np.intp)
    _check_shapes(name, scheme, which, *arrays)
    shapes = [a * factor for a in arrays]
    inner = shapes[0][_inner(name, scheme, which)]
    origin = head_origin(inner if head is None else np.asarray(head, np.float64) * factor)
    if np.abs(origin).max() < _AT_ORIGIN_MM:
        origin = np.zeros(3)
    return LinearFaceModel(
        name=name,
        scheme=scheme,
        mean=shapes[0] - origin,
        identity=shapes[1],
        expression=shapes[2],
        identity_sd=np.asarray(identity_sd, dtype=np.float64),
        expression_sd=np.asarray(expression_sd, dtype=np.float64),
        expression_lower=np.asarray(expression_lower, dtype=np.float64),
        expression_upper=np.asarray(expression_upper, dtype=np.float64),
        identity_names=tuple(str(s) for s in identity_names),
        expression_names=tuple(str(s) for s in expression_names),
        expression_regions=tuple(
            str(s) for s in (expression_regions or [""] * len(expression_names))
        ),
        licence=licence,
        citation=citation,
        sha256=sha256,
        pdm=None if pdm is None else np.asarray(pdm, dtype=np.float64),
        pdm_name=pdm_name,
        pdm_origin=-origin if pdm_name else np.zeros(3),
        points=which,
    )


_SHAPES = ("neutral", "identity", "expression")
_NUMBERS = ("identity_sd", "expression_sd", "expression_lower", "expression_upper")
_NAMES = {
    "expr_names": "expression_names",
    "identity_names": "identity_names",
    "expression_regions": "expression_regions",
}
_WORDS = ("name", "unit", "axes", "licence", "citation")
LANDMARKS = {scheme: f"landmarks_{scheme}" for scheme in SCHEMES}
"""Scheme -> the key of a model file that has the vertex of each of its points."""


def load_model(path: Path, scheme: str | None = None) -> LinearFaceModel:
    """The model of a file at its landmarks; the module says what is in the file.

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
        rest: dict[str, Any] = {key: content[key] for key in _NUMBERS}
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
    factor = _factor(model.name, str(content["unit"]), str(content["axes"]))
    known = _landmarks(content)
    inner = content["neutral"][_vertices(known, schemes.IBUG51)].astype(np.float64) * factor
    mean = content["neutral"].astype(np.float64) * factor - head_origin(inner)
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
        shape *= factor.astype(np.float32)
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
        for key in ("identity", "expression", *_NUMBERS)
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
    wanted = (*_SHAPES, *_NUMBERS, *_NAMES, *_WORDS)
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


def _factor(name: str, unit: str, axes: str) -> Array:
    """(3,) what takes coordinates in that unit and those axes to ours."""
    if unit not in UNITS:
        raise ModelError(f"model {name!r}: unit {unit!r} is not one of {', '.join(UNITS)}")
    if axes not in AXES:
        raise ModelError(f"model {name!r}: axes {axes!r} are not one of {'; '.join(AXES)}")
    return UNITS[unit] * np.array(AXES[axes])


def _inner(name: str, scheme: str, points: schemes.Indices | None) -> schemes.Indices:
    wanted = schemes.subset(scheme, schemes.IBUG51)
    if points is None:
        return wanted
    where = np.searchsorted(points, wanted)
    found = where < len(points)
    if not (found.all() and (points[where] == wanted).all()):
        raise ModelError(f"model {name!r}: its points do not hold all 51 of iBUG-51")
    return where


def _check_shapes(
    name: str,
    scheme: str,
    points: schemes.Indices | None,
    mean: Array,
    identity: Array,
    expression: Array,
) -> None:
    if scheme not in SCHEMES:
        raise ModelError(f"model {name!r}: scheme {scheme!r} is not one of {', '.join(SCHEMES)}")
    length = schemes.N_POINTS[scheme]
    if points is not None:
        rising = points.ndim == 1 and (np.diff(points) > 0).all()
        if not (rising and len(points) and points[0] >= 0 and points[-1] < length):
            raise ModelError(
                f"model {name!r}: points are not rising numbers of points of {scheme} (0 to "
                f"{length - 1})"
            )
        length = len(points)
    if mean.shape != (length, 3):
        raise ModelError(f"model {name!r}: mean has shape {mean.shape}, wanted ({length}, 3)")
    for what, basis in (("identity", identity), ("expression", expression)):
        if basis.ndim != 3 or basis.shape[1:] != (length, 3):
            raise ModelError(
                f"model {name!r}: {what} has shape {basis.shape}, wanted (count, {length}, 3)"
            )


def _validate(model: LinearFaceModel) -> None:
    name = model.name
    _check_shapes(name, model.scheme, model.points, model.mean, model.identity, model.expression)
    n_identity, n_expression = len(model.identity), len(model.expression)
    wanted = {
        "identity_sd": n_identity,
        "expression_sd": n_expression,
        "expression_lower": n_expression,
        "expression_upper": n_expression,
    }
    for key, count in wanted.items():
        if getattr(model, key).shape != (count,):
            raise ModelError(f"model {name!r}: {key} has not one value for each of {count}")
    for key, count in (
        ("identity_names", n_identity),
        ("expression_names", n_expression),
        ("expression_regions", n_expression),
    ):
        if len(getattr(model, key)) != count:
            raise ModelError(f"model {name!r}: {key} has not one name for each of {count}")
    if len(set(model.expression_names)) != n_expression:
        raise ModelError(f"model {name!r}: an expression name stands twice")
    for key in ("mean", "identity", "expression", *_NUMBERS):
        if not np.isfinite(getattr(model, key)).all():
            raise ModelError(f"model {name!r}: {key} holds values that are not finite")
    if (model.identity_sd <= 0).any() or (model.expression_sd <= 0).any():
        raise ModelError(f"model {name!r}: a standard deviation is not above 0")
    if (model.expression_lower > 0).any() or (model.expression_upper <= 0).any():
        raise ModelError(f"model {name!r}: bounds of the expressions must enclose 0")
    _check_face(name, model.mean[model.inner])
    if model.pdm is not None:
        if model.pdm.ndim != 2 or model.pdm.shape[0] != 3 * model.n_points:
            raise ModelError(
                f"model {name!r}: pdm has shape {model.pdm.shape}, wanted (3L, modes), "
                f"3L = {3 * model.n_points}"
            )
        if not np.isfinite(model.pdm).all():
            raise ModelError(f"model {name!r}: pdm holds values that are not finite")


def _check_face(name: str, inner: Array) -> None:
    """Refuse 51 points (51, 3) mm that are no face of a person, upright, in our axes."""
    left, right = inner[_EYE_L], inner[_EYE_R]
    eyes = float(np.linalg.norm(right - left))
    if not _PLAUSIBLE_EYES[0] < eyes < _PLAUSIBLE_EYES[1]:
        raise ModelError(
            f"model {name!r}: {eyes:.3g} mm between the outer eye corners (an adult has about 89): "
            f"is its unit right? It may be one of {', '.join(UNITS)}"
        )
    upright = inner[_LIP, 1] > inner[_BRIDGE, 1] and right[0] > left[0]
    if not (upright and inner[_NOSE_TIP, 2] < 0.5 * (left[2] + right[2]) - 5):
        raise ModelError(
            f"model {name!r}: its face is upside down, mirrored or looks backwards in its axes; "
            f"they may be {'; '.join(AXES)}"
        )
