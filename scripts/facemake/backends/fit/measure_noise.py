"""Measure the noise of the localized expressions of faces that are still.

`python -m facemake.backends.fit.measure_noise [PICTURE ...]` writes `data/expression_noise.csv` and
`data/expression_noise.md`, and the file's SHA-256 into config/models.yaml. It is no part of the
workflow; run it again when the built-in model, the fit or the default networks change (1 minute).

A picture cannot change its expression: whatever differs between two views of it is noise of the
measurement. So each face of the two public-domain portraits that installed packages carry
(`facemake.bundled`), and of the pictures on the command line, is shown `VIEWS` times: moved by a
known similarity, turned a little out of the picture's plane, blurred, made brighter or darker,
given a sensor's grain and JPEG's artefacts. Each view goes through the default detector and
landmark network and the fit of the built-in model, as a clip in the workflow does: one identity for
all views of a face, then pose and expression of each.

**Turning** is done on the surface that FaceMesh sees in the picture: its depth, brought to size by
the same rule as the built-in mean face (`bootstrap.EYE_TO_NOSE_DEPTH`), is continued smoothly over
the whole picture (thin-plate spline; Duchon 1977; Wahba, Spline Models for Observational Data,
1990), each pixel is taken to where the turned surface has it, and the picture is resampled. That
is good for the angles used here, where hardly anything of a face hides anything else.

**Statistics.** Of coefficient k in view v of face f, the deviation is d = c_fvk - median_v c_fvk:
what a face shows at rest beyond its own neutral. A person's neutral is no noise: it is taken away
first. Deviations of all views and faces, and of both sides of the face (noise knows no side), are
pooled: m is their median, w the half-width of the band about m that holds `BAND` of them, sigma
their standard deviation by the median absolute deviation (times 1.4826; Hampel, JASA 69, 1974),
and at least w / 1.96, which it is for a Gaussian: most coefficients are at their bound, 0, in most
views, and have no median deviation. Neither w nor sigma is below `FLOOR`.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.detect import DETECTORS
from facemake.backends.fit import builtin
from facemake.backends.fit.bootstrap import EYE_DISTANCE, EYE_TO_NOSE_DEPTH
from facemake.backends.fit.fitter import Fitter
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.normalize import NAME, PATH, NoiseStatistics
from facemake.backends.landmarks import LANDMARKERS, Face
from facemake.bundled import PORTRAITS, portrait_path
from facemake.geometry import Camera
from facemake.models import REGISTRY
from facemake.runtime.atomic import write_text

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

VIEWS = 120
"""Views of each face."""

SIZE = (640, 480)
"""Width and height of a view, px."""

BAND = 0.95
FLOOR = 0.01
"""Smallest w and sigma: a hundredth of a full movement, a tenth of a millimetre or less."""

TURN = np.deg2rad([12.0, 20.0, 20.0])
"""Largest pitch, yaw and roll of a view."""
EYES_PX = (60.0, 150.0)
"""Outer eye distance in a view."""
_BLUR = 1.2
_GAIN = (0.6, 1.4)
_GAMMA = (0.8, 1.25)
_GRAIN = 4.0
_QUALITY = (40, 96)
_GRID = 33
_STIFFNESS = 1e-3
_FOV = 30.0


@dataclass(frozen=True)
class Still:
    """A face in a picture, and the surface that it is turned on."""

    name: str
    sha256: str
    rgb: Picture
    middle: Array
    """(2,) px, between the outer eye corners."""
    eyes: float
    """px between the outer eye corners."""
    depth: Array
    """(H, W) px away from the camera, 0 at the outer eye corners."""


@dataclass(frozen=True)
class View:
    """How a face is shown: a turn, a similarity, and what a camera does to a picture."""

    angles: Array
    """(3,) rad, pitch, yaw, roll."""
    eyes: float
    """px between the outer eye corners, before the turn."""
    at: Array
    """(2,) px, where the middle between the eyes comes to lie."""
    blur: float
    gain: float
    gamma: float
    grain: float
    quality: int


class Chain:
    """The default detector and landmark network: a picture in, iBUG-68 of its main face out."""

    def __init__(self) -> None:
        row = DETECTORS["mediapipe"]
        self._least = row.start_score
        self._detect = row.create(row.models[0], row.min_score, "cpu")
        self._mark = LANDMARKERS["mediapipe478"].network()

    def __call__(self, rgb: Picture) -> list[tuple[Array, Array]]:
        """Points (478, 2) and depths (478,) in px of the faces of a picture, by falling score."""
        (found,) = self._detect([rgb])
        sure = found.score >= self._least
        faces = [
            Face.of(rgb, box, five)
            for box, five in zip(found.bbox[sure], found.keypoints5[sure], strict=True)
        ]
        seen = []
        for face in faces:
            (marks,) = self._mark([face])
            if marks is None or marks.depth is None or (marks.confidence or 0) < 0.5:
                continue
            seen.append((marks.points.astype(np.float64), marks.depth.astype(np.float64)))
        return seen

    def close(self) -> None:
        """Free the models."""
        self._detect.close()
        self._mark.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the file and its description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", type=Path, help="more pictures of faces")
    parser.add_argument("--views", type=int, default=VIEWS, help="of each face")
    parser.add_argument("--output", type=Path, default=PATH)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    model = builtin.load_builtin()
    chain = Chain()
    stills = [
        still
        for path in (*map(portrait_path, PORTRAITS), *options.pictures)
        for still in look(path, chain)
    ]
    seen = [observe(still, chain, model, options.views, seed) for seed, still in enumerate(stills)]
    chain.close()
    statistics = summarise(seen, model)
    statistics.save(options.output)
    sidecar = options.output.with_suffix(".md")
    sidecar.write_text(describe(statistics, stills, seen, options.output), encoding="utf-8")
    if options.output == PATH:
        register(PATH)
    print(f"{options.output}: {len(stills)} faces, {sum(map(len, seen))} views; {sidecar}")


def register(path: Path, registry: Path = REGISTRY) -> None:
    """Write SHA-256 and size of the statistics into their row of the registry of models."""
    data = path.read_bytes()
    row = rf"(\n{NAME}:\n(?:  .*\n)*?  sha256: )\w+(\n  bytes: )\d+"
    said = rf"\g<1>{hashlib.sha256(data).hexdigest()}\g<2>{len(data)}"
    text, count = re.subn(row, said, registry.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{registry} has no row {NAME}")
    write_text(registry, text)


def look(path: Path, chain: Chain) -> Iterator[Still]:
    """The faces of a picture.

    Raises:
        ValueError: where there is none, or no picture.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{path} is no picture")
    rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    faces = chain(rgb)
    if not faces:
        raise ValueError(f"no face is found in {path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for number, (points, depth) in enumerate(faces):
        face = schemes.convert(
            np.column_stack([points, depth]), schemes.MEDIAPIPE478, schemes.IBUG68
        )
        left, right = (face[i] for i in schemes.EYE_CORNERS_IBUG68)
        middle = 0.5 * (left + right)
        eyes = float(np.linalg.norm((right - left)[:2]))
        relief = middle[2] - face[30, 2]
        scale = eyes * EYE_TO_NOSE_DEPTH / EYE_DISTANCE / relief
        surface = scale * (depth - middle[2])
        name = path.name if len(faces) == 1 else f"{path.name}#{number}"
        field = depth_field(points, surface, (rgb.shape[1], rgb.shape[0]))
        yield Still(name, digest, rgb, middle[:2], eyes, field)


def depth_field(points: Array, depth: Array, size: tuple[int, int]) -> Array:
    """(H, W) depth of every pixel from that of some points: a stiff thin-plate spline.

    Beyond the points it goes on rising; it is held to the largest depth that the points have.

    Args:
        points: (n, 2) px.
        depth: (n,) px.
        size: width and height, px.
    """
    scale = float(np.ptp(points, axis=0).max())
    p = (points - points.mean(axis=0)) / scale
    n = len(p)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _spline(p, p) + _STIFFNESS * np.eye(n)
    system[:n, n] = system[n, :n] = 1.0
    system[:n, n + 1 :] = p
    system[n + 1 :, :n] = p.T
    weights = np.linalg.solve(system, np.concatenate([depth, np.zeros(3)]))
    x, y = np.meshgrid(*(np.linspace(0, side - 1, _GRID) for side in size))
    at = (np.stack([x.ravel(), y.ravel()], axis=1) - points.mean(axis=0)) / scale
    coarse = _spline(at, p) @ weights[:n] + weights[n] + at @ weights[n + 1 :]
    coarse = np.clip(coarse.reshape(_GRID, _GRID), depth.min(), depth.max())
    # cv2.resize has the first and the last sample half a step inside: remap has them at the edge
    u, v = np.meshgrid(*(np.linspace(0, _GRID - 1, side) for side in size))
    smooth = cv2.remap(
        coarse.astype(np.float32),
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(smooth, dtype=np.float64)


def _spline(a: Array, b: Array) -> Array:
    """(n, m) r^2 log r between points (n, 2) and (m, 2)."""
    square = ((a[:, None] - b[None]) ** 2).sum(axis=-1)
    return np.asarray(0.5 * square * np.log(np.maximum(square, 1e-12)))


def views(count: int, seed: int) -> Iterator[View]:
    """Views that fill the ranges of this module evenly (Halton), the same for a seed."""
    offset = np.random.default_rng(seed).random(11)
    for i in range(count):
        u = [(_halton(i + 1, base) + o) % 1.0 for base, o in zip(_PRIMES, offset, strict=True)]
        low, high = EYES_PX
        yield View(
            angles=TURN * (2 * np.array(u[:3]) - 1),
            eyes=low * (high / low) ** u[3],
            at=np.array(SIZE) * [0.35 + 0.3 * u[4], 0.35 + 0.2 * u[5]],
            blur=_BLUR * u[6],
            gain=_GAIN[0] + (_GAIN[1] - _GAIN[0]) * u[7],
            gamma=_GAMMA[0] + (_GAMMA[1] - _GAMMA[0]) * u[8],
            grain=_GRAIN * u[9],
            quality=int(_QUALITY[0] + (_QUALITY[1] - _QUALITY[0]) * u[10]),
        )


_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31)


def _halton(index: int, base: int) -> float:
    value, share = 0.0, 1.0
    while index:
        share /= base
        value += share * (index % base)
        index //= base
    return value


def render(still: Still, view: View, grain: np.random.Generator) -> Picture:
    """(480, 640, 3) uint8 RGB: the picture as the view has it."""
    scale = view.eyes / still.eyes
    rotation = geometry.rotation_from_euler(view.angles)
    x, y = np.meshgrid(*(np.arange(side, dtype=np.float64) for side in SIZE))
    wanted = (np.stack([x, y], axis=-1) - view.at) / scale
    # where the turned surface comes to lie is known forward; backward by a fixed point
    inverse = np.linalg.inv(rotation[:2, :2])
    source = wanted @ inverse.T
    for _ in range(12):
        at = source + still.middle
        depth = cv2.remap(
            still.depth.astype(np.float32),
            at[..., 0].astype(np.float32),
            at[..., 1].astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        source = (wanted - depth[..., None] * rotation[:2, 2]) @ inverse.T
    at = (source + still.middle).astype(np.float32)
    shrunk, factor = _shrunk(still.rgb, scale)
    out = cv2.remap(
        shrunk,
        (at[..., 0] + 0.5) * factor - 0.5,
        (at[..., 1] + 0.5) * factor - 0.5,
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if view.blur > 0.1:
        out = cv2.GaussianBlur(out, (0, 0), view.blur)
    light = 255 * np.clip(view.gain * (out / 255.0) ** view.gamma, 0, 1)
    light += view.grain * grain.standard_normal(light.shape[:2])[..., None]
    noisy = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(
        ".jpg", cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, view.quality]
    )
    return np.asarray(
        cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), dtype=np.uint8
    )


def _shrunk(rgb: Picture, scale: float) -> tuple[Picture, float]:
    """The picture no finer than the view needs it, so that resampling it does not alias."""
    factor = min(1.0, 1.25 * scale)
    if factor == 1.0:
        return rgb, 1.0
    return cv2.resize(rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), factor


def observe(still: Still, chain: Chain, model: LinearFaceModel, count: int, seed: int) -> Array:
    """(n, K) localized coefficients of the views of a face in which it is found and fitted."""
    rng = np.random.default_rng(seed)
    points = []
    for view in views(count, seed):
        faces = chain(render(still, view, rng))
        near = [p for p, _ in faces if np.linalg.norm(_middle(p) - view.at) < view.eyes]
        if near:
            points.append(schemes.convert(near[0], schemes.MEDIAPIPE478, schemes.IBUG68))
    fit = Fitter(model, Camera.from_fov(*SIZE, _FOV), size=SIZE)
    fits = fit.fit_frames(np.stack(points), fit.fit_identity(np.stack(points)))
    return fits.expression[fits.ok]


def _middle(points: Array) -> Array:
    face = schemes.convert(points, schemes.MEDIAPIPE478, schemes.IBUG68)
    return np.asarray(face[list(schemes.EYE_CORNERS_IBUG68)].mean(axis=0))


def summarise(seen: Sequence[Array], model: LinearFaceModel) -> NoiseStatistics:
    """Centre, half-width and scale of the deviations of all faces; the module says how.

    Args:
        seen: of each face, (n, K) coefficients of its views.
        model: whose coefficients they are.
    """
    away = np.concatenate([values - np.median(values, axis=0) for values in seen])
    names = list(model.expression_names)
    rows = np.zeros((len(names), 3))
    for k, name in enumerate(names):
        pooled = away[:, [k, _other_side(names, name)]].ravel()
        centre = float(np.median(pooled))
        apart = np.abs(pooled - centre)
        width = float(np.quantile(apart, BAND))
        sigma = max(1.4826 * float(np.median(apart)), width / 1.96)
        rows[k] = centre, max(width, FLOOR), max(sigma, FLOOR)
    m, w, sigma = rows.T
    return NoiseStatistics(model.expression_names, m, w, sigma, model.name, model.sha256)


def _other_side(names: list[str], name: str) -> int:
    """Where the same movement of the other side of the face is; of a middle one, itself."""
    other = {"_l": "_r", "_r": "_l"}.get(name[-2:])
    return names.index(name[:-2] + other) if other else names.index(name)


def describe(
    statistics: NoiseStatistics, stills: Sequence[Still], seen: Sequence[Array], output: Path
) -> str:
    """The sidecar: what was looked at, how, and what was found."""
    lines = [
        "# Noise of the localized expressions",
        "",
        f"{output.name}: of each coefficient of {statistics.model} (SHA-256 "
        f"{statistics.model_sha256}) what it shows in views of a face that keeps still. Made by "
        "`python -m facemake.backends.fit.measure_noise`, whose docstring says how; do not edit.",
        "",
        f"Views of each face, {SIZE[0]}x{SIZE[1]} px: {EYES_PX[0]:.0f} to {EYES_PX[1]:.0f} "
        "px between the outer eye corners, pitch, yaw and roll within "
        f"{', '.join(f'{a:.0f}' for a in np.rad2deg(TURN))} degrees, blur up to {_BLUR:g} px, "
        f"brightness times {_GAIN[0]:g} to {_GAIN[1]:g}, gamma {_GAMMA[0]:g} to {_GAMMA[1]:g}, "
        f"grain up to {_GRAIN:g} of 255, JPEG quality {_QUALITY[0]} to {_QUALITY[1] - 1}. Default "
        "detector, landmark network and fit; one identity a face.",
        "",
        "| face | SHA-256 of the picture | views found and fitted |",
        "|---|---|---|",
    ]
    for still, values in zip(stills, seen, strict=True):
        lines.append(f"| {still.name} | {still.sha256[:16]}… | {len(values)} |")
    lines += [
        "",
        "eileen_collins (NASA, 1999) and grace_hopper (US Navy, 1984) are in the public domain; "
        "no picture is in the file. Two faces are few: what differs between people other than in "
        "their neutral is hardly in these numbers, nor is what hands, hair and glasses do.",
        "",
        "m: median of the deviations from the face's own neutral (its median). w: half-width of "
        f"the band about m that holds {BAND:.0%} of them. sigma: their robust standard deviation. "
        f"w and sigma are at least {FLOOR:g}. 1 is a full movement.",
        "",
        "| coefficient | m | w | sigma |",
        "|---|---|---|---|",
    ]
    for name, *row in zip(
        statistics.names, statistics.m, statistics.w, statistics.sigma, strict=True
    ):
        lines.append(f"| {name} | " + " | ".join(f"{v:.3f}" for v in row) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
