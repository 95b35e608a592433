"""Smoothing against courses of known truth, and against what real tracks are like."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from facemake import geometry
from facemake.backends.fit import smooth
from facemake.backends.fit.smooth import (
    NoiseMeter,
    SmoothSettings,
    TrackRows,
    TrackSmoother,
    smooth_track,
)
from facemake.backends.fit.trackrows import Intake
from maketracks import FIELDS, FPS, SIGMA, head, part, person, pulse, same, step, track


def rms(error: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(error**2, axis=0))


def total_variation(y: np.ndarray, strength: float) -> np.ndarray:
    """The columns x that minimise |x - y|^2 / 2 + strength * sum |x' - x| (Chambolle 2004)."""
    dual = np.zeros((len(y) + 1, y.shape[1]))
    for _ in range(3000):
        x = y + np.diff(dual, axis=0)
        dual[1:-1] = np.clip(dual[1:-1] + 0.25 * np.diff(x, axis=0), -strength, strength)
    return y + np.diff(dual, axis=0)


def test_better_than_total_variation() -> None:
    """3DI smooths by total variation: at its best strength, and told the noise, it errs more."""
    errors: dict[str, list[np.ndarray]] = {"euler": [], "expression": []}
    for seed in range(4):
        truth, seen = person(seed)
        found = smooth_track(seen)
        for (name, rows), noise in zip(errors.items(), SIGMA[1:], strict=True):
            known, raw = getattr(truth, name), getattr(seen, name)
            others = [total_variation(raw / noise, k) * noise for k in (0.5, 1.0, 1.5)]
            rows.append([rms(x - known) / noise for x in (getattr(found, name), *others)])
    pose, expression = (np.mean(errors[name], axis=0) for name in ("euler", "expression"))
    assert pose[0].mean() < 0.6 and (expression[0] < [0.6, 0.6, 1.0]).all()
    assert pose[0].mean() < 0.85 * pose[1:].mean(axis=1).min()
    assert expression[0].mean() < 0.95 * expression[1:].mean(axis=1).min()


def test_there_is_no_lag() -> None:
    truth, seen = person(5)
    found = smooth_track(seen)
    for name in ("translation", "euler", "expression"):
        for a, b in zip(getattr(found, name).T, getattr(truth, name).T, strict=True):
            a, b = a - a.mean(), b - b.mean()
            correlation = [np.sum(a[10 + k : 590 + k] * b[10:590]) for k in range(-8, 9)]
            assert np.argmax(correlation) == 8, name
    # Backwards in time the same course comes out backwards: neither direction is preferred.
    back = part(seen, slice(None, None, -1))
    back = dataclasses.replace(back, frame=seen.frame, time=seen.time)
    turned = part(smooth_track(back), slice(None, None, -1))
    for name in ("translation", "euler", "expression"):
        assert np.allclose(getattr(turned, name), getattr(found, name), rtol=0, atol=1e-6), name


def test_white_noise_falls_to_less_than_half() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    noise = rng.normal(size=(n, 3)) * SIGMA[0], rng.normal(size=(n, 3)), rng.normal(size=(n, 4))
    seen = track([0, 0, 800] + noise[0], noise[1] * SIGMA[1], 0.5 + noise[2] * SIGMA[2])
    meter = NoiseMeter(4)
    meter.push(seen)
    sigma = meter.noise().sigma
    expected = [*SIGMA[0][:2] / 800, SIGMA[0][2], *[SIGMA[1] / 2] * 3, *[SIGMA[2]] * 4]
    assert np.allclose(sigma[[0, 1, 2, 4, 5, 6, 7, 8, 9, 10]], expected, rtol=0.06)
    found = smooth_track(seen)
    assert (found.translation.std(axis=0) < 0.47 * SIGMA[0]).all()
    assert (found.euler.std(axis=0) < 0.47 * SIGMA[1]).all()
    assert (found.expression.std(axis=0) < 0.47 * SIGMA[2]).all()
    twice = smooth_track(seen, SmoothSettings(strength=2.0))
    assert (twice.expression.std(axis=0) < 0.8 * found.expression.std(axis=0)).all()


@pytest.mark.parametrize("frames", range(3, 10))
def test_a_blink_keeps_its_peak(frames: int) -> None:
    """Blinks of 3 to 9 frames from opening to opening, wherever the frames fall in them."""
    rng = np.random.default_rng(frames)
    t = np.arange(900) / FPS
    lids = np.zeros(len(t))
    starts = np.arange(0.5, 29, 0.7) + rng.uniform(0, 0.1, 41)
    for at in starts:
        u = np.clip((t - at) * FPS / frames, 0, 1)
        lids += 0.9 * 0.5 * (1 - np.cos(2 * np.pi * u))
    for noise in (0.0, SIGMA[2]):
        raw = lids + noise * rng.normal(size=len(t))
        found = smooth_track(track(expression=raw[:, None])).expression[:, 0]
        loss = []
        for at in starts:
            (near,) = np.nonzero((t > at) & (t < at + frames / FPS))
            peak = near[np.argmax(lids[near])]
            loss.append((raw[peak] - found[peak]) / 0.9)
        assert np.mean(loss) < 0.02
        assert np.max(loss) < 0.1, f"a peak of {noise} noise lost {np.max(loss):.0%}"


def test_an_onset_is_no_ramp() -> None:
    rng = np.random.default_rng(1)
    n, steps = 1200, np.arange(40, 1200, 40)
    for height in (0.15, 0.5, 1.0):
        up = (np.searchsorted(steps, np.arange(n), side="right") % 2) * height
        found = smooth_track(track(expression=(up + SIGMA[2] * rng.normal(size=n))[:, None]))
        got = found.expression[:, 0] / height
        (between,) = np.nonzero((got > 0.25) & (got < 0.75))
        assert not len(between), "a step of one frame stays one of one frame"
        assert rms(found.expression[:, 0] - up) < 0.5 * SIGMA[2]


def test_a_spike_vanishes_and_its_neighbours_stay() -> None:
    truth, seen = person(3)
    at = np.arange(20, 580, 40)
    height = np.where(np.arange(len(at)) % 2, 1.0, -1.0)
    spiked = dataclasses.replace(
        seen,
        translation=seen.translation.copy(),
        euler=seen.euler.copy(),
        expression=seen.expression.copy(),
    )
    spiked.translation[at] += height[:, None] * [40, 40, 150]
    spiked.euler[at] += height[:, None] * np.deg2rad([15, 20, 10])
    spiked.expression[at, 1] += height * 0.8
    a, b = smooth_track(seen), smooth_track(spiked)
    kept = b.expression[at, 1] - spiked.expression[at, 1]
    assert np.abs(kept).max() < 0.15, "in an expression it may be all that is seen of a blink"
    assert np.rad2deg(np.abs(b.euler - a.euler).max()) < 1.5
    assert (np.abs(b.translation - a.translation).max(axis=0) < [1.0, 1.0, 8.0]).all()
    assert rms((b.euler - truth.euler).ravel()) < 0.65 * SIGMA[1]
    fast = [dataclasses.replace(rows, time=rows.time / 2) for rows in (seen, spiked)]
    a, b = (smooth_track(rows) for rows in fast)
    assert np.abs(b.expression - a.expression).max() < 0.1, "but not at 60 frames a second"


def altered(rows: TrackRows, start: int) -> TrackRows:
    """The same until `start`, and something quite different, as quiet, from there on."""
    out = dataclasses.replace(
        rows,
        translation=rows.translation.copy(),
        euler=rows.euler.copy(),
        expression=rows.expression.copy(),
    )
    out.translation[start:] += [3, -3, 20]
    out.euler[start:] += np.deg2rad([3, -4, 2])
    out.expression[start:] += 0.2
    return out


def gap_by_status(rows: TrackRows, at: int) -> TrackRows:
    ok = rows.ok.copy()
    ok[at] = False
    return dataclasses.replace(rows, ok=ok)


def gap_by_nan(rows: TrackRows, at: int) -> TrackRows:
    euler = rows.euler.copy()
    euler[at, 1] = np.nan
    return dataclasses.replace(rows, euler=euler)


def gap_by_infinity(rows: TrackRows, at: int) -> TrackRows:
    expression = rows.expression.copy()
    expression[at, 0] = np.inf
    return dataclasses.replace(rows, expression=expression)


def gap_by_number(rows: TrackRows, at: int) -> TrackRows:
    return part(rows, np.delete(np.arange(len(rows.frame)), at))


def pause(rows: TrackRows, at: int) -> TrackRows:
    return dataclasses.replace(rows, time=rows.time + (np.arange(len(rows.frame)) >= at) * 0.3)


def named_cut(rows: TrackRows, at: int) -> TrackRows:
    return dataclasses.replace(rows, cut=np.arange(len(rows.frame)) == at)


@pytest.mark.parametrize(
    "split", [gap_by_status, gap_by_nan, gap_by_infinity, gap_by_number, pause, named_cut]
)
def test_nothing_crosses_a_gap_a_pause_or_a_cut(split) -> None:
    _, seen = person(4, n=120)
    meter = NoiseMeter(3)
    meter.push(seen)

    def smoothed(rows: TrackRows, max_gap: float = 0.0) -> TrackRows:
        smoother = TrackSmoother(meter.noise(), SmoothSettings(max_gap=max_gap))
        given = [smoother.push(rows), smoother.finish()]
        return TrackRows(*(np.concatenate([getattr(g, f) for g in given]) for f in FIELDS))

    one, other = split(seen, 60), split(altered(seen, 61), 60)
    a, b = smoothed(one), smoothed(other)
    assert same(part(a, slice(0, 60)), part(b, slice(0, 60)))
    alone = smoothed(part(seen, slice(0, 60)))
    assert same(part(a, slice(0, 60)), alone), "as if the video had ended there"
    if split.__name__.startswith("gap"):
        missing = ~a.ok
        assert missing.sum() == (split is not gap_by_number)
        assert np.isnan(a.euler[missing]).all() and np.isnan(a.expression[missing]).all()
        c, d = smoothed(one, max_gap=0.1), smoothed(other, max_gap=0.1)
        assert np.array_equal(c.ok, a.ok), "a bridged frame stays missing"
        assert not same(part(c, slice(0, 60)), part(d, slice(0, 60)))


def test_a_cut_is_found_and_a_fast_turn_is_none() -> None:
    t = np.arange(120) / FPS
    _, seen = person(6, n=120)
    for jump in ([60, 0, 0], [0, 0, 150], [0, 0, -100]):
        moved = seen.translation + np.where(np.arange(120) >= 50, 1, 0)[:, None] * jump
        rows = dataclasses.replace(seen, translation=moved)
        named = dataclasses.replace(rows, cut=np.arange(120) == 50)
        assert same(smooth_track(rows), smooth_track(named))
    turned = seen.euler + np.where(np.arange(120) >= 50, 1, 0)[:, None] * np.deg2rad([0, 20, 0])
    rows = dataclasses.replace(seen, euler=turned)
    named = dataclasses.replace(rows, cut=np.arange(120) == 50)
    assert same(smooth_track(rows), smooth_track(named))
    fast = np.deg2rad(60) * step((t - 1.5) / 0.16)  # up to 700 degrees a second
    rows = track(euler=np.stack([0 * t, fast, 0 * t], axis=1))
    intake = Intake(2, 1 / FPS)(rows)
    assert smooth._starts(intake, np.arange(120), 0.0).sum() == 1


def turn_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) degrees between rotations given as angles."""
    r, s = geometry.rotation_from_euler(a), geometry.rotation_from_euler(b)
    cosine = (np.einsum("nij,nij->n", r, s) - 1) / 2
    return np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize(
    "middle", [(0, 0, 0), (0, 80, 0), (10, -80, 30), (0, 0, 180), (175, 10, 0), (0, 88, 170)]
)
def test_rotations_are_smoothed_as_rotations(middle: tuple[float, float, float]) -> None:
    """Wherever the head looks: near yaw 90 pitch and roll are all but one, at 180 they wrap."""
    rng = np.random.default_rng(2)
    t = np.arange(600) / FPS
    wander = np.deg2rad(np.stack([head(rng, t) for _ in range(3)], axis=1) * 0.5)
    shake = SIGMA[1] * rng.normal(size=(600, 3))
    base = geometry.rotation_from_euler(np.deg2rad(np.array(middle, float)))
    true = geometry.compose(np.tile(base, (600, 1, 1)), geometry.rotation_from_vector(wander))
    noisy = geometry.compose(true, geometry.rotation_from_vector(shake))
    truth, seen = geometry.euler_from_rotation(true), geometry.euler_from_rotation(noisy)
    found = smooth_track(track(euler=seen)).euler
    error, raw = turn_between(found, truth), turn_between(seen, truth)
    assert rms(error) < 0.65 * rms(raw)
    assert error.max() < raw.max()
    assert np.isfinite(found).all() and (np.abs(found) <= np.pi).all()


def test_uneven_frames_are_weighed_by_their_time() -> None:
    rng = np.random.default_rng(10)
    times = np.cumsum(rng.choice([0.4, 0.9, 1.0, 1.25], 600)) / FPS
    # A steady motion has no change of speed, whatever the spacing: it comes back as it was.
    ramp = np.stack([0 * times, 0 * times, 700 + 30 * times], axis=1)
    found = smooth_track(track(ramp, time=times))
    assert np.abs(found.translation - ramp).max() < 1e-3
    as_even = smooth_track(track(ramp))
    assert np.abs(as_even.translation - ramp).max() > 0.1
    truth, seen = person(10, times=times)
    found = smooth_track(seen)
    assert (rms(found.euler - truth.euler) < 0.65 * SIGMA[1]).all()


@pytest.mark.parametrize("fps", [15, 24, 60, 120])
def test_time_is_in_seconds(fps: int) -> None:
    """More frames a second are more evidence, and the same settings make use of it."""
    truth, seen = person(11, n=8 * fps, times=np.arange(8 * fps) / fps)
    found = smooth_track(seen)
    most = {15: 0.85, 24: 0.65, 60: 0.5, 120: 0.4}[fps]
    assert rms((found.euler - truth.euler).ravel()) < most * SIGMA[1]
    assert rms((found.expression - truth.expression)[:, :2].ravel()) < 0.65 * SIGMA[2]


def test_bad_stamps_do_no_harm() -> None:
    truth, seen = person(12, n=300)
    good = smooth_track(seen)
    stamps = {
        "repeated": seen.time.copy(),
        "backwards": seen.time.copy(),
        "not a number": seen.time.copy(),
        "all zero": np.zeros(300),
        "far ahead once": seen.time.copy(),
    }
    stamps["repeated"][100:103] = seen.time[100]
    stamps["backwards"][100] = 0.5
    stamps["not a number"][[0, 100, 200]] = np.nan, np.inf, -np.inf
    stamps["far ahead once"][100] = 1e9
    for name, time in stamps.items():
        found = smooth_track(dataclasses.replace(seen, time=time))
        assert np.array_equal(found.time, time, equal_nan=True), name
        assert np.abs(found.euler - good.euler).max() < 2 * SIGMA[1], name
        assert rms((found.euler - truth.euler).ravel()) < 0.65 * SIGMA[1], name


def test_expressions_stay_within_their_bounds() -> None:
    rng = np.random.default_rng(13)
    t = np.arange(400) / FPS
    clean = np.clip(
        np.stack([1.5 * np.sin(5 * t), 2 * pulse(t, 3, 0.1, 5, 0.1)], axis=1), 0, [1, 1.2]
    )
    raw = np.clip(clean + SIGMA[2] * rng.normal(size=clean.shape), 0, [1, 1.2])
    found = smooth_track(track(expression=raw), None, 0.0, [1, 1.2]).expression
    assert found.min() >= 0 and (found.max(axis=0) <= [1, 1.2]).all()
    never = smooth_track(track(expression=raw * [1, 0]), None, 0.0, [1, 1.2]).expression
    assert (never[:, 1] == 0).all(), "what never stirs is 0 and stays 0"
    with pytest.raises(ValueError, match="lower bound"):
        smooth_track(track(expression=raw), None, 1.0, 0.5)


def test_what_is_constant_comes_back() -> None:
    n = 700
    rows = track(
        np.tile([123.4, -56.7, 1890.1], (n, 1)),
        np.tile([0.3, -1.2, 3.0], (n, 1)),
        np.tile([0.0, 0.25, 1.2], (n, 1)),
    )
    found = smooth_track(rows)
    for name in ("translation", "euler", "expression"):
        assert np.abs(getattr(found, name) - getattr(rows, name)).max() < 1e-9, name


def test_strength_zero_changes_nothing() -> None:
    _, seen = person(14, n=200)
    assert same(smooth_track(seen, SmoothSettings(strength=0.0)), seen)
    for wrong in ({"strength": -1.0}, {"strength": np.nan}, {"max_gap": np.inf}):
        with pytest.raises(ValueError, match="number from 0 on"):
            SmoothSettings(**wrong)


def test_short_and_empty_tracks() -> None:
    _, seen = person(15, n=40)
    for n in (0, 1, 2, 3, 22):
        found = smooth_track(part(seen, slice(0, n)))
        assert same(found, part(seen, slice(0, n))), "too short to know its noise"
    assert not same(smooth_track(part(seen, slice(0, 23))), part(seen, slice(0, 23)))
    none = smooth_track(dataclasses.replace(seen, ok=np.zeros(40, bool)))
    assert not none.ok.any() and np.isnan(none.translation).all() and len(none.frame) == 40
    other = smooth_track(dataclasses.replace(seen, ok=np.arange(40) % 3 > 0))
    assert same(part(other, other.ok), part(seen, other.ok)), "segments of two frames"
    bare = smooth_track(dataclasses.replace(seen, expression=np.empty((40, 0))))
    assert np.array_equal(bare.euler, smooth_track(seen).euler) and bare.expression.shape == (40, 0)


def test_nothing_wild_comes_out_of_what_is_wild() -> None:
    rng = np.random.default_rng(16)
    _, seen = person(16, n=400)
    for field in ("translation", "euler", "expression"):
        for value in (np.nan, np.inf, -np.inf, 1e300, -1e9):
            values = getattr(seen, field).copy()
            values[rng.integers(0, 400, 30), rng.integers(0, 3, 30)] = value
            found = smooth_track(dataclasses.replace(seen, **{field: values}))
            bad = ~(np.abs(values) < 1e7).all(axis=1)
            assert np.array_equal(found.ok, ~bad)
            for name in ("translation", "euler", "expression"):
                got = getattr(found, name)
                assert np.isnan(got[bad]).all() and np.isfinite(got[~bad]).all()
                raw = getattr(seen, name)
                assert got[~bad].max() < raw.max() + np.ptp(raw)
                assert got[~bad].min() > raw.min() - np.ptp(raw)
    behind = seen.translation.copy()
    behind[100, 2] *= -1
    found = smooth_track(dataclasses.replace(seen, translation=behind))
    assert np.flatnonzero(~found.ok).tolist() == [100]
    noise = rng.uniform(-1, 1, (400, 9))
    lost = track([0, 0, 2e4] + 1e4 * noise[:, :3], 4 * noise[:, 3:6], 100 * noise[:, 6:])
    for name in ("translation", "euler", "expression"):
        assert np.abs(getattr(smooth_track(lost), name)).max() <= 1.1 * 3e4, name


def test_the_input_is_left_alone_and_the_order_kept() -> None:
    _, seen = person(18, n=300)
    before = [getattr(seen, f).tobytes() for f in FIELDS]
    found = smooth_track(seen)
    assert before == [getattr(seen, f).tobytes() for f in FIELDS]
    assert np.array_equal(found.frame, seen.frame) and np.array_equal(found.time, seen.time)
