"""The last lines of a run: how each sample ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from facemake.counting import counted
from facemake.dataset.splits import lacking
from facemake.errors import TableError
from facemake.people.splits import found_in
from facemake.status import ENGINE_FAILED, SampleStatus
from facemake.tables import TableReader

_MOST_NAMED = 50


def of_run(outdir: Path, shards: Sequence[str], done: bool) -> str:
    """Samples by status, then each that is not `ok` by name with its reason.

    Args:
        outdir: the results.
        shards: of the plan.
        done: the run ended well: its manifest is there. Otherwise a manifest may be an older
            run's, and the probe tables that are there are read.
    """
    manifest = outdir / "dataset" / "manifest.parquet"
    probes = [outdir / "probe" / f"{shard}.parquet" for shard in shards]
    paths = [manifest] if done and manifest.exists() else [p for p in probes if p.exists()]
    rows: list[tuple[str, str, str]] = []
    for path in paths:
        try:
            # whole: the row groups of the manifest hold many samples
            with pq.ParquetFile(path) as file:
                table = file.read(["sample", "status", "reason"], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            rows.append((path.stem, SampleStatus.UNREADABLE, f"{path} cannot be read ({error})"))
            continue
        columns = [table[name].to_pylist() for name in ("sample", "status", "reason")]
        rows += zip(*columns, strict=True)
    counts = Counter(status for _, status, _ in rows)
    lines = [
        ("" if done else "the run did not end well; probed so far: ")
        + f"{counted(len(rows), 'sample')}: "
        + (", ".join(f"{n} {status}" for status, n in counts.most_common()) or "nothing was done")
    ]
    named = [row for row in rows if row[1] != SampleStatus.OK or ENGINE_FAILED in row[2]]
    lines += [f"  {sample}: {status}, {reason}" for sample, status, reason in named[:_MOST_NAMED]]
    if len(named) > _MOST_NAMED:
        lines.append(f"  ... and {len(named) - _MOST_NAMED} more, in {manifest}")
    if done:
        lines += _people(outdir / "dataset" / "people.parquet")
        lines += _splits(manifest)
    return "\n".join(lines)


def _splits(manifest: Path) -> list[str]:
    """Which splits of the training set are empty."""
    try:
        with TableReader(manifest) as reader:
            rows = reader.whole(["split", "subject", "n_kept"]).to_pylist()
            shares = reader.metadata["upstream"]["dataset"]["settings"]["splits"]
    except (TableError, KeyError, OSError):
        return []  # it was named above, if it is damaged
    kept = ((row["split"], row["subject"]) for row in rows if row["n_kept"])
    said = lacking(kept, shares, avoidable=True)
    return [said] if said else []


def _people(table: Path) -> list[str]:
    """Who seems to be in two splits, by a run that looked for it."""
    if not table.exists():
        return []
    try:
        return found_in(table).lines()
    except TableError as error:
        return [str(error)]
