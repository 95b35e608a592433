"""How well the fit does on synthetic people of known pose, identity and expression.

The people are drawn from ICT-FaceKit at its 68 landmarks: identity coefficients of standard
deviation 0.7, 20 frames a person, 4 random blendshapes a frame at 0.2-1, yaw within 50 degrees,
pitch and roll within 30, a field of view of 30 degrees, 130 px between the outer eye corners, noise
of 1 px and 5 % of the points wrong by 15 px. They are fitted with ICT's own model and with the
built-in one, which was not made from them and cannot make them. With ICT's model, too, at the 468
points of FaceMesh, each with the same noise. Neutral heads that turn for three seconds at 30 frames
a second show what moves that should not.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.makefaces import CAMERA, SIZE, Truth, proportions, random_person, seen

from facemake import schemes
from facemake.backends.aus import AU_COLUMNS
from facemake.backends.aus.proxy import create
from facemake.backends.fit import builtin
from facemake.backends.fit.fitter import Fitter
from facemake.backends.fit.localize import Localizer
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.modelfile import model_of
from facemake.backends.fit.smooth import SmoothSettings, TrackRows, smooth_track
from facemake.backends.fit.sources import ict_facekit

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
    canonical: Array
    found: Array
    known: Array
    aus: Array
    ok: float
    identity_s: float
    frame_s: float
    clean_s: float


def run(ict: Path, people: int) -> None:
    """Print the accuracy with ICT's model and with the built-in one.

    Args:
        ict: what `facemake models build ict-facekit` takes, or the file that it wrote.
        people: how many.
    """
    content = ict_facekit.read(ict)
    own = model_of(content, ict.name)
    dense = (
        model_of(content, ict.name, schemes.MEDIAPIPE478)
        if "landmarks_mediapipe478" in content
        else None
    )
    truths = [random_person(own, 1000 + seed) for seed in range(people)]
    print(f"{people} people of ICT-FaceKit, {len(truths[0].points)} frames each")
    _print_all("ICT's model", truths, own, own)
    _print_all("the built-in model", truths, builtin.load_builtin(), own)
    if dense is not None:
        meshes = [random_person(dense, 1000 + seed) for seed in range(people)]
        _print_all(f"ICT's model at {dense.n_points} points of FaceMesh", meshes, dense, dense)
    for name, model in (("ICT's model", own), ("the built-in model", builtin.load_builtin())):
        for noise in (0.0, 1.0):
            for strength in (0.0, 1.0):
                print(
                    f"neutral turning head, {name}, {noise:g} px of noise, smoothing {strength:g}: "
                    + neutral_head(model, own, noise, strength)
                )


def _print_all(
    name: str, truths: list[Truth], model: LinearFaceModel, truth_model: LinearFaceModel
) -> None:
    own = model is truth_model
    found = fit_people(truths, model)
    print(f"\n{name}: {found.ok:.1%} of the frames fitted")
    print("  pitch, yaw, roll: " + ", ".join(f"{v:.2f}" for v in found.pose) + " degrees off")
    print(f"  translation: {found.translation.mean():.1%} of the distance")
    print(f"  canonical landmarks: {found.canonical.mean():.2f} mm")
    if own:
        _print_expressions(truth_model, found)
    _print_aus(truth_model, found)
    print(
        f"  identity {found.identity_s:.2f} s of CPU a person; pose and expression "
        f"{1e3 * found.frame_s:.2f} ms a frame with outliers, {1e3 * found.clean_s:.2f} ms without"
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
        parts["aus"].append(action_units(fits.expression, localizer)[ok])
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    return Seen(
        pose=joined["pose"].mean(axis=0),
        translation=joined["translation"],
        canonical=joined["canonical"],
        found=joined["found"],
        known=joined["known"],
        aus=joined["aus"],
        ok=float(np.concatenate(good).mean()),
        identity_s=float(np.median(identity_s)),
        frame_s=_seconds(fit, truths[0].points),
        clean_s=_seconds(fit, fit.project(fit.fit_frames(truths[0].points, who), who)),
    )


def _seconds(fit: Fitter, points: Array) -> float:
    """CPU time a frame, of 512 frames of one person in a call; the best of three."""
    points = points[np.isfinite(points).all(axis=(1, 2))]
    many = np.tile(points, (-(-512 // len(points)), 1, 1))[:512]
    who = fit.fit_identity(points)
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        fit.fit_frames(many, who)
        best = min(best, (time.process_time() - start) / len(many))
    return best


def action_units(expression: Array, localizer: Localizer) -> Array:
    """(n, columns) of one person's frames, as the stage `aus` has them."""
    estimator = create(localizer.names)
    local = localizer(expression)
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


def neutral_head(
    model: LinearFaceModel, truth_model: LinearFaceModel, noise: float, strength: float
) -> str:
    """The largest and the 95th percentile of every AU of neutral heads that turn."""
    t = np.linspace(0, 2 * np.pi, 90)
    angles = np.stack([25 * np.sin(2 * t), 45 * np.sin(t), 20 * np.cos(3 * t)], axis=1)
    worst, high, people = np.zeros(17), np.zeros(17), 6
    localizer = Localizer(model, builtin.load_builtin())
    still = np.zeros((len(t), len(truth_model.expression)))
    fit = Fitter(model, CAMERA, size=SIZE)
    for seed in range(people):
        rng = np.random.default_rng(seed)
        who = proportions(truth_model, rng, 0.7)
        points = seen(truth_model, angles, still, identity=who, noise=noise, rng=rng).points
        fits = fit.fit_frames(points, fit.fit_identity(points))
        rows = TrackRows(
            frame=np.arange(len(t)),
            time=np.arange(len(t)) / 30,
            ok=fits.ok,
            translation=fits.translation,
            euler=fits.euler,
            expression=fits.expression,
        )
        bounds = (model.expression_lower, model.expression_upper)
        smoothed = smooth_track(rows, SmoothSettings(strength=strength), *bounds)
        aus = action_units(smoothed.expression, localizer)[fits.ok, :17]
        worst = np.maximum(worst, aus.max(axis=0))
        high += np.quantile(aus, 0.95, axis=0) / people
    names = [column[:4] for column in AU_COLUMNS[:17]]
    order = np.argsort(-worst)[:6]
    return f"at most {worst.max():.2f}; " + ", ".join(
        f"{names[k]} {worst[k]:.2f} (95 % of frames below {high[k]:.2f})" for k in order
    )
