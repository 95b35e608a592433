"""A shard at work: its samples one by one, each to part files, all of them to the outputs.

A stage asks `ShardRun` for the samples that are still to do, writes each sample's rows to part
files in `.facemake/parts/`, and has them put together under the final names when all are there. A
killed shard goes on at the sample where it stopped; parts that were made by another recipe, or
from other inputs, are thrown away.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import pyarrow as pa

from facemake import archives, h5, tables
from facemake.errors import FacemakeError
from facemake.provenance import Recipe
from facemake.runtime import disks, garbage
from facemake.runtime.atomic import replacing
from facemake.runtime.locks import ShardLock, hand_over
from facemake.runtime.progress import Progress
from facemake.samples import LINEAGE_DIGITS, WORK, Sample, read_shard, samples_digest
from facemake.segments import Segment
from facemake.status import DECODABLE
from facemake.tables import TableReader, TableWriter


class Part:
    """The part files of one sample: opened by name, closed and kept when the sample is done."""

    def __init__(self, run: ShardRun, sample: Sample) -> None:
        self._run = run
        self._sample = sample
        self._open: list[TableWriter | h5py.File] = []

    def _path(self, output: str) -> Path:
        return self._run.part_path(self._sample, output)

    def table(self, output: str, schema: pa.Schema | None = None) -> TableWriter:
        """A writer for this sample's rows of the table `output` (a name of `tables.SCHEMAS`)."""
        writer = TableWriter(
            self._path(output), schema or tables.SCHEMAS[output], self._run.metadata
        )
        self._open.append(writer)
        return writer

    def h5(self, output: str) -> h5py.File:
        """An HDF5 file for this sample; what the stage puts into it becomes one group."""
        file = h5.create(self._path(output))
        self._open.append(file)
        return file

    def archive(self, output: str, files: Mapping[str, Path | bytes]) -> None:
        """Write this sample's files of an archive; none where the sample has none."""
        archives.write(
            self._path(output), files, self._run.metadata, stored=output in self._run.stored
        )

    def close(self) -> None:
        """Close what was opened; what is opened again under its name begins anew.

        Raises:
            OSError, RuntimeError: the disk takes no more; the rest is for `abandon` then.
        """
        for thing in self._open:
            if isinstance(thing, h5py.File):
                thing.flush()  # where this fails, the file can still be abandoned
            thing.close()
        self._open.clear()

    def abandon(self) -> None:
        """Let go of what is open and not wanted any more, whatever its disk says to that."""
        for thing in self._open:
            if isinstance(thing, h5py.File):
                h5.abandon(thing)
            else:
                with contextlib.suppress(OSError, ValueError):
                    thing.discard()
        self._open.clear()
        self._run.remove_parts(self._sample)


class ShardRun:
    """One stage on one shard, or on a segment of one of its samples.

    Args:
        recipe: what the stage does; written into every output.
        plan: the shard's plan file.
        inputs: upstream files that this stage reads (Parquet or HDF5 of facemake).
        outputs: name -> final path; a path that ends in `.h5` is HDF5, with a group a sample, one
            that ends in `.zip` an archive (`facemake.archives`).
        merge_h5: how the HDF5 parts become the output: `(parts, samples, output, metadata)`.
        stored: archives whose files are compressed already.
        also: what else decides the content, beside recipe, inputs and samples.
        segment: of the sample that alone is worked on, cut to its range; None: all samples, whole.
        work: folder of locks and parts.

    Raises:
        BusyError: another process is at work on this shard (a job of a run waits for it), or
            another run has begun, whose job goes on from the samples that are done.
    """

    def __init__(
        self,
        recipe: Recipe,
        plan: Path,
        inputs: Sequence[Path],
        outputs: Mapping[str, Path],
        *,
        merge_h5: Callable[[Sequence[Path], Sequence[str], Path, Mapping[str, Any]], None]
        | None = None,
        stored: frozenset[str] = frozenset(),
        also: str = "",
        segment: Segment | None = None,
        work: Path = WORK,
    ) -> None:
        self.recipe = recipe
        self.stored = stored
        self.shard = plan.stem
        self.samples = read_shard(plan)
        self.outputs = dict(outputs)
        self._merge_h5 = merge_h5 or h5.merge_groups
        upstream = [read_metadata(path) for path in inputs]
        recordings = worked_on = samples_digest(self.samples)
        if segment is not None:
            self.shard = segment.name
            self.samples = [segment.of(self.samples)]
            worked_on = samples_digest(self.samples)
        self.lineage = recipe.lineage(
            [*(document["lineage"] for document in upstream), *([also] if also else [])], worked_on
        )
        self.metadata = metadata(recipe, self.lineage, upstream)
        self.metadata["samples"] = recordings
        for path, document in zip(inputs, upstream, strict=True):
            if document.get("samples", self.metadata["samples"]) != self.metadata["samples"]:
                raise FacemakeError(
                    f"{path} was made of other recordings than {plan} lists: the sample sheet was "
                    "changed while the run was going on; start it again"
                )
        self._stage_parts = work / "parts" / recipe.stage
        self._parts = self._stage_parts / f"{self.shard}.{self.lineage[:LINEAGE_DIGITS]}"
        self._what = f"{recipe.stage} of shard {self.shard}"
        self._work = work
        self._lock = ShardLock(work / "locks" / f"{recipe.stage}.{self.shard}", self._what, work)
        self._current: tuple[Sample, Part] | None = None
        self.progress = Progress(recipe.stage, self.shard, len(self.samples))

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as entered:
            entered.enter_context(self._lock)
            if self._stage_parts.is_dir():
                for stale in self._stage_parts.glob(f"{_glob_escape(self.shard)}.*"):
                    if stale != self._parts and len(stale.name) == len(self._parts.name):
                        shutil.rmtree(stale)
            self._parts.mkdir(parents=True, exist_ok=True)
            garbage.imported()
            entered.pop_all()  # what went wrong so far lets go of the lock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *trace: object
    ) -> None:
        try:
            if error is None:
                hand_over(self._what, self._work)
                self._finish()
                self.progress.end()
            elif self._current is not None:
                sample, part = self._current
                if not getattr(
                    error, "__notes__", ()
                ):  # one that is looked at ahead says so itself
                    error.add_note(f"in sample {sample.sample} ({sample.path})")
                disks.blame(error, self._parts)
                part.abandon()
            if isinstance(error, FileNotFoundError):
                self._blame_of_lost(str(error.filename))
        finally:
            self._lock.__exit__(kind, error, *trace)

    def _blame_of_lost(self, path: str) -> None:
        """Raise in words that a recording is gone."""
        lost = next((one for one in self.samples if str(one.path) == path), None)
        if lost is not None and not lost.path.exists():
            raise FacemakeError(
                f"{path} was there when the run began, and is gone: is its disk there? Put it "
                f"back, or take {lost.sample} out of the sample sheet, and run again"
            ) from None

    def part_path(self, sample: Sample, output: str) -> Path:
        """Where a sample's part of an output is written until it is whole."""
        return self._parts / f".{sample.sample}.{self._suffix(output)}"

    def remove_parts(self, sample: Sample) -> None:
        """Remove what is not whole of a sample: its disk may need the room."""
        for output in self.outputs:
            with contextlib.suppress(OSError):
                self.part_path(sample, output).unlink(missing_ok=True)

    def _suffix(self, output: str) -> str:
        return f"{output}{self.outputs[output].suffix}"

    def _whole(self, sample: Sample, output: str) -> Path:
        return self._parts / f"{sample.sample}.{self._suffix(output)}"

    def _is_whole(self, sample: Sample) -> bool:
        return all(self._whole(sample, output).exists() for output in self.outputs)

    def unfinished(self) -> list[Sample]:
        """The samples that `pending` is going to give."""
        return [sample for sample in self.samples if not self._is_whole(sample)]

    def pending(self) -> Iterator[tuple[Sample, Part]]:
        """The samples that have no whole parts yet, in order, each with its part to write."""
        for sample in self.samples:
            hand_over(self._what, self._work)
            if not self._is_whole(sample):
                part = Part(self, sample)
                # what goes wrong in the caller's loop is seen by __exit__, not here
                self._current = sample, part
                self.progress.begin(sample.sample)
                yield sample, part
                part.close()
                for output in self.outputs:
                    self.part_path(sample, output).replace(self._whole(sample, output))
                self._current = None
            self.progress.sample()

    def _finish(self) -> None:
        """Put the parts together under the final names."""
        for output, path in self.outputs.items():
            parts = [self._whole(sample, output) for sample in self.samples]
            with replacing(path) as beside:
                if len(parts) == 1 and path.suffix in (".parquet", ".zip"):
                    shutil.move(parts[0], beside)
                elif path.suffix == ".zip":
                    scratch = self._parts / ".merge"
                    archives.merge(parts, beside, scratch, stored=output in self.stored)
                elif path.suffix == ".parquet":
                    tables.merge(parts, beside)
                else:
                    names = [sample.sample for sample in self.samples]
                    self._merge_h5(parts, names, beside, self.metadata)
        shutil.rmtree(self._parts)


def metadata(recipe: Recipe, lineage: str, upstream: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a file says of its making: its recipe, and those of all that came before it, by stage.

    Args:
        recipe: what made the file.
        lineage: the name of its content (`Recipe.lineage`).
        upstream: the metadata of the files that it was made from.
    """
    before: dict[str, Any] = {}
    for document in upstream:
        before |= document["upstream"]
        before[document["recipe"]["stage"]] = document["recipe"]
    return {"recipe": recipe.to_dict(), "lineage": lineage, "upstream": before}


def read_metadata(path: Path) -> dict[str, Any]:
    """What made a table, an HDF5 file or an archive of facemake: its recipe and lineage.

    Raises:
        TableError: the file is damaged or was not written by facemake.
    """
    if path.suffix == ".h5":
        return h5.read_metadata(path)
    if path.suffix == ".zip":
        return archives.read_metadata(path)
    with TableReader(path) as reader:
        return reader.metadata


def _glob_escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def decodable_samples(probe: Path) -> dict[str, dict[str, Any]]:
    """Sample -> its probe row, for the samples that have frames (`status.DECODABLE`)."""
    with TableReader(probe) as reader:
        rows = [row for sample in reader.samples for row in reader.read(sample).to_pylist()]
    return {row["sample"]: row for row in rows if row["status"] in DECODABLE}
