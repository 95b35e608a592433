"""All samples together: distributions, what is missing, the balance of subjects."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from facemake.report import alike
from facemake.report.charts import Histogram
from facemake.report.counts import Counts
from facemake.report.series import Ints
from facemake.report.summaries import MEASURES, Summary
from facemake.report.timecourse import spread_of
from facemake.report.words import AU_NAMES
from facemake.status import FrameStatus


@dataclass(frozen=True)
class Distribution:
    """How a quantity is distributed over all frames of main faces.

    Attributes:
        key: its column.
        name, hint, unit: in words.
        bars: its histogram.
        mean: of the values themselves; None without any.
        low, middle, high: the values below which 5, 50 and 95 % lie, as exact as a bin of
            `timecourse.SPREADS` is wide; None without any.
        decimals: that they are exact to.
        present: share of frames in which an action unit is present; None where nobody says.
        marks: texts along the axis, from its low end to its high end, evenly apart.
        most: of an action unit, the video with the highest mean, and that mean; None where all of
            them are shown as 0.
    """

    key: str
    name: str
    hint: str
    unit: str
    bars: Histogram
    mean: float | None
    low: float | None
    middle: float | None
    high: float | None
    decimals: int
    present: float | None
    marks: tuple[str, ...]
    most: tuple[str, float] | None


@dataclass(frozen=True)
class Missing:
    """One measure: in how many frames it has a value, and in how many none, by their status."""

    name: str
    measured: int
    without: int


@dataclass(frozen=True)
class Balance:
    """How examples are spread over subjects.

    Attributes:
        subjects: all of them, those without an example too.
        largest: subject, examples; the most first, at most `SHOWN`.
        others: examples of those that are not among them.
        half: the fewest subjects that hold half of the examples.
        without: subjects without an example.
    """

    subjects: int
    largest: list[tuple[str, int]]
    others: int
    half: int
    without: int


SHOWN = 12
_DRAWN_TOGETHER = 5
"""Bins of a distribution that one bar shows."""

_POSE = (
    ("rx", "Pitch", "right: nose down", "°"),
    ("ry", "Yaw", "right: nose to the image’s left", "°"),
    ("rz", "Roll", "right: clockwise in the image", "°"),
)
_GAZE = (
    ("gaze_angle_x", "Gaze, sideways", "right: to the image’s right", "°"),
    ("gaze_angle_y", "Gaze, vertical", "right: looking down", "°"),
)
_QUALITY = (
    ("score", "Detection", "the detector’s score", ""),
    ("confidence", "Landmarks", "the network’s presence", ""),
    ("error_px", "Fit error", "root mean square, reprojected", "px"),
)


_SHOWN_AS_ZERO = 0.005  # intensities have two decimals


@dataclass
class Overall:
    """Sums over samples; `add` each.

    Attributes:
        frames: decoded, of samples with a summary.
        statuses: status -> frames, of main faces.
        looks: what is compared to find the same recording twice.
    """

    frames: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    looks: list[alike.Look] = field(default_factory=list)
    well: dict[str, int] = field(default_factory=dict)
    _ran: Counter[str] = field(default_factory=Counter)
    _measured: Counter[str] = field(default_factory=Counter)
    _count: Counter[str] = field(default_factory=Counter)
    _sum: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _most: dict[str, tuple[str, float]] = field(default_factory=dict)
    _said: Counter[str] = field(default_factory=Counter)
    _present: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _spreads: dict[str, Ints] = field(default_factory=dict)

    def add(self, one: Summary) -> None:
        """Take a sample."""
        if not one.frames:
            return
        self.frames += one.frames
        self.statuses.update(one.statuses)
        self.well[one.sample] = one.statuses.get(FrameStatus.OK, 0)
        self.looks.append(one.look)
        for column, count in one.measured.items():
            self._ran[column] += one.frames
            self._measured[column] += count
        for column, (count, mean) in one.values.items():
            self._count[column] += count
            self._sum[column] += count * mean
            is_asked = column.startswith("AU") and one.kind == "video"
            if is_asked and mean > self._most.get(column, ("", _SHOWN_AS_ZERO))[1]:
                self._most[column] = one.sample, mean
        for unit, (count, share) in one.present.items():
            self._said[unit] += count
            self._present[unit] += count * share
        for column, (first, *counts) in one.spreads.items():
            if column not in self._spreads:
                _, _, bins = _ends_of(column)
                self._spreads[column] = np.zeros(bins, np.int64)
            self._spreads[column][first : first + len(counts)] += counts

    def pose(self) -> list[Distribution]:
        """Pitch, yaw and roll, and the gaze, as far as they were measured."""
        return self._all((*_POSE, *_GAZE))

    def quality(self) -> list[Distribution]:
        """How sure each step was, and the quality of the kept examples."""
        found = self._all(_QUALITY)
        if "quality" in self._spreads:
            found.append(self._one("quality", "Examples", "quality of those kept, 0–1", ""))
        return found

    def action_units(self) -> list[Distribution]:
        """Each action unit that has an intensity or is said to be present."""
        units = {c[:-2] for c in self._spreads if c.startswith("AU")} | set(self._said)
        return [self._one(f"{u}_r", u, AU_NAMES.get(u, ""), "") for u in sorted(units)]

    def missing(self) -> list[Missing]:
        """Each measure of `MEASURES` whose stage ran."""
        return [
            Missing(name, self._measured[c], self._ran[c] - self._measured[c])
            for c, name in MEASURES.items()
            if self._ran[c]
        ]

    def _all(self, rows: Iterable[tuple[str, str, str, str]]) -> list[Distribution]:
        return [self._one(*row) for row in rows if row[0] in self._spreads]

    def _one(self, key: str, name: str, hint: str, unit: str) -> Distribution:
        low, high, bins = _ends_of(key)
        counts = self._spreads.get(key, np.zeros(bins, np.int64))
        said = self._said[key[:-2]]
        marks = np.linspace(low, high, 5)
        return Distribution(
            key=key,
            name=name,
            hint=hint,
            unit=unit,
            bars=Histogram(low, high, tuple(counts.tolist())).bars(_DRAWN_TOGETHER),
            mean=self._sum[key] / self._count[key] if self._count[key] else None,
            low=quantile(low, high, counts, 0.05),
            middle=quantile(low, high, counts, 0.5),
            high=quantile(low, high, counts, 0.95),
            decimals=max(0, -math.floor(math.log10((high - low) / bins))),
            present=self._present[key[:-2]] / said if said else None,
            marks=tuple(f"{mark:g}".replace("-", "−") for mark in marks.tolist()),
            most=self._most.get(key),
        )


def _ends_of(column: str) -> tuple[float, float, int]:
    ends = spread_of(column)
    if ends is None:
        raise KeyError(f"no distribution is kept of {column}")
    return ends


def quantile(low: float, high: float, counts: Ints, share: float) -> float | None:
    """The value below which a share of a histogram lies; values lie evenly within a bin."""
    total = counts.sum()
    if not total:
        return None
    reached = np.concatenate([[0], np.cumsum(counts)])
    # the first edge that reaches it: the bin before is not empty
    edge = int(np.searchsorted(reached, share * total))
    part = (share * total - reached[edge - 1]) / counts[edge - 1]
    return low + (edge - 1 + float(part)) * (high - low) / len(counts)


def balance(rows: Iterable[Counts]) -> Balance:
    """Of the examples over the subjects of the manifest."""
    kept: dict[str, int] = {}
    for row in rows:
        if row.subject:
            kept[row.subject] = kept.get(row.subject, 0) + row.kept
    order = sorted(kept.items(), key=lambda item: (-item[1], item[0]))
    numbers = np.array([n for _, n in order], np.int64)
    total = int(numbers.sum())
    half = int(np.searchsorted(np.cumsum(numbers), total / 2)) + 1 if total else 0
    largest = [(name, n) for name, n in order[:SHOWN] if n]
    return Balance(
        subjects=len(order),
        largest=largest,
        others=total - sum(n for _, n in largest),
        half=half,
        without=int((numbers == 0).sum()),
    )


def across(samples: Iterable[str], counts: Mapping[str, Counts]) -> tuple[list[str], list[str]]:
    """The splits and the subjects that some samples are in, sorted."""
    rows = [counts[name] for name in samples if name in counts]
    return (
        sorted({row.split for row in rows if row.split}),
        sorted({row.subject for row in rows if row.subject}),
    )
