"""The strips of a sample page: which quantity is drawn where, on which scale, with which words."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.report import charts
from facemake.report.charts import Scale
from facemake.report.series import Floats, Series, States
from facemake.report.timecourse import TimeCourse
from facemake.report.words import AU_NAMES
from facemake.status import FrameStatus

AU_SCALE = Scale(0.0, 5.0)
_PRESENT = 0.5


@dataclass(frozen=True)
class Strip:
    """One quantity over time, ready to be drawn.

    Attributes:
        key: its column.
        name, hint: what it is, and how to read its sign.
        unit: "" where it has none.
        decimals: of its numbers.
        scale: its vertical axis.
        line, band: paths (`charts.curve`). Where the quantity was smoothed, the line and the
            numbers are of the smoothed course, the band of the values frame by frame.
        faint: path of the values frame by frame beside a smoothed line; "" where there is none.
        gaps, doubt: paths over the time without a value, and with values of frames whose status
            is not ok.
        present: path of the time where an action unit is present; "" for none.
        low, high, mean: of all values; None where there is none.
        present_share: share of the frames with the unit; None where that is not said.
        values: what the page's cursor reads: a number a bin, None in a gap. On an axis with a finer
            one: `packed`, with what the page draws closely.
        there: where there is a value or a word on presence (`bits`), by the finest bins.
        on: where an action unit is present, likewise; None where that is not said.
    """

    key: str
    name: str
    hint: str
    unit: str
    decimals: int
    scale: Scale
    line: str
    band: str
    faint: str
    gaps: str
    doubt: str
    present: str
    low: float | None
    high: float | None
    mean: float | None
    present_share: float | None
    values: list[Any] | dict[str, Any]
    there: str
    on: str | None

    @property
    def zero(self) -> float | None:
        """Where zero is, 0-100 from the top; None where it is at an end or outside."""
        return self.scale.y(0.0) if self.scale.low < 0 < self.scale.high else None


@dataclass(frozen=True)
class Group:
    """Strips that belong together.

    Attributes:
        key: for the page's script and links.
        title, note: above them.
        strips: from top to bottom; empty: nothing was measured.
        absent: why there is nothing; "" where there is.
    """

    key: str
    title: str
    note: str
    strips: list[Strip] = field(default_factory=list)
    absent: str = ""


_POSE = (
    ("rx", "Pitch", "up: nose down"),
    ("ry", "Yaw", "up: nose to the image’s left"),
    ("rz", "Roll", "up: clockwise in the image"),
)
_PLACE = (
    ("tx", "Right", "camera x"),
    ("ty", "Down", "camera y"),
    ("tz", "Distance", "camera z"),
)


_GAZE = (
    ("gaze_angle_x", "Sideways", "up: to the image’s right"),
    ("gaze_angle_y", "Vertical", "up: looking down"),
)


def groups(course: TimeCourse, lengths: str) -> list[Group]:
    """All strips of a sample, by group.

    Args:
        course: its curves.
        lengths: what its millimetres rest on, in words.
    """
    no_fit = "No fit table was given, so head pose, position and gaze are not known."
    fit = "fit" in course.missing
    pose = _same_scale(course, _POSE, "°", 1, least=10.0)
    place = [
        _strip(
            course, key, name, hint, "mm", 0, charts.nice_scale(_limits(course, [key]), least=20.0)
        )
        for key, name, hint in _PLACE
        if key in course.series
    ]
    quality = [
        _strip(course, key, name, hint, unit, decimals, scale)
        for key, name, hint, unit, decimals, scale in (
            ("score", "Detection", "the detector’s score", "", 2, Scale(0.0, 1.0)),
            ("confidence", "Landmarks", "the network’s presence", "", 2, Scale(0.0, 1.0)),
            (
                "error_px",
                "Fit error",
                "root mean square, reprojected",
                "px",
                1,
                charts.nice_scale(_limits(course, ["error_px"]), least=2.0, zero=True),
            ),
        )
        if key in course.series
    ]
    units = _action_units(course)
    gaze = _same_scale(course, _GAZE, "°", 0, least=20.0)
    both = _both(course)
    return [
        Group(
            "pose",
            "Head pose",
            "Degrees, one scale for the three. Zero: the head faces along the camera’s axis."
            + both,
            pose,
            no_fit if fit else _nothing(pose),
        ),
        Group(
            "place",
            "Head position",
            f"Millimetres in camera axes; they rest on {lengths}." + both,
            place,
            no_fit if fit else _nothing(place),
        ),
        Group(
            "gaze",
            "Gaze",
            "Degrees in camera axes, of both eyes together: the turn of the head is part of it. "
            "Hatched where the eyes are closed or not seen. Expect constant offsets of a few "
            "degrees a person; changes are surer.",
            gaze,
            no_fit if fit else _nothing(gaze),
        ),
        Group(
            "aus",
            "Action units",
            "Intensity 0–5; the bar under a curve marks the frames where the unit is present. "
            "These values are a proxy from facial movement, or a network's, not the work of a FACS "
            "coder.",
            units,
            "No table of action units was given." if "aus" in course.missing else _nothing(units),
        ),
        Group(
            "quality",
            "Quality",
            "How sure each step was.",
            quality,
            _nothing(quality),
        ),
    ]


def _both(course: TimeCourse) -> str:
    """How to tell the smoothed course from the one frame by frame; "" where there is one."""
    if not any(series.count for series in course.smoothed.values()):
        return ""
    raw = "Faint line" if course.axis.exact else "Band"
    return f" {raw}: each frame as it was fitted; strong line and numbers: smoothed through time."


def _nothing(strips: Sequence[Strip]) -> str:
    if any(strip.mean is not None or strip.present_share is not None for strip in strips):
        return ""
    return "Nothing was measured in this sample."


def _limits(course: TimeCourse, keys: Sequence[str]) -> tuple[float, float] | None:
    found = [course.series[k].limits for k in keys if k in course.series]
    there = [limits for limits in found if limits is not None]
    if not there:
        return None
    return min(low for low, _ in there), max(high for _, high in there)


def _same_scale(
    course: TimeCourse,
    rows: Sequence[tuple[str, str, str]],
    unit: str,
    decimals: int,
    *,
    least: float,
) -> list[Strip]:
    low, high = _limits(course, [key for key, _, _ in rows]) or (0.0, 0.0)
    scale = charts.nice_scale((min(low, 0.0), max(high, 0.0)), least=least)
    return [
        _strip(course, key, name, hint, unit, decimals, scale)
        for key, name, hint in rows
        if key in course.series
    ]


def _action_units(course: TimeCourse) -> list[Strip]:
    codes = sorted({name[:-2] for name in (*course.series, *course.occurrence) if name[:2] == "AU"})
    return [_strip(course, code, code, AU_NAMES.get(code, ""), "", 1, AU_SCALE) for code in codes]


def _strip(
    course: TimeCourse, key: str, name: str, hint: str, unit: str, decimals: int, scale: Scale
) -> Strip:
    axis = course.axis
    series = course.series.get(f"{key}_r" if key.startswith("AU") else key)
    presence = course.occurrence.get(f"{key}_c")
    raw = series if series is not None else Series(axis)
    drawn = course.smoothed.get(key, raw)
    line, band = charts.curve(axis, drawn, scale)
    faint = ""
    if drawn is not raw:
        faint, band = charts.curve(axis, raw, scale)
        faint = faint if axis.exact else ""
    known = next((one for one in (series, presence) if one and one.count), drawn)
    there = np.isfinite(known.low)
    states = course.main.states if course.main else None
    doubtful = there & ~sure(states) if states else np.zeros(axis.n_bins, bool)
    limits = drawn.limits
    return Strip(
        key=key,
        name=name,
        hint=hint,
        unit=unit,
        decimals=decimals,
        scale=scale,
        line=line,
        band=band,
        faint=faint,
        gaps=charts.gaps(axis, there),
        doubt=charts.marks(axis, doubtful, 0.0, charts.HEIGHT),
        present=charts.marks(axis, presence.high > _PRESENT, 88.0, 12.0) if presence else "",
        low=limits[0] if limits else None,
        high=limits[1] if limits else None,
        mean=drawn.mean if limits else None,
        present_share=presence.mean if presence and presence.count else None,
        values=_packed(drawn, raw, scale) if drawn.fine else _rounded(drawn.low, decimals),
        there=bits(np.isfinite((known.fine or known).low)),
        on=bits((presence.fine or presence).high > _PRESENT) if presence else None,
    )


def sure(states: States) -> NDArray[np.bool_]:
    """(n_bins,) whether some frame of the bin has status ok."""
    found: NDArray[np.bool_] = states.counts[states.names.index(FrameStatus.OK)] > 0
    return found


def bits(flags: NDArray[np.bool_]) -> str:
    """(n,) as base64: a bit a flag, the lowest bit of a byte first."""
    return base64.b64encode(np.packbits(flags, bitorder="little").tobytes()).decode()


def _packed(drawn: Series, raw: Series, scale: Scale) -> dict[str, Any]:
    """The fine bins of a strip for the page's script.

    `low` and `high` (absent where a bin is one frame) of what is drawn as a line and said in
    numbers, and where that was smoothed of the values frame by frame too: base64 of little-endian
    uint16 from 0 at `from` to 65534 at `to`, 65535 in a gap. `scale`: ends of the vertical axis.
    """
    parts = {"": drawn, **({"raw_": raw} if raw is not drawn else {})}
    limits = [one.limits for one in parts.values() if one.limits is not None]
    low = min((one for one, _ in limits), default=0.0)
    high = max((one for _, one in limits), default=0.0)
    span = (high - low) or 1.0
    packed: dict[str, Any] = {"from": low, "to": low + span, "scale": [scale.low, scale.high]}
    for name, series in parts.items():
        fine = series.fine
        if fine is None:
            continue
        packed[f"{name}low"] = _sixteen_bits((fine.low - low) / span)
        if not fine.exact:
            packed[f"{name}high"] = _sixteen_bits((fine.high - low) / span)
    return packed


def _sixteen_bits(shares: Floats) -> str:
    """(n,) 0-1, NaN in a gap, as `_packed` says."""
    there = np.isfinite(shares)
    codes = np.where(there, np.rint(np.where(there, shares, 0.0) * 65534), 65535).astype("<u2")
    return base64.b64encode(codes.tobytes()).decode()


def _rounded(values: Floats, decimals: int) -> list[float | int | None]:
    return [
        None if v != v else (int(v) if v == int(v) else v)
        for v in np.round(values, decimals).tolist()
    ]
