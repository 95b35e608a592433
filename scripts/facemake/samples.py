"""A sample as every stage sees it: one row of the plan file of its shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
