"""The table of what was found: `faces.parquet`, and the same as CSV."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from facemake.extraction.journal import Row
from facemake.runtime.atomic import replacing
from facemake.tables import CROPS, METADATA_KEY, ROWS_PER_GROUP, parquet_options, units

_NUMBERS = {
    "keypoints5": [f"{axis}{point}" for point in range(5) for axis in ("px", "py")],
    "affine": [f"affine_{row}{column}" for row in range(2) for column in range(3)],
}
"""Lists, which are columns of their own in CSV."""


def write_parquet(path: Path, rows: Iterable[Row], metadata: Mapping[str, Any]) -> None:
    """Write the table, a few rows in memory at a time.

    Args:
        path: of the table.
        rows: in order; columns that a row lacks are null.
        metadata: what made it.
    """
    document = json.dumps({**metadata, "units": units(CROPS)}, sort_keys=True, ensure_ascii=False)
    schema = CROPS.with_metadata({METADATA_KEY: document.encode()})
    stream = iter(rows)
    with (
        replacing(path) as beside,
        pq.ParquetWriter(beside, schema, **parquet_options(schema)) as writer,
    ):
        while group := list(islice(stream, 16 * ROWS_PER_GROUP)):
            # from_pandas=False: a NaN (a point that a detector lacks) is no null
            arrays = [
                pa.array([row.get(one.name) for row in group], one.type, from_pandas=False)
                for one in schema
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write the table as CSV: points and affine are columns of their own, a null is empty."""
    with replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [part for one in CROPS for part in _NUMBERS.get(one.name, [one.name])]
        writer.writerow(names)
        for row in rows:
            values: list[Any] = []
            for one in CROPS:
                value = row.get(one.name)
                if one.name in _NUMBERS:
                    values += value or [None] * len(_NUMBERS[one.name])
                else:
                    values.append(value)
            writer.writerow(_text(value) for value in values)


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def readable(name: str) -> str:
    """A path as text, also one whose bytes are no UTF-8 (they are escaped)."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
