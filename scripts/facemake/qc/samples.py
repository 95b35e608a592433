"""Samples as wholes: what gave nothing, what is one recording twice, what is unlike the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facemake.qc import limits
from facemake.qc.findings import Finding
from facemake.qc.frames import Array, Track, misfit, moved, shaken
from facemake.status import DECODABLE, SampleStatus

MEASURES: Mapping[str, tuple[str, bool]] = {
    "seen": ("share of frames with the main face", False),
    "size": ("median width of the main face over the frame's", True),
    "confidence": ("mean landmark confidence", False),
    "error": ("median reprojection error over the face's width", True),
    "pitch": ("median pitch, degrees", False),
    "yaw": ("median yaw, degrees", False),
    "roll": ("median roll, degrees", False),
    "movement": ("median speed of the box, face widths a second", True),
    "shake": ("median shake of the head's angles, degrees", True),
    "fps": ("frames a second", True),
}
"""Of a sample: what it is, and whether ratios of it are compared, not differences."""

_CONSISTENT = 0.6745
"""MAD over standard deviation of a normal distribution."""

_MEAN_DEVIATION = 1.253314
"""Standard deviation over mean absolute deviation of a normal distribution."""

_MOST_NAMED = 3


@dataclass(frozen=True)
class Summary:
    """A sample in a few numbers.

    Attributes:
        sample: its name.
        kind: video, image, images.
        values: name of `MEASURES` -> number, NaN where there is none.
    """

    sample: str
    kind: str
    values: dict[str, float]


def summary(probe: Mapping[str, Any], main: Track) -> Summary:
    """The numbers of a sample.

    Args:
        probe: its row of the probe table.
        main: its track 0.
    """
    values = {
        "seen": float(main.seen.mean()) if len(main.seen) else np.nan,
        "size": _median(main.width) / (probe["width"] or np.nan),
        "confidence": float(np.nanmean(main.confidence))
        if np.isfinite(main.confidence).any()
        else np.nan,
        "error": _median(misfit(main)),
        **{name: _median(main.angles[:, i]) for i, name in enumerate(("pitch", "yaw", "roll"))},
        "movement": _median(moved(main)),
        "shake": _median(shaken(main)),
        "fps": float(probe["fps"] or np.nan),
    }
    return Summary(probe["sample"], probe["kind"], values)


def _median(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def of_sample(probe: Mapping[str, Any], main: Track | None) -> Iterator[Finding]:
    """What is to be said of a sample by itself."""
    name = probe["sample"]
    if probe["status"] == SampleStatus.EXCLUDED:
        return
    seen = int(main.seen.sum()) if main is not None else 0
    if probe["status"] not in DECODABLE or not seen:
        status = probe["status"] if probe["status"] not in DECODABLE else SampleStatus.NO_FACE
        why = f"{status}: {probe['reason'] or 'no face was found in any frame'}"
        yield Finding("unusable", name, "frames with the main face", seen, 1, why, times=2.0)
        return
    assert main is not None
    share = seen / len(main.seen)
    if share < limits.SEEN:
        why = f"seen in {seen} of {len(main.seen)} frames"
        yield Finding(
            "absent", name, MEASURES["seen"][0], share, limits.SEEN, why, times=limits.SEEN / share
        )
    if probe["status"] == SampleStatus.TRUNCATED:
        n = probe["n_frames"]
        yield Finding("truncated", name, "frames decoded", n, float("nan"), probe["reason"])


def beside_sound(probe: Mapping[str, Any]) -> Iterator[Finding]:
    """Where the sound of a recording does not begin or end with its picture.

    Stamps of both are of one clock, so that a player shows them as they were recorded. What is
    lost is another thing: a sound file that was taken out of the recording begins at its own 0, and
    two tracks of different length were stopped apart, or their clocks drift.
    """
    start, length, shown = (probe.get(n) for n in ("sound_offset", "sound_duration", "duration"))
    if start is None or length is None or shown is None:
        return
    for what, late, why in (
        ("begins", start, "in a sound file that is taken out of it, times are off by so much"),
        ("ends", start + length - shown, "one was stopped before the other, or their clocks drift"),
    ):
        limit = limits.SOUND_LATE if late > 0 else limits.SOUND_EARLY
        if abs(late) > limit:
            yield Finding(
                "sound",
                probe["sample"],
                f"from where the picture {what} to where the sound does, s",
                late,
                limit if late > 0 else -limit,
                f"the sound {what} {abs(late):.3f} s {'after' if late > 0 else 'before'} the "
                f"picture: {why}",
                times=abs(late) / limit,
            )


def duplicates(probes: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Samples with the bytes, the frames and the times of another."""
    first: dict[tuple[Any, ...], str] = {}
    for row in probes:
        if row["sha256"] is None or row["status"] == SampleStatus.EXCLUDED:
            continue
        key = tuple(row[name] for name in ("sha256", "n_frames", "duration"))
        other = first.setdefault(key, row["sample"])
        if other != row["sample"]:
            why = f"the same bytes and as many frames as {other}: one of them counts twice"
            yield Finding("duplicate", row["sample"], "equal bytes", 1, 1, why, times=2.0)


def unlike(summaries: Sequence[Summary]) -> Iterator[Finding]:
    """Samples whose numbers are far from those of the others of their kind."""
    for kind in sorted({one.kind for one in summaries}):
        of_kind = [one for one in summaries if one.kind == kind]
        if len(of_kind) < limits.LEAST_SAMPLES:
            continue
        scores = {name: _scores(name, of_kind) for name in MEASURES}
        for i, one in enumerate(of_kind):
            far = {
                name: float(values[i])
                for name, values in scores.items()
                if abs(values[i]) > limits.ROBUST_Z
            }
            if not far:
                continue
            worst = sorted(far, key=lambda name: (-abs(far[name]), name))
            words = [
                f"{MEASURES[name][0]} is {one.values[name]:.3g}, "
                f"{'above' if far[name] > 0 else 'below'} the median of "
                f"{_median(_numbers(name, of_kind)):.3g}"
                for name in worst[:_MOST_NAMED]
            ]
            if len(worst) > _MOST_NAMED:
                words.append(f"and {len(worst) - _MOST_NAMED} more")
            value = abs(far[worst[0]])
            yield Finding(
                "unlike",
                one.sample,
                "modified z-score",
                value,
                limits.ROBUST_Z,
                "; ".join(words),
                times=value / limits.ROBUST_Z,
            )


def _numbers(name: str, summaries: Sequence[Summary]) -> Array:
    return np.array([one.values[name] for one in summaries], np.float64)


def _scores(name: str, summaries: Sequence[Summary]) -> Array:
    """(n,) modified z-scores; 0 where a sample has no number, or all have one."""
    values = _numbers(name, summaries)
    if MEASURES[name][1]:
        values = np.log(np.where(values > 0, values, np.nan))
    there = np.isfinite(values)
    if there.sum() < limits.LEAST_SAMPLES:
        return np.zeros(len(values))
    away = values - np.median(values[there])
    spread = np.median(np.abs(away[there])) / _CONSISTENT
    if spread <= 0:  # more than half are alike: their way, by the mean deviation
        spread = _MEAN_DEVIATION * np.abs(away[there]).mean()
    if spread <= 0:
        return np.zeros(len(values))
    least = limits.LEAST_AWAY.get(name, np.log(limits.LEAST_RATIO))
    scores: Array = np.where(there & (np.abs(away) > least), away / spread, 0.0)
    return scores
