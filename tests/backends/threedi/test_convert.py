"""Columns of tables from raw files: each sign and each lens proven against OpenCV."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from facemake import archives, geometry
from facemake.archives import Archive
from facemake.backends.fit import load, pdm
from facemake.backends.threedi import Engine, convert, rawfiles
from facemake.backends.threedi.convert import PdmOf51, Poses, View, view_of
from facemake.backends.threedi.offer import Offer
from facemake.calibration import MisfitError, load_calibration, load_undistorted
from facemake.geometry import Camera
from standin3di import programs as standin

FULL, LITE = Engine.FULL, Engine.LITE
MEAN = np.array(standin.MEAN)
NOSE, LEFT_EYE, RIGHT_EYE = 13, range(19, 25), range(25, 31)
RNG = np.random.default_rng(7)


def about(axis: int, angle: float) -> np.ndarray:
    """A turn about one axis, by OpenCV."""
    return cv2.Rodrigues(np.eye(3)[axis] * angle)[0]


def turn(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """R = Rz(roll) Ry(yaw) Rx(pitch)."""
    return about(2, roll) @ about(1, yaw) @ about(0, pitch)


def seen_by_opencv(
    points: np.ndarray,
    r: np.ndarray,
    t: np.ndarray,
    matrix: np.ndarray,
    k: np.ndarray | None = None,
) -> np.ndarray:
    return cv2.projectPoints(points, cv2.Rodrigues(r)[0], t, matrix, k)[0][:, 0]


# --- small things --------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (640, 640), (1080, 1920), (2, 4000)])
@pytest.mark.parametrize("fov", [10.0, 30.0, 63.0, 150.0])
def test_field_of_view_across(width: int, height: int, fov: float) -> None:
    """One focal length, whichever way the phone was held."""
    found = convert.across(fov, width, height)
    focal = 0.5 * width / math.tan(math.radians(found) / 2)
    assert focal == pytest.approx(Camera.from_fov(width, height, fov).focal, rel=1e-9)
    assert (found == fov) == (width >= height)


def test_rectangles_that_hold_a_face() -> None:
    rects = np.array(
        [[0, 0, 0, 0], [5, 5, 10, 10], [5, 5, 10.5, 9], [-5, 2, 30, 40], [1, 1, 30, 0]]
    )
    assert convert.there(rects).tolist() == [False, False, True, True, False]
    assert not convert.there(np.full((1, 4), np.nan)).any()


def test_points_of_landmarks() -> None:
    values = RNG.uniform(1, 100, (3, 102))
    values[1] = 0
    points = convert.landmark_points(values)
    assert np.array_equal(points[0, 50], values[0, 100:]) and np.isnan(points[1]).all()
    assert not np.isnan(values).any()  # what was given is as it was


# --- poses ---------------------------------------------------------------------------------------


def test_columns_of_3dis_pose() -> None:
    pose = np.arange(18.0).reshape(2, 9)
    pose[1] = np.nan
    found = convert.poses(pose, np.zeros((2, 102)), FULL)
    assert found.translation[0].tolist() == [0, 1, 2]
    # the file has yaw, pitch, roll; the tables have pitch, yaw, roll
    assert found.euler[0].tolist() == [7, 6, 8]
    assert np.isnan(found.translation[1]).all() and np.isnan(found.euler[1]).all()


CAMERA = np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]])
WHERE = np.array([15.0, -8.0, 1100.0])
TURNS = {
    # the nose towards the bottom of the picture; its left edge; turned clockwise
    "pitch": ((0.3, 0, 0), lambda p: p[NOSE, 1] > middle(p)[1] + 3),
    "yaw": ((0, 0.4, 0), lambda p: p[NOSE, 0] < middle(p)[0] - 3),
    "roll": ((0, 0, 0.3), lambda p: eye(p, RIGHT_EYE)[1] > eye(p, LEFT_EYE)[1] + 3),
}


def eye(points: np.ndarray, which: range) -> np.ndarray:
    return points[list(which)].mean(axis=0)


def middle(points: np.ndarray) -> np.ndarray:
    """Where the nose tip of a head would be that looks into the lens, about."""
    nose = (CAMERA @ (WHERE + MEAN[NOSE]))[:2] / (WHERE + MEAN[NOSE])[2]
    return nose


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("sign", [1, -1])
def test_signs_of_a_known_head(name: str, sign: int) -> None:
    angles, is_so = TURNS[name]
    pitch, yaw, roll = np.array(angles) * sign
    points = seen_by_opencv(MEAN, turn(pitch, yaw, roll), WHERE, CAMERA)
    assert is_so(points) == (sign > 0)
    # what 3DI writes of it: translation, rotation vector, yaw, pitch, roll
    vector = cv2.Rodrigues(turn(pitch, yaw, roll))[0].ravel()
    pose = np.array([[*WHERE, *vector, yaw, pitch, roll]])
    found = convert.poses(pose, points.reshape(1, -1), FULL)
    assert found.euler[0] == pytest.approx([pitch, yaw, roll])
    view = View(Camera(900, 320, 240))
    assert convert.reprojection(MEAN[None], found, points[None], view)[0] < 1e-9


def crop_roll(points: np.ndarray) -> float:
    """The roll of the similarity from the template to five points, by OpenCV's solver."""
    template = 1.5 * np.array(standin.TEMPLATE) + 25
    corners = points[[19, 22]].mean(axis=0), points[[25, 28]].mean(axis=0)
    five = [*corners, points[13], points[31], points[37]]
    a, b = template - template.mean(axis=0), np.array(five) - np.mean(five, axis=0)
    u, _, vt = np.linalg.svd(b.T @ a)
    r = u @ np.diag([1, np.linalg.det(u @ vt)]) @ vt
    return math.atan2(r[1, 0], r[0, 0])


def as_lite_writes(angles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A row of 3DI-lite's pose of a head: the turn in its crop, with x negated."""
    vector = cv2.Rodrigues(about(2, -crop_roll(points)) @ turn(*angles))[0].ravel()
    return np.array([0.1, -0.2, 1500, *(vector * [-1, 1, 1])])


@pytest.mark.parametrize("name", TURNS)
@pytest.mark.parametrize("sign", [1, -1])
def test_signs_of_3di_lite(name: str, sign: int) -> None:
    angles, _ = TURNS[name]
    angles = np.array(angles) * sign
    points = seen_by_opencv(MEAN, turn(*angles), WHERE, CAMERA)
    found = convert.poses(as_lite_writes(angles, points)[None], points.reshape(1, -1), LITE)
    assert found.euler[0] == pytest.approx(angles, abs=1e-6)
    assert np.isnan(found.translation).all()


def test_turns_of_both_engines_are_in_one_order() -> None:
    """The tables say R = Rz(roll) Ry(yaw) Rx(pitch), whichever engine's they are."""
    angles = RNG.uniform(-1, 1, (30, 3)) * [0.6, 1.2, 0.6]
    points = np.array([seen_by_opencv(MEAN, turn(*a), WHERE, CAMERA) for a in angles])
    rows = np.array([as_lite_writes(a, p) for a, p in zip(angles, points, strict=True)])
    found = convert.poses(rows, points.reshape(30, -1), LITE).euler
    known = np.isfinite(found).all(axis=1)
    assert known.sum() > 20
    assert np.abs(found - angles)[known].max() < 1e-6
    rebuilt = geometry.rotation_from_euler(found[known])
    assert np.abs(rebuilt - np.array([turn(*a) for a in angles[known]])).max() < 1e-6


def test_3di_lite_is_not_believed_beyond_its_limits() -> None:
    angles = np.array(
        [[0, 1.6, 0], [0.8, 0, 0], [0, 0, 0.8], [0, 1.5, 0], [0.5, 0, 0.5], [0, 0, 0]]
    )
    points = np.array([seen_by_opencv(MEAN, turn(*a), WHERE, CAMERA) for a in angles])
    rows = np.array([as_lite_writes(a, p) for a, p in zip(angles, points, strict=True)])
    landmarks = points.reshape(6, -1)
    landmarks[5] = 0  # no face: 3DI-lite repeats what it said before
    found = convert.poses(rows, landmarks, LITE).euler
    assert np.isnan(found).all(axis=1).tolist() == [True, True, True, False, False, True]
    rows[3] = np.nan
    assert np.isnan(convert.poses(rows, landmarks, LITE).euler[3]).all()


# --- the stand-in's files ------------------------------------------------------------------------


def test_the_shape_by_the_pose_is_where_the_landmarks_are(raw_files: dict[Engine, Path]) -> None:
    def numbers(kind: str) -> np.ndarray:
        return rawfiles.read(raw_files[FULL] / f"v_{kind}.3DI", kind, FULL)

    pose, e, landmarks = numbers("pose"), numbers("expression"), numbers("landmarks")
    seen = rawfiles.seen_in(landmarks)[: len(pose)]
    neutral = numbers("shape")[standin.landmark_vertices(19830)]
    shapes = neutral + np.array([standin.deformation(row) for row in e[seen]])
    found = convert.poses(pose[seen], landmarks, FULL)
    points = convert.landmark_points(landmarks)[: len(pose)][seen]
    offered = Offer(False, 10, 0, 320, 240)
    view = View.of({"fov": 30.0}, {"rotation": 0}, offered)
    assert len(shapes) >= 7
    assert convert.reprojection(shapes, found, points, view).max() < 0.01
    # the very same with our own projection of another camera is pixels away
    other = View.of({"fov": 35.0}, {"rotation": 0}, offered)
    assert convert.reprojection(shapes, found, points, other).min() > 1


def test_both_engines_tell_of_the_same_turns(raw_files: dict[Engine, Path]) -> None:
    poses = {}
    for engine, suffix, kind in ((FULL, "3DI", "pose"), (LITE, "3DIl", "pose_smooth")):
        folder = raw_files[engine]
        landmarks = rawfiles.read(folder / f"v_landmarks.{suffix}", "landmarks", engine)
        pose = rawfiles.read(folder / f"v_{kind}.{suffix}", kind, engine)
        poses[engine] = convert.poses(pose, landmarks, engine).euler
        poses[engine][~rawfiles.seen_in(landmarks)[: len(pose)]] = np.nan
    n = min(map(len, poses.values()))
    found = np.abs(poses[LITE][:n] - poses[FULL][:n])
    assert np.isfinite(found).all(axis=1).sum() >= 7
    # the stand-in takes other points for the middles of the eyes than 3DI-lite: its crop's roll is
    # a little another one
    assert np.nanmax(found[:, :2]) < 1e-5 and np.nanmax(found[:, 2]) < 0.01


# --- cameras -------------------------------------------------------------------------------------

SIZE = (1440, 1080)
MATRIX = np.array([[1150.0, 0, 731.5], [0, 1142, 522.25], [0, 0, 1]])
BENT = np.array([-0.21, 0.05, 4e-4, -7e-4, -0.004])


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A calibration as 3DI's calibrate_camera writes it, and what it is in a recipe."""
    path = tmp_path_factory.mktemp("camera") / "camera.txt"
    post, _ = cv2.getOptimalNewCameraMatrix(MATRIX, BENT, SIZE, 0.5, SIZE)
    store = cv2.FileStorage(f"{path}.yml", cv2.FILE_STORAGE_WRITE)
    store.write("cameraMatrix_preUndistort", MATRIX)
    store.write("distCoeffs", BENT[None])
    store.startWriteStruct("imageSize", cv2.FileNode_SEQ | cv2.FileNode_FLOW)
    for side in SIZE:
        store.write("", side)
    store.endWriteStruct()
    store.write("undistort_alpha", 0.5)
    store.write("cameraMatrix_postUndistort", post)
    store.release()
    Path(f"{path}.yml").rename(path)
    settings = {
        "calibration": load_calibration(path).to_dict(),
        "undistorted": list(load_undistorted(path)),
    }
    assert settings["undistorted"] == [post[0, 0], post[1, 1], post[0, 2], post[1, 2]]
    assert abs(post[0, 0] / post[1, 1] - 1) > 1e-3  # its pixels are not square
    return {"settings": settings, "post": post}


PROBE = {"rotation": 0, "width": SIZE[0], "height": SIZE[1]}
OFFER = Offer(False, 10, 0, *SIZE)


def grid(step: int = 40) -> np.ndarray:
    """(n, 2) whole pixels of the undistorted video."""
    u, v = np.meshgrid(np.arange(0, SIZE[0], step), np.arange(0, SIZE[1], step))
    return np.stack([u.ravel(), v.ravel()], axis=1)


def test_pixels_of_the_undistorted_video_by_opencvs_map(calibrated: dict[str, Any]) -> None:
    view = View.of(calibrated["settings"], PROBE, OFFER)
    x, y = cv2.initUndistortRectifyMap(MATRIX, BENT, None, calibrated["post"], SIZE, cv2.CV_32FC1)
    pixels = grid()
    found = view.to_picture(pixels.astype(float))
    wanted = np.stack([x[pixels[:, 1], pixels[:, 0]], y[pixels[:, 1], pixels[:, 0]]], axis=1)
    inside = ((wanted > -50) & (wanted < np.array(SIZE) + 50)).all(axis=1)
    assert inside.mean() > 0.9 and np.abs(wanted - pixels)[inside].max() > 20
    assert np.abs(found - wanted)[inside].max() < 2e-3


def test_pixels_of_the_undistorted_video_there_and_back(calibrated: dict[str, Any]) -> None:
    view = View.of(calibrated["settings"], PROBE, OFFER)
    pixels = grid(35).astype(float)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    undistorted = cv2.undistortPointsIter(
        pixels[:, None], MATRIX, BENT, None, calibrated["post"], criteria
    )[:, 0]
    assert np.abs(view.to_picture(undistorted) - pixels).max() < 1e-3
    stack = view.to_picture(undistorted.reshape(1, -1, 2))
    assert np.array_equal(stack[0], view.to_picture(undistorted))


def test_a_field_of_view_changes_no_pixel() -> None:
    view = View.of({"fov": 40.0}, {"rotation": 0}, OFFER)
    points = RNG.uniform(0, 1000, (5, 51, 2))
    assert view.to_picture(points) is points
    assert view.boxes(points[0, :, [0, 0, 1, 1]].T).shape == (51, 4)


def test_boxes_around_what_was_seen(calibrated: dict[str, Any]) -> None:
    view = View.of(calibrated["settings"], PROBE, OFFER)
    rects = np.array([[100.0, 90, 300, 320], [600, 400, 200, 220], [1000, 700, 330, 300]])
    found = view.boxes(rects)
    for rect, box in zip(rects, found, strict=True):
        x, y, w, h = rect
        s = np.linspace(0, 1, 41)
        inside = np.stack(np.meshgrid(x + s * w, y + s * h), axis=-1).reshape(-1, 2)
        seen = view.to_picture(inside)
        low, high = seen.min(axis=0), seen.max(axis=0)
        # a tight box, to a pixel
        assert np.abs(box[:2] - low).max() < 1 and np.abs(box[:2] + box[2:] - high).max() < 1
    assert np.abs(found - rects).max() > 3


def test_a_box_that_reaches_beyond_the_lens(calibrated: dict[str, Any]) -> None:
    """A corner of the undistorted video shows nothing that the lens saw; the rest is known."""
    strong = {**calibrated["settings"]["calibration"], "distortion": [-0.6, 0.0, 0.0, 0.0]}
    view = View.of({**calibrated["settings"], "calibration": strong}, PROBE, OFFER)
    rects = np.array([[100.0, 90, 300, 320], [-900, -700, 1500, 1200]])
    corner = view.to_picture(np.array([[-900.0, -700]]))
    assert np.isnan(corner).all()
    assert np.isfinite(view.boxes(rects)).all()
    beyond = view.boxes(np.array([[-3000.0, -3000, 20, 20]]))
    assert np.isnan(beyond).all()


def test_a_posed_face_through_the_lens(calibrated: dict[str, Any]) -> None:
    """3DI fits in the undistorted video; the landmarks of the tables are those of the recording."""
    view = View.of(calibrated["settings"], PROBE, OFFER)
    r, t = turn(0.1, -0.3, 0.2), np.array([160.0, 90.0, 900.0])
    recorded = seen_by_opencv(MEAN, r, t, MATRIX, BENT)
    where = Poses(t[None], np.array([[0.1, -0.3, 0.2]]))
    assert convert.reprojection(MEAN[None], where, recorded[None], view)[0] < 1e-6
    undistorted = seen_by_opencv(MEAN, r, t, calibrated["post"])
    assert np.abs(view.to_picture(undistorted) - recorded).max() < 1e-6


def test_recordings_of_another_camera(calibrated: dict[str, Any], tmp_path: Path) -> None:
    settings = calibrated["settings"]
    turned = Offer(True, 10, 0, 1080, 1440, "turned")
    for probe, offered, words in (
        ({**PROBE, "rotation": 90}, turned, "stored turned"),
        ({**PROBE, "rotation": None}, turned, "stored turned"),
        ({**PROBE, "width": 1280, "height": 720}, OFFER, "another aspect"),
        ({**PROBE, "width": 720, "height": 540}, OFFER, "calibrated size only"),
        ({**PROBE, "width": None, "height": None}, OFFER, "calibrated size only"),
        (PROBE, Offer(True, 10, 0, OFFER.width + 1, OFFER.height, "odd"), "were padded to"),
    ):
        with pytest.raises(MisfitError, match=words):
            View.of(settings, probe, offered)
        name = tmp_path / "a.zip"
        archives.write(name, {"x.json": offered.to_json()}, {})
        with Archive(name) as videos:
            assert view_of(settings, probe, videos, "x") is None
    # a part of a recording of this camera is one
    part = View.of(settings, PROBE, Offer(True, 5, 0, *SIZE, "a part"))
    whole = View.of(settings, PROBE, OFFER)
    r, t = turn(0.1, -0.3, 0.2), np.array([160.0, 90.0, 900.0])
    undistorted = seen_by_opencv(MEAN, r, t, calibrated["post"])
    assert (part.to_picture(undistorted) == whole.to_picture(undistorted)).all()
    assert np.abs(part.to_picture(undistorted) - undistorted).max() > 1


def test_the_camera_of_a_field_of_view() -> None:
    view = View.of({"fov": 30.0}, {"rotation": 0}, Offer(True, 5, 0, 1080, 1920, "turned"))
    focal = 960 / math.tan(math.radians(15))
    assert view.camera.focal == pytest.approx(focal)
    # 3DI's principal point is half the width and height
    assert (view.camera.cx, view.camera.cy, view.lens) == (540, 960, None)


# --- the point distribution model ----------------------------------------------------------------


@pytest.fixture(scope="module")
def modes() -> tuple[PdmOf51, np.ndarray, np.ndarray]:
    """The model, its 34 modes at the 51 points (51, 3, 34) and its mean there."""
    model = load("builtin")
    phi = model.pdm if model.pdm is not None else pdm.derive_pdm(model)
    inner = phi.reshape(3, model.n_points, -1)[:, model.inner].transpose(1, 0, 2)
    return PdmOf51(model), inner, model.mean[model.inner]


def test_shapes_made_of_the_modes_are_found_again(
    modes: tuple[PdmOf51, np.ndarray, np.ndarray],
) -> None:
    fitted, inner, mean = modes
    assert inner.shape == (51, 3, 34)
    p = RNG.normal(0, 8, (25, 34))
    shapes = mean + np.einsum("lak,nk->nla", inner, p)
    found = fitted.local_params(shapes)
    # of what moves the jaw alone a little is lost; the shape of the inner face is the same
    away = np.einsum("lak,nk->nla", inner, found - p)
    assert np.abs(away - away.mean(axis=1)[:, None]).max() < 0.2
    assert np.median(np.abs(found - p)) < 0.5
    assert np.abs(fitted.local_params(mean[None])).max() < 1e-9


def test_where_a_head_lies_is_no_part_of_its_shape(
    modes: tuple[PdmOf51, np.ndarray, np.ndarray],
) -> None:
    fitted, inner, mean = modes
    shapes = mean + np.einsum("lak,nk->nla", inner, RNG.normal(0, 20, (5, 34)))
    moved = shapes + RNG.normal(0, 100, (5, 1, 3))
    assert np.allclose(fitted.local_params(moved), fitted.local_params(shapes), atol=1e-8)


def test_the_same_bits_for_any_batch(modes: tuple[PdmOf51, np.ndarray, np.ndarray]) -> None:
    fitted, _, mean = modes
    shapes = mean + RNG.normal(0, 3, (40, 51, 3))
    whole = fitted.local_params(shapes)
    assert whole.shape == (40, 34)
    for size in (1, 2, 3, 7, 39):
        parts = [fitted.local_params(shapes[i : i + size]) for i in range(0, 40, size)]
        assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(fitted.local_params(shapes[::-1])[::-1], whole)


def test_reprojection_is_a_root_mean_square() -> None:
    view = View(Camera(900, 320, 240))
    where = Poses(WHERE[None], np.zeros((1, 3)))
    points = seen_by_opencv(MEAN, np.eye(3), WHERE, CAMERA)[None]
    off = np.zeros_like(points)
    off[0, :, 0] = 3
    off[0, :, 1] = 4
    assert convert.reprojection(MEAN[None], where, points + off, view)[0] == pytest.approx(5)
    one = np.zeros_like(points)
    one[0, 7] = [51, 0]
    found = convert.reprojection(MEAN[None], where, points + one, view)[0]
    assert found == pytest.approx(math.sqrt(51))


def test_a_recording_has_one_source_of_its_smoothed_turns() -> None:
    """3DI smooths vectors and copies angles; where they never said the same, angles are taken."""
    angles = RNG.uniform(-0.5, 0.5, (6, 3))
    raw = np.zeros((6, 9))
    raw[:, [7, 6, 8]] = angles
    raw[:, 3:6] = [cv2.Rodrigues(turn(*a))[0].ravel() for a in angles]
    assert convert.vectors_are_turns(raw)
    raw[2] = np.nan  # a frame that was not fitted says nothing
    assert convert.vectors_are_turns(raw) and convert.vectors_are_turns(raw[2:3])
    smooth = np.nan_to_num(raw)
    smooth[:, 3:6] *= 0.5
    marks = np.zeros((6, 102))
    known = [0, 1, 3, 4, 5]
    by_vector = convert.smoothed_poses(smooth, FULL, marks, True).euler
    expected = [cv2.Rodrigues(v)[0] for v in smooth[known, 3:6]]
    assert np.allclose([turn(*e) for e in by_vector[known]], expected)
    assert np.array_equal(
        convert.smoothed_poses(smooth, FULL, marks, False).euler[known], angles[known]
    )
    raw[4, 3] += 0.1
    assert not convert.vectors_are_turns(raw)
