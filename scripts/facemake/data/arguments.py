"""The arguments of `TrainingDataWriter.add_sample`: which data set each is, and what it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.dataset.layout import FIELDS, Field


@dataclass(frozen=True)
class Argument:
    """What an argument of `add_sample` is in the file.

    Attributes:
        field: its data set.
        many: its name in `add_batch`.
        missing: what is written where it is not given; None: it must be.
    """

    field: Field
    many: str
    missing: Any = None


_BY_NAME = {field.name: field for field in FIELDS}
ARGUMENTS = {
    "image": Argument(_BY_NAME["images"], "images"),
    "hog_features": Argument(_BY_NAME["hog_features"], "hog_features"),
    "landmarks": Argument(_BY_NAME["landmarks"], "landmarks"),
    "global_params": Argument(_BY_NAME["global_params"], "global_params"),
    "local_params": Argument(_BY_NAME["local_params"], "local_params"),
    "au_intensities": Argument(_BY_NAME["au_intensities"], "au_intensities"),
    "bbox": Argument(_BY_NAME["bboxes"], "bboxes"),
    "video_name": Argument(_BY_NAME["metadata/video_names"], "video_names", ""),
    "frame_index": Argument(_BY_NAME["metadata/frame_indices"], "frame_indices", 0),
    "quality_score": Argument(_BY_NAME["metadata/quality_scores"], "quality_scores", 1.0),
    "affine": Argument(_BY_NAME["affine"], "affines", np.nan),
    "frame_landmarks": Argument(_BY_NAME["frame/landmarks"], "frame_landmarks", np.nan),
    "frame_global_params": Argument(_BY_NAME["frame/global_params"], "frame_global_params", np.nan),
    "time": Argument(_BY_NAME["metadata/times"], "times", np.nan),
    "track": Argument(_BY_NAME["metadata/track"], "tracks", 0),
    "confidence": Argument(_BY_NAME["metadata/confidence"], "confidences", np.nan),
    "subject": Argument(_BY_NAME["metadata/subjects"], "subjects", ""),
    "split": Argument(_BY_NAME["metadata/split"], "splits", ""),
}
_SHARES = {"metadata/quality_scores", "metadata/confidence"}


def checked(name: str, value: Any, argument: Argument, many: tuple[int, ...]) -> NDArray[Any]:
    """An argument as its field wants it.

    Raises:
        TypeError: it is no array of such numbers.
        ValueError: its shape is another, or a value cannot be.
    """
    field = argument.field
    kind = np.dtype(field.kind)
    array = np.asarray(value)
    wanted = (*many, *field.shape)
    if many == (0,) and not array.size:
        return np.empty(wanted, kind)
    if array.dtype != kind:
        if kind.kind == "u":
            raise TypeError(
                f"{name} is of type {array.dtype}; it must be uint8, RGB of 0-255 (a picture of "
                "floats: (255 * picture).round().astype('uint8'))"
            )
        if array.dtype.kind not in ("iuf" if kind.kind == "f" else "iu"):
            what = "numbers" if kind.kind == "f" else "whole numbers"
            raise TypeError(f"{name} is of type {array.dtype}; it must be {what}")
    if name == "hog_features" and array.shape == (*many, 12, 12, 31):
        array = array.reshape(wanted)
    if array.shape != wanted:
        raise ValueError(f"{name} has the shape {array.shape}; it must be {wanted}")
    if kind.kind == "f":
        if array.dtype != kind:
            with np.errstate(over="ignore"):  # said below
                array = array.astype(kind)
        if np.isinf(array).any():
            raise ValueError(f"{name} has an infinite value; what is not known is NaN")
        if field.name in _SHARES and ((array < 0) | (array > 1)).any():
            raise ValueError(f"{name} is {_first(array, (array < 0) | (array > 1))}; it is 0 to 1")
    elif kind.kind == "i":
        most = np.iinfo(kind).max
        wrong = (array < 0) | (array > most)
        if wrong.any():
            raise ValueError(f"{name} is {_first(array, wrong)}; it is 0 to {most}")
    return array


def _first(array: NDArray[Any], wrong: NDArray[np.bool_]) -> Any:
    return np.atleast_1d(array)[np.atleast_1d(wrong)][0]
