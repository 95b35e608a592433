"""How well the fit does on synthetic people of known pose, identity and expression.

The people are drawn from ICT-FaceKit at its 68 landmarks: identity coefficients of standard
deviation 0.7, 20 frames a person, 4 random blendshapes a frame at 0.2-1, yaw within 50 degrees,
pitch and roll within 30, a field of view of 30 degrees, 130 px between the outer eye corners, noise
of 1 px and 5 % of the points wrong by 15 px. They are fitted with ICT's own model and with the
built-in one, which was not made from them and cannot make them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.makefaces import CAMERA, SIZE, Truth, ict, random_person, seen

from facemake.backends.aus import AU_COLUMNS
from facemake.backends.aus.proxy import create
from facemake.backends.fit import builtin
from facemake.backends.fit.fitter import Fitter, FrameFits
from facemake.backends.fit.localize import Localizer
from facemake.backends.fit.model import LinearFaceModel

Array = NDArray[np.float64]

LARGEST = 30
"""Blendshapes whose correlation counts: those that move the 68 points most."""

PROXIES = {
    "AU01": "browInnerUp",
    "AU02": "browOuterUp",
    "AU04": "browDown",
    "AU12": "mouthSmile",
    "AU26": "jawOpen",
    "AU45": "eyeBlink",
}
"""Action unit -> the blendshape that it stands for (both sides where there are two)."""


@dataclass
class Seen:
    """All frames of all people, as they are and as they were found."""

    pose: Array
    translation: Array
    distance: Array
    canonical: Array
    found: Array
    known: Array
    aus: Array
    ok: float
    identity_s: float
    frame_s: float


def run(models: Path, people: int) -> None:
    """Print the accuracy with ICT's model and with the built-in one."""
    truth_model = ict(models)
    truths = [random_person(truth_model, 1000 + seed) for seed in range(people)]
    for model in (truth_model, builtin.load_builtin()):
        own = model is truth_model
        seen_ = fit_people(truths, model)
        print(f"\n{model.name}: {people} people, {len(seen_.pose)} frames, {seen_.ok:.1%} fitted")
        print("  pitch, yaw, roll: " + ", ".join(f"{v:.2f}" for v in seen_.pose) + " degrees")
        if own:
            print(f"  translation: {seen_.translation.mean():.1%} of the distance")
        print(f"  canonical landmarks: {seen_.canonical.mean():.2f} mm")
        if own:
            _print_expressions(truth_model, seen_)
        _print_aus(truth_model, seen_)
        print(
            f"  identity {seen_.identity_s:.2f} s a person; pose and expression "
            f"{1e3 * seen_.frame_s:.2f} ms a frame (512 frames a call)"
        )
        for noise in (0.0, 1.0):
            print(
                f"  neutral turning head, {noise:g} px: {neutral_head(model, truth_model, noise)}"
            )


def fit_people(truths: list[Truth], model: LinearFaceModel) -> Seen:
    """Fit every person and put the errors together."""
    parts: dict[str, list[Array]] = {
        k: [] for k in ("pose", "translation", "canonical", "found", "known", "aus")
    }
    good, identity_s = [], []
    localizer = Localizer(model, builtin.load_builtin())
    fit = Fitter(model, CAMERA, size=SIZE)
    for truth in truths:
        start = time.process_time()
        who = fit.fit_identity(truth.points)
        identity_s.append(time.process_time() - start)
        fits = fit.fit_frames(truth.points, who)
        ok = fits.ok
        good.append(ok)
        parts["pose"].append(np.rad2deg(np.abs(fits.euler - truth.angles))[ok])
        away = np.linalg.norm(fits.translation - truth.translation, axis=1)
        parts["translation"].append((away / np.linalg.norm(truth.translation, axis=1))[ok])
        apart = fits.canonical.reshape(-1, 51, 3) - truth.canonical
        parts["canonical"].append(np.linalg.norm(apart, axis=-1)[ok].mean(axis=-1))
        parts["found"].append(fits.expression[ok])
        parts["known"].append(truth.expression[ok])
        parts["aus"].append(action_units(fits, localizer)[ok])
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    points = np.concatenate([t.points for t in truths])[:512]
    fit.fit_frames(points, who)
    start = time.process_time()
    fit.fit_frames(points, who)
    return Seen(
        pose=joined["pose"].mean(axis=0),
        translation=joined["translation"],
        distance=joined["translation"],
        canonical=joined["canonical"],
        found=joined["found"],
        known=joined["known"],
        aus=joined["aus"],
        ok=float(np.concatenate(good).mean()),
        identity_s=float(np.median(identity_s)),
        frame_s=(time.process_time() - start) / len(points),
    )


def action_units(fits: FrameFits, localizer: Localizer) -> Array:
    """(n, 35) of one person's frames, as the stage `aus` has them."""
    estimator = create(localizer.names)
    local = localizer(fits.expression)
    estimator.look(local)
    return estimator.estimate(local)


def correlation(a: Array, b: Array) -> float:
    """Pearson's; 0 where one does not vary."""
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _print_expressions(model: LinearFaceModel, seen_: Seen) -> None:
    size = np.sqrt((model.expression**2).sum(axis=(1, 2)))
    largest = np.argsort(-size)[:LARGEST]
    r = {
        model.expression_names[k]: correlation(seen_.found[:, k], seen_.known[:, k])
        for k in largest
    }
    print(
        f"  expression, median correlation of the {LARGEST} largest: {np.median([*r.values()]):.3f}"
    )
    print("   ", ", ".join(f"{name} {value:.2f}" for name, value in sorted(r.items())))
    unseen = [model.expression_names[k] for k in np.flatnonzero(size < 1.0)]
    print(f"    moving the 68 points by less than 1 mm in all: {', '.join(unseen) or 'none'}")


def _print_aus(model: LinearFaceModel, seen_: Seen) -> None:
    words = []
    for au, shape in PROXIES.items():
        columns = [
            k
            for k, name in enumerate(model.expression_names)
            if name in (shape, f"{shape}_L", f"{shape}_R")
        ]
        ours = seen_.aus[:, AU_COLUMNS.index(f"{au}_r")]
        words.append(f"{au} {correlation(ours, seen_.known[:, columns].mean(axis=1)):.2f}")
    print("  action unit proxies with their blendshapes:", ", ".join(words))


def neutral_head(model: LinearFaceModel, truth_model: LinearFaceModel, noise: float) -> str:
    """The largest and the 95th percentile of every AU of neutral heads that turn."""
    t = np.linspace(0, 2 * np.pi, 90)
    angles = np.stack([25 * np.sin(2 * t), 45 * np.sin(t), 20 * np.cos(3 * t)], axis=1)
    worst = np.zeros(17)
    high = np.zeros(17)
    localizer = Localizer(model, builtin.load_builtin())
    people = 6
    for seed in range(people):
        rng = np.random.default_rng(seed)
        who = rng.normal(size=len(truth_model.identity)) * 0.7
        truth = seen(
            truth_model,
            angles,
            np.zeros((len(t), len(truth_model.expression))),
            identity=who,
            noise=noise,
            rng=rng,
        )
        fit = Fitter(model, CAMERA, size=SIZE)
        aus = action_units(fit.fit_frames(truth.points, fit.fit_identity(truth.points)), localizer)
        worst = np.fmax(worst, np.nanmax(aus[:, :17], axis=0))
        high += np.nanquantile(aus[:, :17], 0.95, axis=0) / people
    names = [column[:4] for column in AU_COLUMNS[:17]]
    order = np.argsort(-worst)
    return "largest " + ", ".join(
        f"{names[k]} {worst[k]:.2f} (p95 {high[k]:.2f})" for k in order[:8]
    )
