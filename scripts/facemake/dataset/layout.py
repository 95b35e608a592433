"""The HDF5 file of the training set: pyfaceau's names, types and shapes, and ours beside them.

What is large (a picture, its FHOG) has one chunk an example, laid out one after the other in the
file, so that a reader that draws at random reads no more than it takes; what is small is one
contiguous array. Nothing is compressed: pictures and FHOG hardly shrink, and every random read
would pay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemake import h5
from facemake.backends.aus import INTENSITY_COLUMNS
from facemake.dataset.fhog import LENGTH as FHOG_LENGTH
from facemake.errors import TableError
from facemake.template import CROP_SIZE

AU_NAMES = INTENSITY_COLUMNS
"""The action units of `au_intensities`, in order; also columns of the table `aus`."""

UNKNOWN_PDM = "of an unknown face model"
"""The attribute `pdm` where nobody said along which modes the local parameters are."""

_TEXT = h5py.string_dtype("utf-8")
_BYTES_AT_ONCE = 4 << 20
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Field:
    """One data set of the file.

    Attributes:
        name: its path.
        kind: NumPy's type; "text": variable-length UTF-8.
        shape: of one example.
        what: axes and units, written beside the data as the attribute `description`.
        large: one chunk an example.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    what: str
    large: bool = False

    @property
    def dtype(self) -> Any:
        """What h5py is told."""
        return _TEXT if self.kind == "text" else np.dtype(self.kind)

    @property
    def type_name(self) -> str:
        """In words."""
        return "text" if self.kind == "text" else np.dtype(self.kind).name


_FRAME = "frame pixels, x right, y down, centre of the top-left pixel at (0, 0)"
_CROP = "crop pixels, x right, y down, centre of the top-left pixel at (0, 0)"

FIELDS: tuple[Field, ...] = (
    Field("images", "u1", (CROP_SIZE, CROP_SIZE, 3), "aligned crop, RGB", large=True),
    Field(
        "hog_features",
        "<f4",
        (FHOG_LENGTH,),
        "FHOG of the crop: 12 rows of 12 cells of 31 numbers",
        large=True,
    ),
    Field("landmarks", "<f4", (68, 2), f"iBUG-68, x y, {_CROP}"),
    Field(
        "global_params", "<f4", (6,), f"scale (px/mm) rx ry rz (rad, R = Rx Ry Rz) tx ty; {_CROP}"
    ),
    Field("local_params", "<f4", (34,), "mm along the modes of the fit's point distribution model"),
    Field("au_intensities", "<f4", (len(AU_NAMES),), "0-5, in the order of the attribute au_names"),
    Field("bboxes", "<f4", (4,), f"x1 y1 x2 y2, {_FRAME}"),
    Field("affine", "<f4", (2, 3), "takes frame pixels to crop pixels"),
    Field("frame/landmarks", "<f4", (68, 2), f"iBUG-68, x y, {_FRAME}"),
    Field("frame/global_params", "<f4", (6,), f"as global_params; {_FRAME}"),
    Field("metadata/frame_indices", "<i4", (), "from 0 in presentation order"),
    Field("metadata/times", "<f8", (), "s, the recording's own stamps; NaN for pictures"),
    Field("metadata/track", "<i2", (), "0 is the main face of its recording"),
    Field("metadata/quality_scores", "<f4", (), "0-1"),
    Field("metadata/confidence", "<f4", (), "0-1, the landmark network's"),
    Field("metadata/video_names", "text", (), "the sample"),
    Field("metadata/subjects", "text", (), "who it is; nobody is in two splits"),
    Field("metadata/split", "text", (), "split of the sample"),
)

NUMBERS = tuple(field for field in FIELDS if field.kind != "text")


def create(file: h5py.File, n: int, fields: Sequence[Field] = FIELDS) -> dict[str, h5py.Dataset]:
    """The data sets of n examples, to be filled whole: what is not written is undefined."""
    made = {}
    for field in fields:
        shape = (n, *field.shape)
        if field.large and n:
            # allocated at once and never filled: the chunks lie one after the other, without index
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            made[field.name] = file.create_dataset(
                field.name,
                shape,
                field.dtype,
                chunks=(1, *field.shape),
                fill_time="never",
                dcpl=properties,
            )
        else:
            made[field.name] = file.create_dataset(field.name, shape, field.dtype)
    return made


def describe(
    file: h5py.File,
    n: int,
    metadata: Mapping[str, Any],
    fields: Sequence[Field] = FIELDS,
    pdm: str | None = None,
) -> None:
    """The attributes of a finished file, and what made it.

    Args:
        file: with its data sets.
        n: examples in it.
        metadata: what made it.
        fields: that it has.
        pdm: along which modes the local parameters are; None: as the metadata say.
    """
    for field in fields:
        file[field.name].attrs["description"] = field.what
    pdm = pdm or _pdm(metadata)
    file.attrs["pdm"] = pdm
    file["local_params"].attrs["description"] = f"mm along the modes of a PDM: {pdm}"
    file.attrs["num_samples"] = n
    file.attrs["au_names"] = list(AU_NAMES)
    file.attrs["image_size"] = [CROP_SIZE, CROP_SIZE]
    file.attrs["color_format"] = "RGB"
    file.attrs["landmark_scheme"] = "ibug68"
    h5.write_metadata(file, metadata)


def _pdm(metadata: Mapping[str, Any]) -> str:
    """Along which modes the local parameters are, as the fit's recipe says of its face model."""
    return pdm_of(metadata.get("upstream", {}).get("fit", {}).get("models", ()))


def pdm_of(models: Sequence[Mapping[str, Any]]) -> str:
    """What the models of a recipe of the fit say of their point distribution model."""
    return next((str(row["pdm"]) for row in models if "pdm" in row), UNKNOWN_PDM)


_CURE = "it is damaged or of another version; delete it and run again"


def length(file: h5py.File, fields: Sequence[Field] = FIELDS, cure: str = _CURE) -> int:
    """How many examples a file has.

    Args:
        file: open.
        fields: that it must have.
        cure: said of what is wrong.

    Raises:
        TableError: a data set is missing, has another type or shape, or another length.
    """
    count: int | None = None
    for field in fields:
        dataset = file.get(field.name)
        if not isinstance(dataset, h5py.Dataset):
            raise TableError(f"{file.filename} has no {field.name}: {cure}")
        if dataset.shape[1:] != field.shape or dataset.dtype != field.dtype:
            raise TableError(
                f"{file.filename} has {field.name} of type {dataset.dtype} and shape "
                f"{dataset.shape}, not {field.type_name} {('n', *field.shape)}: {cure}"
            )
        if count is None:
            count = len(dataset)
        elif len(dataset) != count:
            raise TableError(
                f"{file.filename} has {len(dataset)} rows of {field.name} and {count} of "
                f"{fields[0].name}: {cure}"
            )
    return count or 0


def as_text(value: Any) -> str:
    """A word of an attribute; those of other writers may be bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def pieces(n: int, field: Field) -> Iterator[slice]:
    """Slices that cover n rows of a field in turn, a few megabytes each."""
    row = int(np.prod(field.shape, dtype=np.int64)) * (1 if field.kind == "u1" else 4)
    step = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // row))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def copy(source: h5py.Dataset, target: h5py.Dataset, start: int, field: Field) -> None:
    """Copy all rows of `source` to `target` from row `start` on, holding a few megabytes."""
    for piece in pieces(len(source), field):
        values: NDArray[Any] = source[piece]
        target[start + piece.start : start + piece.stop] = values


def concatenate(parts: Sequence[Path], output: Path, metadata: Mapping[str, Any]) -> int:
    """Write the examples of `parts`, in their order, as one file; returns how many there are.

    Raises:
        TableError: a part has another layout.
    """
    lengths = []
    for path in parts:
        with h5.opened(path) as part:
            lengths.append(length(part))
    total = sum(lengths)
    with h5.whole(output) as file:
        made = create(file, total)
        start = 0
        for path, count in zip(parts, lengths, strict=True):
            if count:
                with h5.opened(path) as part:
                    for field in FIELDS:
                        copy(part[field.name], made[field.name], start, field)
            start += count
        describe(file, total, metadata)
    return total
