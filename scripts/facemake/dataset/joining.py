"""Several training sets as one, whatever their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemake.dataset import layout
from facemake.dataset.files import Keys, SetFile, Tell
from facemake.dataset.layout import AU_NAMES, FIELDS, UNKNOWN_PDM, Field
from facemake.dataset.origins import Origins
from facemake.dataset.people import in_two_splits
from facemake.errors import FacemakeError, TableError
from facemake.fingerprints import code_fingerprint
from facemake.h5 import reason, whole
from facemake.provenance import Recipe, digest
from facemake.runtime.atomic import replacing
from facemake.version import __version__

STAGE = "join_training_sets"
"""What the metadata name as what made the file."""

_ATTRIBUTES = ("pdm", "color_format", "image_size", "landmark_scheme")


@dataclass(frozen=True)
class Joined:
    """What became of training sets that were joined.

    Attributes:
        counts: examples of each that are in the new one.
        repeated: how many examples show a face that an earlier one shows (recording, frame, track).
        dropped: how many of them were left out.
        first: the first of them, by name.
        two_splits: people, or recordings of unknown people, in two splits; in words.
    """

    counts: tuple[int, ...]
    repeated: int
    dropped: int
    first: tuple[str, ...]
    two_splits: tuple[str, ...]


def join(
    parts: Sequence[Path],
    output: Path,
    *,
    drop_repeated: bool = False,
    tell: Tell | None = None,
) -> Joined:
    """Write the examples of several files, in their order, as one.

    A few megabytes of them are in memory at a time, and about 20 bytes of each example; one file is
    open at a time, however many there are.

    Args:
        parts: training sets.
        output: of the new one; what is there is replaced when all is written.
        drop_repeated: leave out an example whose face (recording, frame, track) an earlier one
            shows.
        tell: of the progress.

    Raises:
        TableError: a file is damaged, or they differ in layout, action units, colours or PDM.
        FacemakeError: the new one is among them, or cannot be written.
    """
    for path in parts:
        if path.exists() and output.exists() and path.samefile(output):
            raise FacemakeError(f"{output} is one of the files that are to be merged: name another")
    looked = _look(parts)
    keys = _all_keys(looked.keys)
    repeated = keys.repeated()
    keep = ~repeated if drop_repeated else np.ones(len(keys), np.bool_)
    edges = np.cumsum([0, *(len(one) for one in looked.keys)])
    kept = [keep[a:b] for a, b in pairwise(edges.tolist())]
    counts = tuple(int(part.sum()) for part in kept)
    try:
        with replacing(output) as beside, whole(beside) as made:
            targets = layout.create(made, sum(counts), looked.fields)
            _fill(targets, parts, looked.fields, kept, tell)
            _describe(made, looked, counts, drop_repeated)
    except (OSError, RuntimeError) as error:
        raise FacemakeError(f"{output} cannot be written ({reason(error)})") from None
    return Joined(
        counts=counts,
        repeated=int(repeated.sum()),
        dropped=int((~keep).sum()),
        first=tuple(keys.words(int(row)) for row in np.flatnonzero(repeated)[:3]),
        two_splits=tuple(in_two_splits(_each(parts))),
    )


@dataclass(frozen=True)
class _Looked:
    """What there is in files that go together.

    Attributes:
        fields: that all have.
        attributes: of the root, that say what the numbers mean; where none does, none.
        foreign: not all are facemake's.
        keys, sources, lineages: of each file.
    """

    fields: list[Field]
    attributes: dict[str, Any]
    foreign: bool
    keys: list[Keys]
    sources: list[list[dict[str, Any]]]
    lineages: list[Any]


def _each(parts: Sequence[Path], tell: Tell | None = None) -> Iterator[SetFile]:
    """The files, open one by one."""
    for path in parts:
        with SetFile(path, tell) as file:
            yield file


def _look(parts: Sequence[Path]) -> _Looked:
    """See that files go together.

    Raises:
        TableError: they differ.
    """
    with SetFile(parts[0]) as first:
        names, foreign = first.fields, first.foreign
    said: dict[str, tuple[Path, str | None]] = {}
    attributes: dict[str, Any] = {}
    looked = _Looked([f for f in FIELDS if f.name in names], attributes, foreign, [], [], [])
    for file in _each(parts):
        file.must_be_whole(looked.fields)
        more = [name for name in file.fields if name not in names]
        if more:
            raise TableError(
                f"{file.path} has another layout than {parts[0]}: only it has {more[0]}"
                + (" (which pyfaceau did not write)" if foreign else "")
            )
        for name in _ATTRIBUTES:
            if name == "pdm" and not len(file):
                continue  # of no example
            theirs = file.words_of(name)
            path, mine = said.setdefault(name, (file.path, theirs))
            if mine != theirs:
                raise TableError(
                    f"{file.path} and {path} cannot be one set: {name} is {theirs!r} and {mine!r}"
                )
            if name in file.file.attrs:
                attributes.setdefault(name, file.file.attrs[name])
        looked.keys.append(file.keys())
        looked.sources.append(file.sources())
        looked.lineages.append(file.metadata.get("lineage"))
        foreign = foreign or file.foreign
    return replace(looked, foreign=foreign)


def _all_keys(each: Sequence[Keys]) -> Keys:
    """Of all examples, as one."""
    known: dict[str, int] = {}
    video = []
    for keys in each:
        numbers = np.array([known.setdefault(n, len(known)) for n in keys.names], np.int32)
        video.append(numbers[keys.video])
    return Keys(
        tuple(known),
        np.concatenate(video),
        np.concatenate([keys.frame for keys in each]),
        np.concatenate([keys.track for keys in each]),
        all(keys.known for keys in each),
    )


def _fill(
    targets: Mapping[str, h5py.Dataset],
    parts: Sequence[Path],
    fields: Sequence[Field],
    kept: Sequence[NDArray[np.bool_]],
    tell: Tell | None,
) -> None:
    at = 0
    for file, keep in zip(_each(parts, tell), kept, strict=True):
        if len(file) != len(keep):
            raise TableError(f"{file.path} was changed while it was read: merge again")
        for field in fields:
            where = at
            for start, rows in file.rows([field.name]):
                values = rows[field.name]
                end = start + len(values)
                values = values[keep[start:end]]
                if len(values):
                    targets[field.name][where : where + len(values)] = values
                where += len(values)
                if field.large:
                    file.tell(end)
        at += int(keep.sum())


def _describe(made: h5py.File, looked: _Looked, counts: Sequence[int], drop_repeated: bool) -> None:
    total = sum(counts)
    if looked.foreign:  # what its numbers mean is not ours to say
        made.attrs["num_samples"] = total
        made.attrs["au_names"] = list(AU_NAMES)
        for name, value in looked.attributes.items():
            made.attrs[name] = value
        made.attrs["merged_by"] = f"facemake {__version__}"
        return
    origins = Origins()
    for sources, count in zip(looked.sources, counts, strict=True):
        if len(sources) == 1:
            sources[0]["examples"] = count
        origins.add(sources)
    recipe = Recipe(
        stage=STAGE,
        backend=None,
        settings={"drop_repeated": drop_repeated},
        models=(),
        code=code_fingerprint(__name__),
    )
    content = digest(looked.lineages)
    metadata: dict[str, Any] = origins.metadata(recipe, content, total)
    pdm = str(looked.attributes.get("pdm", UNKNOWN_PDM))
    layout.describe(made, total, metadata, looked.fields, pdm)
