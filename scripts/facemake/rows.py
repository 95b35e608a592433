"""Frame tables of one shard read side by side, a few hundred rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from facemake.errors import TableError
from facemake.tables import TableReader

ROWS_AT_ONCE = 128
"""What is computed from rows is held for so many of them; more gains no speed."""


@dataclass(frozen=True)
class Source:
    """A table and which of its columns are wanted, the key apart."""

    reader: TableReader
    columns: Sequence[str]


def side_by_side(sources: Mapping[str, Source], sample: str) -> Iterator[dict[str, pa.Table]]:
    """The rows of a sample in all tables at once: pieces of equal length and with the same keys.

    Each frame table has the same rows in the same order (`facemake.tables`), but not the same
    row groups; no more than a row group of each is in memory.

    Raises:
        TableError: two tables do not have the same rows: they were not made from one another.
    """
    names = list(sources)
    streams = {
        name: source.reader.groups(sample, ["frame", "track", *source.columns])
        for name, source in sources.items()
    }
    held: dict[str, pa.Table] = {}
    while True:
        for name in names:
            if name not in held or not held[name].num_rows:
                held.pop(name, None)
                for table in streams[name]:
                    held[name] = table
                    break
        if not held:
            return
        if len(held) < len(names):
            ended = next(name for name in names if name not in held)
            raise _different(sources[ended], sources[next(iter(held))], sample)
        length = min(ROWS_AT_ONCE, *(table.num_rows for table in held.values()))
        pieces = {name: held[name].slice(0, length) for name in names}
        held = {name: held[name].slice(length) for name in names}
        first = pieces[names[0]]
        for name in names[1:]:
            for key in ("frame", "track"):
                if not pieces[name][key].equals(first[key]):
                    raise _different(sources[name], sources[names[0]], sample)
        yield pieces


def _different(one: Source, other: Source, sample: str) -> TableError:
    return TableError(
        f"{one.reader.path} does not have the rows of {other.reader.path} in sample {sample}: one "
        "of them is of another run; delete both and run again"
    )


def numbers(table: pa.Table, column: str) -> NDArray[Any]:
    """A number column as an array of its own type; nulls are NaN (of a float column)."""
    array = table[column].combine_chunks()
    # Arrow turns the nulls of a float column into NaN by itself
    values: NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values


def lists(table: pa.Table, column: str, width: int) -> NDArray[np.float32]:
    """A list column as (n, width) float32; NaN where it is null or of another length."""
    array = table[column].combine_chunks()
    out = np.full((len(array), width), np.nan, np.float32)
    lengths = pc.fill_null(pc.list_value_length(array), -1).to_numpy(zero_copy_only=False)
    whole = lengths == width
    if whole.all():
        out[:] = array.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    elif whole.any():
        chosen = array.filter(pa.array(whole))
        out[whole] = chosen.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return out


def equals(table: pa.Table, column: str, *values: str) -> NDArray[np.bool_]:
    """Where a text column has one of these values; a null is none of them."""
    array = table[column].combine_chunks()
    found: NDArray[np.bool_] = pc.is_in(array, pa.array(values, pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found
