"""The manifest: what became of each sample. And the verdict on the run as a whole."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from facemake import tables
from facemake.dataset.splits import lacking, split_of
from facemake.errors import FacemakeError, TableError
from facemake.people.splits import found_in
from facemake.provenance import Recipe, digest
from facemake.runtime.atomic import replacing, write_text
from facemake.samples import read_shard
from facemake.shards import metadata, read_metadata
from facemake.status import SampleStatus
from facemake.version import __version__

logger = logging.getLogger(__name__)

ROWS_PER_GROUP = 65_536
"""Of the manifest, which is small and read whole: its row groups hold many samples."""

GIVES = frozenset(
    {SampleStatus.OK, SampleStatus.NO_FACE, SampleStatus.TRUNCATED, SampleStatus.EXCLUDED}
)
"""A sample of any other status has failed."""

LIBRARIES = ("av", "dlib-bin", "h5py", "mediapipe", "numpy", "pyarrow", "pyfhog")
"""Their versions decide the numbers; the sidecar names them."""

_MOST_NAMED = 20


def manifest(plans: Sequence[Path], counts: Sequence[Path], output: Path, recipe: Recipe) -> None:
    """Write the manifest: a row a sample, by name.

    Args:
        plans: plan files of all shards: who is in each sample, and in which split.
        counts: `counts/{shard}.parquet`, in the same order.
        output: `dataset/manifest.parquet`.
        recipe: of the stage `manifest`.

    Raises:
        TableError: counts and plan are not about the same samples.
    """
    made = [read_metadata(path) for path in counts]
    schema = tables.SCHEMAS["manifest"]
    pieces: list[pa.Table] = []
    people: list[list[str]] = []
    with_examples: list[tuple[str, str]] = []
    shares: dict[str, float] = {}
    for plan, path, document in zip(plans, counts, made, strict=True):
        samples = read_shard(plan)
        with pq.ParquetFile(path) as file:
            table = file.read(use_threads=False)
        if table["sample"].to_pylist() != [sample.sample for sample in samples]:
            raise TableError(
                f"{path} is not about the samples of {plan}: it is of another run; delete it and "
                "run again"
            )
        shares = document["recipe"]["settings"]["splits"]
        rows = [[s.sample, s.subject, split_of(s, shares)] for s in samples]
        people += rows
        kept = table["n_kept"].to_pylist()
        with_examples += [(row[2], row[1]) for row, n in zip(rows, kept, strict=True) if n]
        for place, name in ((1, "subject"), (2, "split")):
            table = table.append_column(name, pa.array([row[place] for row in rows], pa.string()))
        pieces.append(table.select(schema.names).cast(schema))
    if said := lacking(with_examples, shares):
        logger.info("%s", said)  # the run's last lines are the warning, also from the cache
    whole = pa.concat_tables(pieces) if pieces else schema.empty_table()
    lineage = recipe.lineage([document["lineage"] for document in made], digest(people))
    text = json.dumps(
        {**metadata(recipe, lineage, made[:1]), "units": tables.units(schema)},
        sort_keys=True,
        ensure_ascii=False,
    )
    whole = whole.sort_by("sample").replace_schema_metadata({tables.METADATA_KEY: text.encode()})
    with replacing(output) as beside:
        options = tables.parquet_options(whole.schema)
        pq.write_table(whole, beside, row_group_size=ROWS_PER_GROUP, **options)


def verdict(
    table: Path, output: Path, max_failed_fraction: float, people: Path | None = None
) -> None:
    """Write the manifest's sidecar, and fail where too many samples did.

    The sidecar is the one file of a run that names the machine: bytes are the same on one family of
    processors only, so whoever compares two data sets must know it. It is no part of what is
    compared, and it is there only where the verdict is good; the manifest is there either way.

    Args:
        table: `dataset/manifest.parquet`.
        output: `dataset/manifest.json`.
        max_failed_fraction: of all samples, 0-1.
        people: `dataset/people.parquet`: the sidecar says whether somebody is in two splits by it.

    Raises:
        FacemakeError: more samples than that have a status other than those of `GIVES`; the message
            names them.
    """
    with pq.ParquetFile(table) as file:
        rows = file.read(["sample", "status", "reason", "n_kept"], use_threads=False).to_pylist()
    failed = [row for row in rows if row["status"] not in GIVES]
    if rows and len(failed) / len(rows) > max_failed_fraction:
        lines = [f"  {r['sample']}: {r['status']}, {r['reason']}" for r in failed[:_MOST_NAMED]]
        if len(failed) > _MOST_NAMED:
            lines.append(f"  ... and {len(failed) - _MOST_NAMED} more")
        raise FacemakeError(
            f"{len(failed)} of {len(rows)} samples gave nothing, a larger fraction than "
            f"max_failed_fraction ({max_failed_fraction:g}) allows. All results are there, and "
            f"{table} lists every sample. Mend these or exclude them in the sample sheet, or allow "
            "more:\n" + "\n".join(lines)
        )
    document: dict[str, Any] = {
        "facemake": __version__,
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "cpu": cpu_name(),
        "architecture": platform.machine(),
        "samples": len(rows),
        "examples": sum(row["n_kept"] for row in rows),
        "statuses": dict(sorted(Counter(row["status"] for row in rows).items())),
    }
    if people is not None:
        document["people"] = found_in(people).document
    write_text(output, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    os.utime(output)  # write_text leaves a file alone whose text is the same


def cpu_name() -> str:
    """The processor's name as the system gives it, "" where it does not."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
