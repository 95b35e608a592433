"""The table of people for the index: a row a person, with tracks, subjects and splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facemake.tables import TableReader

MOST_TRACKS = 50
"""Of a person, that are listed one by one; all of them stand in `dataset/people.parquet`."""


@dataclass(frozen=True)
class Person:
    """One person, as far as looks say.

    Attributes:
        person: number in the table.
        faces: tracks, and faces of pictures that stand alone.
        tracks: of the first `MOST_TRACKS` of them sample and what is seen of it: `#0` is a track,
            `#0 in picture 2` a face of a folder's picture.
        subjects, splits: that the sheet puts them in, sorted.
        similarity: the lowest cosine similarity of a face to the mean of the person.
    """

    person: int
    faces: int
    tracks: list[tuple[str, str]]
    subjects: list[str]
    splits: list[str]
    similarity: float


def read_people(path: Path) -> list[Person]:
    """From `dataset/people.parquet`: who is in two splits, then who has several subjects, first;
    then those with most faces.
    """
    names = ["sample", "track", "frame", "subject", "split", "person", "similarity"]
    with TableReader(path) as reader:
        table = reader.whole(names)
    person = table["person"].to_numpy()
    order = np.argsort(person, kind="stable")
    sample, subject, split = (table[name].to_pylist() for name in ("sample", "subject", "split"))
    similarity = table["similarity"].to_numpy()
    seen = [
        f"#{track}" if frame is None else f"#{track} in picture {frame}"
        for track, frame in zip(table["track"].to_pylist(), table["frame"].to_pylist(), strict=True)
    ]
    edges = np.flatnonzero(np.diff(person[order], prepend=-1))
    found = []
    for rows in np.split(order, edges[1:]) if len(order) else []:
        found.append(
            Person(
                person=int(person[rows[0]]),
                faces=len(rows),
                tracks=[(sample[i], seen[i]) for i in rows[:MOST_TRACKS].tolist()],
                subjects=sorted({subject[i] for i in rows.tolist()}),
                splits=sorted({split[i] for i in rows.tolist()}),
                similarity=float(similarity[rows].min()),
            )
        )
    return sorted(
        found,
        key=lambda one: (len(one.splits) < 2, len(one.subjects) < 2, -one.faces, one.person),
    )
