"""facemake compare: whether two results folders hold the same, and by how much they differ."""

from __future__ import annotations

import argparse
import filecmp
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemake.errors import FacemakeError
from facemake.h5 import METADATA_ATTRIBUTE

# What two CPU families may differ by: network outputs are float32, sums are taken in another order.
TOLERANCE = {"absolute": 1e-3, "relative": 1e-3}

IDENTICAL = "identical"
WITHIN = "same within tolerances"

_ROWS_AT_ONCE = 4096
_BYTES_AT_ONCE = 16 * 2**20


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="compare the tables and HDF5 files of two results folders",
        description="Says of each Parquet and HDF5 file whether it is the same byte for byte, the "
        f"same within the tolerances ({TOLERANCE['absolute']:g} absolute, "
        f"{TOLERANCE['relative']:g} relative; whole numbers and words exactly), or what differs: "
        "values, nulls, lengths, shapes, types, attributes. Where the values are the same but "
        "another recipe made them, it says so. Hidden folders are not looked into. Exit code 1 "
        "where something is not the same.",
    )
    parser.add_argument("a", type=Path, metavar="A")
    parser.add_argument("b", type=Path, metavar="B")
    parser.set_defaults(function=_compare)


def _compare(options: argparse.Namespace, rest: list[str]) -> int:
    for root in (options.a, options.b):
        if not root.is_dir():
            raise FacemakeError(f"{root} is no folder")
    names = sorted({p.relative_to(root) for root in (options.a, options.b) for p in _files(root)})
    if not names:
        raise FacemakeError(f"there is no table in {options.a} or {options.b}")
    counts = {IDENTICAL: 0, WITHIN: 0, "not the same": 0}
    for name in names:
        verdict = _verdict(options.a / name, options.b / name)
        counts[next((word for word in counts if verdict.startswith(word)), "not the same")] += 1
        print(f"{name.as_posix()}\t{verdict}")
    print(f"{len(names)} files: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    return 1 if counts["not the same"] else 0


def _files(root: Path) -> Iterator[Path]:
    """Tables and HDF5 files under `root`; nothing hidden (`.orphans`, files half written)."""
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.suffix in (".parquet", ".h5") and not hidden and path.is_file():
            yield path


def _verdict(a: Path, b: Path) -> str:
    for here, there in ((a, b), (b, a)):
        if not there.is_file():
            return f"differs: only {here} is there"
    if filecmp.cmp(a, b, shallow=False):
        return IDENTICAL
    compare = _hdf5_differences if a.suffix == ".h5" else _table_differences
    notes: list[str] = []
    try:
        found = compare(a, b, notes)
    except (pa.ArrowInvalid, OSError) as error:
        return f"differs: it cannot be read ({error})"
    verdict = f"differs: {'; '.join(found)}" if found else WITHIN
    return "; ".join([verdict, *dict.fromkeys(notes)])


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


def _table_differences(a: Path, b: Path, notes: list[str]) -> list[str]:
    with pq.ParquetFile(a) as left, pq.ParquetFile(b) as right:
        return _rows_differ(left, right, notes)


def _rows_differ(a: pq.ParquetFile, b: pq.ParquetFile, notes: list[str]) -> list[str]:
    left, right = (file.schema_arrow.metadata or {} for file in (a, b))
    found = _metadata_differs(left, right, notes)
    kinds = [{f.name: f.type for f in file.schema_arrow} for file in (a, b)]
    for name in kinds[0] | kinds[1]:
        types = [kind.get(name) for kind in kinds]
        if types[0] != types[1]:
            found.append(f"{name} is {types[0] or 'absent'} against {types[1] or 'absent'}")
    rows = [file.metadata.num_rows for file in (a, b)]
    if rows[0] != rows[1]:
        return [*found, f"{rows[0]} rows against {rows[1]}"]
    common = [name for name in kinds[0] if kinds[0][name] == kinds[1].get(name)]
    worst = {name: _Worst() for name in common}
    if common:
        for x, y in zip(_pieces(a, common), _pieces(b, common), strict=True):
            for name in common:
                _column(x[name].combine_chunks(), y[name].combine_chunks(), worst[name])
    return found + [words for name in common for words in worst[name].words(name)]


def _pieces(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.Table]:
    """Tables of `_ROWS_AT_ONCE` rows, the last one shorter, whatever the row groups."""
    held: list[pa.Table] = []
    rows = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns, use_threads=False):
        held.append(pa.Table.from_batches([batch]))
        rows += len(batch)
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


def _metadata_differs(a: Mapping[Any, Any], b: Mapping[Any, Any], notes: list[str]) -> list[str]:
    """The attributes that are not the same on both sides; another recipe is a note."""
    found = []
    for key in sorted(set(a) | set(b)):
        name = key.decode() if isinstance(key, bytes) else key
        if key not in a or key not in b:
            found.append(f"the attribute {name} is on one side only")
        elif name == METADATA_ATTRIBUTE:
            made = [json.loads(side[key]) for side in (a, b)]
            keys = [k for k in sorted(made[0] | made[1]) if made[0].get(k) != made[1].get(k)]
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


def _hdf5_differences(a: Path, b: Path, notes: list[str]) -> list[str]:
    with h5py.File(a, "r") as left, h5py.File(b, "r") as right:
        return _group(left, right, "", notes)


def _group(a: h5py.Group, b: h5py.Group, path: str, notes: list[str]) -> list[str]:
    found = _attributes(a, b, path, notes)
    for name in sorted(set(a) | set(b)):
        where = f"{path}{name}"
        if name not in a or name not in b:
            found.append(f"{where} is on one side only")
            continue
        left, right = a[name], b[name]
        if isinstance(left, h5py.Group) and isinstance(right, h5py.Group):
            found += _group(left, right, f"{where}/", notes)
        elif isinstance(left, h5py.Dataset) and isinstance(right, h5py.Dataset):
            found += _attributes(left, right, where, notes) + _dataset(left, right, where)
        else:
            found.append(f"{where} is a group on one side only")
    return found


def _attributes(a: Any, b: Any, where: str, notes: list[str]) -> list[str]:
    found = _metadata_differs(a.attrs, b.attrs, notes)
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


def _slabs(dataset: h5py.Dataset) -> Iterator[Any]:
    """Selections along the first axis of about `_BYTES_AT_ONCE` each; of a scalar, all of it."""
    if dataset.size is None:  # declared without a value
        return
    if not dataset.shape:
        yield ()
        return
    row = max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:], dtype=np.int64)))
    step = max(1, _BYTES_AT_ONCE // row)
    for start in range(0, dataset.shape[0], step):
        yield slice(start, start + step)
