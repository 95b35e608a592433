"""The stand-in for 3DI: its files have the real shapes and tell of one face."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import makemedia
from facemake import geometry
from standin3di import build as standin
from standin3di import programs

FRAMES = 12
DARK = (0, 5)
"""Frames without a picture."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames, two of them black; a name that a shell would trip over."""
    frames = [makemedia.pattern(i, 320, 240) for i in range(FRAMES)]
    for i in DARK:
        frames[i] = np.zeros_like(frames[i])
    folder = tmp_path_factory.mktemp("clip")
    return makemedia.write_video(folder / "-a: b;$'c.mp4", frames)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.build(tmp_path_factory.mktemp("an install") / "3DI", "3di")


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.build(tmp_path_factory.mktemp("an install") / "3DI_lite", "3dilite")


def start(
    install: Path, name: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [str(install / name), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd or install, capture_output=True, text=True, timeout=60)


class Chain:
    """Runs one program after the other; `files[kind]` are its numbers."""

    def __init__(self, install: Path, video: Path, folder: Path) -> None:
        self.install, self.video, self.folder = install, video, folder

    def path(self, kind: str) -> Path:
        return self.folder / kind

    def run(self, name: str, *words: str) -> str:
        """A word that begins with `=` is an argument as it is, others are kinds of files."""
        arguments = [w[1:] if w.startswith("=") else str(self.path(w)) for w in words]
        ended = start(self.install, name, *arguments)
        assert ended.returncode == int(name in programs.ENDS_WITH_ONE), ended.stderr
        assert programs.SAYS in ended.stdout
        return ended.stdout

    def __getitem__(self, kind: str) -> np.ndarray:
        return np.loadtxt(self.path(kind), ndmin=2)


def full_chain(install: Path, video: Path, folder: Path, camera: str = "30") -> Chain:
    chain = Chain(install, video, folder)
    v, model = f"={video}", "=BFMmm-19830"
    config = f"={install}/configs/BFMmm-19830.cfg1.global4.txt"
    run, c = chain.run, f"={camera}"
    run("video_detect_face", v, "rects")
    run("video_detect_landmarks", v, "rects", "landmarks", config)
    run("video_learn_identity", v, "landmarks", config, c, "alpha", "beta")
    run("scripts/save_identity_and_shape.py", "alpha", "beta", "=1", "=0.4", "shape", "tex", model)
    run("video_from_saved_identity", v, "landmarks", config, c, "shape", "tex", "e", "pose", "i")
    run("scripts/total_variance_rec.py", "e", "es", model)
    run("scripts/total_variance_rec_pose.py", "pose", "ps")
    run("scripts/produce_canonicalized_3Dlandmarks.py", "es", "can", model)
    basis = "=0.0.1.F591-cd-K32d"
    run("scripts/compute_local_exp_coefficients.py", "es", "local", model, basis, "=0")
    run("scripts/compute_local_exp_coefficients.py", "es", "local1", model, basis, "=1")
    return chain


@pytest.fixture(scope="module")
def ran(full: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return full_chain(full, clip, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def ran_lite(lite: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = Chain(lite, clip, tmp_path_factory.mktemp("out"))
    v, config = f"={clip}", f"={lite}/configs/BFMmm-23660.cfg1.global4.txt"
    chain.run("video_detect_face", v, "rects")
    chain.run("video_detect_landmarks", v, "rects", "landmarks", config)
    chain.run("process_video.py", v, "landmarks", "es", "ps", "alpha", "beta", "i")
    chain.run("produce_canonicalized_3Dlandmarks.py", "es", "can", "=BFMmm-23660")
    chain.run("compute_local_exp_coefficients.py", "es", "local", "=1")
    return chain


def deformed(expression: np.ndarray) -> np.ndarray:
    """(n, 51, 3) E e."""
    return np.array([programs.deformation(e) for e in expression])


def vertices(chain: Chain, n: int) -> np.ndarray:
    return chain["shape"][programs.landmark_vertices(n)]


def project(shape: np.ndarray, pose: np.ndarray, fov: float = 30) -> np.ndarray:
    """(n, 102) px of shapes (n, 51, 3) by rows of 3DI's pose, in a picture of 320x240."""
    rotation = geometry.rotation_from_euler(pose[:, [7, 6, 8]])
    seen = np.einsum("nij,nkj->nki", rotation, shape) + pose[:, None, :3]
    f = 160 / np.tan(np.radians(fov) / 2)
    return (f * seen[..., :2] / seen[..., 2:] + [160, 120]).reshape(len(pose), -1)


def test_files_have_the_shapes_of_the_real_ones(ran: Chain) -> None:
    fitted = FRAMES - 1
    shapes = {
        **{"rects": (FRAMES, 4), "landmarks": (FRAMES, 102), "alpha": (199, 1), "beta": (199, 1)},
        **{"shape": (19830, 3), "tex": (19830, 1), "e": (fitted, 79), "pose": (fitted, 9)},
        **{"i": (fitted, 4), "es": (fitted, 79), "ps": (fitted, 9), "can": (fitted, 153)},
        **{"local": (fitted, 32), "local1": (fitted, 32)},
    }
    assert {kind: ran[kind].shape for kind in shapes} == shapes


def test_files_of_lite_have_the_shapes_of_the_real_ones(ran_lite: Chain) -> None:
    fitted = FRAMES - 1
    shapes = {
        **{"rects": (FRAMES, 4), "landmarks": (FRAMES, 102), "alpha": (199, 1), "beta": (199, 1)},
        **{"i": (fitted, 4), "es": (fitted, 79), "ps": (fitted, 6), "can": (fitted, 153)},
        "local": (fitted, 50),
    }
    assert {kind: ran_lite[kind].shape for kind in shapes} == shapes


def test_landmarks_are_the_projection_of_shape_expression_and_pose(ran: Chain) -> None:
    expression, pose = ran["e"], ran["pose"]
    seen = ~np.isnan(pose).any(axis=1)
    shape = vertices(ran, 19830) + deformed(expression[seen])
    off = project(shape, pose[seen]) - ran["landmarks"][:-1][seen]
    assert np.abs(off).max() < 1e-3


def test_another_field_of_view_moves_the_head_away_in_proportion(
    full: Path, clip: Path, ran: Chain, tmp_path: Path
) -> None:
    wide = full_chain(full, clip, tmp_path, "60")
    assert (wide.path("landmarks").read_bytes()) == ran.path("landmarks").read_bytes()
    ratio = wide["ps"][:, 2] / ran["ps"][:, 2]
    assert np.allclose(ratio, np.tan(np.radians(15)) / np.tan(np.radians(30)))
    off = project(vertices(wide, 19830) + deformed(wide["e"]), wide["pose"], 60)
    off = np.delete(off - wide["landmarks"][:-1], list(DARK), axis=0)
    assert np.abs(off).max() < 6  # the depth within a face looks another


def test_a_calibration_file_is_a_camera(full: Path, clip: Path, ran: Chain, tmp_path: Path) -> None:
    focal = 160 / np.tan(np.radians(15))
    matrix = f"data: [ {focal!r}, 0., 160.,\n  0., {focal!r}, 120., 0., 0., 1. ]"
    camera = tmp_path / "camera.yml"
    camera.write_text(f"%YAML:1.0\ncameraMatrix_postUndistort: !!opencv-matrix\n   {matrix}\n")
    undistorted = tmp_path / "undistorted.mp4"
    ended = start(full, "video_undistort", clip, camera, undistorted)
    assert (ended.returncode, "copied" in ended.stdout) == (1, True)
    same = full_chain(full, undistorted, tmp_path, str(camera))
    assert np.allclose(same["ps"], ran["ps"], atol=1e-5, equal_nan=True)


def test_head_is_in_the_middle_and_of_the_right_size(ran: Chain) -> None:
    points = ran["landmarks"].reshape(FRAMES, 51, 2)[1:5]
    assert np.all(np.abs(points.mean(axis=1) - [160, 120]) < [40, 40])
    x, y, w, h = ran["rects"][1:5].T
    assert np.all((h > 60) & (h < 130) & (w > 60))
    inside = (points[..., 0] > x[:, None]) & (points[..., 0] < (x + w)[:, None])
    inside &= (points[..., 1] > y[:, None]) & (points[..., 1] < (y + h)[:, None])
    assert inside.all()


def test_mean_face_is_one(full: Path, tmp_path: Path) -> None:
    mean = np.array(programs.MEAN)
    assert mean.shape == (51, 3)
    assert mean[28, 0] - mean[19, 0] == 89
    assert mean[13, 2] == -41 == mean[:, 2].min()
    mirror = np.array([*range(9, -1, -1), *range(10, 14), *range(18, 13, -1)])
    assert np.array_equal(mean[mirror] * [-1, 1, 1], mean[:19])
    chain = Chain(full, Path(), tmp_path)
    (tmp_path / "zeros").write_text("0\n" * 199)
    script = "scripts/save_identity_and_shape.py"
    chain.run(script, "zeros", "zeros", "=1", "=0.4", "shape", "tex", "=BFMmm-19830")
    assert np.array_equal(vertices(chain, 19830), mean)
    assert len(np.unique(chain["shape"], axis=0)) == 19830


def test_canonical_landmarks_are_linear_in_the_coefficients(full: Path, tmp_path: Path) -> None:
    chain = Chain(full, Path(), tmp_path)
    rows = np.concatenate([np.zeros((1, 79)), 1e5 * np.eye(79)])
    np.savetxt(tmp_path / "ask", rows)
    chain.run("scripts/produce_canonicalized_3Dlandmarks.py", "ask", "can", "=BFMmm-19830")
    told = chain["can"].reshape(80, 51, 3) * [1, -1, 1]
    assert np.array_equal(told[0], np.array(programs.MEAN))
    basis = ((told[1:] - told[0]) / 1e5).reshape(79, 153)
    assert np.linalg.matrix_rank(basis, tol=1e-6) == 79
    assert np.abs(basis * 500).max() > 5  # mm


def test_canonical_landmarks_are_mean_face_and_smoothed_expression(
    ran: Chain, ran_lite: Chain
) -> None:
    for chain in (ran, ran_lite):
        seen = ~np.isnan(chain["es"]).any(axis=1)
        wanted = (np.array(programs.MEAN) + deformed(chain["es"][seen])) * [1, -1, 1]
        assert np.allclose(chain["can"][seen], wanted.reshape(-1, 153), atol=1e-4)


def test_lite_gives_its_pose_back_by_the_rule_of_its_readers(ran: Chain, ran_lite: Chain) -> None:
    template = 1.5 * np.array(programs.TEMPLATE) + 25
    for t in range(1, FRAMES - 1):
        if t in DARK:
            continue
        points = ran_lite["landmarks"][t].reshape(51, 2)
        eyes = points[[19, 22]].mean(axis=0), points[[25, 28]].mean(axis=0)
        five = np.array([*eyes, points[13], points[31], points[37]])
        a, b = template - template.mean(axis=0), five - five.mean(axis=0)
        u, _, vt = np.linalg.svd(b.T @ a)  # Umeyama's rotation
        turn = u @ np.diag([1, np.linalg.det(u @ vt)]) @ vt
        roll = np.arctan2(turn[1, 0], turn[0, 0])
        predicted = rodrigues(ran_lite["ps"][t, 3:] * [-1, 1, 1])
        found = geometry.rotation_from_euler([0, 0, roll]) @ predicted
        wanted = geometry.rotation_from_euler(ran["pose"][t][[7, 6, 8]])
        assert np.allclose(found, wanted, atol=1e-4)


def rodrigues(vector: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def test_frames_without_contrast_have_no_face(ran: Chain, ran_lite: Chain) -> None:
    dark = list(DARK)
    for chain in (ran, ran_lite):
        assert not chain["rects"][dark].any()
        assert not chain["landmarks"][dark].any()
        assert np.delete(chain["landmarks"], dark, axis=0).all()
    for kind in ("e", "pose", "i"):
        assert np.isnan(ran[kind][dark]).all()
        assert np.isfinite(np.delete(ran[kind], dark, axis=0)).all()
    assert np.isfinite(ran["es"]).all()
    mean = np.nanmean(ran["e"], axis=0)
    assert np.allclose(ran["es"][5], (ran["e"][4] + mean + ran["e"][6]) / 3, atol=1e-5)
    assert np.isfinite(ran["ps"][:, :6]).all()
    assert np.array_equal(ran["ps"][:, 6:], ran["pose"][:, 6:], equal_nan=True)
    assert np.isnan(ran_lite["es"][0]).all() and np.isnan(ran_lite["can"][0]).all()
    assert np.isfinite(ran_lite["local"]).all()
    assert np.isnan(ran_lite["alpha"]).all() and np.isfinite(ran["alpha"]).all()
    assert np.array_equal(ran_lite["es"][5], ran_lite["es"][4])
    assert np.isfinite(ran_lite["es"][1:]).all()


def test_fit_ends_where_the_face_does(full: Path, lite: Path, tmp_path: Path) -> None:
    frames = [makemedia.pattern(i, 320, 240) for i in range(FRAMES)]
    for i in (3, 9, 10, 11):
        frames[i] = np.zeros_like(frames[i])
    video = makemedia.write_video(tmp_path / "v.mp4", frames)
    chain = full_chain(full, video, tmp_path)
    assert len(chain["landmarks"]) == FRAMES
    assert {len(chain[kind]) for kind in ("e", "pose", "i", "es", "ps", "can", "local")} == {8}
    assert np.isnan(chain["e"][3]).all() and np.isfinite(np.delete(chain["e"], 3, axis=0)).all()


def test_localized_expressions_are_not_negative_until_they_are_normalized(ran: Chain) -> None:
    assert (ran["local"] >= 0).all() and (ran["local"] > 0).any(axis=1).all()
    assert (ran["local1"] < 0).any()


def test_the_same_video_gives_the_same_files_and_another_one_others(
    full: Path, clip: Path, ran: Chain, tmp_path: Path
) -> None:
    again = full_chain(full, clip, tmp_path)
    for path in again.folder.iterdir():
        assert path.read_bytes() == ran.path(path.name).read_bytes()
    other = makemedia.write_video(tmp_path / "other.mp4", 12)
    start(full, "video_detect_face", other, tmp_path / "rects")
    assert (tmp_path / "rects").read_bytes() != ran.path("rects").read_bytes()


def test_programs_are_strict(full: Path, clip: Path, ran: Chain, tmp_path: Path) -> None:
    out, rects = tmp_path / "out", ran.path("rects")
    config = full / "configs" / "BFMmm-19830.cfg1.global4.txt"
    other = shutil.copy(config, tmp_path / "config.txt")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    script = "scripts/produce_canonicalized_3Dlandmarks.py"
    landmarks = "video_detect_landmarks"
    for name, arguments, cwd, said in [
        ("video_detect_face", [clip], None, "usage"),
        ("video_detect_face", [clip, out, "x"], None, "usage"),
        ("video_detect_face", [clip, out], tmp_path, "must be started in"),
        (script, [ran.path("es"), out, "BFMmm-19830"], full / "scripts", "must be started in"),
        ("video_detect_face", [tmp_path / "none.mp4", out], None, "cannot open video"),
        ("video_detect_face", [broken, out], None, "cannot decode video"),
        ("video_detect_face", [clip, tmp_path / "none" / "out"], None, "does not exist"),
        (landmarks, [clip, ran.path("landmarks"), out, config], None, "4 columns"),
        (landmarks, [clip, tmp_path / "none", out, config], None, "cannot read"),
        (landmarks, [clip, rects, out, full / "configs" / config.name[1:]], None, "configuration"),
        (landmarks, [clip, rects, out, other], None, "is named like no configuration"),
        (script, [ran.path("es"), out, "BFMmm-23660"], None, "./models/MMs/BFMmm-23660"),
    ]:
        ended = start(full, name, *arguments, cwd=cwd)
        assert ended.returncode == 1, (name, arguments)
        assert said in ended.stderr and programs.SAYS in ended.stderr
        assert not out.exists()


def test_the_schedulers_gpu_is_named(full: Path, clip: Path, tmp_path: Path) -> None:
    command = [str(full / "video_detect_face"), str(clip), str(tmp_path / "rects")]
    said = subprocess.run(
        command, cwd=full, env={"CUDA_VISIBLE_DEVICES": "3"}, capture_output=True, text=True
    ).stdout
    assert "CUDA_VISIBLE_DEVICES=3\n" in said
    assert f"Processing frame #{FRAMES}/{FRAMES}\r" in said.replace("\n", "\r")


@pytest.mark.parametrize("mode", [m for m in programs.MODES if m != "sleep"])
def test_failures_are_played(mode: str, lite: Path, clip: Path, ran_lite: Chain) -> None:
    folder = ran_lite.folder / mode
    folder.mkdir()
    files = [folder / kind for kind in ("es", "ps", "alpha", "beta", "i")]
    play = lite / "standin.json"
    play.write_text(json.dumps({"process_video.py": mode}))
    try:
        ended = start(lite, "process_video.py", clip, ran_lite.path("landmarks"), *files)
    finally:
        play.unlink()
    assert ended.returncode == {"exit": 1, "noise": 3}.get(mode, 0)
    there = [path for path in files if path.exists()]
    text = files[0].read_text() if files[0].exists() else ""
    if mode in ("exit", "nothing", "noise"):
        assert not there
    elif mode == "one":
        assert there == files[:1]
    else:
        assert there == files
    rows = [line.split() for line in text.splitlines()]
    if mode == "noise":
        assert len(ended.stderr) > 1e6
    elif mode == "empty":
        assert text == ""
    elif mode == "half":
        assert len(rows) < FRAMES - 1 and text.endswith(".1e-")
    elif mode in ("nan", "inf"):
        assert rows[5][-1] == mode and rows[5][0] not in ("nan", "inf")
    elif mode == "columns":
        assert {len(row) for row in rows} == {78}
    elif mode == "frames":
        assert len(rows) == (FRAMES - 1) // 2


def test_a_program_that_never_ends(lite: Path, clip: Path, tmp_path: Path) -> None:
    play = lite / "standin.json"
    play.write_text('{"video_detect_face": "sleep"}')
    try:
        command = [str(lite / "video_detect_face"), str(clip), str(tmp_path / "rects")]
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run(command, cwd=lite, capture_output=True, timeout=1)
    finally:
        play.unlink()
