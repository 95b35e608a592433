"""Raw files as the dictionaries that bitbox's users know: words about a table, and its DataFrame.

| key | is |
|---|---|
| `backend` | `3DI`, `3DIl` (3DI-lite), or `facemake` |
| `frame count` | rows: from the fit on, 3DI may have one fewer than there are frames |
| `type` | `rectangle`, `landmark`, `landmark-can`, `pose` or `expression` |
| `format` | in words, the words that bitbox uses |
| `schema` | of landmarks and expressions |
| `dimension` | 2 or 3 |
| `data` | `pandas.DataFrame`, indexed by frame from 0 |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake.backends.threedi import FACTS, Engine, rawfiles
from facemake.backends.threedi.lite_pose import lite_angles

Array = NDArray[np.float64]
Table = dict[str, Any]
"""A dictionary of this module's kind."""

RECTANGLE = ("x", "y", "w", "h")
POSE = ("Tx", "Ty", "Tz", "Rx", "Ry", "Rz")
"""mm in camera axes; Rx pitch, Ry yaw, Rz roll, radians."""
N_LANDMARKS = rawfiles.N_LANDMARKS

_PER_FRAME = "for each frame (rows)"
_GLOBAL, _LOCAL = "global expression coefficients", "localized expression coefficients"
_LITE_LOCAL = "3DIlite"


def rectangles(values: ArrayLike, backend: str) -> Table:
    """Of (n, 4) x, y, w, h in px."""
    words = f"{_PER_FRAME} [x, y, w, h] values of the detected rectangles"
    return _table(values, RECTANGLE, backend, "rectangle", words, 2)


def landmarks(values: ArrayLike, backend: str) -> Table:
    """Of (n, 102) iBUG-51 landmarks in px."""
    words = f"{_PER_FRAME} [x, y] values of the detected landmarks"
    return _table(values, points("xy"), backend, "landmark", words, 2, "ibug51")


def canonical_landmarks(values: ArrayLike, backend: str) -> Table:
    """Of (n, 153) iBUG-51 landmarks in mm, x to the image's right, y up."""
    words = f"{_PER_FRAME} [x, y, z] values of the canonicalized landmarks"
    return _table(values, points("xyz"), backend, "landmark-can", words, 3, "ibug51")


def pose(values: ArrayLike, backend: str) -> Table:
    """Of (n, 6), or of (n, 3) angles where the position is not known."""
    columns = POSE[-np.shape(values)[1] :]
    words = f"{_PER_FRAME} [{', '.join(columns)}] values of the detected face pose"
    return _table(values, columns, backend, "pose", words, 3)


def expressions(
    values: ArrayLike, backend: str, schema: str, columns: Sequence[str], *, localized: bool
) -> Table:
    """Of (n, K) coefficients.

    Args:
        values: a row a frame.
        backend: who made them.
        schema: names the set of coefficients.
        columns: their names.
        localized: whether each moves one region.
    """
    shown = f"{columns[0]}, {columns[1]}, ..." + ("" if localized else f", {columns[-1]}")
    words = f"{_PER_FRAME} [{shown}] values corresponding to {_LOCAL if localized else _GLOBAL}"
    return _table(values, columns, backend, "expression", words, 3, schema)


def read_rectangles(path: Path, engine: Engine) -> Table:
    """Of 3DI's file of rectangles; a frame without a face has 0 0 0 0, as 3DI says it."""
    return rectangles(rawfiles.read(path, "rects", engine), _backend(engine))


def read_landmarks(path: Path, engine: Engine) -> Table:
    """Of 3DI's file of landmarks; a frame without a face has zeros, as 3DI says it."""
    return landmarks(rawfiles.read(path, "landmarks", engine), _backend(engine))


def read_canonical_landmarks(path: Path, engine: Engine) -> Table:
    """Of 3DI's file of canonical landmarks."""
    values = rawfiles.read(path, "landmarks_canonicalized", engine)
    return canonical_landmarks(values, _backend(engine))


def read_pose(path: Path, engine: Engine, seen: Path | None = None) -> Table:
    """Of 3DI's pose file; of 3DI-lite's the angles alone, turned back into the picture.

    Args:
        path: the file.
        engine: whose it is.
        seen: the file of landmarks, which 3DI-lite's angles want.
    """
    values = rawfiles.read(path, "pose_smooth", engine)
    if engine is Engine.FULL:
        return pose(values[:, [0, 1, 2, 7, 6, 8]], _backend(engine))
    if seen is None:
        raise ValueError("the pose of 3DI-lite wants the file of landmarks")
    angles = lite_angles(values[:, 3:6], rawfiles.read(seen, "landmarks", engine))
    return pose(angles, _backend(engine))


def read_expressions(path: Path, engine: Engine) -> Table:
    """Of 3DI's file of expression coefficients, global ones."""
    values = rawfiles.read(path, "expression_smooth", engine)
    names = [f"GE{i}" for i in range(values.shape[1])]
    schema = f"3DI-G{len(names)}"
    return expressions(values, _backend(engine), schema, names, localized=False)


def read_localized(path: Path, engine: Engine) -> Table:
    """Of 3DI's file of localized expression coefficients."""
    values = rawfiles.read(path, "expression_localized", engine)
    names = rawfiles.local_names(engine, values.shape[1])
    prefix = "3DI" if engine is Engine.FULL else _LITE_LOCAL
    schema = f"{prefix}-L{len(names)}"
    return expressions(values, _backend(engine), schema, names, localized=True)


def first_rows(table: Table, n: int) -> Table:
    """A table of its first n frames at most."""
    data = table["data"].iloc[:n]
    return {**table, "frame count": len(data), "data": data}


def with_values(table: Table, values: ArrayLike) -> Table:
    """A table of the same columns and frames with other numbers."""
    import pandas as pd

    old = table["data"]
    return {**table, "data": pd.DataFrame(np.asarray(values), old.index, old.columns)}


def _backend(engine: Engine) -> str:
    return FACTS[engine].suffix[1:]


def points(axes: str) -> list[str]:
    """Names of the columns of iBUG-51 points along these axes."""
    return [f"{axis}{i}" for i in range(N_LANDMARKS) for axis in axes]


def _table(
    values: ArrayLike,
    columns: Sequence[str],
    backend: str,
    kind: str,
    words: str,
    dimension: int,
    schema: str | None = None,
) -> Table:
    import pandas as pd  # a server, which gives files, never comes here

    data = pd.DataFrame(np.asarray(values, np.float64), columns=list(columns))
    table: Table = {
        "backend": backend,
        "frame count": len(data),
        "type": kind,
        "format": words,
        "schema": schema,
        "dimension": dimension,
        "data": data,
    }
    if schema is None:
        del table["schema"]
    return table
