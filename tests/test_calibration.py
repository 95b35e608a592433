"""Calibration files, the lens they describe, and what of them reaches a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemake import recipes, settings
from facemake.backends.fit import builtin
from facemake.backends.fit.fitter import Fitter
from facemake.calibration import LENGTHS, Calibration, MisfitError, load_calibration
from facemake.engines.native import NATIVE
from facemake.errors import ConfigError
from facemake.geometry import rotate, rotation_from_euler, rotation_from_euler_xyz
from makefaces import proportions

SIZE = (1920, 1080)
MATRIX = np.array([[1400.0, 0, 950], [0, 1380, 545], [0, 0, 1]])
DISTORTIONS = {
    0: (),
    4: (-0.28, 0.08, 1e-3, -5e-4),
    5: (-0.35, 0.15, 1e-3, -5e-4, -0.03),
    8: (0.3, 0.1, 1e-3, 2e-3, 0.02, 0.31, 0.12, 0.03),
    12: (-0.2, 0.05, 1e-3, -1e-3, 0, 0.01, 0.01, 0, 0.03, -0.01, 0.02, 0.01),
    14: (-0.2, 0.05, 1e-3, -1e-3, 0, 0.01, 0.01, 0, 0.003, -0.001, 0.002, 0.001, 0.03, -0.02),
}
PLAIN = {
    "image_width": SIZE[0],
    "image_height": SIZE[1],
    "camera_matrix": MATRIX.tolist(),
    "distortion_coefficients": list(DISTORTIONS[5]),
}


def calibration(k: tuple[float, ...] = DISTORTIONS[5]) -> Calibration:
    return Calibration(*SIZE, (1400.0, 1380.0), (950.0, 545.0), k)


def seen_by_opencv(points: np.ndarray, k: tuple[float, ...]) -> np.ndarray:
    """Pixels of points in camera axes."""
    distortion = np.array(k) if k else None
    return cv2.projectPoints(points, np.zeros(3), np.zeros(3), MATRIX, distortion)[0][:, 0]


def some_points(n: int = 500, seed: int = 0) -> np.ndarray:
    """Points whose pictures fill a frame of SIZE."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform([-0.6, -0.35], [0.6, 0.35], (n, 2))
    return np.concatenate([sides, np.ones((n, 1))], axis=1) * rng.uniform(300, 900, (n, 1))


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["yml", "xml", "json"])
@pytest.mark.parametrize("n", [4, 5, 8, 12, 14])
def test_what_opencv_writes_is_read_to_the_bit(tmp_path: Path, ending: str, n: int) -> None:
    path = tmp_path / f"camera.{ending}"
    store = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    store.write("calibration_time", "Tue 3 Mar 2026 10:00:00")
    store.write("image_width", SIZE[0])
    store.write("image_height", SIZE[1])
    store.writeComment("flags: +fix_k4")
    store.write("fisheye_model", 0)
    store.write("camera_matrix", MATRIX + np.diag([1 / 3, 1 / 7, 0]))
    store.write("distortion_coefficients", np.array(DISTORTIONS[n])[:, None])
    store.write("image_points", np.zeros((3, 4, 2), np.float32))
    store.release()
    found = load_calibration(path)
    assert found == Calibration(*SIZE, (1400 + 1 / 3, 1380 + 1 / 7), (950.0, 545.0), DISTORTIONS[n])


def test_the_camera_file_of_3di_is_read(tmp_path: Path) -> None:
    path = tmp_path / "camera.txt"
    path.write_text(
        "%YAML:1.0\n---\n"
        "cameraMatrix_preUndistort: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
        "   data: [ 1.4000000000000000e+03, 0., 9.5000000000000000e+02, 0.,\n"
        "       1.3800000000000000e+03, 5.4500000000000000e+02, 0., 0., 1. ]\n"
        "distCoeffs: !!opencv-matrix\n   rows: 1\n   cols: 5\n   dt: d\n"
        "   data: [ -3.5e-01, 1.5e-01, 1.0e-03,\n       -5.0e-04, -3.0e-02 ]\n"
        "imageSize: [ 1920, 1080 ]\nundistort_alpha: 5.0000000000000000e-01\n"
        "cameraMatrix_postUndistort: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
        "   data: [ 1.0e+03, 0., 9.0e+02, 0., 1.0e+03, 5.0e+02, 0., 0., 1. ]\n"
    )
    assert load_calibration(path) == calibration()


def test_plain_lists_and_what_ros_writes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "camera"
    path.write_text(json.dumps(PLAIN))
    assert load_calibration(path) == calibration()
    path.write_text("\ufeff" + json.dumps({**PLAIN, "distortion_coefficients": []}))
    assert load_calibration(path) == calibration(())
    path.write_text(
        "image_width: 1920\nimage_height: 1080\ncamera_name: left\ndistortion_model: plumb_bob\n"
        "camera_matrix: {rows: 3, cols: 3, data: [1.4e3, 0, 950, 0, 1380, 545, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [-0.35, 0.15, 1e-3, -5e-4, -0.03]}\n"
        "rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}\n"
    )
    assert load_calibration(path) == calibration()


def test_a_calibration_comes_back_from_json() -> None:
    assert Calibration.from_dict(json.loads(json.dumps(calibration().to_dict()))) == calibration()


def test_nothing_that_a_file_names_is_made(tmp_path: Path) -> None:
    path, made = tmp_path / "camera.yml", tmp_path / "made"
    text = f"!!python/object/apply:pathlib.Path.touch [!!python/object/apply:os.mkdir ['{made}']]"
    path.write_text(
        f"extra: {text}\n" + json.dumps(PLAIN)[1:-1].replace(', "', '\n"').replace('"', "")
    )
    assert load_calibration(path) == calibration()
    assert not made.exists()


def with_matrix(**entries: float) -> dict[str, object]:
    """The plain file with other entries of its matrix: fx, skew, cx, fy, cy, w."""
    place = {"fx": (0, 0), "skew": (0, 1), "cx": (0, 2), "fy": (1, 1), "cy": (1, 2), "w": (2, 2)}
    matrix = MATRIX.copy()
    for name, value in entries.items():
        matrix[place[name]] = value
    return {**PLAIN, "camera_matrix": matrix.tolist()}


def without(key: str) -> dict[str, object]:
    return {k: v for k, v in PLAIN.items() if k != key}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (without("camera_matrix"), r"has no camera_matrix \(3x3 matrix of numbers\)"),
        (without("distortion_coefficients"), "has no distortion_coefficients"),
        (without("image_height"), "does not say of which size"),
        ({**PLAIN, "image_width": 0}, "does not say of which size"),
        ({**PLAIN, "image_width": 19.5}, "does not say of which size"),
        ({**PLAIN, "camera_matrix": MATRIX[:2].tolist()}, "of shape 2x3, not 3x3"),
        ({**PLAIN, "camera_matrix": [1, 2, 3]}, "of shape 3, not 3x3"),
        ({**PLAIN, "camera_matrix": [[1, 2, 3], [4]]}, "rows of several lengths"),
        ({**PLAIN, "camera_matrix": "big"}, "neither a list nor a matrix"),
        ({**PLAIN, "camera_matrix": [["a"] * 3] * 3}, "could not convert"),
        ({**PLAIN, "camera_matrix": [[True] * 3] * 3}, "True is no number"),
        ({**PLAIN, "camera_matrix": {"rows": 3, "cols": 3, "data": [1, 2]}}, "2 numbers are not"),
        ({**PLAIN, "distortion_coefficients": [0.1] * 6}, "6 coefficients .* not 4, 5, 8, 12"),
        ({**PLAIN, "distortion_coefficients": [[0.1] * 4] * 2}, "2x4 coefficients"),
        ({**PLAIN, "distortion_coefficients": [float("nan")] * 4}, "not finite"),
        (with_matrix(fx=float("inf")), "not finite"),
        (with_matrix(fx=-1400), "focal lengths -1400 and 1380; they are above 0"),
        (with_matrix(fx=0), "they are above 0"),
        (with_matrix(fx=4.2, fy=4.2), "in pixels, not in millimetres"),
        (with_matrix(fx=16486, fy=5062), "differ more than any lens does"),
        (with_matrix(cx=-1000), "principal point at x = -1000, far outside a picture of 1920x1080"),
        (with_matrix(cy=1700), "principal point at y = 1700"),
        (with_matrix(skew=3), "has a skew of 3"),
        (with_matrix(w=2), "not of the form"),
        ({**PLAIN, "fisheye_model": 1}, "fisheye lens"),
        ({**PLAIN, "distortion_model": "equidistant"}, r"fisheye lens \(equidistant\)"),
        ({**PLAIN, "distortion_coefficients": [-5.0, 0, 0, 0]}, "turns back 2.. px"),
        ({**PLAIN, "distortion_coefficients": [0.0] * 12 + [0.9, 0]}, "half a radian"),
        ([1, 2], "cannot be read|no named values"),
    ],
)
def test_a_faulty_file_is_refused_with_its_fault_and_the_cure(
    tmp_path: Path, document: object, said: str
) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=said) as caught:
        load_calibration(path)
    assert str(path) in str(caught.value) and "OpenCV" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just words",
        b"\xff\xfe\x00",
        b"{" * 5000,
        b"[" * 5000,
        b'{"camera_matrix": ',
        b"a: [1, 2",
        b"<opencv_storage><a></opencv_storage>",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><opencv_storage><x>&b;</x></opencv_storage>",
        b"x" * 1_000_001,
    ],
)
def test_what_is_no_calibration_at_all_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "camera.yml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="calibration"):
        load_calibration(path)


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps({"camera_matrix": [1.0], "distortion_coefficients": [1.0]}))
    with pytest.raises(ConfigError) as caught:
        load_calibration(path)
    for said in ("shape 1, not 3x3", "1 coefficients", "of which size"):
        assert said in str(caught.value)
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file"):
        load_calibration(tmp_path / "gone.yml")


# --- the lens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", LENGTHS)
def test_the_lens_sees_what_opencv_projects(n: int) -> None:
    points = some_points()
    lens = calibration(DISTORTIONS[n]).lens(SIZE)
    assert (lens.camera.cx, lens.camera.cy) == (950, 545)
    assert lens.camera.focal == pytest.approx(np.sqrt(1400 * 1380))
    pixels, ideal = seen_by_opencv(points, DISTORTIONS[n]), lens.camera.project(points)
    assert np.abs(lens.distort(ideal) - pixels).max() < 1e-9
    assert np.abs(lens.undistort(pixels) - ideal).max() < 1e-9


@pytest.mark.parametrize("n", LENGTHS[1:])
def test_the_inverse_is_opencvs(n: int) -> None:
    pixels = np.random.default_rng(1).uniform([0, 0], SIZE, (300, 2))
    k = DISTORTIONS[n]
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 500, 1e-12)
    theirs = cv2.undistortPointsIter(pixels, MATRIX, np.array(k), np.eye(3), np.eye(3), stop)[:, 0]
    lens = calibration(k).lens(SIZE)
    camera = lens.camera
    ours = (lens.undistort(pixels) - [camera.cx, camera.cy]) / camera.focal
    known = np.isfinite(ours).all(axis=1)
    assert known.mean() > 0.99
    assert np.abs(ours - theirs)[known].max() < 1e-7


def test_where_the_model_turns_back_there_is_no_point() -> None:
    """r (1 - r^2) has its maximum at r = 0.577: further out the lens would fold the picture."""
    lens = calibration((-1.0, 0, 0, 0)).lens(SIZE)
    top = 1400 * 2 / (3 * np.sqrt(3))
    inside, outside = lens.undistort([[950 + 0.99 * top, 545], [950 + 1.01 * top, 545]])
    assert inside[0] > 950 + 0.5 * lens.camera.focal and np.isnan(outside).all()
    lost = lens.distort([[950 + 0.6 * lens.camera.focal, 545.0]])
    assert np.isnan(lost).all(), "a point that no lens would put there"
    assert np.isnan(lens.undistort([[np.nan, 3.0]])).all()
    pole = calibration((0, 0, 0, 0, 0, -4.0, 0, 0)).lens(SIZE)  # 1 / (1 - 4 r^2): a pole at 0.5
    back = pole.undistort(pole.distort([[950 + 0.45 * pole.camera.focal, 545.0]]))
    assert back[0] == pytest.approx([950 + 0.45 * pole.camera.focal, 545])
    assert np.isnan(pole.distort([[950 + 0.55 * pole.camera.focal, 545.0]])).all()


def test_a_point_has_the_same_bits_in_any_company() -> None:
    pixels = np.random.default_rng(2).uniform([0, 0], SIZE, (333, 2))
    lens = calibration(DISTORTIONS[14]).lens(SIZE)
    whole = lens.undistort(pixels)
    for n in (1, 2, 7, 64):
        parts = [lens.undistort(pixels[i : i + n]) for i in range(0, len(pixels), n)]
        assert np.array_equal(np.concatenate(parts), whole)


def test_a_smaller_video_is_a_scaled_one() -> None:
    """A picture of 1920x1080 whose pixels are averaged three by three."""
    points = some_points()
    pixels = (seen_by_opencv(points, DISTORTIONS[5]) + 0.5) / 3 - 0.5
    lens = calibration().lens((640, 360))
    assert np.abs(lens.undistort(pixels) - lens.camera.project(points)).max() < 1e-9
    odd = calibration().lens((854, 480))  # 853.3 rounded to an even number
    assert odd.fx == pytest.approx(1400 * 854 / 1920) and odd.fy == pytest.approx(1380 * 480 / 1080)


def turned(pixels: np.ndarray, rotation: int) -> np.ndarray:
    """Pixels of a stored picture where np.rot90 puts them in the upright one."""
    picture = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[::-1])
    upright = np.rot90(picture, k=-rotation // 90)  # clockwise
    corners = np.array([[0, 0], [SIZE[0] - 1, 0], [0, SIZE[1] - 1]])
    names = picture[corners[:, 1], corners[:, 0]]
    found = np.array([np.argwhere(upright == name)[0][::-1] for name in names], float)
    right, down = (found[1] - found[0]) / (SIZE[0] - 1), (found[2] - found[0]) / (SIZE[1] - 1)
    return found[0] + pixels[:, :1] * right + pixels[:, 1:] * down


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_phone_held_upright_has_the_calibration_of_its_sensor(rotation: int) -> None:
    points = some_points()
    pixels = turned(seen_by_opencv(points, DISTORTIONS[5]), rotation)
    size = SIZE if rotation % 180 == 0 else SIZE[::-1]
    assert (pixels > -500).all() and (pixels < np.array(size) + 500).all()
    lens = calibration().lens(size, rotation)
    angle = np.deg2rad(rotation)  # of the camera about its own axis, clockwise in the picture
    upright = rotate(rotation_from_euler([0, 0, angle]), points)
    ideal = lens.camera.project(upright)
    assert np.abs(lens.undistort(pixels) - ideal).max() < 1e-9
    assert np.abs(lens.distort(ideal) - pixels).max() < 1e-9


def test_frames_that_are_not_the_cameras_are_named_with_the_cure() -> None:
    with pytest.raises(MisfitError, match="stored as 640x480 and the calibration is of 1920x1080"):
        calibration().lens((640, 480))
    with pytest.raises(MisfitError, match=r"stored as 1080x1920 .* another aspect: record with"):
        calibration().lens((1080, 1920))
    with pytest.raises(MisfitError, match="several orientations"):
        calibration().lens(SIZE, None)


# --- the fit -------------------------------------------------------------------------------------


def test_the_fit_sees_through_the_lens() -> None:
    """A person far from the middle of a bent picture is found as in a straight one."""
    model = builtin.load_builtin()
    rng = np.random.default_rng(3)
    angles = rng.uniform(-1, 1, (12, 3)) * np.deg2rad([20, 30, 20])
    shape = model.neutral(proportions(model, rng, 0.7))
    place = np.array([330.0, 150.0, 800.0])
    lens = calibration().lens(SIZE)
    ideal = lens.camera.project(rotate(rotation_from_euler(angles), shape) + place)
    pixels = lens.distort(ideal)
    assert np.abs(pixels - ideal).max() > 20
    through = Fitter(model, lens.camera, size=SIZE, lens=lens)
    plain = Fitter(model, lens.camera, size=SIZE)
    person = through.fit_identity(pixels)
    bent = through.fit_frames(pixels, person)
    flat = plain.fit_frames(ideal, plain.fit_identity(ideal))
    blind = plain.fit_frames(pixels, plain.fit_identity(pixels))
    assert bent.ok.all() and flat.ok.all() and blind.ok.all()
    assert np.allclose(bent.euler, flat.euler, atol=1e-6)
    assert np.allclose(bent.translation, flat.translation, atol=1e-3)
    error = [np.abs(f.translation - place).mean() for f in (bent, blind)]
    assert error[0] < 0.5 * error[1]
    # what is projected, and the weak perspective, are in the recording's pixels
    seen = through.project(bent, person)
    assert np.abs(seen - pixels).mean() < 0.1 * np.abs(seen - ideal).mean()
    scale, turn, shift = np.split(bent.global_params, [1, 4], axis=1)
    modes = bent.local_params @ through.pdm.T
    body = model.mean + modes.reshape(-1, 3, 68).transpose(0, 2, 1)
    weak = scale[:, None] * rotate(rotation_from_euler_xyz(turn), body)[..., :2] + shift[:, None]
    assert np.abs(weak - pixels).mean() < 0.25 * np.abs(weak - ideal).mean()


# --- the recipe ----------------------------------------------------------------------------------


def test_the_recipe_carries_the_numbers_and_no_path(tmp_path: Path) -> None:
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(PLAIN))
    known = settings.filled({"camera": {"calibration": str(path)}})
    settings.check(known)
    made = recipes.recipe("fit", known)
    assert made.settings == {"model": "builtin", "calibration": calibration().to_dict()}
    assert str(tmp_path) not in json.dumps(made.to_dict())
    wide = settings.filled({"camera": {"calibration": str(path), "fov": 70}})
    assert recipes.recipe("fit", wide) == made, "the field of view does not matter"
    other = tmp_path / "elsewhere.json"
    other.write_text(json.dumps(PLAIN, indent=1))
    moved = settings.filled({"camera": {"calibration": str(other)}})
    assert recipes.recipe("fit", moved) == made
    default = settings.filled({})
    assert recipes.recipe("fit", default).settings == {"model": "builtin", "fov": 30.0}
    for stage in NATIVE:
        if stage != "fit":
            assert recipes.recipe(stage, known) == recipes.recipe(stage, default)


def test_a_faulty_calibration_is_a_fault_of_the_config_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"track: {{max_gap: many}}\ncamera:\n  calibration: {tmp_path}/gone.yml\n")
    document = {"track": {"max_gap": "many"}, "camera": {"calibration": f"{tmp_path}/gone.yml"}}
    with pytest.raises(ConfigError) as caught:
        settings.check(settings.filled(document), [file])
    text = str(caught.value)
    assert f"{file}:3: camera.calibration is refused: {tmp_path}/gone.yml cannot be read" in text
    assert f"{file}:1: track.max_gap is 'many'" in text
