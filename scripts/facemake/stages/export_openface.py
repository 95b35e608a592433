"""What a run measured as OpenFace's CSV: its 714 columns in its order, a row a frame and face.

OpenFace 2.2's `FeatureExtraction` (Baltrusaitis et al., OpenFace 2.0, FG 2018; its wiki, "Output
Format"). A quantity that is not measured is empty, never 0. Where a quantity is not quite
OpenFace's:

* `pose_R*` are of R = Rx Ry Rz, another order of turns than that of the table `fit`; `pose_T*` is
  where the middle of the mean face's 68 points is, the origin of OpenFace's model, not the origin
  of `fit`. Both only of a face model that has all 68 points; else `pose_T*` is of `fit`'s origin.
* `x_*, y_*` are the landmarks that were found, not the fitted model's as OpenFace writes them;
  `X_*, Y_*, Z_*` are the fitted model's, and need an identity of the track.
* `p_0 ...` are modes of OpenFace's model, and empty with every other one.
* `eye_lmk_*` are 56 points of the eyes that no network here finds.
* `success` is 1 where the fit's status is ok; `confidence` is the landmark network's presence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.aus import INTENSITY_AUS, INTENSITY_COLUMNS
from facemake.backends.fit import load_as_planned
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.sources import openface_pdm
from facemake.csvs import columns_of
from facemake.rows import equals, lists, numbers
from facemake.stages.exporting import FrameCsv, Tables
from facemake.status import FrameStatus
from facemake.tables import GAZE_COLUMNS

Array = NDArray[np.float64]

_N_EYE_POINTS = 56
_N = schemes.N_POINTS[schemes.IBUG68]

GROUPS: dict[str, tuple[str, ...]] = {
    "time": ("frame", "face_id", "timestamp", "confidence", "success"),
    "gaze": GAZE_COLUMNS,
    "eyes": tuple(f"eye_lmk_{axis}_{i}" for axis in "xyXYZ" for i in range(_N_EYE_POINTS)),
    "pose": ("pose_Tx", "pose_Ty", "pose_Tz", "pose_Rx", "pose_Ry", "pose_Rz"),
    "points": tuple(f"{axis}_{i}" for axis in "xy" for i in range(_N)),
    "points_3d": tuple(f"{axis}_{i}" for axis in "XYZ" for i in range(_N)),
    "rigid": ("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"),
    "modes": tuple(f"p_{i}" for i in range(openface_pdm.N_MODES)),
    "intensities": INTENSITY_COLUMNS,
    "occurrences": tuple(f"AU{n:02d}_c" for n in (*sorted({*INTENSITY_AUS, 28}),)),
}
"""Group -> columns, in OpenFace's order."""

COLUMNS = tuple(name for names in GROUPS.values() for name in names)

_TYPES = {
    "frame": pa.int32(),
    "face_id": pa.int16(),
    "timestamp": pa.float64(),
    "success": pa.int8(),
    **dict.fromkeys(GROUPS["occurrences"], pa.int8()),
}
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.float32())) for name in COLUMNS])

_FIT = ("tx", "ty", "tz", "rx", "ry", "rz", "expression", "global_params", "local_params")


class OpenFaceWriter(FrameCsv):
    """Writes samples of a shard as OpenFace's CSV.

    Args:
        tables: of the shard: `probe`, `landmarks`, `fit`, `identity` and `aus`.
        settings: none.

    Raises:
        ModelError: the face model of the fit is not there any more, or is another.
    """

    FORM = "OpenFace CSV (714 columns)"
    SCHEMA = SCHEMA
    SOURCES: ClassVar = {
        "landmarks": ("time", "scheme", "points", "confidence"),
        "fit": (*_FIT, *GAZE_COLUMNS, "status"),
        "aus": (*GROUPS["intensities"], *GROUPS["occurrences"]),
    }
    NOTES = (
        "written by facemake in OpenFace's format, not by OpenFace",
        "empty: not measured; where success is 0 there is nothing of a fit, and landmarks only "
        "where they were found (of low confidence, or not fitted)",
    )

    def __init__(self, tables: Tables, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__(tables)
        self._model = _face_model(tables)
        self._origin = model_origin(self._model)
        self._own_modes = _has_own_modes(tables)
        self._people: tuple[str, dict[int, Array]] = ("", {})

    def _people_of(self, sample: str) -> dict[int, Array]:
        """Track -> its neutral face at the model's points, (L, 3) mm."""
        if self._model is None:
            return {}
        if self._people[0] != sample:
            table = self.tables.readers["identity"].read(sample, ["track", "neutral"])
            neutral = lists(table, "neutral", 3 * self._model.n_points).astype(np.float64)
            faces = {
                track: face.reshape(-1, 3)
                for track, face in zip(table["track"].to_pylist(), neutral, strict=True)
                if np.isfinite(face).all()
            }
            self._people = sample, faces
        return self._people[1]

    def batch(self, piece: Mapping[str, pa.Table], sample: str) -> pa.RecordBatch:
        """Rows of the file."""
        marks, fit, aus = (piece[name] for name in ("landmarks", "fit", "aus"))
        pose = np.array([numbers(fit, name) for name in _FIT[:6]], np.float64).T
        rotation = geometry.rotation_from_euler(pose[:, 3:])
        solid = self._points_3d(fit, rotation, pose[:, :3], self._people_of(sample))
        found: dict[str, list[pa.Array]] = {
            "time": [
                pa.array(numbers(fit, "frame") + 1, pa.int32()),
                fit["track"].combine_chunks(),
                marks["time"].combine_chunks(),
                marks["confidence"].combine_chunks(),
                pa.array(equals(fit, "status", FrameStatus.OK).astype(np.int8)),
            ],
            "gaze": [fit[name].combine_chunks() for name in GAZE_COLUMNS],
            "pose": _floats(openface_pose(rotation, pose[:, :3], self._origin)),
            "points": _floats(_flat(points_2d(marks))),
            "points_3d": _floats(_flat(solid)),
            "rigid": _floats(self._rigid(lists(fit, "global_params", 6).astype(np.float64))),
            "intensities": [aus[name].combine_chunks() for name in GROUPS["intensities"]],
            "occurrences": [
                aus[name].combine_chunks().cast(pa.int8()) for name in GROUPS["occurrences"]
            ],
        }
        if self._own_modes:
            found["modes"] = _floats(lists(fit, "local_params", openface_pdm.N_MODES))
        arrays = [
            array
            for group, names in GROUPS.items()
            for array in found.get(group) or [pa.nulls(len(pose), pa.float32())] * len(names)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

    def _points_3d(
        self, fit: pa.Table, rotation: Array, translation: Array, people: Mapping[int, Array]
    ) -> Array:
        """(n, 68, 3) mm in camera axes: the fitted model; NaN where there is no identity."""
        out = np.full((fit.num_rows, _N, 3), np.nan)
        model = self._model
        if model is None or not people:
            return out
        shape = np.full((fit.num_rows, model.n_points, 3), np.nan)
        track = fit["track"].to_numpy()
        for number, neutral in people.items():
            shape[track == number] = neutral
        values = lists(fit, "expression", len(model.expression)).astype(np.float64)
        for value, basis in zip(values.T, model.expression, strict=True):
            shape += value[:, None, None] * basis
        placed = geometry.rotate(rotation, shape) + translation[:, None, :]
        return on_ibug68(placed, model)

    def _rigid(self, params: Array) -> Array:
        """(n, 6) with the shift of OpenFace's origin; as they are where the modes have their own.

        (s, rx, ry, rz, tx, ty): what is projected is `s R[0:2] (mean - origin) + t`.
        """
        if self._model is None or self._model.pdm_name:
            return params
        turn = geometry.rotation_from_euler_xyz(params[:, 1:4])
        shift = geometry.rotate(turn, np.tile(self._origin, (len(params), 1, 1)))[:, 0, :2]
        return np.concatenate([params[:, :4], params[:, 4:] + params[:, :1] * shift], axis=1)

    def columns(self) -> dict[str, str]:
        """What each group of columns is, in words."""
        centred = self._model is not None and (self._origin.any() or self._model.pdm_name)
        origin = "the middle of the mean face's 68 points" if centred else "the origin of `fit`"
        tables = self.tables
        return {
            "frame": "from 1",
            "face_id": "the track; 0 is the main face",
            "timestamp": "s",
            "confidence": "0-1, the landmark network's presence",
            "success": "1 where the fit's status is ok",
            "gaze_*": tables.unit("fit", "gaze_0_x") + "; angles in rad",
            "eye_lmk_*": "empty",
            "pose_T*": f"mm, camera axes, of {origin}",
            "pose_R*": "rad, R = Rx Ry Rz",
            "x_*, y_*": "px, the landmarks found; the centre of the top-left pixel is at (0, 0)",
            "X_*, Y_*, Z_*": "mm, camera axes, the fitted model"
            if self._model is not None
            else "empty",
            "p_scale": "px a mm",
            "p_r*": "rad, R = Rx Ry Rz, weak perspective",
            "p_tx, p_ty": f"px, of {origin}",
            "p_0 ...": "OpenFace's own modes" if self._own_modes else "empty",
            "AU*_r": "0-5; " + tables.unit("aus", "AU12_r"),
            "AU*_c": "0 or 1; " + tables.unit("aus", "AU12_c"),
        }


def openface_pose(rotation: Array, translation: Array, origin: Array) -> Array:
    """(n, 6): position of a point of the head (mm), and angles of Rx Ry Rz (rad).

    Args:
        rotation: (n, 3, 3), model axes to camera axes.
        translation: (n, 3) mm, of the model's origin.
        origin: (3,) mm, the point, in model axes.
    """
    place = geometry.rotate(rotation, np.tile(origin, (len(rotation), 1, 1)))[:, 0] + translation
    return np.concatenate([place, geometry.euler_xyz_from_rotation(rotation)], axis=1)


def model_origin(model: LinearFaceModel | None) -> Array:
    """(3,) mm in model axes: where OpenFace's model has its origin, the middle of its 68 points.

    The zero vector for a model without all of them.
    """
    if model is None:
        return np.zeros(3)
    if model.pdm_name:
        return model.pdm_origin
    whole = on_ibug68(model.mean[None], model)[0]
    return np.zeros(3) if np.isnan(whole).any() else whole.mean(axis=0)


def on_ibug68(points: Array, model: LinearFaceModel) -> Array:
    """(n, L, D) at a model's points as (n, 68, D); NaN for what it does not have."""
    count = schemes.N_POINTS[model.scheme]
    if model.points is not None:
        whole = np.full((len(points), count, points.shape[2]), np.nan)
        whole[:, model.points] = points
        points = whole
    return schemes.as_ibug68(points, model.scheme)


def points_2d(marks: pa.Table) -> Array:
    """(n, 68, 2) px of landmarks in any scheme; NaN where there are none, and for a jaw unseen."""
    out = np.full((marks.num_rows, _N, 2), np.nan)
    for scheme in {name for name in marks["scheme"].to_pylist() if name}:
        n = schemes.N_POINTS[scheme]
        points = lists(marks, "points", 2 * n).astype(np.float64).reshape(-1, n, 2)
        there = ~np.isnan(points).all(axis=(1, 2))
        out[there] = schemes.as_ibug68(points, scheme)[there]
    return out


def _flat(points: Array) -> Array:
    """(n, K, D) as (n, D * K): all x, all y ..."""
    return points.transpose(0, 2, 1).reshape(len(points), -1)


def _floats(values: NDArray[Any]) -> list[pa.Array]:
    return columns_of(values.astype(np.float32))


def _face_model(tables: Tables) -> LinearFaceModel | None:
    """That of the fit; None of another engine's."""
    fit = tables.recipes("fit").get("fit")
    if fit is None or "model" not in fit["settings"]:
        return None
    return load_as_planned(fit["settings"]["model"], fit["models"])


def _has_own_modes(tables: Tables) -> bool:
    """Whether `local_params` are along OpenFace's modes, in its own unit."""
    recipe = tables.readers["fit"].metadata["recipe"]
    own = f"OpenFace's own {openface_pdm.N_MODES} modes ({openface_pdm.FILE})"
    return any(model.get("pdm") == own for model in recipe["models"])
