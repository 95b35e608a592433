"""The same samples in other shards: a stage's folder as one table, compared sample by sample."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pyarrow as pa
import pyarrow.parquet as pq

from facemake.cli.differences import (
    common,
    datasets,
    of_attributes,
    of_examples,
    of_groups,
    of_rows,
    of_schemas,
)
from facemake.errors import FacemakeError
from facemake.h5 import read_metadata as read_h5_metadata
from facemake.tables import METADATA_KEY, TableReader

OTHER_SHARDS = "in other shards"

_OF_A_SHARD = frozenset({"lineage", "samples", "num_samples"})
"""What attributes and facemake's metadata say of the shard, and not of how it was made."""
_MOST_NAMED = 5
_NAMES = "metadata/video_names"
"""In a file of examples: the sample of each row."""


@dataclass(frozen=True)
class Pool:
    """Files of shards in one folder, those that the other side does not have as they are.

    Attributes:
        name: `FOLDER/*.SUFFIX`.
        a: relative to the one results folder.
        b: relative to the other one.
    """

    name: str
    a: tuple[Path, ...]
    b: tuple[Path, ...]


@dataclass(frozen=True)
class _Shard:
    """What a file of a shard holds."""

    samples: frozenset[str]
    digest: str
    """Of its recordings, those without rows too."""


def pools(a: Path, b: Path, names: Iterable[Path]) -> list[Pool]:
    """The files that can be compared with those of the other side only all together.

    Args:
        a: a results folder.
        b: the other one.
        names: of the files in either, relative.
    """
    folders: dict[tuple[Path, str], list[Path]] = {}
    for name in names:
        folders.setdefault((name.parent, name.suffix), []).append(name)
    found = []
    for (folder, suffix), inside in folders.items():
        # one whose shards have the same names, with the same samples, is compared by file
        if all((a / n).is_file() and (b / n).is_file() for n in inside) and all(
            _holds_the_same(a / n, b / n) for n in inside
        ):
            continue
        sides = [{n: s for n in inside if (s := _shard(root / n)) is not None} for root in (a, b)]
        here, there = (
            {n: s for n, s in mine.items() if not _is_same(s, others.get(n))}
            for mine, others in (sides, sides[::-1])
        )
        if here and there:
            found.append(Pool(f"{(folder / '*').as_posix()}{suffix}", (*here,), (*there,)))
    return found


def differences(a: Path, b: Path, pool: Pool) -> tuple[list[str], list[str]]:
    """What differs, and notes, as `facemake.cli.differences` has them.

    One sample is looked at after the other, at most a row group or a slab of it at a time.
    """
    notes = [OTHER_SHARDS]
    compare = _of_hdf5 if pool.name.endswith(".h5") else _of_tables
    sides = [[root / n for n in names] for root, names in ((a, pool.a), (b, pool.b))]
    try:
        here, there = (_places(side) for side in sides)
        found = [*_only_in((here, there), (a, b)), *compare(here, there, notes)]
    except (FacemakeError, OSError) as error:
        found = [f"it cannot be read ({error})"]
    return found, notes


def _is_same(shard: _Shard, other: _Shard | None) -> bool:
    return other is not None and (
        shard.digest == other.digest or shard.samples == other.samples != frozenset()
    )


def _holds_the_same(a: Path, b: Path) -> bool:
    if _digest(a) == _digest(b):
        return True
    one, other = _shard(a), _shard(b)
    return one is None or other is None or _is_same(one, other)


def _digest(path: Path) -> str | None:
    """Of the recordings that a shard's file is about; None where it is none, or damaged."""
    try:
        return str(_made(path)["samples"])
    except (FacemakeError, pa.ArrowException, OSError, ValueError, KeyError):
        return None


def _shard(path: Path) -> _Shard | None:
    """What a file of a shard holds; None where it is none, or cannot be read by sample."""
    digest = _digest(path) if path.is_file() else None
    if digest is None:
        return None
    try:
        return _Shard(frozenset(_samples(path)), digest)
    except (FacemakeError, OSError):
        return None


def _made(path: Path) -> dict[str, Any]:
    if path.suffix == ".h5":
        return read_h5_metadata(path)
    document = (pq.read_schema(path).metadata or {}).get(METADATA_KEY, b"{}")
    made: dict[str, Any] = json.loads(document)
    return made


def _samples(path: Path) -> list[str]:
    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            return list(_rows(file) if _NAMES in file else file)
    with TableReader(path) as reader:
        return reader.samples


def _rows(file: h5py.File) -> dict[str, slice]:
    """Sample -> its rows in a file of examples, which has one sample after the other."""
    found: dict[str, slice] = {}
    for row, sample in enumerate(file[_NAMES].asstr()[:]):
        known = found.get(sample, slice(row, row))
        if known.stop != row:
            raise FacemakeError(f"the rows of {sample} lie apart")
        found[sample] = slice(known.start, row + 1)
    return found


def _places(paths: Sequence[Path]) -> dict[str, Path]:
    """Sample -> the file that has it.

    Raises:
        FacemakeError: two have it.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for sample in _samples(path):
            if sample in found:
                raise FacemakeError(f"the sample {sample} is in {found[sample]} and in {path}")
            found[sample] = path
    return found


def _only_in(places: Sequence[Mapping[str, Path]], roots: Sequence[Path]) -> Iterator[str]:
    for k in range(2):
        if names := [sample for sample in places[k] if sample not in places[1 - k]]:
            yield f"only in {roots[k]}: {_some(sorted(names))}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _pairs(
    a: Mapping[str, Path], b: Mapping[str, Path]
) -> Iterator[tuple[tuple[Path, Path], list[str]]]:
    """Each two files that have samples in common, with these."""
    found: dict[tuple[Path, Path], list[str]] = {}
    for sample, path in a.items():
        if sample in b:
            found.setdefault((path, b[sample]), []).append(sample)
    yield from sorted(found.items())


class _Differing:
    """The samples that differ: how, of the first ones."""

    def __init__(self) -> None:
        self._count = 0
        self._first: list[str] = []

    def add(self, sample: str, words: list[str]) -> None:
        if words:
            self._count += 1
            if self._count <= _MOST_NAMED:
                self._first.append(f"{sample}: {', '.join(words)}")

    def words(self) -> list[str]:
        more = self._count - len(self._first)
        return self._first + ([f"and {more} more samples differ"] if more else [])


def _of_tables(a: Mapping[str, Path], b: Mapping[str, Path], notes: list[str]) -> list[str]:
    found: list[str] = []
    differing = _Differing()
    for paths, samples in _pairs(a, b):
        with TableReader(paths[0]) as left, TableReader(paths[1]) as right:
            found += of_schemas(left.schema, right.schema, notes, passing_over=_OF_A_SHARD)
            columns = common(left.schema, right.schema)
            for sample in samples:
                rows = left.groups(sample, columns), right.groups(sample, columns)
                differing.add(sample, of_rows(*rows, columns))
    return [*dict.fromkeys(found), *differing.words()]


def _of_hdf5(a: Mapping[str, Path], b: Mapping[str, Path], notes: list[str]) -> list[str]:
    found: list[str] = []
    differing = _Differing()
    for paths, samples in _pairs(a, b):
        with h5py.File(paths[0], "r") as left, h5py.File(paths[1], "r") as right:
            found += of_attributes(left, right, "", notes, passing_over=_OF_A_SHARD)
            if _NAMES not in left:
                for sample in samples:
                    differing.add(sample, of_groups(left[sample], right[sample], "", notes))
                continue
            kinds = datasets(left), datasets(right)
            if kinds[0] != kinds[1]:
                found += [f"{name} is of another kind" for name in _unlike(*kinds)]
                continue
            rows = _rows(left), _rows(right)
            for sample in samples:
                words = of_examples(left, right, (rows[0][sample], rows[1][sample]))
                differing.add(sample, words)
    return [*dict.fromkeys(found), *differing.words()]


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))
