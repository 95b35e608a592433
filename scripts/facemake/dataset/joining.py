"""Several training sets as one, whatever their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from facemake.dataset import layout
from facemake.dataset.files import Keys, SetFile, Tell
from facemake.dataset.layout import AU_NAMES, FIELDS, Field
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

    A few megabytes of them are in memory at a time, and about 20 bytes of each example.

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
    with ExitStack() as stack:
        files = [stack.enter_context(SetFile(path, tell)) for path in parts]
        fields = _in_common(files)
        keys = _all_keys(files)
        repeated = keys.repeated()
        keep = ~repeated if drop_repeated else np.ones(len(keys), np.bool_)
        edges = np.cumsum([0, *(len(file) for file in files)])
        kept = [keep[a:b] for a, b in pairwise(edges.tolist())]
        counts = tuple(int(part.sum()) for part in kept)
        try:
            with replacing(output) as beside, whole(beside) as made:
                targets = layout.create(made, sum(counts), fields)
                _fill(targets, files, fields, kept)
                _describe(made, files, fields, counts, drop_repeated)
        except (OSError, RuntimeError) as error:
            raise FacemakeError(f"{output} cannot be written ({reason(error)})") from None
        first = tuple(keys.words(int(row)) for row in np.flatnonzero(repeated)[:3])
        return Joined(
            counts=counts,
            repeated=int(repeated.sum()),
            dropped=int((~keep).sum()),
            first=first,
            two_splits=tuple(in_two_splits(files)),
        )


def _in_common(files: Sequence[SetFile]) -> list[Field]:
    """The fields that all files have.

    Raises:
        TableError: they differ.
    """
    first = files[0]
    for file in files:
        file.must_be_whole([*first.fields.values()])
        more = [name for name in file.fields if name not in first.fields]
        if more:
            raise TableError(
                f"{file.path} has another layout than {first.path}: only it has {more[0]}"
                + (" (which pyfaceau did not write)" if first.foreign else "")
            )
        for name in _ATTRIBUTES:
            mine, theirs = first.words_of(name), file.words_of(name)
            if mine != theirs:
                raise TableError(
                    f"{file.path} and {first.path} cannot be one set: {name} is {theirs!r} and "
                    f"{mine!r}"
                )
    return [field for field in FIELDS if field.name in first.fields]


def _all_keys(files: Sequence[SetFile]) -> Keys:
    """Of all examples, as one."""
    known: dict[str, int] = {}
    video = []
    each = [file.keys() for file in files]
    for keys in each:
        numbers = np.array([known.setdefault(n, len(known)) for n in keys.names], np.int32)
        video.append(numbers[keys.video])
    return Keys(
        tuple(known),
        np.concatenate(video),
        np.concatenate([keys.frame for keys in each]),
        np.concatenate([keys.track for keys in each]),
    )


def _fill(
    targets: Mapping[str, h5py.Dataset],
    files: Sequence[SetFile],
    fields: Sequence[Field],
    kept: Sequence[NDArray[np.bool_]],
) -> None:
    at = 0
    for file, keep in zip(files, kept, strict=True):
        for field in fields:
            where = at
            for start, rows in file.rows([field.name]):
                values = rows[field.name]
                values = values[keep[start : start + len(values)]]
                if len(values):
                    targets[field.name][where : where + len(values)] = values
                where += len(values)
                if field.large:
                    file.tell(start + len(values))
        at += int(keep.sum())


def _describe(
    made: h5py.File,
    files: Sequence[SetFile],
    fields: Sequence[Field],
    counts: Sequence[int],
    drop_repeated: bool,
) -> None:
    total = sum(counts)
    if any(file.foreign for file in files):  # what its numbers mean is not ours to say
        made.attrs["num_samples"] = total
        made.attrs["au_names"] = list(AU_NAMES)
        for name in _ATTRIBUTES:
            if name in files[0].file.attrs:
                made.attrs[name] = files[0].file.attrs[name]
        made.attrs["merged_by"] = f"facemake {__version__}"
        return
    origins = Origins()
    for file, count in zip(files, counts, strict=True):
        sources = file.sources()
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
    content = digest([file.metadata.get("lineage") for file in files])
    metadata: dict[str, Any] = origins.metadata(recipe, content, total)
    layout.describe(made, total, metadata, fields, files[0].pdm)
