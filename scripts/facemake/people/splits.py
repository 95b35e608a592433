"""Who is in two splits of the training set, by the table of people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facemake.errors import FacemakeError, TableError

_MOST_NAMED = 20
_MOST_MEMBERS = 6

CURE = (
    "give those who are one person the same subject in the sample sheet, or all of them the same "
    "split (two people who only look alike, too); a face beside the main one, NAME#TRACK, goes "
    "where its sample goes. `dataset: {same_person: ...}` takes a higher similarity for one person"
)


@dataclass(frozen=True)
class Shared:
    """A person whom the sheet takes for several.

    Attributes:
        person: in the table.
        members: subject, split and a sample of each of the subjects.
        similarity: the lowest of a face to the mean of all of them.
    """

    person: int
    members: tuple[tuple[str, str, str], ...]
    similarity: float

    @property
    def splits(self) -> list[str]:
        """The splits that the person is in."""
        return sorted({split for _, split, _ in self.members})

    def __str__(self) -> str:
        # one of each split first, so that what is wrong is among those that are named
        firsts = {one[1]: one for one in reversed(self.members)}
        ordered = sorted(self.members, key=lambda one: one != firsts[one[1]])
        named = [
            f"{subject} ({split}" + (f": {sample})" if sample != subject else ")")
            for subject, split, sample in ordered[:_MOST_MEMBERS]
        ]
        more = len(ordered) - len(named)
        return ", ".join(named) + (f" and {more} more" if more else "")


@dataclass(frozen=True)
class Found:
    """What the table of people says of the sheet.

    Attributes:
        faces: in the table: tracks, and faces of pictures that stand alone.
        people: that they are.
        in_splits: those in two splits or more.
        in_one_split: those of several subjects that are in one split: nothing leaks.
    """

    faces: int
    people: int
    in_splits: list[Shared]
    in_one_split: list[Shared]

    @property
    def document(self) -> dict[str, Any]:
        """In short, for the manifest's sidecar."""
        return {
            "faces": self.faces,
            "people": self.people,
            "in_two_splits": [
                {"person": one.person, "subjects": [subject for subject, _, _ in one.members]}
                for one in self.in_splits[:_MOST_NAMED]
            ],
            "people_in_two_splits": len(self.in_splits),
            "people_of_several_subjects_in_one_split": len(self.in_one_split),
        }

    def lines(self) -> list[str]:
        """What is wrong, in words; none where nothing is."""
        if not self.in_splits:
            return []
        count = len(self.in_splits)
        said = [
            f"{count} {'person seems' if count == 1 else 'people seem'} to be in two splits of the "
            "training set, under different subjects (dataset/people.parquet):"
        ]
        said += [f"  person {one.person}: {one}" for one in self.in_splits[:_MOST_NAMED]]
        if count > _MOST_NAMED:
            said.append(f"  ... and {count - _MOST_NAMED} more")
        return [*said, f"  {CURE}"]


def found_in(people: Path) -> Found:
    """What a table of people says of the sheet.

    Args:
        people: `dataset/people.parquet`.

    Raises:
        TableError: it is damaged.
    """
    names = ["person", "subject", "split", "sample", "similarity"]
    try:
        with pq.ParquetFile(people) as file:
            table = file.read(names, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(
            f"{people} cannot be read as a table ({error}); delete it and run again"
        ) from None
    person = table["person"].to_numpy()
    subject = table["subject"].combine_chunks().dictionary_encode().indices.to_numpy()
    # a row for each subject of each person, the first one
    _, first = np.unique(np.stack([person, subject], axis=1), axis=0, return_index=True)
    numbers, counts = np.unique(person[first], return_counts=True)
    several = set(numbers[counts > 1].tolist())
    # the sheet may put one subject in two splits, too
    split = table["split"].combine_chunks().dictionary_encode().indices.to_numpy()
    pairs = np.unique(np.stack([person, split], axis=1), axis=0)[:, 0]
    numbers, counts = np.unique(pairs, return_counts=True)
    several |= set(numbers[counts > 1].tolist())
    shared = [_shared(table, person, one) for one in sorted(several)]
    return Found(
        faces=len(table),
        people=len(numbers),
        in_splits=[one for one in shared if len(one.splits) > 1],
        in_one_split=[one for one in shared if len(one.splits) == 1],
    )


def refuse_shared(people: Path) -> None:
    """Stop where somebody is in two splits.

    Raises:
        FacemakeError: it names them, and the cure.
    """
    if lines := found_in(people).lines():
        raise FacemakeError("\n".join(["the training set is refused (dataset.people):", *lines]))


def _shared(table: pa.Table, person: Any, number: int) -> Shared:
    rows = table.take(np.flatnonzero(person == number)).to_pydict()
    samples: dict[tuple[str, str], str] = {}
    for subject, split, sample in zip(rows["subject"], rows["split"], rows["sample"], strict=True):
        samples.setdefault((subject, split), sample)
    members = tuple((subject, split, sample) for (subject, split), sample in samples.items())
    return Shared(person=number, members=members, similarity=min(rows["similarity"]))
