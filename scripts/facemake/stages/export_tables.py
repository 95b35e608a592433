"""Any tables of a run, a file a sample: CSV with a column a number, or Parquet as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from facemake.csvs import columns_of, write_csv
from facemake.errors import TableError
from facemake.exports import FRAME_TABLES
from facemake.runtime.atomic import replacing
from facemake.stages.exporting import SEPARATOR, Frames, Tables, word, write_word
from facemake.tables import TableReader, TableWriter, units

NAMES: dict[str, tuple[str, ...]] = {
    "keypoints5": ("x", "y"),
    "points": ("x", "y"),
    "canonical": ("x", "y", "z"),
    "neutral": ("x", "y", "z"),
    "global_params": ("scale", "rx", "ry", "rz", "tx", "ty"),
}
"""Lists whose numbers have names: `points_x0, points_y0, points_x1 ...`; else `depth_0 ...`."""

WIDTHS: Mapping[str, int] = {
    "keypoints5": 10,
    "global_params": 6,
    "local_params": 34,
    "canonical": 153,
}
"""Lists whose length hangs on no network and no face model."""

_OF_ONE = ("global_params",)
"""Lists that are one set of names."""


class CsvWriter:
    """Writes samples of a shard as CSV, a file a table: `{sample}~{table}.csv`.

    Args:
        tables: of the shard.
        settings: `tables`: names of those that are written.
    """

    def __init__(self, tables: Tables, settings: Mapping[str, Any]) -> None:
        self._tables = tables
        self._flats = {name: Flat.of(tables.readers[name]) for name in settings["tables"]}

    def write(self, sample: str, folder: Path) -> list[Path]:
        """Write the files and what is said of each."""
        made = []
        for name, flat in self._flats.items():
            path = folder / f"{sample}{SEPARATOR}{name}.csv"
            seen: Counter[str] = Counter()
            frames = Frames(self._tables, sample) if name in FRAME_TABLES else None
            write_csv(path, flat.schema, flat.batches(sample, seen, frames))
            said = word(
                self._tables,
                sample,
                form=f"CSV of the table {name}",
                sources=(name,),
                columns=units(flat.reader.schema),
                rows=seen,
            )
            made += [path, write_word(path, said)]
        return made


class ParquetWriter:
    """Writes samples of a shard as Parquet, a file a table; as `CsvWriter`."""

    def __init__(self, tables: Tables, settings: Mapping[str, Any]) -> None:
        self._tables = tables
        self._names: Sequence[str] = settings["tables"]

    def write(self, sample: str, folder: Path) -> list[Path]:
        """Write the files; each says itself what made it, as every table does."""
        made = []
        for name in self._names:
            reader = self._tables.readers[name]
            path = folder / f"{sample}{SEPARATOR}{name}.parquet"
            schema = reader.schema.remove_metadata()
            with replacing(path) as beside, TableWriter(beside, schema, reader.metadata) as writer:
                frames = Frames(self._tables, sample) if name in FRAME_TABLES else None
                for table in reader.groups(sample):
                    if frames:
                        frames.add(table)
                    writer.write_table(table)
                if frames:
                    frames.check(reader)
            made.append(path)
        return made


@dataclass(frozen=True)
class Flat:
    """A table whose lists are columns.

    Attributes:
        reader: of the table.
        widths: list -> how long each of it is.
        schema: of the flat table.
    """

    reader: TableReader
    widths: Mapping[str, int]
    schema: pa.Schema

    @classmethod
    def of(
        cls,
        reader: TableReader,
        without: Sequence[str] = (),
        known: Mapping[str, int] = WIDTHS,
    ) -> Flat:
        """How a table becomes flat.

        A list is as long as the first of the table is; one of which there is none, and no length is
        known, has one column.

        Args:
            reader: of the table.
            without: columns that are left out.
            known: list -> how long it is where the table has none.

        Raises:
            TableError: a column has numbers of no fixed count.
        """
        widths = {**dict.fromkeys(lists_of(reader), 0), **known, **widths_of(reader)}
        fields = []
        for f in reader.schema:
            if f.name in without:
                continue
            if f.name in widths:
                fields += [(name, pa.float32()) for name in _names(f.name, widths[f.name])]
            else:
                fields.append((f.name, f.type))
        return cls(reader, widths, pa.schema(fields))

    def described(self) -> Iterator[tuple[str, str, str]]:
        """Flat column, the table's column that it is of, and its unit."""
        known = units(self.reader.schema)
        left = iter(self.schema.names)
        for f in self.reader.schema:
            names = _names(f.name, self.widths[f.name]) if f.name in self.widths else [f.name]
            if names[0] in self.schema.names:
                for _ in names:
                    yield next(left), f.name, known.get(f.name, "")

    def batches(
        self, sample: str, seen: Counter[str], frames: Frames | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a sample; their statuses are counted, and their frames where it is asked."""
        for table in self.reader.groups(sample):
            if frames:
                frames.add(table)
            if "status" in self.reader.schema.names:
                seen.update(table["status"].to_pylist())
            yield self.batch(table)
        if frames:
            frames.check(self.reader)

    def batch(self, table: pa.Table) -> pa.RecordBatch:
        """Rows of the table, flat."""
        arrays: list[pa.Array] = []
        for f in self.reader.schema:
            if f.name in self.widths:
                if _names(f.name, self.widths[f.name])[0] in self.schema.names:
                    arrays += self._of_list(table, f.name)
            elif f.name in self.schema.names:
                column = table[f.name].combine_chunks()
                if pa.types.is_floating(f.type):
                    column = pc.if_else(pc.is_nan(column), None, column)
                arrays.append(column)
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _of_list(self, table: pa.Table, name: str) -> list[pa.Array]:
        width = self.widths[name]
        column = table[name].combine_chunks()
        there = pc.is_valid(column).to_numpy(zero_copy_only=False)
        values = np.full((table.num_rows, max(width, 1)), np.nan, np.float32)
        if there.any():
            lengths = pc.list_value_length(column.drop_null())
            if pc.min_max(lengths).as_py() != {"min": width, "max": width}:
                raise TableError(
                    f"{self.reader.path}: {name} is not {width} numbers in every row, as in the "
                    "first: it has no columns; take it as Parquet"
                )
            values[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        return columns_of(values)


def lists_of(reader: TableReader) -> list[str]:
    """The columns that are lists."""
    return [f.name for f in reader.schema if pa.types.is_list(f.type)]


def widths_of(reader: TableReader) -> dict[str, int]:
    """List -> how long the first of the table is; without those of which there is none."""
    found: dict[str, int] = {}
    left = lists_of(reader)
    for sample in reader.samples:
        for table in reader.groups(sample, left) if left else ():
            for name in left:
                first = next((value for value in table[name] if value.is_valid), None)
                if first is not None:
                    found[name] = len(first)
            left = [name for name in left if name not in found]
            if not left:
                return found
    return found


def _names(name: str, width: int) -> list[str]:
    """Names of the columns of a list."""
    if not width:
        return [name]
    parts = NAMES.get(name, ())
    if name in _OF_ONE and len(parts) == width:
        return [f"{name}_{part}" for part in parts]
    if parts and width % len(parts) == 0:
        return [f"{name}_{part}{i}" for i in range(width // len(parts)) for part in parts]
    return [f"{name}_{i}" for i in range(width)]
