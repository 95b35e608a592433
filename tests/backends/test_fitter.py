"""The fit against faces of known pose, expression and identity, and against what is no face."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facemake import geometry, schemes
from facemake.backends.fit import builtin
from facemake.backends.fit.fitter import Fitter, FrameFits
from facemake.backends.fit.identity import MAX_FRAMES, Identity
from facemake.geometry import Camera
from makefaces import CAMERA, SIZE, Truth, ict, proportions, random_person, seen

MODEL = builtin.load_builtin()
NAMES = MODEL.expression_names
FIELDS = FrameFits.__dataclass_fields__


def fitter() -> Fitter:
    return Fitter(MODEL, CAMERA, size=SIZE)


def coefficient(name: str, value: float = 1.0) -> np.ndarray:
    row = np.zeros(len(NAMES))
    row[NAMES.index(name)] = value
    return row


def mean_person() -> Identity:
    return Identity(np.zeros(len(MODEL.identity)), MODEL.neutral(), 1, 0.0)


def pose_errors(fits: FrameFits, truth: Truth) -> np.ndarray:
    return np.rad2deg(np.abs(fits.euler - truth.angles))


def same(a: FrameFits, b: FrameFits) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f), equal_nan=True) for f in FIELDS)


def test_a_known_head_gives_back_its_pose() -> None:
    """Signs as `facemake.geometry` states them: nose down, nose to the image's left, clockwise."""
    angles = np.array([[0, 0, 0], [20, 0, 0], [0, 20, 0], [0, 0, 20], [-15, 30, -25]])
    shift = np.array([[0, 0], [10, 0], [0, -20], [30, 30], [-40, 5]])
    truth = seen(MODEL, angles, np.zeros((5, len(NAMES))), shift=shift)
    fits = fitter().fit_frames(truth.points, mean_person())
    assert fits.ok.all()
    assert pose_errors(fits, truth).max() < 0.01
    assert np.abs(fits.translation - truth.translation).max() < 0.1
    assert fits.error_px.max() < 0.01
    tip = truth.points[:, 30] - truth.points[:, 27]
    assert tip[1, 1] > tip[0, 1] + 5, "pitch > 0: the nose points down"
    assert tip[2, 0] < tip[0, 0] - 5, "yaw > 0: the nose points to the image's left"
    eyes = truth.points[:, 45] - truth.points[:, 36]
    assert eyes[3, 1] > 20, "roll > 0: clockwise in the image"


@pytest.mark.parametrize("name", NAMES)
def test_each_expression_is_found_as_itself(name: str) -> None:
    # A face that comes forward is seen to move from the side alone.
    yaw = 35 if name.startswith(("cheek_puff", "jaw_thrust")) else 12
    angles = np.array([[5, yaw, 0], [0, -yaw - 3, 5]])
    truth = seen(MODEL, angles, np.stack([coefficient(name, 0.8)] * 2))
    fits = fitter().fit_frames(truth.points, replace(mean_person(), noise=0.006))
    found = fits.expression.mean(axis=0)
    assert fits.ok.all()
    # The prior pulls on all of them; on what moves two points by 2.5 mm, most.
    assert found[NAMES.index(name)] > (0.25 if name.startswith("nose_flare") else 0.4)
    assert found.argmax() == NAMES.index(name)
    assert (fits.expression >= 0).all()


def test_people_with_expressions_noise_and_outliers() -> None:
    pose, canonical, tz, correlation = [], [], [], []
    for seed in range(6):
        truth = random_person(MODEL, seed, spread=1.0)
        fit = fitter()
        who = fit.fit_identity(truth.points)
        fits = fit.fit_frames(truth.points, who)
        assert fits.ok.mean() >= 0.95
        pose.append(pose_errors(fits, truth)[fits.ok])
        found = fits.canonical.reshape(-1, 51, 3)
        canonical.append(np.linalg.norm(found - truth.canonical, axis=-1)[fits.ok].ravel())
        tz.append(np.abs(fits.translation[:, 2] / truth.translation[:, 2] - 1)[fits.ok])
        correlation.append((fits.expression[fits.ok], truth.expression[fits.ok]))
    assert (np.concatenate(pose).mean(axis=0) < [1.2, 1.0, 0.5]).all()
    assert np.concatenate(canonical).mean() < 1.0
    assert np.concatenate(tz).mean() < 0.05
    found, known = (np.concatenate([c[i] for c in correlation]) for i in (0, 1))
    r = {n: np.corrcoef(found[:, i], known[:, i])[0, 1] for i, n in enumerate(NAMES)}
    for name in ("jaw_open", "eye_close_l", "lip_corner_pull_r", "brow_outer_raise_l"):
        assert r[name] > 0.75, (name, r[name])
    assert np.median(list(r.values())) > 0.7


def test_ict_faces_with_its_own_model(shared: Path) -> None:
    model = ict(shared)
    pose, canonical = [], []
    for seed in range(3):
        truth = random_person(model, seed)
        fit = Fitter(model, CAMERA, size=SIZE)
        fits = fit.fit_frames(truth.points, fit.fit_identity(truth.points))
        pose.append(pose_errors(fits, truth)[fits.ok])
        found = fits.canonical.reshape(-1, 51, 3)
        canonical.append(np.linalg.norm(found - truth.canonical, axis=-1)[fits.ok].mean())
    assert (np.concatenate(pose).mean(axis=0) < [0.7, 0.5, 0.4]).all()
    assert np.mean(canonical) < 1.4


def test_ict_faces_with_the_builtin_model(shared: Path) -> None:
    """Faces that the built-in model was not made from and cannot make: the honest figure."""
    model = ict(shared)
    pose, ok, found, known = [], [], [], []
    for seed in range(6):
        truth = random_person(model, seed)
        fit = fitter()
        fits = fit.fit_frames(truth.points, fit.fit_identity(truth.points))
        pose.append(pose_errors(fits, truth)[fits.ok])
        ok.append(fits.ok)
        found.append(fits.expression[fits.ok])
        known.append(truth.expression[fits.ok])
    assert np.concatenate(ok).mean() > 0.97
    assert (np.concatenate(pose).mean(axis=0) < [2.5, 2.2, 0.9]).all()
    mine, theirs = np.concatenate(found), np.concatenate(known)
    # ICT's _L is the subject's left, the image's right.
    for ours, other, least in (
        ("jaw_open", "jawOpen", 0.85),
        ("eye_close_r", "eyeBlink_L", 0.7),
        ("brow_outer_raise_r", "browOuterUp_L", 0.4),
    ):
        a = mine[:, NAMES.index(ours)]
        b = theirs[:, model.expression_names.index(other)]
        assert np.corrcoef(a, b)[0, 1] > least, ours


def test_a_frame_does_not_depend_on_its_company() -> None:
    truth = random_person(MODEL, 7, frames=150)
    truth.points[40] = np.nan
    truth.points[90] *= 1e9
    fit = fitter()
    who = fit.fit_identity(truth.points)
    whole = fit.fit_frames(truth.points, who)
    for size in (1, 7, 64, 149):
        pieces = [fit.fit_frames(truth.points[i : i + size], who) for i in range(0, 150, size)]
        joined = FrameFits(**{f: np.concatenate([getattr(p, f) for p in pieces]) for f in FIELDS})
        assert same(joined, whole), f"pieces of {size} frames differ"
    order = np.random.default_rng(0).permutation(150)
    shuffled = fit.fit_frames(truth.points[order], who)
    assert same(shuffled, FrameFits(**{f: getattr(whole, f)[order] for f in FIELDS}))
    assert not whole.ok[[40, 90]].any() and whole.ok.sum() >= 145
    alone = fit.fit_pictures(truth.points[:20])
    one = fit.fit_pictures(truth.points[3:4])
    assert same(one, FrameFits(**{f: getattr(alone, f)[3:4] for f in FIELDS}))


_THREADS = """
import hashlib, sys
import numpy as np
sys.path[:0] = sys.argv[1:]
from facemake.backends.fit import builtin
from facemake.backends.fit.fitter import Fitter, FrameFits
from makefaces import CAMERA, ict, random_person
from pathlib import Path
digest = hashlib.sha256()
model = builtin.load_builtin()
fit = Fitter(model, CAMERA)
points = random_person(model, 3, frames=40).points
who = fit.fit_identity(points)
fits = fit.fit_frames(points, who)
for name in FrameFits.__dataclass_fields__:
    digest.update(getattr(fits, name).tobytes())
digest.update(who.coefficients.tobytes())
print(digest.hexdigest())
"""


def test_the_number_of_blas_threads_changes_no_bit() -> None:
    tests = Path(__file__).resolve().parents[1]
    folders = [str(tests), str(tests.parent / "scripts")]

    def run(threads: int) -> str:
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = {**os.environ, **{name: str(threads) for name in names}}
        done = subprocess.run(
            [sys.executable, "-c", _THREADS, *folders],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    one = run(1)
    assert len(one) == 65
    assert run(4) == one


def test_a_neutral_turning_head_moves_no_expression() -> None:
    t = np.linspace(0, 2 * np.pi, 60)
    angles = np.stack([20 * np.sin(2 * t), 55 * np.sin(t), 10 * np.cos(3 * t)], axis=1)
    rng = np.random.default_rng(3)
    who = proportions(MODEL, rng, 1.0)
    truth = seen(MODEL, angles, np.zeros((60, len(NAMES))), identity=who)
    fit = fitter()
    fits = fit.fit_frames(truth.points, fit.fit_identity(truth.points))
    assert fits.ok.all()
    assert np.quantile(fits.expression, 0.99) < 0.1
    assert fits.expression.max() < 0.25
    assert pose_errors(fits, truth).max() < 2.0


def test_at_sixty_degrees_nothing_explodes() -> None:
    rng = np.random.default_rng(11)
    angles = np.array([[p, y, r] for p in (-20, 0, 20) for y in (-60, 60) for r in (-20, 20)])
    some = rng.random((len(angles), len(NAMES))) < 0.1
    truth = seen(
        MODEL,
        angles,
        rng.uniform(0, 0.5, (len(angles), len(NAMES))) * some,
        noise=1.0,
        outliers=0.1,
        rng=rng,
    )
    fits = fitter().fit_frames(truth.points, mean_person())
    assert fits.ok.mean() > 0.8
    kept = fits.ok
    assert pose_errors(fits, truth)[kept].mean() < 3
    assert fits.expression[kept].max() <= MODEL.expression_upper.max()
    assert np.abs(fits.canonical[kept]).max() < 150
    assert np.abs(fits.translation[kept, 2] / truth.translation[kept, 2] - 1).max() < 0.15


def degenerate() -> dict[str, np.ndarray]:
    good = seen(MODEL, np.zeros((1, 3)), np.zeros((1, len(NAMES)))).points[0]
    one_nan = good.copy()
    one_nan[33, 1] = np.nan
    rng = np.random.default_rng(0)
    return {
        "nan": np.full((68, 2), np.nan),
        "one point nan": one_nan,
        "infinite": np.full((68, 2), np.inf),
        "collapsed": np.full((68, 2), 200.0),
        "nearly collapsed": (good - good.mean(axis=0)) * 0.01 + 200.0,
        "on a line": np.stack([np.linspace(100, 300, 68), np.full(68, 200.0)], axis=1),
        "mirrored": [640, 0] - good * [1, -1],
        "outside the picture": good + np.array([5000, 0]),
        "scattered": rng.uniform(100, 380, (68, 2)),
        "shuffled": good[rng.permutation(68)],
        "absurd": good * 1e12,
    }


@pytest.mark.parametrize("name", degenerate())
def test_what_is_no_face_is_not_fitted(name: str) -> None:
    good = seen(MODEL, np.array([[0, 10, 0]]), np.zeros((1, len(NAMES)))).points[0]
    points = np.stack([good, degenerate()[name], good])
    fits = fitter().fit_frames(points, mean_person())
    assert fits.ok.tolist() == [True, False, True]
    for field in FIELDS:
        if field != "ok":
            assert np.isnan(getattr(fits, field)[1]).all(), field
            assert np.isfinite(getattr(fits, field)[[0, 2]]).all(), field
    nobody = fitter().fit_identity(points[1:2])
    assert nobody.n_frames == 0 and np.isnan(nobody.error_px)
    alone = fitter().fit_pictures(points)
    assert alone.ok.tolist() == [True, False, True]


def test_wrong_shapes_are_refused() -> None:
    for shape in ((3, 51, 2), (68, 2), (3, 68, 3)):
        with pytest.raises(ValueError, match=r"\(n, 68, 2\) points of ibug68"):
            fitter().fit_frames(np.zeros(shape), mean_person())
    none = fitter().fit_frames(np.empty((0, 68, 2)), mean_person())
    assert none.expression.shape == (0, len(NAMES)) and none.canonical.shape == (0, 153)
    assert fitter().fit_identity(np.empty((0, 68, 2))).n_frames == 0


def test_one_frame_and_never_frontal_are_enough_for_an_identity() -> None:
    one = seen(MODEL, np.array([[3, 8, 0]]), np.zeros((1, len(NAMES))))
    who = fitter().fit_identity(one.points)
    assert who.n_frames == 1 and who.error_px < 1.0
    turned = seen(MODEL, np.tile([[0, 55, 0]], (30, 1)), np.zeros((30, len(NAMES))))
    who = fitter().fit_identity(turned.points)
    assert who.n_frames == 30 and np.isfinite(who.coefficients).all()
    fits = fitter().fit_frames(turned.points, who)
    assert fits.ok.all() and pose_errors(fits, turned)[:, 1].max() < 4


def test_the_identity_is_told_from_expression() -> None:
    rng = np.random.default_rng(4)
    known = proportions(MODEL, rng, 1.0)
    angles = rng.uniform(-1, 1, (80, 3)) * [20, 35, 10]
    smile = coefficient("lip_corner_pull_l", 0.7) + coefficient("lip_corner_pull_r", 0.7)
    expression = np.where(np.arange(80)[:, None] % 3 == 0, smile, 0.0)
    truth = seen(MODEL, angles, expression, identity=known, noise=0.5, rng=rng)
    who = fitter().fit_identity(truth.points)
    assert who.n_frames == MAX_FRAMES
    error = np.linalg.norm(who.shape - MODEL.neutral(known), axis=1)[17:]
    before = np.linalg.norm(MODEL.mean - MODEL.neutral(known), axis=1)[17:]
    assert error.mean() < 0.5 * before.mean()
    fits = fitter().fit_frames(truth.points, who)
    pull = fits.expression[:, NAMES.index("lip_corner_pull_l")]
    smiling = np.arange(80) % 3 == 0
    assert pull[smiling].min() > pull[~smiling].max()


def test_openface_parameters_reproject() -> None:
    truth = random_person(MODEL, 2, noise=0.0, outliers=0.0)
    fit = fitter()
    who = fit.fit_identity(truth.points)
    fits = fit.fit_frames(truth.points, who)
    shape = who.shape + np.tensordot(fits.expression, MODEL.expression, 1)
    scale, shift = fits.global_params[:, 0], fits.global_params[:, 4:]
    rotation = geometry.rotation_from_euler_xyz(fits.global_params[:, 1:4])
    flat = scale[:, None, None] * geometry.rotate(rotation, shape)[..., :2] + shift[:, None]
    error = np.linalg.norm(flat - fit.project(fits, who), axis=-1)
    assert error[:, 17:].mean() < 2.5, "what a perspective camera 0.8 m away adds, in px"
    # The PDM: x2d = s R (mean + Phi p) + t, p from the deformation.
    phi = fit.pdm
    deformation = (shape - MODEL.mean).transpose(0, 2, 1).reshape(len(shape), -1)
    assert np.allclose(fits.local_params, deformation @ phi)
    rebuilt = MODEL.mean + (fits.local_params @ phi.T).reshape(-1, 3, 68).transpose(0, 2, 1)
    assert np.linalg.norm(rebuilt - shape, axis=-1).mean() < 1.0


def test_canonical_landmarks_are_upright_and_without_pose_and_identity() -> None:
    angles = np.array([[0, 0, 0], [15, -30, 20]])
    rng = np.random.default_rng(8)
    truth = seen(MODEL, angles, np.zeros((2, len(NAMES))), identity=proportions(MODEL, rng, 0.5))
    fit = fitter()
    canonical = fit.fit_frames(truth.points, fit.fit_identity(truth.points)).canonical
    first = canonical[0].reshape(51, 3)
    assert first[13, 2] == pytest.approx(-41, abs=1.5), "nose tip"
    assert np.linalg.norm(first[28] - first[19]) == pytest.approx(89, abs=1.5), "outer eye corners"
    assert first[2, 1] > first[20, 1] > first[13, 1] > first[40, 1], "y is up"
    assert first[28, 0] > 0 > first[19, 0], "x is the image's right"
    assert np.abs(canonical[1] - canonical[0]).max() < 1.5


def test_the_camera_decides_the_distance() -> None:
    truth = seen(MODEL, np.zeros((1, 3)), np.zeros((1, len(NAMES))))
    wide = Fitter(MODEL, Camera.from_fov(*SIZE, 60)).fit_frames(truth.points, mean_person())
    narrow = fitter().fit_frames(truth.points, mean_person())
    ratio = Camera.from_fov(*SIZE, 60).focal / CAMERA.focal
    assert wide.translation[0, 2] / narrow.translation[0, 2] == pytest.approx(ratio, rel=0.05)


def test_the_fit_is_fast_enough() -> None:
    """A guard against a slip of an order of magnitude; benchmarks/ has the figures."""
    points = np.tile(random_person(MODEL, 1, frames=64).points, (8, 1, 1))
    fit = fitter()
    who = fit.fit_identity(points)
    start = time.process_time()
    fit.fit_frames(points, who)
    assert (time.process_time() - start) / len(points) < 5e-3


@pytest.fixture(scope="module")
def real(shared: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """FaceMesh's iBUG-68 points of every third frame of a real recording."""
    from facemake.backends.fit.build_builtin import observe

    (person,) = observe(shared / "data" / "WolfgangLanger_Pexels.mp4")
    return person.points[..., :2], (640, 360)


def test_real_video(real: tuple[np.ndarray, tuple[int, int]]) -> None:
    points, size = real
    fit = Fitter(MODEL, Camera.from_fov(*size, 30), size=size)
    who = fit.fit_identity(points)
    fits = fit.fit_frames(points, who)
    assert fits.ok.mean() > 0.98
    eyes = np.linalg.norm(points[:, 45] - points[:, 36], axis=1)
    assert np.quantile(fits.error_px / eyes, 0.95) < 0.03
    # Roll, as the line through the eye corners shows it, where the head is not turned much.
    frontal = np.abs(np.rad2deg(fits.euler[:, :2])).max(axis=1) < 15
    line = np.rad2deg(np.arctan2(*(points[:, 45] - points[:, 36]).T[::-1]))
    roll = np.rad2deg(fits.euler[:, 2])
    assert frontal.sum() > 50
    assert np.abs(line - roll)[frontal].mean() < 3
    assert np.ptp(line) > 30, "the head does tilt in this recording"
    # What the lids and the mouth do in the picture is what the coefficients say.
    lids = np.linalg.norm(points[:, 37] - points[:, 41], axis=1) / eyes
    blink = fits.expression[:, NAMES.index("eye_close_l")]
    assert np.corrcoef(lids, blink)[0, 1] < -0.8
    gape = np.linalg.norm(points[:, 62] - points[:, 66], axis=1) / eyes
    lips = fits.canonical.reshape(-1, 51, 3)
    parted = np.linalg.norm(lips[:, 45] - lips[:, 49], axis=1)
    assert np.corrcoef(gape, parted)[0, 1] > 0.95
    width = np.linalg.norm(points[:, 48] - points[:, 54], axis=1) / eyes
    smile = fits.expression[:, NAMES.index("lip_corner_pull_l")]
    assert np.corrcoef(width, smile)[0, 1] > 0.8
    assert (np.arange(17, 68) == schemes.IBUG68_TO_IBUG51).all()
