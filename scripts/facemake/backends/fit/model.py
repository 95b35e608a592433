"""Linear face models: one interface for every 3D morphable model, and the door they come in by.

A face is `mean + sum(a_i * identity_i) + sum(e_j * expression_j)` at L landmarks. In memory every
model is in millimetres and in model axes (x image-right, y down, z forward, so the nose tip has
negative z), with one origin for all, so that translations mean the same whatever the model: on the
midline, level with the mean height of the iBUG-51 points, 41 mm behind the nose tip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import schemes
from facemake.errors import ModelError

Array = NDArray[np.float64]

UNITS = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
"""Millimetres in each unit that a model may come in."""

AXES = {
    "x-right y-down z-forward": (1.0, 1.0, 1.0),
    "x-right y-up z-backward": (1.0, -1.0, -1.0),
}
"""Signs that take each system of axes that a model may come in to ours. x is the image's right."""

NOSE_TIP_DEPTH = 41.0
"""mm from the origin to the nose tip, as in 3DI's canonical landmarks."""

EYE_CORNERS_MM = 89.0
"""mm between the outer eye corners of an adult; what models without a unit are scaled to."""

SCHEMES = (schemes.IBUG68, schemes.IBUG51, schemes.MEDIAPIPE478)
"""Landmark schemes that a model may be at; the first of them that a file has is its default."""

_AT_ORIGIN_MM = 1e-4
"""A head that is as near to the origin as single precision allows is there, and stays as it is: a
file that is read and written again is the same file."""

NUMBERS = ("identity_sd", "expression_sd", "expression_lower", "expression_upper")
"""Fields of a model with a number a coefficient."""

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


def factor(name: str, unit: str, axes: str) -> Array:
    """(3,) what takes coordinates in that unit and those axes to ours."""
    if unit not in UNITS:
        raise ModelError(f"model {name!r}: unit {unit!r} is not one of {', '.join(UNITS)}")
    if axes not in AXES:
        raise ModelError(f"model {name!r}: axes {axes!r} are not one of {'; '.join(AXES)}")
    return UNITS[unit] * np.array(AXES[axes])


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
    to_ours = factor(name, unit, axes)
    try:
        arrays = [np.asarray(a, dtype=np.float64) for a in (mean, identity, expression)]
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {name!r}: its shapes are not numbers: {error}") from error
    which = None if points is None else np.asarray(points, dtype=np.intp)
    _check_shapes(name, scheme, which, *arrays)
    shapes = [a * to_ours for a in arrays]
    inner = shapes[0][_inner(name, scheme, which)]
    origin = head_origin(inner if head is None else np.asarray(head, np.float64) * to_ours)
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
    for key in ("mean", "identity", "expression", *NUMBERS):
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
