"""What the tables say of one sample over time, read as a stream and kept a bin each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from facemake.report.series import Floats, Ints, Series, Spread, States, Timeline, timeline
from facemake.status import FrameStatus
from facemake.tables import TableReader

STATUSES = tuple(str(s) for s in FrameStatus)
DRAWN_TRACKS = 12
"""Further tracks are counted, not drawn."""

_DEGREES = 180.0 / np.pi
_FIT_FACTORS = {
    "rx": _DEGREES,
    "ry": _DEGREES,
    "rz": _DEGREES,
    "tx": 1.0,
    "ty": 1.0,
    "tz": 1.0,
    "error_px": 1.0,
    "gaze_angle_x": _DEGREES,
    "gaze_angle_y": _DEGREES,
}
_AU = (0.0, 5.0, 100)
SPREADS = {
    **dict.fromkeys(("rx", "ry", "rz"), (-90.0, 90.0, 180)),
    **dict.fromkeys(("gaze_angle_x", "gaze_angle_y"), (-60.0, 60.0, 120)),
    **dict.fromkeys(("score", "confidence", "quality"), (0.0, 1.0, 100)),
    "error_px": (0.0, 20.0, 200),
}
"""Column -> lowest and highest value (in the units of the series) and bins of its distribution:
1 degree, 0.01, 0.1 px, and 0.05 of an intensity each. `quality` is that of the kept examples."""

_SMOOTHED = ("rx", "ry", "rz", "tx", "ty", "tz")


@dataclass
class TrackSummary:
    """One face through the sample.

    Attributes:
        number: of the track; 0 is the main one.
        first, last: frames of its first and last row.
        counts: status -> frames.
        states: its statuses over time; None beyond `DRAWN_TRACKS`.
    """

    number: int
    first: int
    last: int
    states: States | None
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def measured(self) -> int:
        """Frames with status `ok`."""
        return self.counts.get(FrameStatus.OK, 0)

    @property
    def seen(self) -> int:
        """Frames in which the face was found, well measured or not."""
        unseen = (FrameStatus.NO_FACE, FrameStatus.LOST, FrameStatus.DECODE_ERROR)
        return sum(n for status, n in self.counts.items() if status not in unseen)


@dataclass
class TimeCourse:
    """All curves of a sample.

    Attributes:
        axis: its horizontal axis.
        tracks: by number.
        series: of track 0, by column: `score`, `confidence`, `rx` `ry` `rz` (degrees), `tx` `ty`
            `tz` (mm), `error_px`, `gaze_angle_x` `gaze_angle_y` (degrees), `AU12_r` ....
        smoothed: of track 0, the pose through time, by column; empty where nothing was smoothed.
        occurrence: of track 0, `AU12_c` ...: share of frames (0-1) where the unit is present.
        spreads: of track 0, how the values of `SPREADS` and of the action units are distributed,
            frame by frame as they were fitted.
        missing: tables that are not there.
    """

    axis: Timeline
    tracks: dict[int, TrackSummary]
    series: dict[str, Series]
    smoothed: dict[str, Series]
    occurrence: dict[str, Series]
    spreads: dict[str, Spread]
    missing: tuple[str, ...]

    @property
    def main(self) -> TrackSummary | None:
        """Track 0; None for a sample without rows."""
        return self.tracks.get(0)


def frame_times(detections: TableReader, sample: str) -> Floats:
    """(n_frames,) seconds, NaN where a frame has no stamp. Eight bytes a frame, nothing else."""
    times = array("d")
    for table in detections.groups(sample, ["track", "time"]):
        main = table.column("track").to_numpy() == 0
        times.frombytes(_floats(table, "time")[main].tobytes())
    return np.frombuffer(times, np.float64) if times else np.zeros(0)


def time_course(sample: str, tables: Mapping[str, TableReader], *, alone: bool) -> TimeCourse:
    """Read a sample's rows.

    Args:
        sample: its name.
        tables: `detections` and what there is of `landmarks`, `fit`, `smooth`, `aus`.
        alone: its frames are pictures that stand alone.
    """
    axis = timeline(frame_times(tables["detections"], sample), alone=alone)
    tracks: dict[int, TrackSummary] = {}
    series: dict[str, Series] = {}
    occurrence: dict[str, Series] = {}
    deepest = next(name for name in ("fit", "landmarks", "detections") if name in tables)
    _read_tracks(tables[deepest], sample, axis, tracks)
    smoothed: dict[str, Series] = {}
    spreads: dict[str, Spread] = {}
    plain = {
        "detections": (series, ("score",)),
        "landmarks": (series, ("confidence",)),
        "fit": (series, tuple(_FIT_FACTORS)),
        "smooth": (smoothed, _SMOOTHED),
    }
    for stage, (taken, columns) in plain.items():
        if stage in tables:
            for frames, values in _main_rows(tables[stage], sample, columns):
                for name, column in values.items():
                    factor = _FIT_FACTORS.get(name, 1.0)
                    taken.setdefault(name, Series(axis)).add(frames, column * factor)
                    if taken is series:
                        _spread(spreads, name, column * factor)
    if "aus" in tables:
        names = [n for n in tables["aus"].schema.names if n.startswith("AU") and n[-2:-1] == "_"]
        for frames, values in _main_rows(tables["aus"], sample, names):
            for name, column in values.items():
                kind = occurrence if name.endswith("_c") else series
                kind.setdefault(name, Series(axis)).add(frames, column)
                if kind is series:
                    _spread(spreads, name, column)
    expected = ("landmarks", "fit", "aus")
    return TimeCourse(
        axis=axis,
        tracks=tracks,
        series=series,
        smoothed=smoothed,
        occurrence=occurrence,
        spreads=spreads,
        missing=tuple(name for name in expected if name not in tables),
    )


def spread_of(name: str) -> tuple[float, float, int] | None:
    """Lowest and highest value and bins of a column's distribution; None where it has none."""
    return _AU if name.startswith("AU") and name.endswith("_r") else SPREADS.get(name)


def _spread(spreads: dict[str, Spread], name: str, values: Floats) -> None:
    wanted = spread_of(name)
    if wanted is None:
        return
    low, high, bins = wanted
    if name not in spreads:
        spreads[name] = Spread(low, high, np.zeros(bins, np.int64))
    spreads[name].add(values)


def _read_tracks(
    reader: TableReader, sample: str, axis: Timeline, tracks: dict[int, TrackSummary]
) -> None:
    for table in reader.groups(sample, ["frame", "track", "status"]):
        frames = table.column("frame").to_numpy().astype(np.int64)
        numbers = table.column("track").to_numpy()
        statuses = np.array(table.column("status").to_pylist(), dtype=object)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            at, words = frames[here], statuses[here].tolist()
            track = tracks.get(number)
            if track is None:
                states = States(axis, STATUSES) if number < DRAWN_TRACKS else None
                track = tracks[number] = TrackSummary(number, int(at[0]), int(at[-1]), states)
            track.last = int(at[-1])
            for word in words:
                track.counts[word] = track.counts.get(word, 0) + 1
            if track.states is not None:
                track.states.add(at, words)


def _main_rows(
    reader: TableReader, sample: str, columns: tuple[str, ...] | list[str]
) -> Iterator[tuple[Ints, dict[str, Floats]]]:
    """Frames and values of track 0, a row group at a time."""
    for table in reader.groups(sample, ["frame", "track", *columns]):
        main = table.column("track").to_numpy() == 0
        frames = table.column("frame").to_numpy().astype(np.int64)[main]
        yield frames, {name: _floats(table, name)[main] for name in columns}


def _floats(table: pa.Table, name: str) -> Floats:
    """A column as float64, NaN for null."""
    values: Any = table.column(name).to_numpy()
    return np.asarray(values, dtype=np.float64)
