"""The rows of a sample's tables, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake.backends.threedi import Engine
from facemake.geometry import rotate, rotation_from_euler
from facemake.rows import Source, lists, numbers, side_by_side
from facemake.schemes import IBUG51, N_POINTS, convert
from facemake.status import FrameStatus
from facemake.tables import GAZE_COLUMNS, TableReader

Array = NDArray[np.float64]

_POSE = ("rx", "ry", "rz", "tx", "ty", "tz")
_GAZE = GAZE_COLUMNS[:6]


@dataclass(frozen=True, slots=True)
class Face:
    """One track in one frame; what was not measured is None.

    Attributes:
        track: its number.
        status: the last stage's that has one, of those that were read.
        box: (4,) x y w h, px.
        points: (K, 2) px, of `scheme`.
        pose: (6,) rx ry rz (rad), tx ty tz (mm; NaN with 3DI-lite).
        weak: (6,) scale rx ry rz (rad) tx ty (px): the scaled-orthographic parameters; of 3DI-lite,
            which says how a head is turned and not where it is, as its landmarks lie.
        expression: (E,) coefficients of the face model.
        gaze: (2, 3) unit vectors in camera axes, the image-left eye first; NaN rows are unknown.
        aus: (A,) 0-5, NaN where an action unit was not estimated.
    """

    track: int
    status: str
    box: Array | None = None
    points: Array | None = None
    scheme: str = ""
    pose: Array | None = None
    weak: Array | None = None
    expression: Array | None = None
    gaze: Array | None = None
    aus: Array | None = None


@dataclass(frozen=True, slots=True)
class FrameRows:
    """All tracks of one frame."""

    frame: int
    time: float | None
    faces: tuple[Face, ...]


def au_columns(readers: Mapping[str, TableReader]) -> tuple[str, ...]:
    """The columns of intensities, `AU01_r` and so on; none where the table was not opened."""
    if "aus" not in readers:
        return ()
    return tuple(
        name
        for name in readers["aus"].schema.names
        if name.startswith("AU") and name.endswith("_r")
    )


def frames_of(
    readers: Mapping[str, TableReader], sample: str, pose: str, coefficients: int | None
) -> Iterator[FrameRows]:
    """Each frame of a sample with its tracks; a few hundred rows are in memory.

    Args:
        readers: stage -> its table, those that `Options.tables` names, the identities apart.
        sample: its name.
        pose: the table that pose and expression are of.
        coefficients: of an expression; None: not wanted.

    Raises:
        TableError: two tables are not of one run.
    """
    aus = au_columns(readers)
    placed = "fit" in readers and "landmarks" in readers and is_lite(readers["fit"])
    fitted = [*_POSE, *(["expression"] if coefficients else [])]
    columns: dict[str, list[str]] = {
        "detections": ["time", *"xywh", "status"],
        "landmarks": ["scheme", "points", "status"],
        "fit": [
            *("global_params", "status", *_GAZE),
            *(fitted if pose == "fit" else []),
            *(["canonical"] if placed else []),
        ],
        "smooth": ["status", *fitted],
        "aus": list(aus),
    }
    sources = {
        name: Source(readers[name], wanted) for name, wanted in columns.items() if name in readers
    }
    current: int | None = None
    time: float | None = None
    faces: list[Face] = []
    for piece in side_by_side(sources, sample):
        found = piece["detections"]
        times = found["time"].to_pylist()
        of_piece = _faces(piece, pose, coefficients, aus)
        for frame, at, face in zip(found["frame"].to_pylist(), times, of_piece, strict=True):
            if frame != current and current is not None:
                yield FrameRows(current, time, tuple(faces))
                faces = []
            current, time = frame, at
            faces.append(face)
    if current is not None:
        yield FrameRows(current, time, tuple(faces))


def _faces(
    piece: Mapping[str, pa.Table], pose: str, coefficients: int | None, aus: tuple[str, ...]
) -> list[Face]:
    found = piece["detections"]
    n = found.num_rows
    columns: dict[str, list[Any]] = {"track": found["track"].to_pylist()}
    columns["status"] = found["status"].to_pylist()
    columns["box"] = _some(np.stack([numbers(found, name) for name in "xywh"], axis=1))
    for name in ("landmarks", "fit"):
        if name in piece:
            later = piece[name]["status"].to_pylist()
            columns["status"] = [
                b if a == FrameStatus.OK else a
                for a, b in zip(columns["status"], later, strict=True)
            ]
    if "landmarks" in piece:
        scheme = next((s for s in piece["landmarks"]["scheme"].to_pylist() if s), None)
        if scheme:
            points = lists(piece["landmarks"], "points", 2 * N_POINTS[scheme])
            columns["points"] = _some(points.reshape(n, -1, 2))
            columns["scheme"] = [scheme] * n
    if "fit" in piece:
        columns["weak"] = _some(lists(piece["fit"], "global_params", 6))
        gaze = np.stack([numbers(piece["fit"], name) for name in _GAZE], axis=1)
        columns["gaze"] = _some(gaze.reshape(n, 2, 3))
        if "canonical" in piece["fit"].column_names and "points" in columns:
            columns["weak"] = _some(_where(piece["fit"], columns["points"], columns["scheme"][0]))
    if pose in piece:
        table = piece[pose]
        columns["pose"] = _some(np.stack([numbers(table, name) for name in _POSE], axis=1))
        if coefficients:
            columns["expression"] = _some(lists(table, "expression", coefficients))
    if aus:
        columns["aus"] = _some(np.stack([numbers(piece["aus"], name) for name in aus], axis=1))
    names = list(columns)
    return [
        Face(**dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def is_lite(fit: TableReader) -> bool:
    """Whether 3DI-lite made a fit."""
    return bool(fit.metadata["recipe"].get("backend") == Engine.LITE)


def _where(fit: pa.Table, points: list[Array | None], scheme: str) -> Array:
    """(n, 6) scaled-orthographic parameters that best take posed heads to their landmarks.

    Args:
        fit: with the canonical landmarks and the angles.
        points: (K, 2) px each, of `scheme`.
        scheme: of the landmarks.
    """
    angles = np.stack([numbers(fit, name) for name in ("rx", "ry", "rz")], axis=1)
    heads = lists(fit, "canonical", 3 * N_POINTS[IBUG51]).astype(np.float64)
    heads = heads.reshape(len(angles), -1, 3) * [1.0, -1.0, 1.0]
    flat = rotate(rotation_from_euler(angles), heads)[..., :2]
    seen = np.full(flat.shape, np.nan)
    for i, one in enumerate(points):
        if one is not None:
            seen[i] = convert(one, scheme, IBUG51)
    middle, place = flat.mean(axis=1, keepdims=True), seen.mean(axis=1, keepdims=True)
    size = ((flat - middle) ** 2).sum(axis=(1, 2))
    scale = ((flat - middle) * (seen - place)).sum(axis=(1, 2)) / size
    shift = place[:, 0] - scale[:, None] * middle[:, 0]
    return np.concatenate([scale[:, None], angles, shift], axis=1)


def _some(values: NDArray[Any]) -> list[Array | None]:
    """Each row as float64; None where nothing of it is a number."""
    there = np.isfinite(values).any(axis=tuple(range(1, values.ndim)))
    wide = values.astype(np.float64)
    return [row if some else None for row, some in zip(wide, there.tolist(), strict=True)]
