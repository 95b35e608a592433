"""Curves of the report: bins, gaps, marks of time and scales."""

from __future__ import annotations

import re

import numpy as np
import pytest

from facemake.report import charts, render
from facemake.report.series import BINS, FINE_BINS, Series, States, timeline
from makereport import seconds


def test_an_envelope_keeps_a_single_peak_and_a_single_lost_frame():
    n = 100 * BINS
    axis = timeline(seconds(n))
    series = Series(axis)
    values = np.zeros(n)
    values[12345] = 3.0
    series.add(np.arange(n), values)
    assert series.limits == (0.0, 3.0)
    assert np.flatnonzero(series.high == 3.0).tolist() == [12345 // 100]
    states = States(axis, ("ok", "lost"))
    words = ["ok"] * n
    words[54321] = "lost"
    states.add(np.arange(n), words)
    path = charts.ribbon(axis, states)["lost"]
    height = float(re.fullmatch(r"M\S+ \S+h\S+v(\S+?)h\S+Z", path).group(1))  # type: ignore[union-attr]
    assert height >= 15


@pytest.mark.parametrize(
    ("n", "fine"), [(1500, 1500), (FINE_BINS, FINE_BINS), (FINE_BINS + 500, 1750), (60_000, 3000)]
)
@pytest.mark.parametrize("clock", [True, False])
def test_a_long_recording_has_finer_bins_besides(n: int, fine: int, clock: bool):
    axis = timeline(seconds(n) if clock else np.full(n, np.nan))
    assert (axis.n_bins, axis.exact) == (BINS, False)
    assert axis.fine is not None
    assert (axis.fine.n_bins, axis.fine.exact) == (fine, fine == n)
    assert (axis.fine.first >= 0).all()
    series = Series(axis)
    series.add(np.array([n // 2]), np.array([7.0]))
    assert series.fine is not None
    assert np.flatnonzero(series.fine.high == 7).tolist() == [axis.fine.bin_of[n // 2]]
    assert timeline(seconds(1000)).fine is None


def test_time_runs_by_the_stamps():
    times = np.array([0.0, 0.04, 0.08, 2.0, 2.04])
    axis = timeline(times)
    series = Series(axis)
    series.add(np.arange(5), np.arange(5.0))
    # two seconds without a frame: no line across
    assert series.runs() == [slice(0, 3), slice(3, 5)]
    assert axis.share(axis.centers[3]) == pytest.approx(2.02 / 2.08)


@pytest.mark.parametrize(
    ("first", "last", "texts"),
    [
        (0, 8, ["0 s", "2 s", "4 s", "6 s"]),
        (70, 73, ["1:10.0", "1:10.5", "1:11.0", "1:11.5", "1:12.0", "1:12.5"]),
        (3590, 3620, ["59:50", "59:55", "1:00:00", "1:00:05", "1:00:10", "1:00:15"]),
        (0, 120, ["0:00", "0:30", "1:00", "1:30"]),
        (-1, 1, ["−1.0 s", "−0.5 s", "0.0 s", "0.5 s"]),
        (0, 0.5, ["0.0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s"]),
    ],
)
def test_marks_of_time_say_where_they_are(first: float, last: float, texts: list[str]):
    ticks = charts.time_ticks(timeline(np.linspace(first, last, 200, endpoint=False)))
    assert [tick.text for tick in ticks] == texts


def test_a_scale_holds_what_is_constant():
    for value in (0.0, 1e-30, 700.0, 1e30):
        scale = charts.nice_scale((value, value), least=20.0)
        assert scale.low < value < scale.high
        assert 0 < scale.y(value) < charts.HEIGHT


def test_frames_without_stamps_run_by_number():
    axis = timeline(np.full(10, np.nan))
    assert not axis.in_time
    assert (axis.start, axis.end) == (0, 10)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (999_999, 1_000_000, ">\u202f99.9\u202f%"),
        (1, 1_000_000, "<\u202f0.1\u202f%"),
        (0, 5, "0\u202f%"),
        (0, 0, "–"),
    ],
)
def test_a_percentage_does_not_round_to_all_or_nothing(part: int, whole: int, text: str):
    assert render.percent(part, whole) == text
