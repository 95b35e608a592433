"""The networks of 68 points: on real faces, in batches, and files that are none of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pytest

from facemake.backends.detect import DETECTORS
from facemake.backends.landmarks import LANDMARKERS, Face
from facemake.errors import ModelError
from facemake.models import model_path
from facemake.schemes import IBUG68, convert


@pytest.fixture(autouse=True)
def models(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))


@pytest.fixture(scope="module")
def faces(shared: Path) -> list[Face]:
    """Faces that FaceMesh is sure of, in two pictures and some frames of three recordings."""
    pictures = [
        np.ascontiguousarray(cv2.imread(str(shared / "data" / name))[:, :, ::-1])
        for name in ("multi_face.jpg", "single_face.jpg")
    ]
    for name in ("single_face.mp4", "WolfgangLanger_Pexels.mp4", "face_noface.mov"):
        with av.open(shared / "data" / name) as container:
            frames = list(container.decode(video=0))
        pictures += [f.to_ndarray(format="rgb24") for f in frames[:: len(frames) // 8]]
    row = DETECTORS["mediapipe"]
    detector = row.create(row.models[0], row.start_score, "cpu")
    found = []
    for rgb in pictures:
        (faces,) = detector([rgb])
        pairs = zip(faces.bbox, faces.keypoints5, strict=True)
        found += [Face.of(rgb, box, points) for box, points in pairs]
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def meshes(faces: list[Face]) -> list[np.ndarray]:
    network = LANDMARKERS["mediapipe478"].load().create("cpu")
    return [convert(one.points, "mediapipe478", IBUG68) for one in network(faces)]


@pytest.mark.parametrize("name", ["pfld68", "dlib68"])
def test_points_lie_where_facemesh_has_them(name: str, faces: list[Face], meshes: list[np.ndarray]):
    """In the distance of the outer eye corners, without the jaw, which is another line in each."""
    if name == "pfld68":
        pytest.importorskip("onnxruntime")
    network = LANDMARKERS[name].load().create("cpu")
    errors = []
    for face, mesh in zip(faces, meshes, strict=True):
        (found,) = network([face])
        assert found is not None and found.depth is None and found.confidence is None
        distances = np.linalg.norm(found.points - mesh, axis=1)[17:]
        errors.append(distances.mean() / np.linalg.norm(mesh[36] - mesh[45]))
    assert np.median(errors) < 0.037 and np.percentile(errors, 90) < 0.055


def test_points_of_dlib_are_the_librarys_own(faces: list[Face]):
    network = LANDMARKERS["dlib68"].load().create("cpu")
    trees = dlib.shape_predictor(str(model_path("dlib_68_point_predictor")))
    detector = dlib.get_frontal_face_detector()
    rgb = faces[5].frame.rgb  # of single_face.jpg
    (box,) = detector(rgb, 1)
    theirs = np.array([(p.x, p.y) for p in trees(rgb, box).parts()])
    (mine,) = network(faces[5:6])
    # the trees end a little elsewhere from a box a little elsewhere
    corners = np.linalg.norm(theirs[36] - theirs[45])
    assert np.linalg.norm(mine.points - theirs, axis=1).mean() / corners < 0.03


def test_pfld_is_the_same_in_batches_of_any_size(faces: list[Face]):
    pytest.importorskip("onnxruntime")
    network = LANDMARKERS["pfld68"].load().create("cpu")
    together = network(faces)
    for face, one in zip(faces, together, strict=True):
        (alone,) = network([face])
        assert alone.points.tobytes() == one.points.tobytes()


def test_a_network_of_another_kind_in_its_place_is_refused(
    shared: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("onnxruntime")
    from facemake.backends import onnx_model

    other = shared / "models" / "scrfd_500m_kps.onnx"
    monkeypatch.setattr(onnx_model, "model_path", lambda name: other)
    with pytest.raises(ModelError, match=r"scrfd_500m_kps\.onnx is no PFLD of 68 points"):
        LANDMARKERS["pfld68"].source((), "cpu")


def test_points_that_are_no_numbers_are_an_error_and_not_landmarks(
    tmp_path: Path, make_network: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("onnxruntime")
    from facemake.backends import onnx_model

    points = np.full((1, 136), 0.5)
    points[0, 7] = np.nan
    make_network(tmp_path / "pfld.onnx", (1, 3, 112, 112), {"points": points})
    monkeypatch.setattr(onnx_model, "model_path", lambda name: tmp_path / "pfld.onnx")
    network = LANDMARKERS["pfld68"].load().create("cpu")
    face = Face.of(np.zeros((64, 64, 3), np.uint8), np.array([8, 8, 40, 40], np.float32))
    with pytest.raises(ModelError, match="pfld gives landmarks that are no numbers"):
        network([face])
