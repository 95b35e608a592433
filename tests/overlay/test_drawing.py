"""What is drawn: axes, gaze, bars and meshes where the face has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from av.video.reformatter import Colorspace

from facemake import schemes
from facemake.backends.fit.interpolated import interpolated_mesh
from facemake.backends.threedi.model import InstallModel
from facemake.errors import FacemakeError
from facemake.geometry import rotate, rotation_from_euler
from facemake.overlay.drawing import Pen, axes, gaze
from facemake.overlay.rows import Face, frames_of
from facemake.overlay.sinks import Stream
from facemake.overlay.surface import Surface, _lines
from facemake.overlay.view import View
from facemake.tables import SCHEMAS, TableReader, TableWriter
from makefaces import CAMERA, DISTANCE, SIZE
from overlayrun import GREY, MODEL, VIEW, face


@pytest.mark.parametrize("turn", [(20, 0, 0), (-20, 0, 0), (0, 25, 0), (0, -25, 0), (10, 20, 0)])
def test_the_drawn_nose_axis_points_as_the_known_head_does(turn: tuple[float, float, float]):
    moved = face(turn)
    origin, *ends = axes(moved, VIEW)
    # where the tip of the nose is to the bridge, in the points of the turned head and the straight
    straight = face()
    tip = (moved.points[30] - moved.points[27]) - (straight.points[30] - straight.points[27])
    drawn = ends[2] - origin
    assert np.dot(drawn, tip) > 0.9 * np.linalg.norm(drawn) * np.linalg.norm(tip)


def test_each_axis_in_words():
    pitched, yawed, rolled = (axes(face(a), VIEW) for a in ((20, 0, 0), (0, 20, 0), (0, 0, 20)))
    assert pitched[3, 1] > pitched[0, 1] + 5  # pitch > 0: the nose points down
    assert yawed[3, 0] < yawed[0, 0] - 5  # yaw > 0: to the image's left
    assert rolled[1, 0] > rolled[0, 0] and rolled[1, 1] > rolled[0, 1] + 5  # clockwise
    assert rolled[2, 1] > rolled[0, 1]  # y is down


def test_a_gaze_begins_in_its_eye_and_goes_where_it_looks():
    looking = face(gaze=np.array([[0.6, 0.0, -0.8], [0.0, 0.6, -0.8]]))
    (left, right_end), (right, down_end) = gaze(looking, VIEW)
    points = looking.points
    assert points[36, 0] < left[0] < points[39, 0] and points[42, 0] < right[0] < points[45, 0]
    assert right_end[0] > left[0] + 10  # x > 0 is the image's right
    assert down_end[1] > right[1] + 10  # y > 0 is down
    one_eye = face(gaze=np.array([[np.nan] * 3, [0.0, 0.0, -1.0]]))
    assert len(gaze(one_eye, VIEW)) == 1


@pytest.mark.parametrize(("middle", "left"), [(150, False), (500, True)])
def test_bars_are_as_long_as_what_they_say_and_not_on_the_face(middle: float, left: bool):
    box = np.array([middle - 60.0, 100.0, 120.0, 120.0])
    rgb = GREY.copy()
    faces = [Face(0, "ok", box=box, aus=np.array([5.0, 2.5, 0.0, np.nan])), Face(1, "ok", box=box)]
    Pen(frozenset({"aus"}), ["AU01_r", "AU02_r", "AU04_r", "AU05_r"]).draw(rgb, faces, VIEW)
    yellow = (rgb[..., 0].astype(int) - rgb[..., 2]) > 60
    rows = yellow.sum(axis=1)
    lengths = sorted({int(n) for n in rows if n > 5})
    assert len(lengths) == 2 and abs(lengths[1] - 2 * lengths[0]) <= 1
    changed = np.flatnonzero((rgb != GREY).any(axis=(0, 2)))
    assert changed.min() == 0 if left else changed.max() == SIZE[0] - 1
    assert np.ptp(changed) < SIZE[0] / 4 + 2


def test_without_a_camera_the_weak_perspective_draws():
    lite = Face(
        0, "ok", pose=np.array([0, 0.3, 0, *[np.nan] * 3]), weak=np.array([2.0] * 4 + [9, 8])
    )
    ends = axes(lite, View(None))
    assert ends[0].tolist() == [9, 8] and ends[3, 0] < 9


# -- the mesh


def test_a_mesh_has_no_diagonals_and_each_line_knows_its_triangles():
    square = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0], [20, 5, 0]], np.float32)
    mesh = replace(
        interpolated_mesh(MODEL),
        mean=square,
        triangles=np.array([[0, 1, 2], [0, 2, 3], [1, 4, 2]], np.int32),
    )
    edges, beside = _lines(mesh)
    assert edges.tolist() == [[0, 1], [0, 3], [1, 2], [1, 4], [2, 3], [2, 4]]
    assert [sorted(set(pair)) for pair in beside.T.tolist()] == [[0], [1], [0, 2], [2], [1], [2]]


@pytest.mark.parametrize(("matrix", "written"), [(1, 1), (2, 6), (5, 5), (6, 6), (0, 1), (9, 1)])
def test_a_matrix_of_old_is_kept(matrix: int, written: int):
    number, word = Stream(None, matrix=matrix).coding
    assert number == written and (word == Colorspace.ITU709) == (number == 1)


# -- 3DI's faces


def install_faces(path: Path) -> InstallModel:
    """What an install says: the inner face of the built-in model, about another origin."""
    inner = MODEL.inner
    away = np.array([0.5, -3.0, 2.0])
    faces = InstallModel(
        MODEL.mean[inner] + away, MODEL.expression[:, inner], np.zeros(0, np.int64)
    )
    faces.save(path)
    return faces


def of_3di(backend: str, path: Path) -> Surface:
    return Surface.of({"stage": "fit", "backend": backend, "settings": {"fov": 30}}, path)


def test_the_mesh_of_3di_is_the_persons_at_the_landmarks(tmp_path: Path):
    faces = install_faces(tmp_path / "model.npz")
    person = faces.mean * 1.1 + np.random.default_rng(0).normal(0, 2, (51, 3))
    with TableWriter(tmp_path / "identity.parquet", SCHEMAS["identity"], {}) as table:
        table.append(sample="clip", track=0, status="ok", neutral=person.ravel())
    surface = of_3di("3di", tmp_path / "model.npz")
    assert not surface.knows(0)
    with TableReader(tmp_path / "identity.parquet") as reader:
        surface.know(reader, "clip")
    assert surface.knows(0) and not surface.knows(1)
    expression = np.abs(np.random.default_rng(1).normal(0, 0.3, len(faces.expression)))
    pose = np.array([0.1, -0.2, 0.3, 20.0, -10.0, DISTANCE])
    one = Face(0, "ok", pose=pose, expression=expression)
    _, pixels = surface._placed(one, VIEW, surface._people[0])
    shape = faces.shapes(expression[None], person)[0]
    wanted = CAMERA.project(rotate(rotation_from_euler(pose[:3]), shape) + pose[3:])
    vertices = surface._mesh.landmarks[schemes.IBUG51]
    assert np.abs(pixels[vertices] - wanted).max() < 0.01
    rgb = GREY.copy()
    surface.lines(rgb, one, VIEW, (255, 255, 255))
    ys, xs = np.nonzero((rgb != GREY).any(axis=-1))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    drawn = [xs.min(), ys.min(), xs.max(), ys.max()]
    assert np.abs(np.array(drawn) - [*low, *high]).max() < 3


def test_a_head_of_3di_lite_is_where_its_landmarks_are(tmp_path: Path):
    faces = install_faces(tmp_path / "model.npz")
    angles, expression = np.array([0.1, -0.3, 0.2]), np.zeros(len(faces.expression))
    flat = rotate(rotation_from_euler(angles), faces.mean)[:, :2]
    points = 1.7 * flat + [300, 200]
    about = {"recipe": {"stage": "fit", "backend": "3dilite", "settings": {"fov": 30}}}
    rows = {
        "detections": {"status": "ok", "time": 0.0, "x": 9.0, "y": 9.0, "w": 9.0, "h": 9.0},
        "landmarks": {"status": "ok", "scheme": "ibug51", "points": points.ravel()},
        "fit": {
            "status": "ok",
            "expression": expression,
            "canonical": faces.canonical(expression[None])[0],
            **dict(zip(("rx", "ry", "rz"), angles, strict=True)),
        },
    }
    readers = {}
    for name, row in rows.items():
        with TableWriter(tmp_path / f"{name}.parquet", SCHEMAS[name], about) as table:
            table.append(sample="clip", frame=0, track=0, **row)
            table.append(sample="clip", frame=1, track=0, status="lost")
        readers[name] = TableReader(tmp_path / f"{name}.parquet")
    seen, lost = frames_of(readers, "clip", "fit", len(expression))
    (one,) = seen.faces
    assert np.allclose(one.weak, [1.7, *angles, 300, 200], atol=1e-3)
    assert lost.faces[0].weak is None and axes(one, VIEW)[0] == pytest.approx([300, 200], abs=0.01)
    surface = of_3di("3dilite", tmp_path / "model.npz")
    assert surface.knows(0)  # whoever it is has the mean face
    _, pixels = surface._placed(one, VIEW, None)
    assert np.abs(pixels[surface._mesh.landmarks[schemes.IBUG51]] - points).max() < 0.01
    for reader in readers.values():
        reader.close()
    with pytest.raises(FacemakeError, match="finish the run first"):
        of_3di("3di", tmp_path / "nothing.npz")
