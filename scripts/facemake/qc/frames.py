"""One sample, frame by frame: the rows of its tables that a look at it needs, and what is odd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.counting import counted
from facemake.errors import TableError
from facemake.qc import limits
from facemake.qc.findings import Finding
from facemake.rows import numbers
from facemake.status import FrameStatus
from facemake.tables import TableReader

Array = NDArray[np.float64]

_KEY = ("frame", "track")
_DETECTED = (*_KEY, "time", "x", "y", "w", "h", "status")
_MARKED = (*_KEY, "confidence", "status")
_ROTATED = ("rx", "ry", "rz")
_FITTED = (*_KEY, *_ROTATED, "error_px", "status")
_UNSURE = (FrameStatus.LOW_CONFIDENCE, FrameStatus.NOT_CONVERGED)
_ANGLES = ("pitch", "yaw", "roll")
_WINDOW = 25  # frames, where they have no time


@dataclass(frozen=True)
class Track:
    """A face through time: some 100 bytes a frame.

    Attributes:
        number: of the track.
        frame: (n,) rising.
        time: (n,) s, NaN for pictures.
        middle: (n, 2) px of its box, NaN where it was not seen.
        width: (n,) px of its box.
        angles: (n, 3) degrees: pitch, yaw, roll of the fit.
        error: (n,) px.
        confidence: (n,) 0-1.
        status: (n,) the last stage's word.
        seen: (n,) whether there is a box.
    """

    number: int
    frame: NDArray[np.int64]
    time: Array
    middle: Array
    width: Array
    angles: Array
    error: Array
    confidence: Array
    status: NDArray[Any]
    seen: NDArray[np.bool_]

    def time_of(self, frame: int) -> float | None:
        """Seconds of one of its frames; None where it has no time."""
        time = float(self.time[np.searchsorted(self.frame, frame)])
        return time if np.isfinite(time) else None


def read_tracks(readers: Mapping[str, TableReader], sample: str) -> list[Track]:
    """The tracks of a sample.

    Args:
        readers: `detections`, and `landmarks` and `fit` as far as there are.
        sample: its name.
    """
    found = readers["detections"].read(sample, _DETECTED)
    n = found.num_rows
    boxes = _numbers(found, ("x", "y", "w", "h"))
    status = _statuses(found)
    confidence, error, angles = np.full(n, np.nan), np.full(n, np.nan), np.full((n, 3), np.nan)
    if "landmarks" in readers:
        marked = _beside(readers, "landmarks", sample, _MARKED, found)
        confidence = _numbers(marked, ("confidence",))[:, 0]
        status = np.where(status == FrameStatus.OK, _statuses(marked), status)
    if "fit" in readers:
        fitted = _beside(readers, "fit", sample, _FITTED, found)
        angles = np.rad2deg(_numbers(fitted, _ROTATED))
        error = _numbers(fitted, ("error_px",))[:, 0]
        status = np.where(status == FrameStatus.OK, _statuses(fitted), status)
    number, frame = (found[name].to_numpy().astype(np.int64) for name in ("track", "frame"))
    time = _numbers(found, ("time",))[:, 0]
    # by track, and in each as they are in the table, by frame
    order = np.argsort(number, kind="stable")
    tracks = []
    for mine in np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if n else ():
        tracks.append(
            Track(
                int(number[mine[0]]),
                frame[mine],
                time[mine],
                boxes[mine, :2] + boxes[mine, 2:] / 2,
                boxes[mine, 2],
                angles[mine],
                error[mine],
                confidence[mine],
                status[mine],
                np.isfinite(boxes[mine, 0]),
            )
        )
    return tracks


def _beside(
    readers: Mapping[str, TableReader], stage: str, sample: str, columns: Sequence[str], found: Any
) -> Any:
    """The rows of a later stage, which are those of the detections.

    Raises:
        TableError: they are others.
    """
    table = readers[stage].read(sample, columns)
    if not all(table[name].equals(found[name]) for name in _KEY):
        raise TableError(
            f"{readers[stage].path} does not have the rows of {readers['detections'].path} (sample "
            f"{sample}): the run is not finished; start it again, it goes on where it was"
        )
    return table


def _numbers(table: Any, names: Sequence[str]) -> Array:
    """(n, k) columns, NaN where they are null."""
    return np.stack([numbers(table, name).astype(np.float64) for name in names], axis=1)


def _statuses(table: Any) -> NDArray[Any]:
    return np.asarray(table["status"].to_numpy(zero_copy_only=False), object)


def moved(track: Track) -> Array:
    """(n - 1,) face widths a second that the box moves to the next frame; NaN where unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.hypot(*np.diff(track.middle, axis=0).T) / track.width[1:] / np.diff(track.time)
    return _of_neighbours(track, values)


def turned(track: Track) -> Array:
    """(n - 1,) degrees a second of the fastest angle to the next frame; NaN where unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = np.abs(np.diff(track.angles, axis=0)).max(axis=1) / np.diff(track.time)
    return _of_neighbours(track, values)


def misfit(track: Track) -> Array:
    """(n,) reprojection error over the width of the face; NaN where unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return track.error / track.width


def _of_neighbours(track: Track, values: Array) -> Array:
    near = (np.diff(track.frame) == 1) & (np.diff(track.time) > 0)
    return np.where(near, values, np.nan)


def shaken(track: Track) -> Array:
    """(n - 2,) degrees: half the second difference of the angle that has most of it."""
    if len(track.frame) < 3:
        return np.empty(0)
    near = np.diff(track.frame) == 1
    values = np.abs(np.diff(track.angles, 2, axis=0)).max(axis=1) / 2
    return np.where(near[1:] & near[:-1], values, np.nan)


def shaken_for_a_second(track: Track) -> tuple[Array, int]:
    """The largest median of `shaken` over the windows of a second that a frame is in.

    Returns:
        (n - 2,) degrees, NaN where half a window is not known; and frames a window.
    """
    shake = shaken(track)
    step = np.diff(track.time)
    usual = float(np.nanmedian(step)) if np.isfinite(step).any() else 0.0
    size = max(3, round(1 / usual)) if usual > 0 else _WINDOW
    values = np.full(len(shake), np.nan)
    for start in range(0, len(shake), max(1, size // 2)):
        window = shake[start : start + size]
        if np.isfinite(window).sum() * 2 >= size:
            median = float(np.nanmedian(window))
            values[start : start + size] = np.fmax(values[start : start + size], median)
    return values, size


def odd_frames(sample: str, track: Track, min_confidence: float | None) -> Iterator[Finding]:
    """What is odd in the frames of a face of a video.

    Args:
        sample: its name.
        track: the face.
        min_confidence: below which the landmark stage is not sure; None: not known.
    """
    if track.number == 0:
        yield from _of_time(sample, track)
        yield from _damaged(sample, track)
    yield from _jumps(sample, track)
    yield from _jitter(sample, track)
    yield from odd_faces(sample, track, min_confidence)


def odd_faces(sample: str, track: Track, min_confidence: float | None) -> Iterator[Finding]:
    """What is odd in single faces, of pictures too."""
    steepest = np.abs(track.angles).max(axis=1)
    which = np.abs(np.nan_to_num(track.angles)).argmax(axis=1)
    for kind, limit in (("impossible", limits.IMPOSSIBLE), ("pose", limits.STEEP)):
        beyond = steepest > limit
        if kind == "pose":
            beyond &= ~(steepest > limits.IMPOSSIBLE)
        for first, last in _runs(beyond):
            at = first + int(np.nanargmax(steepest[first : last + 1]))
            angle = track.angles[at, which[at]]
            yield _finding(
                kind,
                sample,
                track,
                (first, last),
                "largest angle, degrees",
                float(steepest[at]),
                limit,
                f"{_ANGLES[which[at]]} is {angle:.0f} degrees in frame {track.frame[at]}",
            )
    share = misfit(track)
    for first, last in _runs(share > limits.ERROR):
        at = first + int(np.nanargmax(share[first : last + 1]))
        yield _finding(
            "error",
            sample,
            track,
            (first, last),
            "reprojection error over the face's width",
            float(share[at]),
            limits.ERROR,
            f"the fit misses the landmarks by {track.error[at]:.1f} px in frame {track.frame[at]}",
        )
    unsure = np.isin(track.status, _UNSURE)
    for first, last in _runs(unsure):
        piece = slice(first, last + 1)
        count = int(unsure[piece].sum())
        words = sorted(set(track.status[piece][unsure[piece]].tolist()))
        low = track.confidence[piece][unsure[piece]]
        lowest = float(np.nanmin(low)) if np.isfinite(low).any() else float("nan")
        limit = float("nan") if min_confidence is None else min_confidence
        yield _finding(
            "confidence",
            sample,
            track,
            (first, last),
            "lowest landmark confidence",
            lowest,
            limit,
            f"{' and '.join(words)} in {counted(count, 'frame')}",
            times=1 + count / max(1, len(track.frame)),
        )


def _of_time(sample: str, track: Track) -> Iterator[Finding]:
    step = np.diff(track.time)
    if not np.isfinite(step).any():
        return
    usual = float(np.nanmedian(step))
    for first, last in _runs(step <= 0):
        at = first + int(np.nanargmin(step[first : last + 1]))
        yield _finding(
            "time",
            sample,
            track,
            (first, last + 1),
            "step to the next frame, s",
            float(step[at]),
            0.0,
            f"frame {track.frame[at + 1]} is not later than the one before it",
            times=2.0,
        )
    if usual <= 0:
        return
    wide = step > limits.GAP * usual
    for first, last in _runs(wide):
        at = first + int(np.nanargmax(step[first : last + 1]))
        piece = step[first : last + 1][wide[first : last + 1]]
        missing = int(np.maximum(np.rint(piece / usual) - 1, 1).sum())
        times = f" in {len(piece)} places" if len(piece) > 1 else ""
        yield _finding(
            "gap",
            sample,
            track,
            (first, last + 1),
            "step over the median step",
            float(step[at] / usual),
            limits.GAP,
            f"{step[at]:.3f} s without a frame, where {usual:.3f} s is usual: about {missing} "
            f"missing{times}",
        )


def _damaged(sample: str, track: Track) -> Iterator[Finding]:
    broken = track.status == FrameStatus.DECODE_ERROR
    for first, last in _runs(broken):
        count = int(broken[first : last + 1].sum())
        yield _finding(
            "damaged",
            sample,
            track,
            (first, last),
            "frames that cannot be decoded",
            count,
            0,
            f"{counted(count, 'frame')} cannot be decoded; those that follow may show damage",
            times=1 + count / len(broken),
        )


def _jumps(sample: str, track: Track) -> Iterator[Finding]:
    for values, limit, measure, words in (
        (moved(track), limits.STEP, "speed, face widths a second", "the box moves"),
        (turned(track), limits.TURN, "speed, degrees a second", "the head turns"),
    ):
        fast = values > limit
        for first, last in _runs(fast):
            at = first + int(np.nanargmax(np.where(fast, values, -1.0)[first : last + 1]))
            yield _finding(
                "jump",
                sample,
                track,
                (first, last + 1),
                measure,
                float(values[at]),
                limit,
                f"{words} from frame {track.frame[at]} to {track.frame[at + 1]} as nobody does: "
                "another face, or a wrong one",
            )


def _jitter(sample: str, track: Track) -> Iterator[Finding]:
    """Windows of a second whose median shake is beyond the limit."""
    values, size = shaken_for_a_second(track)
    for first, last in _runs(values > limits.JITTER, apart=size):
        yield _finding(
            "jitter",
            sample,
            track,
            (first, last + 2),
            "median shake in a second, degrees",
            float(np.nanmax(values[first : last + 1])),
            limits.JITTER,
            "angles shake by so much from frame to frame: look at the landmarks there",
        )


def _runs(odd: NDArray[np.bool_], apart: int = limits.APART) -> list[tuple[int, int]]:
    """First and last place of each run of what is odd; runs no further apart are one."""
    runs: list[tuple[int, int]] = []
    for at in np.flatnonzero(odd).tolist():
        if runs and at - runs[-1][1] <= apart + 1:
            runs[-1] = runs[-1][0], at
        else:
            runs.append((at, at))
    return runs


def _finding(
    kind: str,
    sample: str,
    track: Track,
    places: tuple[int, int],
    measure: str,
    value: float,
    limit: float,
    why: str,
    times: float | None = None,
) -> Finding:
    first, last = places
    start, end = (float(track.time[i]) for i in places)
    return Finding(
        kind,
        sample,
        measure,
        value,
        limit,
        why,
        track.number,
        int(track.frame[first]),
        int(track.frame[last]),
        start if np.isfinite(start) else None,
        end if np.isfinite(end) else None,
        value / limit if times is None else times,
    )
