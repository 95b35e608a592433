"""A sample as every stage sees it: one row of the plan file of its shard."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring as _json
from pathlib import Path
from typing import NamedTuple

from facemake.errors import FacemakeError
from facemake.provenance import json_text, text_digest


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of samples.tsv, checked and with its path made whole.

    Attributes:
        sample: its name, safe as a file name, unique in the sheet.
        path: the video, the image or the image folder (absolute).
        subject: who is in it; the sample's own name where the sheet does not say.
        start, end: the time range in seconds of the stream's own clock, [start, end);
            None: from the first frame, to the last.
        split: the split that the sheet asks for, else None.
        sha256: of the file's bytes; of an image folder, of the sorted list of its pictures'
            names and hashes; None where the file cannot be read.
        excluded: True where the sheet says so; `reason` then says why.
    """

    sample: str
    path: Path
    subject: str
    start: float | None = None
    end: float | None = None
    split: str | None = None
    sha256: str | None = None
    excluded: bool = False
    reason: str = ""


class PlanRow(NamedTuple):
    """A sample while it is planned: the fields of `Sample`, light enough for 300,000 of them."""

    sample: str
    path: str
    subject: str
    start: float | None
    end: float | None
    split: str | None
    sha256: str | None
    excluded: bool
    reason: str


WORK = Path(".facemake")
"""Where a run keeps its plan, locks and parts, in its working directory."""

LINEAGE_DIGITS = 16
"""Of a lineage, behind a dot and the shard's name: the folder of its parts is named so."""

RESERVED = frozenset({"training_data", "manifest"})
"""No sample's name: files of these names lie beside those of the shards."""

PLAN_COLUMNS = (
    "sample",
    "path",
    "subject",
    "start",
    "end",
    "split",
    "sha256",
    "excluded",
    "reason",
)


def samples_digest(samples: Iterable[Sample | PlanRow]) -> str:
    """SHA-256 of the ordered [sample, file name, SHA-256, range, exclusion] list of a shard.

    Snakemake's own cache key hashes inputs as a sorted set, so two clips that swap their names
    would look the same to it: this list does not. Subjects and splits are not in it: they decide
    nothing before the training set.
    """
    return _digest_of_list(
        # the file's name is in it: it decides how a file is read, and reasons quote it
        [s.sample, os.path.basename(s.path), s.sha256, s.start, s.end, s.excluded, s.reason]  # noqa: PTH119
        if s.excluded or s.start is not None or s.end is not None or s.reason or s.sha256 is None
        else f"[{_json(s.sample)},{_json(str(s.path).rpartition('/')[2])},{_json(s.sha256)}"
        ',null,null,false,""]'
        for s in samples
    )


def people_digest(samples: Iterable[Sample | PlanRow]) -> str:
    """SHA-256 of the ordered [sample, subject, split] list of a shard."""
    return _digest_of_list(
        [s.sample, s.subject, s.split]
        if s.split is not None
        else f"[{_json(s.sample)},{_json(s.subject)},null]"
        for s in samples
    )


def _digest_of_list(items: Iterable[str | list[object]]) -> str:
    """`digest` of a list, of which some items are the JSON text that it would make of them."""
    texts = (item if isinstance(item, str) else json_text(item) for item in items)
    return text_digest(f"[{','.join(texts)}]")


def plan_file(shard: str, work: Path = WORK) -> Path:
    """Where the plan of a shard is."""
    return work / "plan" / f"{shard}.tsv"


def read_shard(plan: Path) -> list[Sample]:
    """The samples of a shard from its plan file, in the order in which all tables have them.

    Raises:
        FacemakeError: the plan file is missing or was written by another version.
    """
    try:
        with plan.open(encoding="utf-8", errors="surrogateescape", newline="") as handle:
            rows = list(csv.DictReader(handle, dialect="excel-tab"))
    except FileNotFoundError:
        raise FacemakeError(
            f"{plan} is missing: the plan is written by the main process; run snakemake again"
        ) from None
    if rows and tuple(rows[0]) != PLAN_COLUMNS:
        raise FacemakeError(f"{plan} was written by another version of facemake; run it again")
    return [
        Sample(
            sample=row["sample"],
            path=Path(row["path"]),
            subject=row["subject"],
            start=float(row["start"]) if row["start"] else None,
            end=float(row["end"]) if row["end"] else None,
            split=row["split"] or None,
            sha256=row["sha256"] or None,
            excluded=row["excluded"] == "yes",
            reason=row["reason"],
        )
        for row in rows
    ]


def shard_text(samples: Iterable[Sample | PlanRow]) -> str:
    """The text of a plan file, which `read_shard` reads."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    writer.writerow(PLAN_COLUMNS)
    for sample in samples:
        writer.writerow(
            [
                sample.sample,
                sample.path,
                sample.subject,
                "" if sample.start is None else repr(sample.start),
                "" if sample.end is None else repr(sample.end),
                sample.split or "",
                sample.sha256 or "",
                "yes" if sample.excluded else "",
                sample.reason,
            ]
        )
    return text.getvalue()
