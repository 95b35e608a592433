"""Tracks of heads and faces that move as people do, with the noise of a fit."""

from __future__ import annotations

import dataclasses

import numpy as np

from facemake.backends.fit.smooth import (
    TrackRows,
)

FIELDS = ("frame", "time", "ok", "translation", "euler", "expression")
FPS = 30
SIGMA = np.array([0.2, 0.2, 2.0]), np.deg2rad(0.4), 0.02
"""mm, radians, coefficients: about what the fit of a face 150 px wide has."""


def track(
    translation: np.ndarray | None = None,
    euler: np.ndarray | None = None,
    expression: np.ndarray | None = None,
    **changes: object,
) -> TrackRows:
    """A track at 30 frames a second; what is not given is at rest."""
    given = [v for v in (translation, euler, expression) if v is not None]
    n = len(given[0])
    rows = TrackRows(
        frame=np.arange(n),
        time=np.arange(n) / FPS,
        ok=np.ones(n, bool),
        translation=np.tile([20.0, -10.0, 800.0], (n, 1)) if translation is None else translation,
        euler=np.zeros((n, 3)) if euler is None else euler,
        expression=np.zeros((n, 2)) if expression is None else expression,
    )
    return dataclasses.replace(rows, **changes)  # type: ignore[arg-type]


def part(rows: TrackRows, which: slice | np.ndarray) -> TrackRows:
    cut = None if rows.cut is None else rows.cut[which]
    return TrackRows(*(getattr(rows, name)[which] for name in FIELDS), cut=cut)


def same(a: TrackRows, b: TrackRows) -> bool:
    return all(getattr(a, f).tobytes() == getattr(b, f).tobytes() for f in FIELDS)


def step(u: np.ndarray) -> np.ndarray:
    """From 0 to 1 while u does, with least jerk: how limbs and heads move (Flash & Hogan 1985)."""
    u = np.clip(u, 0, 1)
    return u**3 * (10 - 15 * u + 6 * u * u)


def head(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """(n,) degrees: sway, turns of 0.2 to 0.6 s, nods of 1.5 to 4 Hz."""
    y = sum(
        rng.normal() * np.sin(2 * np.pi * rng.uniform(0.1, 0.8) * t + rng.uniform(0, 7))
        for _ in range(4)
    )
    at = rng.uniform(0, 2)
    while at < t[-1]:
        kind = rng.random()
        if kind < 0.5:
            turn, back = rng.normal() * 10, at + rng.uniform(0.6, 2.5)
            y = y + turn * step((t - at) / rng.uniform(0.2, 0.6))
            y = y - turn * step((t - back) / rng.uniform(0.25, 0.7))
        elif kind < 0.75:
            nods, rate = rng.integers(2, 5), rng.uniform(1.5, 4)
            u = np.clip((t - at) * rate / nods, 0, 1)
            y = y + rng.uniform(1, 5) * np.sin(2 * np.pi * nods * u) * np.sin(np.pi * u)
        at += rng.uniform(0.5, 3)
    return np.asarray(y)


def pulse(t: np.ndarray, at: float, onset: float, hold: float, offset: float) -> np.ndarray:
    return step((t - at) / onset) - step((t - at - onset - hold) / offset)


def face(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """(n, 3): blinks, expressions that are held, syllables."""
    out = np.zeros((len(t), 3))
    for column, (pause, low) in enumerate(
        (((0.6, 3.0), 0.6), ((1.0, 4.0), 0.2), ((0.2, 0.4), 0.1))
    ):
        at = rng.uniform(0.3, 1)
        while at < t[-1] - 0.5:
            high = rng.uniform(low, low + 0.4)
            if column == 0:
                shape = rng.uniform(0.05, 0.1), rng.uniform(0, 0.05), rng.uniform(0.1, 0.2)
            elif column == 1:
                shape = rng.uniform(0.1, 0.5), rng.uniform(0.2, 2), rng.uniform(0.1, 0.8)
            else:
                shape = (rng.uniform(0.06, 0.15), 0.0, rng.uniform(0.06, 0.15))
            out[:, column] += high * pulse(t, at, *shape)
            at += rng.uniform(*pause) + (sum(shape) if column == 1 else 0.0)
    return out


def person(seed: int, n: int = 600, times: np.ndarray | None = None) -> tuple[TrackRows, TrackRows]:
    """A moving, acting head: the truth, and as the fit might see it."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / FPS if times is None else times
    angles = np.deg2rad(np.stack([head(rng, t) for _ in range(3)], axis=1))
    place = np.stack([40 + 60 * angles[:, 1], 60 * angles[:, 0], 800 + 3 * head(rng, t)], axis=1)
    truth = track(place, angles, 0.2 + face(rng, t), time=t)
    z = place[:, 2:] + SIGMA[0][2] * rng.normal(size=(n, 1))
    sight = place[:, :2] / place[:, 2:] + SIGMA[0][:2] / 800 * rng.normal(size=(n, 2))
    seen = dataclasses.replace(
        truth,
        translation=np.concatenate([sight * z, z], axis=1),
        euler=angles + SIGMA[1] * rng.normal(size=(n, 3)),
        expression=truth.expression + SIGMA[2] * rng.normal(size=(n, 3)),
    )
    return truth, seen
