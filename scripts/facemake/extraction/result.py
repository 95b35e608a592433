"""What an extraction gave, for those who asked for it and those who say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Extraction:
    """What `extract_faces` did.

    Attributes:
        table: `faces.parquet`.
        root: the folder that the column `input` counts from.
        inputs: how many there are.
        done_before: of them, those that an earlier run had finished.
        crops: how many there are.
        statuses: status -> rows of the table.
        failed: input -> status and reason, of those that could not be read (whole).
        workers: how many processes there were at most.
        peak_memory: bytes, of the largest of them; 0 where none was needed.
    """

    table: Path
    root: Path
    inputs: int
    done_before: int
    crops: int
    statuses: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    workers: int = 0
    peak_memory: int = 0
