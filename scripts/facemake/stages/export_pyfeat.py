"""What a run measured as a CSV of py-feat, which its `read_feat` takes for one of its own.

Columns are those of py-feat's `Detectorv1` (Cheong et al., Py-Feat, Affective Science 4, 2023;
`feat.utils` of version 2.1): box, 68 points, pose, action units, emotions. What is not measured is
empty. A frame without a face has a row of nothing with FaceScore 0. Where a quantity is not quite
py-feat's:

* `Pitch, Roll, Yaw` are in radians, as py-feat 2 writes them (before, degrees): Pitch > 0 is nose
  up, Yaw > 0 is turned to the subject's right, Roll > 0 is tilted to the subject's right. `X, Y, Z`
  are in units of py-feat's own networks, and empty.
* `AU01` ... are intensities of 0-5 over 5; py-feat's are how sure a classifier is. AU43 is AU45:
  the lids are closed, for however long. AU28 is 0 or 1. AU11 and AU24 are not measured.
* emotions are empty. `Identity` is Person_0 of track 0, and so on; no embedding is in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pyarrow as pa

from facemake import schemes
from facemake.backends.aus import INTENSITY_AUS
from facemake.csvs import columns_of
from facemake.rows import equals, numbers
from facemake.stages.export_openface import points_2d
from facemake.stages.exporting import FrameCsv
from facemake.status import FrameStatus

FACE_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore")
POINTS = tuple(f"{axis}_{i}" for axis in "xy" for i in range(schemes.N_POINTS[schemes.IBUG68]))
POSE = ("Pitch", "Roll", "Yaw", "X", "Y", "Z")
AUS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)
EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
COLUMNS = (
    *(*FACE_BOX, *POINTS, *POSE),
    *(f"AU{n:02d}" for n in AUS),
    *(*EMOTIONS, "Identity", "input", "frame"),
)

_TYPES = {"Identity": pa.string(), "input": pa.string(), "frame": pa.int32()}
SCHEMA = pa.schema([(name, _TYPES.get(name, pa.float32())) for name in COLUMNS])

STRONGEST = 5.0
"""Intensity of an action unit that is 1 in py-feat's columns."""

_SOURCE_OF = {43: "AU45_r", 28: "AU28_c", **{n: f"AU{n:02d}_r" for n in INTENSITY_AUS}}
"""Action unit of py-feat -> our column."""


class PyFeatWriter(FrameCsv):
    """Writes samples of a shard as py-feat's CSV.

    Args:
        tables: of the shard: `probe`, `detections`, `landmarks`, `fit` and `aus`.
        settings: none.
    """

    FORM = "py-feat Fex CSV (Detectorv1)"
    SCHEMA = SCHEMA
    SOURCES: ClassVar = {
        "detections": (*"xywh", "score", "status"),
        "landmarks": ("scheme", "points"),
        "fit": ("rx", "ry", "rz", "status"),
        "aus": tuple(_SOURCE_OF.values()),
    }
    NOTES = ("written by facemake in py-feat's format, not by py-feat",)

    def columns(self) -> dict[str, str]:
        """What each group of columns is, in words."""
        return {
            "FaceRect*": "px",
            "FaceScore": "0-1, the detector's own; 0 where there is no face",
            "x_*, y_*": "px",
            "Pitch": "rad, > 0 nose up",
            "Roll": "rad, > 0 tilted to the subject's right",
            "Yaw": "rad, > 0 turned to the subject's right",
            "X, Y, Z": "empty",
            "AU*": "0-1: intensity of 0-5 over 5; " + self.tables.unit("aus", "AU12_r"),
            "AU28": "0 or 1",
            "AU43": "AU45, whatever it lasts",
            "AU11, AU24": "empty",
            ", ".join(EMOTIONS): "empty",
            "Identity": "the track; Person_0 is the main face",
            "input": "name of the sample",
            "frame": "from 0",
        }

    def batch(self, piece: Mapping[str, pa.Table], sample: str) -> pa.RecordBatch:
        """Rows of the file."""
        boxes, fit, aus = (piece[name] for name in ("detections", "fit", "aus"))
        n = fit.num_rows
        nothing = pa.nulls(n, pa.float32())
        score = numbers(boxes, "score").astype(np.float32)
        score = np.where(equals(boxes, "status", FrameStatus.OK), score, np.float32(0.0))
        points = points_2d(piece["landmarks"]).transpose(0, 2, 1).reshape(n, -1)
        pitch, yaw, roll = (numbers(fit, name) for name in ("rx", "ry", "rz"))
        units = []
        for number in AUS:
            name = _SOURCE_OF.get(number)
            if name is None:
                units.append(nothing)
            else:
                largest = 1.0 if name.endswith("_c") else STRONGEST
                values = numbers(aus, name).astype(np.float32) / np.float32(largest)
                units += columns_of(values[:, None])
        arrays = [
            *(boxes[name].combine_chunks() for name in "xywh"),
            *columns_of(score[:, None]),
            *columns_of(points.astype(np.float32)),
            *columns_of(np.stack([-pitch, -roll, yaw], axis=1).astype(np.float32)),
            *[nothing] * 3,
            *units,
            *[nothing] * len(EMOTIONS),
            pa.array([f"Person_{track}" for track in fit["track"].to_pylist()]),
            pa.array([sample] * n, pa.string()),
            fit["frame"].combine_chunks(),
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
