"""What the index needs of each sample besides its row of the manifest: written beside its page.

The pages of a shard read its tables; the index of 10,000 samples reads these few kilobytes a
sample in their place, one shard at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facemake.report import alike
from facemake.report.charts import Histogram
from facemake.report.series import Ints
from facemake.report.timecourse import TimeCourse
from facemake.samples import Sample

FILE = ".summary.json"
"""In the folder of a shard's pages."""

MEASURES = {
    "score": "face found",
    "confidence": "landmarks",
    "rx": "head pose",
    "gaze_angle_x": "gaze",
    "AU12_r": "action units",
}
"""Column, in whose place the others of its table are missing too, and what it stands for."""


@dataclass(frozen=True)
class Summary:
    """A sample in a few numbers; all of its main face.

    Attributes:
        sample: its name.
        kind, sha256, duration: as the probe table has them.
        start, end: of the part that the sheet asks for, s.
        frames: decoded.
        statuses: status -> frames.
        measured: column of `MEASURES` -> frames with a value; a stage that did not run is absent.
        values: column -> how many values, their mean; only those with values.
        present: action unit (`AU12`) -> frames in which it is said, and the share where present.
        spreads: column, or `quality` of the kept examples -> the first bin (`timecourse.SPREADS`)
            that is not empty, then the counts from there to the last one.
        small: small frames to compare (`alike.packed`).
    """

    sample: str
    kind: str = ""
    sha256: str = ""
    duration: float | None = None
    start: float | None = None
    end: float | None = None
    frames: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    measured: dict[str, int] = field(default_factory=dict)
    values: dict[str, tuple[int, float]] = field(default_factory=dict)
    present: dict[str, tuple[int, float]] = field(default_factory=dict)
    spreads: dict[str, list[int]] = field(default_factory=dict)
    small: str = ""

    @property
    def look(self) -> alike.Look:
        """What is compared to find the same recording again."""
        length = float(self.frames) if self.duration is None else self.duration
        small = alike.unpacked(self.small)
        return alike.Look(self.sample, self.kind, self.sha256, self.start, self.end, length, small)


def summary(
    sample: Sample,
    probe: Mapping[str, Any],
    course: TimeCourse | None,
    quality: Histogram | None,
    small: Iterable[bytes],
) -> Summary:
    """Of a sample.

    Args:
        sample: its row of the plan.
        probe: its row of the probe table.
        course: its curves; None where it was not decoded.
        quality: of its examples; None without any.
        small: its small frames as JPEG.
    """
    about = Summary(
        sample.sample,
        probe["kind"] or "",
        probe["sha256"] or "",
        probe["duration"] if probe["kind"] == "video" else None,
        sample.start,
        sample.end,
    )
    if course is None or course.main is None:
        return about
    series = {name: s for name, s in course.series.items() if s.count}
    spreads = {name: spread.counts for name, spread in course.spreads.items()}
    if quality is not None:
        spreads["quality"] = np.array(quality.counts, np.int64)
    return Summary(
        **{
            **vars(about),
            "frames": course.axis.n_frames,
            "statuses": dict(course.main.counts),
            "measured": {c: course.series[c].count for c in MEASURES if c in course.series},
            "values": {name: (s.count, s.mean) for name, s in series.items()},
            "present": {n[:-2]: (s.count, s.mean) for n, s in course.occurrence.items() if s.count},
            "spreads": {name: trimmed(n) for name, n in spreads.items() if n.any()},
            "small": alike.packed(small),
        }
    )


def trimmed(counts: Ints) -> list[int]:
    """Counts, some of them not 0, as `Summary.spreads` holds them."""
    there = np.flatnonzero(counts)
    return [int(there[0]), *counts[there[0] : there[-1] + 1].tolist()]


def write(folder: Path, rows: Iterable[Summary]) -> None:
    """The summaries of a shard, beside its pages: in a folder that is not in its place yet."""
    lines = (json.dumps(asdict(row), ensure_ascii=False) for row in rows)
    (folder / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read(folders: Iterable[Path]) -> Iterator[Summary]:
    """Those of all shards, one at a time; a folder of pages without any is passed over."""
    for folder in folders:
        path = folder / FILE
        if path.is_file():
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    yield Summary(**json.loads(line))
