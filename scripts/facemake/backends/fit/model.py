"""Linear face models: one interface for every 3D morphable model, and the door they come in by.

A face is `mean + sum(a_i * identity_i) + sum(e_j * expression_j)` at L landmarks. In memory every
model is in millimetres and in model axes (x image-right, y down, z forward, so the nose tip has
negative z), with one origin for all, so that translations mean the same whatever the model: on the
midline, level with the mean height of the iBUG-51 points, 41 mm behind the nose tip.
"""

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake import schemes
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

_NOSE_TIP = 30  # of iBUG-68
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
    """Landmark scheme of the points; `ibug68` is what the fit takes now."""
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


def head_origin(mean: ArrayLike) -> Array:
    """The origin (3,) that a head of iBUG-68 landmarks (68, 3) gets; see the module."""
    m = np.asarray(mean, dtype=np.float64)
    left, right = schemes.EYE_CORNERS_IBUG68
    return np.array(
        [
            0.5 * (m[left, 0] + m[right, 0]),
            m[schemes.IBUG68_TO_IBUG51, 1].mean(),
            m[_NOSE_TIP, 2] + NOSE_TIP_DEPTH,
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
) -> LinearFaceModel:
    """A model from arrays in any unit and axes of `UNITS` and `AXES`, taken to ours.

    Raises:
        ModelError: for an unknown unit, axes or scheme, for arrays that do not fit each other, and
            for a face of impossible size (what a wrong unit looks like).
    """
    if unit not in UNITS:
        raise ModelError(f"model {name!r}: unit {unit!r} is not one of {', '.join(UNITS)}")
    if axes not in AXES:
        raise ModelError(f"model {name!r}: axes {axes!r} are not one of {'; '.join(AXES)}")
    factor = UNITS[unit] * np.array(AXES[axes])
    try:
        arrays = [np.asarray(a, dtype=np.float64) for a in (mean, identity, expression)]
    except (TypeError, ValueError) as error:
        raise ModelError(f"model {name!r}: its shapes are not numbers: {error}") from error
    _check_shapes(name, scheme, *arrays)
    shapes = [a * factor for a in arrays]
    return LinearFaceModel(
        name=name,
        scheme=scheme,
        mean=shapes[0] - head_origin(shapes[0]),
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
    )


_ARRAYS = (
    "mean",
    "identity",
    "expression",
    "identity_sd",
    "expression_sd",
    "expression_lower",
    "expression_upper",
)
_NAMES = ("identity_names", "expression_names", "expression_regions")
_WORDS = ("name", "scheme", "unit", "axes", "licence", "citation")


def load_model(path: Path) -> LinearFaceModel:
    """The model of an .npz file that `save_model` wrote. Nothing in it is unpickled.

    Raises:
        ModelError: where the file is not such a file; the message names what is missing or wrong.
        FileNotFoundError: where there is no file.
    """
    data = path.read_bytes()
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, KeyError) as error:
        raise ModelError(f"{path.name} is not a face model file (.npz): {error}") from error
    missing = [key for key in (*_ARRAYS, *_NAMES, *_WORDS) if key not in content]
    if missing:
        raise ModelError(f"face model {path.name} lacks {', '.join(missing)}")
    words = {key: str(content[key]) for key in _WORDS}
    names = {key: [str(s) for s in np.atleast_1d(content[key])] for key in _NAMES}
    return make_model(
        **{key: content[key] for key in _ARRAYS},
        **names,  # type: ignore[arg-type]
        **words,
        pdm=content.get("pdm"),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def save_model(model: LinearFaceModel, path: Path) -> None:
    """Write the model as an .npz of float32 arrays and strings, in mm and our axes."""
    content: dict[str, NDArray[np.generic]] = {
        key: np.asarray(getattr(model, key), dtype=np.float32) for key in _ARRAYS
    }
    content |= {key: np.array(getattr(model, key), dtype=np.str_) for key in _NAMES}
    content |= {
        key: np.array(getattr(model, key)) for key in ("name", "scheme", "licence", "citation")
    }
    content["unit"] = np.array("mm")
    content["axes"] = np.array("x-right y-down z-forward")
    if model.pdm is not None:
        content["pdm"] = model.pdm.astype(np.float32)
    # Not numpy.savez: that stamps the time of writing into the archive, and the same model must
    # give the same SHA-256.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key in sorted(content):
            stream = io.BytesIO()
            np.save(stream, content[key], allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, stream.getvalue())


def _check_shapes(name: str, scheme: str, mean: Array, identity: Array, expression: Array) -> None:
    if scheme != schemes.IBUG68:
        raise ModelError(f"model {name!r}: scheme {scheme!r}; the fit takes {schemes.IBUG68!r}")
    length = schemes.N_POINTS[scheme]
    if mean.shape != (length, 3):
        raise ModelError(f"model {name!r}: mean has shape {mean.shape}, wanted ({length}, 3)")
    for what, basis in (("identity", identity), ("expression", expression)):
        if basis.ndim != 3 or basis.shape[1:] != (length, 3):
            raise ModelError(
                f"model {name!r}: {what} has shape {basis.shape}, wanted (count, {length}, 3)"
            )


def _validate(model: LinearFaceModel) -> None:
    name = model.name
    _check_shapes(name, model.scheme, model.mean, model.identity, model.expression)
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
    for key in _ARRAYS:
        if not np.isfinite(getattr(model, key)).all():
            raise ModelError(f"model {name!r}: {key} holds values that are not finite")
    if (model.identity_sd <= 0).any() or (model.expression_sd <= 0).any():
        raise ModelError(f"model {name!r}: a standard deviation is not above 0")
    if (model.expression_lower > 0).any() or (model.expression_upper <= 0).any():
        raise ModelError(f"model {name!r}: bounds of the expressions must enclose 0")
    left, right = schemes.EYE_CORNERS_IBUG68
    eyes = float(np.linalg.norm(model.mean[right] - model.mean[left]))
    if not _PLAUSIBLE_EYES[0] < eyes < _PLAUSIBLE_EYES[1]:
        raise ModelError(
            f"model {name!r}: {eyes:.3g} mm between the outer eye corners (an adult has about 89): "
            f"is its unit right? It may be one of {', '.join(UNITS)}"
        )
    upright = model.mean[8, 1] > model.mean[27, 1] and model.mean[right, 0] > model.mean[left, 0]
    if not (upright and model.mean[_NOSE_TIP, 2] < model.mean[[left, right], 2].mean() - 5):
        raise ModelError(
            f"model {name!r}: its face is upside down, mirrored or looks backwards in its axes; "
            f"they may be {'; '.join(AXES)}"
        )
    if model.pdm is not None and (model.pdm.ndim != 2 or model.pdm.shape[0] != 3 * model.n_points):
        raise ModelError(f"model {name!r}: pdm has shape {model.pdm.shape}, wanted (3L, modes)")
