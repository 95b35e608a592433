"""How two tables or HDF5 files differ, in words: values, nulls, lengths, shapes, attributes."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemake.h5 import METADATA_ATTRIBUTE

# What two CPU families may differ by: network outputs are float32, sums are taken in another order.
TOLERANCE = {"absolute": 1e-3, "relative": 1e-3}

_ROWS_AT_ONCE = 4096
_BYTES_AT_ONCE = 16 * 2**20


class _Worst:
    """What differs in one column or dataset, over all its pieces."""

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self.what: set[str] = set()

    def values(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Take in two arrays of one shape."""
        if not _is_number(x) or not _is_number(y):
            self.count += int(np.count_nonzero(x != y))
            return
        if x.dtype.kind == "f":
            apart = ~np.isclose(
                x, y, rtol=TOLERANCE["relative"], atol=TOLERANCE["absolute"], equal_nan=True
            )
        else:  # a frame, a count, a pixel: the relative tolerance would let frame 5001 be 5000
            apart = x != y
        if apart.any():
            self.count += int(np.count_nonzero(apart))
            with np.errstate(invalid="ignore"):
                gap = np.abs(x[apart].astype(np.float64) - y[apart].astype(np.float64))
            self.largest = max(self.largest, float(np.fmax.reduce(gap, initial=0.0)))
            if np.isnan(gap).any():
                self.what.add("NaN on one side only")

    def words(self, name: str) -> list[str]:
        """What to say of it: nothing where it is the same."""
        said = sorted(self.what)
        if self.count:
            said.insert(0, f"{self.count} values" + _by(self.largest))
        return [f"{name} ({', '.join(said)})"] if said else []


def _by(largest: float) -> str:
    return f" by up to {largest:g}" if largest else ""


def _is_number(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "iufb"


# Tables


def of_tables(a: Path, b: Path, notes: list[str]) -> list[str]:
    """What differs between two tables.

    Args:
        a: a Parquet file.
        b: the other one.
        notes: takes what is worth a word and no difference.

    Returns:
        A line each; none where they are the same within tolerances.
    """
    with pq.ParquetFile(a) as left, pq.ParquetFile(b) as right:
        found = of_schemas(left.schema_arrow, right.schema_arrow, notes)
        rows = [file.metadata.num_rows for file in (left, right)]
        if rows[0] != rows[1]:
            return [*found, f"{rows[0]} rows against {rows[1]}"]
        columns = common(left.schema_arrow, right.schema_arrow)
        return found + of_rows(_batches(left, columns), _batches(right, columns), columns)


def of_schemas(
    a: pa.Schema, b: pa.Schema, notes: list[str], *, passing_over: Container[str] = ()
) -> list[str]:
    """What differs in the columns' types and in the metadata; see `of_tables`.

    Args:
        a: of a table.
        b: of the other one.
        notes: takes that another recipe made one of them.
        passing_over: attributes, and keys of facemake's own metadata, that do not matter.
    """
    found = _metadata_differs(a.metadata or {}, b.metadata or {}, notes, passing_over)
    kinds = [{f.name: f.type for f in schema} for schema in (a, b)]
    for name in kinds[0] | kinds[1]:
        types = [kind.get(name) for kind in kinds]
        if types[0] != types[1]:
            found.append(f"{name} is {types[0] or 'absent'} against {types[1] or 'absent'}")
    return found


def common(a: pa.Schema, b: pa.Schema) -> list[str]:
    """The columns that both have, of one type."""
    types = {f.name: f.type for f in b}
    return [f.name for f in a if f.type == types.get(f.name)]


def of_rows(a: Iterable[pa.Table], b: Iterable[pa.Table], columns: list[str]) -> list[str]:
    """What differs in the rows of two tables that come in pieces, of any sizes; see `of_tables`."""
    if not columns:
        return []
    worst = {name: _Worst() for name in columns}
    rows = [0, 0]
    for x, y in zip_longest(_pieces(a), _pieces(b)):
        lengths = [0 if piece is None else len(piece) for piece in (x, y)]
        rows = [rows[0] + lengths[0], rows[1] + lengths[1]]
        if lengths[0] == lengths[1]:  # else the one is at its end, and the rest is only counted
            for name in columns:
                _column(x[name].combine_chunks(), y[name].combine_chunks(), worst[name])
    if rows[0] != rows[1]:
        return [f"{rows[0]} rows against {rows[1]}"]
    return [words for name in columns for words in worst[name].words(name)]


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.Table]:
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
        yield pa.Table.from_batches([batch])


def _pieces(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of `_ROWS_AT_ONCE` rows, the last one shorter, whatever the row groups."""
    held: list[pa.Table] = []
    rows = 0
    for part in tables:
        held.append(part)
        rows += len(part)
        while rows >= _ROWS_AT_ONCE:
            table = pa.concat_tables(held)
            yield table.slice(0, _ROWS_AT_ONCE)
            held, rows = [table.slice(_ROWS_AT_ONCE)], rows - _ROWS_AT_ONCE
    if rows:
        yield pa.concat_tables(held)


def _column(a: pa.Array, b: pa.Array, worst: _Worst) -> None:
    """Nulls first, then lengths, then the values where both have one: a null is no NaN."""
    if not a.is_null().equals(b.is_null()):
        worst.what.add("nulls in other places")
        return
    if pa.types.is_list(a.type) or pa.types.is_fixed_size_list(a.type):
        if not pc.list_value_length(a).equals(pc.list_value_length(b)):
            worst.what.add("lists of other lengths")
            return
        _column(a.flatten(), b.flatten(), worst)  # leaves null lists out
        return
    a, b = a.drop_null(), b.drop_null()
    worst.values(a.to_numpy(zero_copy_only=False), b.to_numpy(zero_copy_only=False))


def _metadata_differs(
    a: Mapping[Any, Any], b: Mapping[Any, Any], notes: list[str], passing_over: Container[str] = ()
) -> list[str]:
    """The attributes that are not the same on both sides; another recipe is a note."""
    found = []
    for key in sorted(set(a) | set(b)):
        name = key.decode() if isinstance(key, bytes) else key
        if name in passing_over:
            continue
        if key not in a or key not in b:
            found.append(f"the attribute {name} is on one side only")
        elif name == METADATA_ATTRIBUTE:
            made = [json.loads(side[key]) for side in (a, b)]
            keys = [k for k in sorted(made[0] | made[1]) if made[0].get(k) != made[1].get(k)]
            keys = [k for k in keys if k not in passing_over]
            found += [f"the {k} differ" for k in keys if k == "units"]
            if other := [k for k in keys if k != "units"]:
                notes.append(f"made in another way ({', '.join(other)})")
        elif not _same_attribute(a[key], b[key]):
            found.append(f"the attribute {name} differs")
    return found


def _same_attribute(a: Any, b: Any) -> bool:
    x, y = np.asarray(a), np.asarray(b)
    return x.dtype == y.dtype and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")


# HDF5


def of_hdf5(a: Path, b: Path, notes: list[str]) -> list[str]:
    """What differs between two HDF5 files; see `of_tables`."""
    with h5py.File(a, "r") as left, h5py.File(b, "r") as right:
        return of_groups(left, right, "", notes)


def of_groups(a: h5py.Group, b: h5py.Group, path: str, notes: list[str]) -> list[str]:
    """What differs between two groups of HDF5 files; see `of_tables`.

    Args:
        a: a group.
        b: the other one.
        path: before the names in it.
        notes: takes that another recipe made one of them.
    """
    found = of_attributes(a, b, path, notes)
    for name in sorted(set(a) | set(b)):
        where = f"{path}{name}"
        if name not in a or name not in b:
            found.append(f"{where} is on one side only")
            continue
        left, right = a[name], b[name]
        if isinstance(left, h5py.Group) and isinstance(right, h5py.Group):
            found += of_groups(left, right, f"{where}/", notes)
        elif isinstance(left, h5py.Dataset) and isinstance(right, h5py.Dataset):
            found += of_attributes(left, right, where, notes) + _dataset(left, right, where)
        else:
            found.append(f"{where} is a group on one side only")
    return found


def of_attributes(
    a: Any, b: Any, where: str, notes: list[str], *, passing_over: Container[str] = ()
) -> list[str]:
    """What differs in the attributes of two groups or datasets; see `of_schemas`."""
    found = _metadata_differs(a.attrs, b.attrs, notes, passing_over)
    return [f"{where}: {words}" if where else words for words in found]


def _dataset(a: h5py.Dataset, b: h5py.Dataset, where: str) -> list[str]:
    if a.shape != b.shape:
        return [f"{where} has the shape {a.shape} against {b.shape}"]
    if a.dtype != b.dtype:
        return [f"{where} is {a.dtype} against {b.dtype}"]
    worst = _Worst()
    for part in _slabs(a):
        worst.values(np.asarray(a[part]), np.asarray(b[part]))
    return worst.words(where)


def of_examples(a: h5py.File, b: h5py.File, rows: tuple[slice, slice]) -> list[str]:
    """What differs between rows of all datasets of two files; see `of_tables`.

    Args:
        a: a file whose datasets have as many rows each.
        b: the other one, with the same datasets.
        rows: of `a`, and those of `b` that they are compared with.
    """
    lengths = [part.stop - part.start for part in rows]
    if lengths[0] != lengths[1]:
        return [f"{lengths[0]} examples against {lengths[1]}"]
    found = []
    for where in datasets(a):
        worst = _Worst()
        for part in _slabs(a[where], lengths[0]):
            x, y = (
                np.asarray(file[where][of.start + part.start : of.start + part.stop])
                for file, of in zip((a, b), rows, strict=True)
            )
            worst.values(x, y)
        found += worst.words(where)
    return found


def datasets(file: h5py.File) -> dict[str, tuple[Any, ...]]:
    """Path of each dataset -> its type and the shape of a row."""
    found: dict[str, tuple[Any, ...]] = {}

    def look(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            found[name] = thing.dtype, thing.shape[1:]

    file.visititems(look)
    return found


def _slabs(dataset: h5py.Dataset, rows: int | None = None) -> Iterator[Any]:
    """Selections along the first axis of about `_BYTES_AT_ONCE` each; of a scalar, all of it."""
    if dataset.size is None:  # declared without a value
        return
    if not dataset.shape:
        yield ()
        return
    row = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64)))
    step = max(1, _BYTES_AT_ONCE // row)
    end = dataset.shape[0] if rows is None else rows
    for start in range(0, end, step):
        yield slice(start, min(start + step, end))
