"""facemake compare: whether two results folders hold the same, and by how much they differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facemake.errors import FacemakeError

# What two CPU families may differ by: network outputs are float32, sums are taken in another order.
TOLERANCE = {"absolute": 1e-3, "relative": 1e-3}


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="compare the tables of two results folders",
        description="Says of each table whether it is the same byte for byte, the same within the "
        f"tolerances ({TOLERANCE['absolute']:g} absolute, {TOLERANCE['relative']:g} relative), or "
        "not. Exit code 1 where something is not.",
    )
    parser.add_argument("a", type=Path, metavar="A")
    parser.add_argument("b", type=Path, metavar="B")
    parser.set_defaults(function=_compare)


def _compare(options: argparse.Namespace, rest: list[str]) -> int:
    names = sorted({p.relative_to(root) for root in (options.a, options.b) for p in _tables(root)})
    if not names:
        raise FacemakeError(f"there is no table in {options.a} or {options.b}")
    different = 0
    for name in names:
        a, b = options.a / name, options.b / name
        if not (a.is_file() and b.is_file()):
            verdict = f"only in {options.a if a.is_file() else options.b}"
        elif a.read_bytes() == b.read_bytes():
            verdict = "identical"
        else:
            verdict = _difference(pq.read_table(a), pq.read_table(b))
        different += verdict not in ("identical", "same within tolerances")
        print(f"{name}\t{verdict}")
    return 1 if different else 0


def _tables(root: Path) -> list[Path]:
    return [p for p in root.rglob("*.parquet") if not p.name.startswith(".")]


def _difference(a: pa.Table, b: pa.Table) -> str:
    if a.schema.names != b.schema.names or a.num_rows != b.num_rows:
        return f"{a.num_rows} rows, {len(a.schema)} columns against {b.num_rows}, {len(b.schema)}"
    worst = []
    for name in a.schema.names:
        left, right = a[name].combine_chunks(), b[name].combine_chunks()
        if left.equals(right):
            continue
        x, y = _numbers(left), _numbers(right)
        if x is None or y is None or x.shape != y.shape:
            worst.append(f"{name} differs")
        elif not np.allclose(
            x, y, rtol=TOLERANCE["relative"], atol=TOLERANCE["absolute"], equal_nan=True
        ):
            worst.append(f"{name} by up to {np.nanmax(np.abs(x - y)):g}")
    return "; ".join(worst) or "same within tolerances"


def _numbers(array: pa.Array) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    if pa.types.is_list(array.type):
        array = array.flatten()
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type)):
        return None
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)
