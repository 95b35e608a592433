"""What became of each sample: the rows of a counts table or of the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemake.tables import TableReader

_REJECTED = "rejected_"


@dataclass(frozen=True)
class Counts:
    """A sample in numbers.

    Attributes:
        sample, subject, split: who it is; subject and split are "" in a counts table.
        status, reason: its last word.
        frames: decoded.
        with_face: frames in which the main face was seen.
        considered: faces, of any track, that were looked at for the training set.
        kept: of these, the examples in it.
        rejected: reason -> the others; reasons without a face are left out.
    """

    sample: str
    status: str
    reason: str
    subject: str = ""
    split: str = ""
    frames: int = 0
    with_face: int = 0
    considered: int = 0
    kept: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Counts:
        """From a row of `tables.SCHEMAS["counts"]` or `["manifest"]`."""
        return cls(
            sample=row["sample"],
            status=row["status"],
            reason=row["reason"],
            subject=row.get("subject") or "",
            split=row.get("split") or "",
            frames=row["n_frames"],
            with_face=row["n_face"],
            considered=row["n_considered"],
            kept=row["n_kept"],
            rejected={
                name.removeprefix(_REJECTED): number
                for name, number in row.items()
                if name.startswith(_REJECTED) and number
            },
        )


def read_counts(path: Path) -> dict[str, Counts]:
    """Sample -> its row, in the table's order."""
    with TableReader(path) as table:
        rows = table.whole().to_pylist()
    return {row["sample"]: Counts.of(row) for row in rows}
