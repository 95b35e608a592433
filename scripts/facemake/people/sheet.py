"""What is known of who is in a sample: the sheet's subjects, or labels of the user's."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facemake.dataset.splits import main_or_other
from facemake.errors import FacemakeError, TableError
from facemake.people.looks import Looks, ShardTables
from facemake.sheet import MISSING

Who = Mapping[str, tuple[str, str]]
"""Sample -> subject and split."""

_COLUMNS = ("sample", "track", "frame", "person")
_MOST_NAMED = 10


def who_is_who(results: Path) -> Who:
    """Subjects and splits by the manifest of a results folder; empty where there is none.

    Raises:
        TableError: the manifest is damaged.
    """
    path = results / "dataset" / "manifest.parquet"
    if not path.is_file():
        return {}
    try:
        with pq.ParquetFile(path) as file:
            rows = file.read(["sample", "subject", "split"], use_threads=False).to_pydict()
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(
            f"{path} cannot be read as a table ({error}); delete it and run the workflow again"
        ) from None
    pairs = zip(rows["subject"], rows["split"], strict=True)
    return dict(zip(rows["sample"], pairs, strict=True))


def subjects(looks: Looks, who: Who) -> tuple[list[str | None], list[str | None]]:
    """The subject of each face, and its split; None where the manifest does not know the sample."""
    names: list[str | None] = []
    splits: list[str | None] = []
    for index, track in zip(looks.sample.tolist(), looks.track.tolist(), strict=True):
        sample = looks.names[index]
        subject, split = who.get(sample, (None, None))
        names.append(None if subject is None else main_or_other(sample, subject, track))
        splits.append(split)
    return names, splits


def labels_of_subjects(looks: Looks, who: Who) -> list[str | None]:
    """The person of each face by the sheet: main faces of samples whose subject it says.

    A sample whose subject is its own name has none in the sheet: it may show anybody.

    Raises:
        FacemakeError: the sheet says no subject of these samples.
    """
    labels = [
        who[name][0] if track == 0 and name in who and who[name][0] != name else None
        for name, track in zip(
            (looks.names[index] for index in looks.sample.tolist()),
            looks.track.tolist(),
            strict=True,
        )
    ]
    if not any(labels):
        raise FacemakeError(
            "the sample sheet says of no sample who is in it: fill its column `subject` and run "
            "the workflow again, or name a file of labels (--labels: columns sample and person, "
            "and track and frame where a sample shows several people; tabs between them)"
        )
    return labels


def labels_of_file(looks: Looks, path: Path, shards: Sequence[ShardTables]) -> list[str | None]:
    """The person of each face by a file of labels: tab-separated, with the columns sample, person.

    With a column `track` a row is about that track, else about the main one; with a column `frame`
    (of pictures that stand alone) about that picture alone. An empty cell is as no column.

    Args:
        looks: the faces.
        path: the file.
        shards: whose samples may be named.

    Raises:
        FacemakeError: the file is no such table, or names samples that are not there: all of them.
    """
    rows = _read(path)
    known = _samples(shards)
    unknown = [
        f"line {line}: {row['sample']!r}" for line, row in rows if row["sample"] not in known
    ]
    if unknown:
        more = len(unknown) - _MOST_NAMED
        raise FacemakeError(
            f"{path} names samples that the results do not have: {', '.join(unknown[:_MOST_NAMED])}"
            + (f" and {more} more" if more > 0 else "")
            + "; name them as the sample sheet does"
        )
    wanted: dict[tuple[str, int, int | None], str] = {}
    for line, row in rows:
        key = (
            row["sample"],
            _number(path, line, row, "track") or 0,
            _number(path, line, row, "frame"),
        )
        if wanted.setdefault(key, row["person"]) != row["person"]:
            raise FacemakeError(
                f"{path}:{line}: {row['sample']} is {row['person']} here and {wanted[key]} above"
            )
    labels: list[str | None] = []
    for index, track, frame in zip(
        looks.sample.tolist(), looks.track.tolist(), looks.frame.tolist(), strict=True
    ):
        sample = looks.names[index]
        labels.append(wanted.get((sample, track, frame), wanted.get((sample, track, None))))
    return labels


def _read(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, dialect="excel-tab", quoting=csv.QUOTE_NONE)
            names = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise FacemakeError(f"there is no file of labels {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FacemakeError(f"{path} cannot be read as a tab-separated table ({error})") from None
    if unknown := [name for name in names if name not in _COLUMNS]:
        raise FacemakeError(
            f"{path}: {unknown[0]!r} is no column; there are {', '.join(_COLUMNS)}, tabs between "
            "them"
        )
    for name in ("sample", "person"):
        if name not in names:
            raise FacemakeError(
                f"{path} has no column {name}; it needs sample and person, tabs between them"
            )
    for line, row in rows:
        if not row["sample"] or not row["person"]:
            raise FacemakeError(
                f"{path}:{line}: sample or person is empty; fill it or delete the line"
            )
        if row["person"] in MISSING:  # all of whom would be one
            raise FacemakeError(f"{path}:{line}: person is {row['person']}; delete the line")
    return rows


def _number(path: Path, line: int, row: Mapping[str, str], name: str) -> int | None:
    text = row.get(name) or ""
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise FacemakeError(f"{path}:{line}: {name} is {text!r}; it must be a number from 0")
    return int(text)


def _samples(shards: Sequence[ShardTables]) -> set[str]:
    found: set[str] = set()
    for shard in shards:
        with pq.ParquetFile(shard.probe) as file:
            found.update(file.read(["sample"], use_threads=False)["sample"].to_pylist())
    return found
