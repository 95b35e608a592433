"""The tables between the stages: one Arrow schema a stage, written and read as a stream.

Every table is Parquet (zstd), sorted by its key. A row group holds rows of one sample only and at
most `ROWS_PER_GROUP` of them, so that a reader takes one sample, or a piece of it, without the
rest, and memory does not grow with the length of a video. Each field carries its unit.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemake.errors import ForeignFileError, TableError
from facemake.runtime.contexts import Closing, Committing

ROWS_PER_GROUP = 512
METADATA_KEY = b"facemake"


def _field(name: str, kind: pa.DataType, unit: str = "", *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable, {"unit": unit} if unit else None)


# Lists have no fixed size in the schema: Arrow 25 does not read null fixed-size lists back.
_f4 = pa.float32()
_list = pa.list_(pa.field("element", _f4))  # the name that Parquet gives back
_f8 = pa.float64()  # seconds: float32 has steps of half a millisecond after two hours


def _keyed(*fields: pa.Field) -> pa.Schema:
    return pa.schema(
        [
            _field("sample", pa.string(), nullable=False),
            _field("frame", pa.int32(), "index from 0 in presentation order", nullable=False),
            _field("track", pa.int16(), "0 is the main face", nullable=False),
            *fields,
        ]
    )


def _status() -> pa.Field:
    return _field("status", pa.string(), nullable=False)


def _fitted() -> list[pa.Field]:
    """Pose and expression, as they were fitted or smoothed."""
    return [
        *(_field(f"t{axis}", _f4, "mm, camera axes") for axis in "xyz"),
        _field("rx", _f4, "rad, pitch"),
        _field("ry", _f4, "rad, yaw"),
        _field("rz", _f4, "rad, roll"),
        _field("expression", _list, "coefficients of the face model"),
    ]


REJECTIONS = (*("landmarks", "fit", "aus", "confidence", "pose", "quality", "surplus", "excluded"),)
"""Why a face is no example of the training set (`facemake.dataset.quality.REASONS`, in words)."""


_GAZE = {
    **{
        f"gaze_{eye}_{axis}": f"unit vector, camera axes, the image-{side} eye"
        for eye, side in enumerate(("left", "right"))
        for axis in "xyz"
    },
    "gaze_angle_x": "rad, > 0 towards the image's right",
    "gaze_angle_y": "rad, > 0 downwards",
}

GAZE_COLUMNS = tuple(_GAZE)
"""Columns of the gaze, as OpenFace names them; null where an eye is closed or not seen."""


def _counts() -> list[pa.Field]:
    """What `counts` and `manifest` say of a sample."""
    numbers = {
        "n_frames": "decoded frames",
        "n_face": "frames in which the main face was seen",
        "n_tracks": "faces through time",
        "n_fitted": "faces, of any track, that the model was fitted to and converged",
        "n_considered": "faces, of any track, in the frames of dataset.frame_step",
        "n_kept": "examples of the training set",
        **{f"rejected_{reason}": "faces considered and not kept" for reason in REJECTIONS},
    }
    return [
        _field("kind", pa.string()),
        *(_field(name, pa.int32(), unit, nullable=False) for name, unit in numbers.items()),
        _status(),
        _field("reason", pa.string(), nullable=False),
    ]


def _cropped() -> list[pa.Field]:
    """What tables of crops say of each."""
    return [
        *(_field(name, _f4, "px") for name in "xywh"),
        _field("score", _f4, "0-1, the detector's own"),
        _field("keypoints5", _list, "px, x0 y0 ...; image left eye first"),
        _field("affine", _list, "2 x 3 by rows, px of the frame to px of the crop"),
        _field("aligned_by", pa.string(), "who found the points that it is aligned by"),
        _status(),
        _field("reason", pa.string(), nullable=False),
    ]


SCHEMAS: dict[str, pa.Schema] = {
    "probe": pa.schema(
        [
            _field("sample", pa.string(), nullable=False),
            _field("kind", pa.string()),
            _field("width", pa.int32(), "px, upright"),
            _field("height", pa.int32(), "px, upright"),
            _field("codec", pa.string()),
            _field("rotation", pa.int16(), "degrees clockwise that make the stored pixels upright"),
            _field("n_frames", pa.int32(), "decoded frames"),
            _field("duration", _f8, "s"),
            _field("fps", _f8, "frames/s, mean of the stream's own stamps"),
            _field("vfr", pa.bool_()),
            _field("sound_offset", _f8, "s, from the first frame to where the sound begins"),
            _field("sound_duration", _f8, "s"),
            _field("sha256", pa.string()),
            _status(),
            _field("reason", pa.string(), nullable=False),
        ]
    ),
    "detections": _keyed(
        _field("time", _f8, "s"),
        _field("face", pa.int16(), "detection within its frame, by falling score"),
        _field("x", _f4, "px"),
        _field("y", _f4, "px"),
        _field("w", _f4, "px"),
        _field("h", _f4, "px"),
        _field("score", _f4, "0-1, the detector's own"),
        _field("keypoints5", _list, "px, x0 y0 ...; image left eye first"),
        _field("shot", pa.int32(), "cuts before the frame; null where none are looked for"),
        _status(),
    ),
    "detect_segment": pa.schema(
        [
            _field("sample", pa.string(), nullable=False),
            _field("frame", pa.int32(), "from 0 in the segment", nullable=False),
            _field("time", _f8, "s"),
            _field("width", pa.int32(), "px"),
            _field("height", pa.int32(), "px"),
            _field("faces", _list, "x y w h (px) score (0-1) and five points (px) of each face"),
            _field("signature", pa.binary(), "a small picture (facemake.cuts)"),
        ]
    ),
    "landmarks": _keyed(
        _field("time", _f8, "s"),
        _field("scheme", pa.string()),
        _field("points", _list, "px, x0 y0 x1 y1 ..."),
        _field("depth", _list, "px of the frame, away from the camera"),
        _field("confidence", _f4, "0-1, the landmark network's presence"),
        _status(),
    ),
    "fit": _keyed(
        *_fitted(),
        _field("global_params", _list, "scale rx ry rz (rad) tx ty (px)"),
        _field("local_params", _list, "mm along the modes of the PDM"),
        _field("canonical", _list, "mm, x0 y0 z0 ...; y up"),
        _field("error_px", _f4, "px, root mean square reprojection error"),
        _field("inliers", pa.int16(), "landmarks that the fit rests on"),
        _field("converged", pa.bool_()),
        *(_field(name, _f4, unit) for name, unit in _GAZE.items()),
        _status(),
    ),
    "smooth": _keyed(
        *_fitted(),
        _field("canonical", _list, "mm, x0 y0 z0 ...; y up"),
        _status(),
    ),
    "identity": pa.schema(
        [
            _field("sample", pa.string(), nullable=False),
            _field("track", pa.int16(), nullable=False),
            _field("identity", _list, "coefficients of the face model"),
            _field("neutral", _list, "mm, x0 y0 z0 ... of the model's landmarks; model axes"),
            _field("noise", _f4, "error of a landmark in one axis over the outer eye distance"),
            _field("n_frames", pa.int32(), "frames that the identity was fitted to"),
            _field("error_px", _f4, "px, root mean square reprojection error"),
            _status(),
        ]
    ),
    "counts": pa.schema(
        [
            _field("sample", pa.string(), nullable=False),
            *_counts(),
        ]
    ),
    "manifest": pa.schema(
        [
            _field("sample", pa.string(), nullable=False),
            _field("subject", pa.string(), nullable=False),
            _field("split", pa.string(), nullable=False),
            *_counts(),
        ]
    ),
    "people": pa.schema(
        [
            _field("sample", pa.string(), nullable=False),
            _field("track", pa.int16(), "0 is the main face", nullable=False),
            _field("frame", pa.int32(), "of a face of a picture that stands alone; else null"),
            _field("subject", pa.string(), nullable=False),
            _field("split", pa.string(), nullable=False),
            _field("person", pa.int32(), "who look alike, from 0", nullable=False),
            _field("similarity", _f4, "cosine, to the mean of the person", nullable=False),
            _field("faces", pa.int32(), "with an embedding", nullable=False),
            _field("quality", _f4, "0-1, of the best of them", nullable=False),
        ]
    ),
    "extract": _keyed(
        _field("time", _f8, "s"),
        _field("output", pa.string(), "name of the crop in its archive"),
        *_cropped(),
    ),
    "embeddings": _keyed(
        _field("embedding", _list, "L2 norm 1"),
        _field("quality", _f4, "0-1"),
    ),
}


CROPS = pa.schema(
    [
        _field("input", pa.string(), "path below the common folder", nullable=False),
        _field("output", pa.string(), "path of the crop below the table's folder"),
        _field("frame", pa.int32(), "index from 0 in presentation order"),
        _field("time", _f8, "s"),
        _field("face", pa.int32(), "from 0 in its picture or frame, by falling score"),
        *_cropped(),
        _field("template", pa.string(), nullable=False),
        _field("model", pa.string(), "the detector's", nullable=False),
        _field("model_sha256", pa.string(), nullable=False),
    ]
)
"""The table of `facemake.extraction`, which knows no samples."""


def coefficient_schema(names: Sequence[str], units: str | Sequence[str]) -> pa.Schema:
    """The schema of a table with one float32 column a coefficient (expressions).

    Args:
        names: of the columns.
        units: of all of them, or of each.
    """
    each = [units] * len(names) if isinstance(units, str) else units
    return _keyed(
        *(_field(name, _f4, unit) for name, unit in zip(names, each, strict=True)), _status()
    )


def units(schema: pa.Schema) -> dict[str, str]:
    """Column -> unit, for the columns that have one."""
    return {f.name: f.metadata[b"unit"].decode() for f in schema if f.metadata}


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """How a table of this schema is stored: `ParquetWriter`'s and `write_table`'s arguments.

    Floats are measurements, hardly two of them equal: a dictionary of them takes four times the
    time and half as much room again as the numbers alone. They are stored a byte's place at a time
    (BYTE_STREAM_SPLIT), for the first bytes of neighbours are alike.
    """
    leaves = dict(leaf for field in schema for leaf in _leaves(field.name, field.type))
    floats = [path for path, kind in leaves.items() if pa.types.is_floating(kind)]
    return {
        "version": "2.6",
        "compression": "zstd",
        "use_dictionary": [path for path in leaves if path not in floats],
        "column_encoding": dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
    }


def _leaves(path: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """The columns of Parquet that a column of Arrow is made of, each with its type."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{path}.{field.name}", field.type)
    else:
        yield path, kind


class TableWriter(Committing):
    """Writes one table as a stream: `append` rows in key order, then `close`.

    Rows are held until `ROWS_PER_GROUP` of one sample are there, so a table's bytes do not depend
    on how the rows were appended.

    Args:
        path: the file to write; write to a temporary name and rename (`facemake.runtime.atomic`).
        schema: one of `SCHEMAS`, or of `coefficient_schema`.
        metadata: what made the table (`facemake.shards.metadata`).
    """

    def __init__(self, path: Path, schema: pa.Schema, metadata: Mapping[str, Any]) -> None:
        document = json.dumps(
            {**metadata, "units": units(schema)}, sort_keys=True, ensure_ascii=False
        )
        self.schema = schema.with_metadata({METADATA_KEY: document.encode()})
        self._writer = pq.ParquetWriter(path, self.schema, **parquet_options(self.schema))
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._sample: str | None = None

    def append(self, **row: Any) -> None:
        """Append one row; a column that is not named is null.

        Raises:
            KeyError: a name that the schema does not have.
        """
        sample = row["sample"]
        rows = len(self._columns["sample"])
        if rows >= ROWS_PER_GROUP or (rows and sample != self._sample):
            self._flush()
        self._sample = sample
        unknown = row.keys() - self._columns.keys()
        if unknown:
            raise KeyError(f"no such column: {', '.join(sorted(unknown))}")
        for name, values in self._columns.items():
            values.append(row.get(name))

    def append_columns(self, sample: str, columns: Mapping[str, Any]) -> None:
        """Append many rows of one sample: a sequence or array a column, all of one length.

        An absent column is null. Arrow arrays, NumPy arrays and lists are taken.
        """
        length = len(next(iter(columns.values())))
        arrays = [
            pa.array([sample] * length, pa.string())
            if f.name == "sample"
            else pa.nulls(length, f.type)
            if f.name not in columns
            else _as_array(columns[f.name], f.type)
            for f in self.schema
        ]
        table = pa.Table.from_arrays(arrays, schema=self.schema)
        if self._columns["sample"]:
            self._flush()
        self._writer.write_table(table, row_group_size=ROWS_PER_GROUP)

    def write_table(self, table: pa.Table) -> None:
        """Append a whole row group as it was read."""
        self._flush()
        self._writer.write_table(table.cast(self.schema), row_group_size=ROWS_PER_GROUP)

    def _flush(self) -> None:
        if not self._columns["sample"]:
            return
        arrays = [_as_array(self._columns[f.name], f.type) for f in self.schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self.schema))
        for values in self._columns.values():
            values.clear()

    def close(self) -> None:
        """Write what is held, and the footer."""
        self._flush()
        self._writer.close()

    def discard(self) -> None:
        """Let go of the file, which is then no whole table."""
        self._writer.close()


def _as_array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values.cast(kind)
    # from_pandas=False: a NaN (a key point that a detector lacks) is no null
    return pa.array(values, kind, from_pandas=False)


class TableReader(Closing):
    """Reads a table sample by sample.

    Raises:
        TableError: the file is no Parquet table of facemake, or lacks a wanted column.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._unreadable(error) from None
        document = (self._file.schema_arrow.metadata or {}).get(METADATA_KEY)
        if document is None:
            raise ForeignFileError(f"{path} was not written by facemake")
        self.metadata: dict[str, Any] = json.loads(document)
        self.schema: pa.Schema = self._file.schema_arrow
        self._groups: dict[str, list[int]] = {}
        column = self.schema.get_field_index("sample")
        for index in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(index)
            if group.num_rows and column >= 0:  # a table of no samples has metadata alone
                # a row group holds one sample (TableWriter), so its minimum is that sample
                self._groups.setdefault(group.column(column).statistics.min, []).append(index)

    @property
    def samples(self) -> list[str]:
        """The samples that have rows, in the table's order."""
        return list(self._groups)

    def count(self, sample: str) -> int:
        """How many rows a sample has."""
        groups = self._groups.get(sample, ())
        return sum(self._file.metadata.row_group(index).num_rows for index in groups)

    def groups(self, sample: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a sample in key order, at most `ROWS_PER_GROUP` at a time."""
        for index in self._groups.get(sample, ()):
            yield self._read([index], columns)

    def read(self, sample: str, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a sample (for small columns: this grows with the video)."""
        return self._read(self._groups.get(sample, []), columns)

    def frames(self, sample: str, frames: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """The rows of a few frames of a sample, with columns of which `frame` is one.

        Row groups without any of them are not read.
        """
        place = self.schema.get_field_index("frame")
        wanted, found = sorted(frames), []
        for index in self._groups.get(sample, ()):
            span = self._file.metadata.row_group(index).column(place).statistics
            if bisect_left(wanted, span.min) < bisect_right(wanted, span.max):
                rows = self._read([index], columns)
                among = pc.is_in(rows["frame"], pa.array(wanted, rows["frame"].type))
                found.append(rows.filter(among))
        return pa.concat_tables(found) if found else self._read([], columns)

    def whole(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Every row: of a table of samples or tracks, whose row groups hold many of them."""
        return self._read(list(range(self._file.num_row_groups)), columns)

    def _read(self, indices: list[int], columns: Sequence[str] | None) -> pa.Table:
        missing = set(columns or ()) - set(self.schema.names)
        if missing:
            raise TableError(f"{self.path} lacks the column {', '.join(sorted(missing))}")
        try:
            return self._file.read_row_groups(indices, columns=columns, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> TableError:
        return TableError(
            f"{self.path} cannot be read as a table ({error}); if it is one of a run's results, "
            f"delete {self.path.resolve()} and run again"
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def list_array(values: NDArray[np.float64], there: NDArray[np.bool_]) -> pa.Array:
    """(n, k) values as n lists of float32, null where `there` is False."""
    offsets = np.concatenate([[0], np.cumsum(there * values.shape[1])]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(values[there].ravel().astype(np.float32)),
        mask=pa.array(~there),
    )


def regrouped(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of consecutive tables of one sample, grouped as `TableWriter.append` groups them."""
    held: list[pa.Table] = []
    for piece in pieces:
        held.append(piece)
        while sum(table.num_rows for table in held) >= ROWS_PER_GROUP:
            rows = pa.concat_tables(held)
            yield rows.slice(0, ROWS_PER_GROUP).combine_chunks()
            held = [rows.slice(ROWS_PER_GROUP)]
    rest = pa.concat_tables(held) if held else None
    if rest is not None and rest.num_rows:
        yield rest.combine_chunks()


def merge(parts: Sequence[Path], output: Path) -> None:
    """Write the row groups of `parts`, in their order, as one table (same schema and metadata)."""
    writer: pq.ParquetWriter | None = None
    for path in parts:
        with pq.ParquetFile(path) as part:
            if writer is None:
                schema = part.schema_arrow
                writer = pq.ParquetWriter(output, schema, **parquet_options(schema))
            for index in range(part.num_row_groups):
                writer.write_table(part.read_row_group(index, use_threads=False))
    if writer is None:
        raise ValueError("nothing to merge")
    writer.close()
