"""Smoothing a track piece by piece: the same bits whatever the pieces, in the same memory."""

from __future__ import annotations

import dataclasses
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from facemake.backends.fit import courses, smooth
from facemake.backends.fit.smooth import (
    Noise,
    NoiseMeter,
    SmoothSettings,
    TrackRows,
    TrackSmoother,
    smooth_track,
)
from maketracks import FIELDS, FPS, part, person, same


def test_pieces_of_any_size_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smooth, "FLUSH", 700)
    _, seen = person(7, n=2600)
    rng = np.random.default_rng(7)
    ok = np.ones(2600, bool)
    ok[rng.integers(0, 2600, 12)] = False
    ok[1700:1800] = False
    cut = np.zeros(2600, bool)
    cut[[700, 1750, 2222]] = True
    seen = dataclasses.replace(seen, ok=ok, cut=cut)
    seen = part(seen, np.delete(np.arange(2600), np.r_[900:905, 2400]))
    seen.time[1500:1503] = seen.time[1500]
    seen.translation[2000:] += [0, 0, 200]
    n = len(seen.frame)
    whole = smooth_track(seen, SmoothSettings(max_gap=0.05), 0.0, 1.0)
    for trial in range(6):
        most = (1, 7, 60, 512, 1500, 2600)[trial]
        edges = [0]
        while edges[-1] < n:
            edges.append(min(n, edges[-1] + int(rng.integers(1 if most < 512 else 0, most + 1))))
        pieces = [part(seen, slice(a, b)) for a, b in pairwise(edges)]
        meter = NoiseMeter(3, 0.0, 1.0)
        for piece in pieces:
            meter.push(piece)
        smoother = TrackSmoother(meter.noise(), SmoothSettings(max_gap=0.05), 0.0, 1.0)
        given = [smoother.push(piece) for piece in pieces] + [smoother.finish()]
        joined = TrackRows(*(np.concatenate([getattr(g, f) for g in given]) for f in FIELDS))
        assert same(joined, whole), f"pieces of up to {most} rows differ"


def test_pieces_of_any_size_with_windows_of_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many windows are solved side by side, and when, changes no bit."""
    _, seen = person(8, n=1500)
    whole = smooth_track(seen)
    for flush, lanes in ((1, 1), (100, 3), (10**6, 50)):
        monkeypatch.setattr(smooth, "FLUSH", flush)
        monkeypatch.setattr(smooth, "LANES", lanes)
        meter = NoiseMeter(3)
        meter.push(seen)
        smoother = TrackSmoother(meter.noise())
        given = [smoother.push(part(seen, slice(k, k + 90))) for k in range(0, 1500, 90)]
        given.append(smoother.finish())
        joined = TrackRows(*(np.concatenate([getattr(g, f) for g in given]) for f in FIELDS))
        assert same(joined, whole)


def test_windows_give_what_the_whole_would(monkeypatch: pytest.MonkeyPatch) -> None:
    _, seen = person(9, n=1600)
    windows = smooth_track(seen)
    monkeypatch.setattr(smooth, "WINDOW", 10**6)
    whole = smooth_track(seen)
    for name, scale in (("translation", 100.0), ("euler", 0.3), ("expression", 1.0)):
        a, b = getattr(windows, name), getattr(whole, name)
        assert np.abs(a - b).max() < 1e-8 * scale, name


def test_the_banded_systems_are_solved() -> None:
    rng = np.random.default_rng(0)
    for length in (3, 4, 40):
        system = courses._System(length, 2)
        system.bands[:] = rng.normal(size=system.bands.shape)
        system.bands[:, 0] += 8
        system.bands[-1, 1:] = system.bands[-2, 2] = 0
        system.right[:] = rng.normal(size=system.right.shape)
        a, b, c = system.bands.transpose(1, 2, 0)
        wanted = [
            np.linalg.solve(
                np.diag(a[k])
                + sum(np.diag(v[k][:-i], i) + np.diag(v[k][:-i], -i) for i, v in ((1, b), (2, c))),
                system.right[:, k],
            )
            for k in range(2)
        ]
        system.solve()
        assert np.allclose(system.right.T, wanted, rtol=0, atol=1e-12)


def test_wrong_rows_are_refused() -> None:
    _, seen = person(17, n=10)
    with pytest.raises(ValueError, match=r"10 rows of a track have euler of shape \(10, 2\)"):
        dataclasses.replace(seen, euler=seen.euler[:, :2])
    with pytest.raises(ValueError, match="expression of shape"):
        dataclasses.replace(seen, expression=seen.expression[:, 0])
    meter = NoiseMeter(3)
    with pytest.raises(ValueError, match="frame 4 follows frame 4"):
        meter.push(dataclasses.replace(seen, frame=np.array([0, 1, 2, 3, 4, 4, 5, 6, 7, 8])))
    with pytest.raises(ValueError, match="a track of 2 coefficients, and rows of 3"):
        TrackSmoother(Noise(np.ones(9), 1 / 30)).push(seen)


def test_memory_does_not_grow_with_the_video() -> None:
    def peak(rounds: int) -> int:
        _, seen = person(19, n=1000)
        noise = Noise(np.concatenate([np.full(7, 1e-3), np.full(3, 0.02)]), 1 / FPS)
        smoother, meter = TrackSmoother(noise), NoiseMeter(3)
        tracemalloc.start()
        for k in range(rounds):
            moved = dataclasses.replace(
                seen, frame=seen.frame + 1000 * k, time=seen.time + 1000 * k / FPS
            )
            meter.push(moved)
            smoother.push(moved)
        smoother.finish()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(18) < 1.1 * peak(9)
