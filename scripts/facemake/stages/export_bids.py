"""A run's tables in a layout like that of BIDS: a folder a person, a sidecar a table.

BIDS (Brain Imaging Data Structure, 1.10) knows no modality of faces. What fits are tables of
behaviour: `sub-ANNA/beh/sub-ANNA_task-SMILES_acq-aus_beh.tsv`, one for each recording and table, as
a derived data set. `acq` is the name of the table; `task` is the recording, or one that the user
names, with `run` to tell its recordings apart. Rows are frames and faces; there is no sampling
rate, but a column `time`.

Labels of BIDS are ASCII letters and digits. Names lose what is none; names that would then be one
(upper and lower case are one, since they are on many disks) all get six digits of their SHA-256,
and so do those that are longer than 60 letters. `code/names.tsv` has what became of each name.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from facemake.csvs import write_csv
from facemake.errors import FacemakeError
from facemake.exports import LAYOUT, NAMES, one_line, wrote_layout
from facemake.rows import Source, side_by_side
from facemake.runtime.atomic import replacing_folder, write_text
from facemake.samples import Sample
from facemake.stages.export_tables import WIDTHS, Flat, lists_of, widths_of
from facemake.stages.exporting import Frames, Tables, word
from facemake.tables import TableReader
from facemake.version import __version__

VERSION = "1.10.0"
"""Of BIDS."""

_MISSING = "n/a"


@dataclass(frozen=True)
class Named:
    """A recording under its names in BIDS.

    Attributes:
        sample: as the run knows it.
        subject, task: labels.
        run: 1 and on of one task of a person; 0 where the task is the recording.
    """

    sample: Sample
    subject: str
    task: str
    run: int = 0

    def file(self, table: str) -> str:
        """Path of a table, without its suffix, below the data set."""
        run = f"_run-{self.run:02d}" if self.run else ""
        stem = f"sub-{self.subject}_task-{self.task}_acq-{table}{run}_beh"
        return f"sub-{self.subject}/beh/{stem}"


def labels(names: Iterable[str]) -> dict[str, str]:
    """Name -> label of ASCII letters and digits; no two are one, in any case."""
    plain = {name: _plain(name) for name in dict.fromkeys(names)}
    often = Counter(label.lower() for label in plain.values())
    made = {
        name: label
        if 0 < len(label) <= _LONGEST and often[label.lower()] == 1
        else _with_digits(name, label, 6)
        for name, label in plain.items()
    }
    for digits in range(7, 65):
        often = Counter(label.lower() for label in made.values())
        twice = [name for name, label in made.items() if often[label.lower()] > 1]
        if not twice:
            break
        made |= {name: _with_digits(name, plain[name], digits) for name in twice}
    return made


_LONGEST = 60
"""Letters of a label: a file's name has two of them, and at most 255 bytes."""


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKD", name)
    return re.sub(r"[^A-Za-z0-9]", "", folded)


def _with_digits(name: str, label: str, digits: int) -> str:
    sha256 = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    return label[:_LONGEST] + sha256[:digits]


def named(samples: Sequence[Sample], task: str = "") -> list[Named]:
    """Names of BIDS for samples, in their order.

    Args:
        samples: of the run.
        task: of all of them; "": each is its own.

    Raises:
        FacemakeError: the task is no label.
    """
    if task and _plain(task) != task:
        raise FacemakeError(f"--task {task}: a task of BIDS has ASCII letters and digits alone")
    people = labels(sample.subject for sample in samples)
    if not task:
        tasks = labels(sample.sample for sample in samples)
        return [Named(s, people[s.subject], tasks[s.sample]) for s in samples]
    count: defaultdict[str, int] = defaultdict(int)
    found = []
    for sample in samples:
        person = people[sample.subject]
        count[person] += 1
        found.append(Named(sample, person, task, count[person]))
    return found


def export_bids(
    shards: Mapping[str, Sequence[Sample]],
    results: Path,
    output: Path,
    tables: Sequence[str],
    *,
    name: str = "",
    licence: str = "",
    task: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the data set, as a whole or not at all.

    Args:
        shards: shard -> its samples.
        results: of the run.
        output: a folder; one that is there must be empty or such a data set of facemake.
        tables: of `facemake.exports.BIDS_TABLES`.
        name: of the data set.
        licence: of the data; "" where none is given.
        task: of all recordings; "": each is its own.
        say: is told how far it is.

    Returns:
        `output`.

    Raises:
        FacemakeError: a table is missing, or something else is at `output`.
    """
    everyone = named([sample for members in shards.values() for sample in members], task)
    of = {one.sample.sample: one for one in everyone}
    _check_ours(output)
    with replacing_folder(output) as folder:
        widths = {table: _widths(results, list(shards), table) for table in tables}
        states: dict[str, Mapping[str, Any]] = {}
        for number, (shard, samples) in enumerate(shards.items(), start=1):
            say(f"shard {number} of {len(shards)}")
            paths = {
                table: results / table / f"{shard}.parquet"
                for table in dict.fromkeys(("probe", "landmarks", *tables))
            }
            for path in paths.values():
                if not path.is_file():
                    raise FacemakeError(
                        f"{path} is missing: finish the run first, or leave the table out"
                    )
            with Tables.open(paths) as opened:
                writers = {table: _Writer(opened, table, widths[table]) for table in tables}
                for sample in samples:
                    states[sample.sample] = opened.probe[sample.sample]
                    for writer in writers.values():
                        writer.write(of[sample.sample], folder)
        _describe(folder, everyone, states, name, licence)
    return output


def _check_ours(output: Path) -> None:
    is_empty = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not is_empty and not wrote_layout(output):
        raise FacemakeError(
            f"{output} is there and is no data set that facemake wrote: name a new or empty folder"
        )


def _widths(results: Path, shards: Sequence[str], table: str) -> dict[str, int]:
    """List of a table -> how long it is, so that the files of all shards have the same columns."""
    found = dict(WIDTHS)
    for shard in shards:
        path = results / table / f"{shard}.parquet"
        if not path.is_file():
            continue
        with TableReader(path) as reader:
            found |= widths_of(reader)
            if found.keys() >= set(lists_of(reader)):
                break
    return found


class _Writer:
    """Writes one table of samples of a shard."""

    def __init__(self, tables: Tables, table: str, widths: Mapping[str, int]) -> None:
        self._tables = tables
        self._table = table
        self._flat = Flat.of(tables.readers[table], ("sample",), widths)
        schema = self._flat.schema
        self._at = schema.get_field_index("track") + 1
        self._schema = schema.insert(self._at, pa.field("time", pa.float64()))

    def write(self, one: Named, folder: Path) -> None:
        """Write the table of a recording and its sidecar."""
        path = folder / f"{one.file(self._table)}.tsv"
        seen: Counter[str] = Counter()
        pieces = self._pieces(one.sample.sample, seen)
        write_csv(path, self._schema, pieces, separator="\t", missing=_MISSING)
        said = word(
            self._tables,
            one.sample.sample,
            form=f"{self._table} of facemake in a layout like BIDS",
            sources=(self._table,),
            columns={},
            rows=seen,
        )
        for key in ("sample", "columns", "notes"):
            del said[key]
        document = {
            "TaskName": one.task,
            "Description": f"the table {self._table} of facemake: a row a frame and face",
            **dict(self._columns()),
            "facemake": said,
        }
        write_text(
            path.with_suffix(".json"), json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        )

    def _pieces(self, sample: str, seen: Counter[str]) -> Iterator[pa.RecordBatch]:
        reader = self._tables.readers[self._table]
        columns = [n for n in reader.schema.names if n not in ("sample", "frame", "track")]
        sources = {
            "landmarks": Source(self._tables.readers["landmarks"], ("time",)),
            "rows": Source(reader, columns),
        }
        frames = Frames(self._tables, sample)
        for piece in side_by_side(sources, sample):
            frames.add(piece["rows"])
            batch = self._flat.batch(piece["rows"])
            seen.update(piece["rows"]["status"].to_pylist())
            arrays = batch.columns
            arrays.insert(self._at, piece["landmarks"]["time"].combine_chunks())
            yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        frames.check(reader)

    def _columns(self) -> Iterator[tuple[str, dict[str, str]]]:
        for flat, column, unit in self._flat.described():
            described = {"Description": _words(flat, column, unit)}
            found = re.match(r"(mm|px|rad|s)\b", unit)
            if found:
                described["Units"] = found[1]
            yield flat, described
            if flat == "track":
                yield "time", {"Description": "presentation time of the frame", "Units": "s"}


def _words(flat: str, column: str, unit: str) -> str:
    text = column if flat == column else f"{column}, {flat.removeprefix(column).lstrip('_')}"
    return f"{text}: {unit}" if unit else text


def _describe(
    folder: Path,
    everyone: Sequence[Named],
    states: Mapping[str, Mapping[str, Any]],
    name: str,
    licence: str,
) -> None:
    """The files at the top, and the table of names."""
    description = {
        "Name": name or "Facial behaviour, measured by facemake",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "facemake",
                "Version": __version__,
                "Description": "each table's sidecar has settings, models and code of its stages",
            }
        ],
        **({"License": licence} if licence else {}),
    }
    _json(folder / LAYOUT, description)
    people = Counter(one.subject for one in everyone)
    rows = [(f"sub-{subject}", str(count)) for subject, count in sorted(people.items())]
    _tsv(folder / "participants.tsv", ("participant_id", "recordings"), rows)
    _json(
        folder / "participants.json",
        {
            "participant_id": {"Description": "as in code/names.tsv"},
            "recordings": {"Description": "how many recordings there are of the person"},
        },
    )
    columns = ("participant_id", "task", "run", "subject", "sample", "status", "reason")
    _tsv(
        folder / NAMES,
        columns,
        [
            (
                f"sub-{one.subject}",
                one.task,
                f"{one.run:02d}" if one.run else _MISSING,
                one.sample.subject,
                one.sample.sample,
                str(states[one.sample.sample]["status"]),
                str(states[one.sample.sample]["reason"] or _MISSING),
            )
            for one in everyone
        ],
    )
    write_text(folder / "README", _README)


_README = f"""Facial behaviour, measured by facemake {__version__}

A layout like that of BIDS {VERSION}, which knows no modality of faces: tables of behaviour of each
recording, sub-PERSON/beh/sub-PERSON_task-RECORDING_acq-TABLE_beh.tsv, with a sidecar that has the
unit of each column, the recording's status and reason, and what made the table.

A row is a frame (from 0) and a face (track 0 is the main one); time is in seconds, at no fixed
rate. n/a: there was nothing to measure; the column status says why.

code/names.tsv tells which recording is which. Leave it out where nobody may know.
"""


def _json(path: Path, document: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([one_line(cell) for cell in row] for row in rows)
    write_text(path, text.getvalue())
