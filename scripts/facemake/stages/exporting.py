"""A shard's tables in other systems' formats: files a sample, packed into one archive a shard.

A format is a class that writes one sample's rows to one or more files; here is what all formats
share: the open tables, the archive that the cache keeps, the word beside each file, and the files
themselves out of the archive. A sample that has no frames has its files too, with a header alone;
the word beside them says its status and why.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc

from facemake.archives import Archive
from facemake.counting import counted
from facemake.csvs import write_csv
from facemake.errors import FacemakeError, TableError
from facemake.exports import TABLES, WRITERS, is_ours
from facemake.provenance import Recipe, file_sha256
from facemake.rows import Source, side_by_side
from facemake.runtime.atomic import replacing, write_text
from facemake.runtime.contexts import Closing
from facemake.samples import read_shard
from facemake.shards import ShardRun
from facemake.status import DECODABLE
from facemake.tables import TableReader, units


@dataclass(frozen=True)
class Tables(Closing):
    """The tables of a shard, open.

    Attributes:
        readers: by the name of their folder, without `probe`.
        probe: sample -> its row, of every sample.
    """

    readers: Mapping[str, TableReader]
    probe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, paths: Mapping[str, Path]) -> Self:
        """Open tables; `probe` is one of them.

        Raises:
            TableError: one is damaged or not facemake's.
        """
        readers: dict[str, TableReader] = {}
        try:
            for name, path in paths.items():
                readers[name] = TableReader(path)
            probe = readers["probe"]
            rows = [row for name in probe.samples for row in probe.read(name).to_pylist()]
        except BaseException:
            for reader in readers.values():
                reader.close()
            raise
        return cls(readers, {row["sample"]: row for row in rows})

    def recipes(self, table: str) -> dict[str, Any]:
        """Stage -> recipe, of all that made a table."""
        document = self.readers[table].metadata
        recipe = document["recipe"]
        return {**document["upstream"], recipe["stage"]: recipe}

    def unit(self, table: str, column: str) -> str:
        """The unit of a column, in words."""
        return units(self.readers[table].schema).get(column, "")

    def close(self) -> None:
        """Close them."""
        for reader in self.readers.values():
            reader.close()


class Writer(Protocol):
    """A format: writes the files of a sample."""

    def write(self, sample: str, folder: Path) -> list[Path]:
        """Write a sample's files and the word beside each, into an existing folder."""
        ...


Format = Callable[[Tables, Mapping[str, Any]], Writer]
"""Makes the writer for a shard: of its tables, and of the settings of the stage."""


def format_of(form: str) -> Format:
    """A packed format by its name."""
    module, name = WRITERS[form]
    made: Format = getattr(import_module(f"facemake.stages.{module}"), name)
    return made


def export_shard(
    plan: Path, tables: Mapping[str, Path], output: Path, recipe: Recipe, form: Format
) -> None:
    """Write the archive of a shard's files.

    Args:
        plan: the shard's plan file.
        tables: by the name of their folder.
        output: the archive; its members are the files of all samples.
        recipe: of the stage.
        form: the format.
    """
    with (
        ShardRun(recipe, plan, list(tables.values()), {"export": output}) as run,
        Tables.open(tables) as opened,
    ):
        writer = form(opened, recipe.settings)
        run.progress.expect(sum(row["n_frames"] or 0 for row in opened.probe.values()))
        for sample, part in run.pending():
            scratch = run.part_path(sample, "export").with_suffix(".files")
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            made = writer.write(sample.sample, scratch)
            part.archive("export", {path.name: path for path in made})
            shutil.rmtree(scratch)
            run.progress.frame(opened.probe[sample.sample]["n_frames"] or 0)


def unpack(plan: Path, pack: Path, output: Path) -> None:
    """Put the files of a shard's archive where people look for them.

    A file that is there with the same content is left alone; one of a table that is not exported
    any more goes.

    Args:
        plan: the shard's plan file.
        pack: its archive.
        output: the list of the files with their SHA-256, by sample (`facemake.exports`); the files
            go to the folder above its own.
    """
    folder = output.parents[1]
    listed: dict[str, dict[str, str]] = {}
    with Archive(pack) as archive:
        samples = {sample.sample for sample in read_shard(plan)}
        for name in sorted(archive.names, key=_late):
            sample = owner(name)
            if sample not in samples:
                raise FacemakeError(
                    f"{pack} has {name}, and the plan has no such sample: start the run again"
                )
            target = folder / place(name)
            sha256 = archive.sha256(name)
            if not target.is_file() or file_sha256(target) != sha256:
                with replacing(target) as beside:
                    archive.copy(name, beside)
            mine = listed.setdefault(sample, {})
            mine[target.relative_to(folder).as_posix()] = sha256
    listed = {sample: listed.get(sample, {}) for sample in sorted(samples)}
    _drop_other_tables(folder, listed)
    write_text(output, json.dumps({"files": listed}, indent=1, sort_keys=True) + "\n")


def _late(name: str) -> bool:
    """The word comes before its file: what a killed export left is still known as facemake's."""
    return not name.endswith(".json")


def _drop_other_tables(folder: Path, listed: Mapping[str, Mapping[str, str]]) -> None:
    """Remove what an earlier run exported of tables that are not in the list."""
    used = {name.partition("/")[0] for names in listed.values() for name in names}
    for table in TABLES:
        if table in used or not (folder / table).is_dir():
            continue
        for sample in listed:
            path = folder / table / f"{sample}.{folder.name}"
            if is_ours(path, sample):
                path.unlink(missing_ok=True)
                path.with_name(f"{path.name}.json").unlink(missing_ok=True)
        with suppress(OSError):  # of other shards there is more
            (folder / table).rmdir()


SEPARATOR = "~"
"""Between sample and table in a member's name: a character that no sample's name has."""


def owner(member: str) -> str:
    """Whose file a member is: `SAMPLE~TABLE.csv`, `SAMPLE.csv`, each also with `.json` behind."""
    base = member.removesuffix(".json")
    return base.partition(SEPARATOR)[0] if SEPARATOR in base else base.rpartition(".")[0]


def place(member: str) -> str:
    """Where a member lies below the folder of its format: `TABLE/SAMPLE.csv`, or `SAMPLE.csv`."""
    sample, table, rest = member.partition(SEPARATOR)
    if not table:
        return member
    name, _, suffix = rest.partition(".")
    return f"{name}/{sample}.{suffix}"


def write_files(writer: Writer, sample: str, folder: Path) -> list[Path]:
    """Write a sample's files to where they belong below a folder, each whole or not at all.

    Raises:
        OSError: it cannot be written to.
    """
    scratch = folder / f".{sample}.part"  # the same for every try, as one is killed
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        made = writer.write(sample, scratch)
        targets = [folder / place(path.name) for path in made]
        for path, target in sorted(
            zip(made, targets, strict=True), key=lambda pair: _late(pair[0].name)
        ):
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return targets


class Frames:
    """Counts the frames of a sample while its rows go by, so that none is lost without a word.

    Args:
        tables: of the shard.
        sample: whose rows they are.
    """

    def __init__(self, tables: Tables, sample: str) -> None:
        row = tables.probe[sample]
        self._sample = sample
        self._expected = row["n_frames"] if row["status"] in DECODABLE else 0
        self._seen = 0

    def add(self, rows: pa.Table) -> None:
        """See the next rows of a frame table."""
        self._seen += pc.sum(pc.equal(rows["track"], 0)).as_py() or 0

    def check(self, reader: TableReader) -> None:
        """After the last rows.

        Raises:
            TableError: the table has not one row of track 0 for each frame.
        """
        if self._seen != self._expected:
            raise TableError(
                f"{reader.path} has {counted(self._seen, 'frame')} of {self._sample}, which has "
                f"{self._expected}: it was not written whole, or is of another run; delete it and "
                "run again"
            )


def word(
    tables: Tables,
    sample: str,
    *,
    form: str,
    sources: Sequence[str],
    columns: Mapping[str, Any],
    rows: Mapping[str, int],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """What the JSON beside a file says; no path, host or time.

    Args:
        tables: of the shard.
        sample: whose file it is.
        form: name of the format.
        sources: tables that it was made from.
        columns: column, or group of columns -> what it is here and in which unit.
        rows: status -> how many rows of the file have it.
        notes: what a reader must know.
    """
    row = tables.probe[sample]
    recipes: dict[str, Any] = {}
    for name in sources:
        recipes |= tables.recipes(name)
    last = tables.readers[sources[-1]].metadata["recipe"]
    return {
        "format": form,
        "made_by": f"facemake {last['version']}",
        "sample": sample,
        "status": row["status"],
        "reason": row["reason"],
        "input_sha256": row["sha256"],
        "frames": row["n_frames"],
        "rows": dict(sorted(rows.items())),
        "columns": dict(columns),
        "notes": list(notes),
        "stages": {
            stage: {
                key: recipe[key] for key in ("backend", "settings", "models", "version", "code")
            }
            for stage, recipe in sorted(recipes.items())
        },
    }


def write_word(path: Path, content: Mapping[str, Any]) -> Path:
    """Write what is said of a file beside it, as `FILE.json`."""
    beside = path.with_name(f"{path.name}.json")
    write_text(beside, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return beside


class FrameCsv(ABC):
    """A format of one CSV a sample, with the rows of its frame tables: `{sample}.csv`.

    Args:
        tables: of the shard.
        settings: none.
    """

    FORM: ClassVar[str]
    """Its name in words."""
    SCHEMA: ClassVar[pa.Schema]
    """Of the file."""
    SOURCES: ClassVar[Mapping[str, Sequence[str]]]
    """Table -> columns that it is made from; `fit` is one of them, with `status`."""
    NOTES: ClassVar[Sequence[str]]
    """What a reader must know."""

    def __init__(self, tables: Tables, settings: Mapping[str, Any] | None = None) -> None:
        self.tables = tables

    @abstractmethod
    def batch(self, piece: Mapping[str, pa.Table], sample: str) -> pa.RecordBatch:
        """Rows of the file, from the same rows of all its tables."""

    @abstractmethod
    def columns(self) -> Mapping[str, str]:
        """What each column, or group of columns, is in words."""

    def write(self, sample: str, folder: Path) -> list[Path]:
        """Write the file and what is said of it."""
        path = folder / f"{sample}.csv"
        seen: Counter[str] = Counter()
        write_csv(path, self.SCHEMA, self._pieces(sample, seen))
        said = word(
            self.tables,
            sample,
            form=self.FORM,
            sources=tuple(self.SOURCES),
            columns=self.columns(),
            rows=seen,
            notes=self.NOTES,
        )
        return [path, write_word(path, said)]

    def _pieces(self, sample: str, seen: Counter[str]) -> Iterator[pa.RecordBatch]:
        readers = self.tables.readers
        sources = {name: Source(readers[name], names) for name, names in self.SOURCES.items()}
        frames = Frames(self.tables, sample)
        for piece in side_by_side(sources, sample):
            frames.add(piece["fit"])
            seen.update(piece["fit"]["status"].to_pylist())
            yield self.batch(piece, sample)
        frames.check(readers["fit"])
