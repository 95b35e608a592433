"""facemake compare: whether two results folders hold the same, and by how much they differ."""

from __future__ import annotations

import argparse
import filecmp
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from facemake.cli import compare_shards
from facemake.cli.differences import TOLERANCE, of_hdf5, of_tables
from facemake.counting import counted
from facemake.errors import FacemakeError

IDENTICAL = "identical"
WITHIN = "same within tolerances"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "compare",
        help="compare the tables and HDF5 files of two results folders",
        description="Compare the Parquet and HDF5 files of two folders. Each is reported as the "
        f"same byte for byte, the same within tolerances ({TOLERANCE['absolute']:g} absolute, "
        f"{TOLERANCE['relative']:g} relative; integers and text exactly), or with what differs: "
        "values, nulls, lengths, shapes, types, attributes. Equal values that a different recipe "
        "made are reported as such. If samples are spread over shards differently, a stage's "
        "folder is compared as a whole, sample by sample. Hidden folders are skipped. The exit "
        "code is 1 if anything differs.",
        epilog="example: facemake compare my_study/results from_the_cluster/results",
    )
    parser.add_argument("a", type=Path, metavar="A", help="a results folder")
    parser.add_argument("b", type=Path, metavar="B", help="the results folder to compare it with")
    parser.set_defaults(function=_compare)


def _compare(options: argparse.Namespace, rest: list[str]) -> int:
    roots = options.a, options.b
    for root in roots:
        if not root.is_dir():
            raise FacemakeError(f"{root} is no folder")
    names = sorted({p.relative_to(root) for root in roots for p in _files(root)})
    if not names:
        raise FacemakeError(f"there is no table in {options.a} or {options.b}")
    pools = compare_shards.pools(*roots, names)
    pooled = {name for pool in pools for name in (*pool.a, *pool.b)}
    said = {
        name.as_posix(): _verdict(options.a / name, options.b / name)
        for name in names
        if name not in pooled
    }
    for pool in pools:
        said[pool.name] = _as_verdict(*compare_shards.differences(*roots, pool))
    counts = {IDENTICAL: 0, WITHIN: 0, "not the same": 0}
    for name, verdict in sorted(said.items()):
        counts[next((word for word in counts if verdict.startswith(word)), "not the same")] += 1
        print(f"{name}\t{verdict}")
    each, all_ = ("file", "files") if not pools else ("file or folder", "files and folders")
    what = counted(len(said), *(f"{one} of shards" if pools else one for one in (each, all_)))
    print(f"{what}: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
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
    compare = of_hdf5 if a.suffix == ".h5" else of_tables
    notes: list[str] = []
    try:
        found = compare(a, b, notes)
    except (pa.ArrowInvalid, OSError) as error:
        return f"differs: it cannot be read ({error})"
    return _as_verdict(found, notes)


def _as_verdict(found: list[str], notes: list[str]) -> str:
    verdict = f"differs: {'; '.join(found)}" if found else WITHIN
    return "; ".join([verdict, *dict.fromkeys(notes)])
