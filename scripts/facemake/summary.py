"""The last lines of a run: how each sample ended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from facemake.errors import TableError
from facemake.status import SampleStatus
from facemake.tables import TableReader

_MOST_NAMED = 50


def of_run(outdir: Path) -> str:
    """Samples by status, then each that is not `ok` by name with its reason.

    Reads the manifest, else (a run that failed before it) the probe tables that are there.
    """
    manifest = outdir / "dataset" / "manifest.parquet"
    paths = [manifest] if manifest.exists() else sorted((outdir / "probe").glob("[!.]*.parquet"))
    rows: list[tuple[str, str, str]] = []
    for path in paths:
        try:
            with TableReader(path) as reader:
                for sample in reader.samples:
                    for row in reader.read(sample, ["status", "reason"]).to_pylist():
                        rows.append((sample, row["status"], row["reason"]))
        except TableError as error:
            rows.append((path.stem, SampleStatus.UNREADABLE, str(error)))
    counts = Counter(status for _, status, _ in rows)
    lines = [
        f"{len(rows)} samples: "
        + (", ".join(f"{n} {status}" for status, n in counts.most_common()) or "nothing was done")
    ]
    named = [row for row in rows if row[1] != SampleStatus.OK]
    lines += [f"  {sample}: {status}, {reason}" for sample, status, reason in named[:_MOST_NAMED]]
    if len(named) > _MOST_NAMED:
        lines.append(f"  ... and {len(named) - _MOST_NAMED} more, in {manifest}")
    return "\n".join(lines)
