"""FaceNet through facenet-pytorch, on random weights: the published ones cannot be had here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS, Face
from facemake.backends.embed.vectors import embed_chips
from facemake.detections import landmark_box
from facemake.errors import ModelError

torch = pytest.importorskip("torch", reason="the embedder facenet is not installed (make facenet)")

from facemake.backends import torchvision_parts  # noqa: E402
from facemake.backends.embed import facenet  # noqa: E402

torchvision_parts.provide()


@pytest.fixture(scope="module")
def network() -> Any:
    """The package's own, with random weights that let no layer fade away."""
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(3)
    torch.set_num_threads(1)
    made = InceptionResnetV1(classify=True, num_classes=7).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    made.classify = False
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def embedder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("weights")
    # with the `logits` of the classes that it was trained on, as the published files have them
    torch.save(network.state_dict(), folder / "mine.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEMAKE_MODELS", str(folder))
        made = EMBEDDERS["facenet"].create("mine.pt", "cpu")
    yield made
    made.close()


def real_face(bundled: Path) -> np.ndarray:
    picture = Image.open(bundled / "portraits" / "grace_hopper.jpg").convert("RGB")
    return np.ascontiguousarray(np.asarray(picture))


def test_chips_and_vectors_are_the_packages_own(embedder: Any, network: Any, bundled: Path):
    """`extract_face` and `fixed_image_standardization`, then the network, of MTCNN's own box."""
    from facenet_pytorch import extract_face, fixed_image_standardization

    rgb = real_face(bundled)
    mtcnn = DETECTORS["mtcnn"]
    (found,) = mtcnn.create(mtcnn.models[0], 0.9, "cpu")([rgb])
    (box,) = found.bbox
    sides = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    theirs = extract_face(Image.fromarray(rgb), sides, image_size=160, margin=0)
    chip = embedder.chip(rgb, Face(landmark_box(box, mtcnn.face_box), None, box))
    assert np.array_equal(chip, theirs.numpy().transpose(1, 2, 0))
    with torch.inference_mode():
        vector = network(fixed_image_standardization(theirs)[None]).numpy()[0]
    ours = embedder([chip])[0]
    np.testing.assert_allclose(ours, vector, atol=1e-6)
    assert ours.shape == (EMBEDDERS["facenet"].dim,) and ours.dtype == np.float32


@pytest.mark.parametrize(
    "box", [(-30.5, -20.2, 90, 110), (400.7, 500, 300, 200), (10, 10, 3, 5), (3.9, 4.9, 60.2, 71.3)]
)
def test_boxes_are_cut_as_the_package_cuts_them(embedder: Any, bundled: Path, box: tuple):
    from facenet_pytorch import extract_face

    rgb = real_face(bundled)[:600, :512]
    drawn = np.array(box, np.float32)
    face = Face(landmark_box(drawn, DETECTORS["mtcnn"].face_box), None, drawn)
    sides = np.array([drawn[0], drawn[1], drawn[0] + drawn[2], drawn[1] + drawn[3]])
    theirs = extract_face(Image.fromarray(rgb), sides, image_size=160, margin=0)
    assert np.array_equal(embedder.chip(rgb, face), theirs.numpy().transpose(1, 2, 0))


def test_mtcnns_box_is_drawn_from_the_square_of_another_detector():
    assert DETECTORS["mtcnn"].face_box == facenet.MTCNN
    drawn = np.array([100, 50, 71, 100], np.float32)
    square = landmark_box(drawn, facenet.MTCNN)
    # another's box stands beside the square: it is not taken
    other = Face(square, None, np.array([0, 0, 500, 500], np.float32))
    np.testing.assert_allclose(facenet.mtcnn_box(other), drawn, atol=0.01)
    np.testing.assert_allclose(facenet.mtcnn_box(Face(square)), drawn, atol=0.01)
    assert facenet.mtcnn_box(Face(square, None, drawn)) == tuple(drawn.tolist())


def test_boxes_drawn_from_other_detectors_are_near_mtcnns(bundled: Path, shared: Path):
    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
        common = np.prod(np.maximum(high - low, 0))
        return float(common / (a[2] * a[3] + b[2] * b[3] - common))

    rgb = np.ascontiguousarray(np.asarray(Image.open(shared / "data" / "multi_face.jpg")))
    rows = {name: DETECTORS[name] for name in ("mtcnn", "mediapipe")}
    found = {n: r.create(r.models[0], r.start_score, "cpu")([rgb])[0] for n, r in rows.items()}
    assert len(found["mediapipe"].bbox) >= 4
    for box in found["mediapipe"].bbox:
        theirs = max(found["mtcnn"].bbox, key=lambda one: overlap(one, box))
        face = Face(landmark_box(box, rows["mediapipe"].face_box), None, box)
        assert overlap(np.array(facenet.mtcnn_box(face)), theirs) > overlap(box, theirs)
        assert overlap(np.array(facenet.mtcnn_box(face)), theirs) > 0.75


def test_any_split_into_batches_gives_the_same(embedder: Any, monkeypatch: pytest.MonkeyPatch):
    chips = list(np.random.default_rng(1).integers(0, 256, (5, 160, 160, 3), np.uint8))
    alone = np.array([embedder([chip])[0] for chip in chips])
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    assert np.array_equal(np.array(list(embed_chips(embedder, chips))), alone)
    for size in (2, 3, 8):  # as on a GPU: fixed, the last one filled up
        monkeypatch.setattr(embedder, "batch_size", size)
        monkeypatch.setattr(embedder._network, "batch_size", size)
        np.testing.assert_allclose(list(embed_chips(embedder, chips)), alone, atol=1e-5)


@pytest.mark.parametrize("zipped", [True, False])  # the published files are of the older form
def test_files_of_both_forms_are_read_and_nothing_but_tensors(
    network: Any, folder: Path, zipped: bool
):
    path = folder / "mine.pt"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    facenet.create("mine.pt", "cpu").close()


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil"),))


def test_weights_that_are_none_are_refused_in_words(
    network: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    other = {**network.state_dict(), "last_linear.weight": torch.zeros(128, 1792)}
    wrong = {
        "code.pt": (Evil(), "no file of weights"),
        "list.pt": ([1, 2], "something else than the tensors of a state dict"),
        "other.pt": (other, "the weights of another network"),
        "empty.pt": ({}, "the weights of another network"),
    }
    for name, (content, words) in wrong.items():
        torch.save(content, name)
        with pytest.raises(ModelError, match=words):
            facenet.create(name, "cpu")
    assert not Path("evil").exists()
    whole = folder / "whole.pt"
    torch.save(network.state_dict(), whole)
    (folder / "cut.pt").write_bytes(whole.read_bytes()[:-1000])
    (folder / "none.pt").write_bytes(b"")
    for name in ("cut.pt", "none.pt"):
        with pytest.raises(
            ModelError, match=r"is no file of weights .* if it is cut short, get it again"
        ):
            facenet.create(name, "cpu")
    facenet.create("whole.pt", "cpu")
    torch.save({k: v + 1 for k, v in network.state_dict().items()}, whole)
    with pytest.raises(ModelError, match=r"whole\.pt has changed: its SHA-256 is"):
        facenet.create("whole.pt", "cpu")


def test_missing_weights_say_where_they_are_got(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(folder))
    for name, words in {
        "facenet": "`facemake models fetch facenet_vggface2`",
        "facenet-casia": r"get it from https://github\.com/timesler/.* as 20180408-102900-casia",
    }.items():
        with pytest.raises(ModelError, match=words):
            EMBEDDERS[name].create(EMBEDDERS[name].models[0], "cpu")


SQUARE = np.array([5, 5, 40, 40], np.float32)


@pytest.mark.parametrize(
    ("rgb", "square", "words"),
    [
        (np.zeros((60, 80, 3), np.uint8), (300, 5, 40, 40), "has no pixel in a picture of 80 x 60"),
        (np.zeros((1, 1, 3), np.uint8), (5, 5, 40, 40), "has no pixel in a picture of 1 x 1"),
        (np.zeros((60, 80, 3), np.uint8), (5, np.nan, 40, 40), "its numbers are not finite"),
        (np.zeros((60, 80, 3), np.uint8), (5, np.inf, 40, 40), "its numbers are not finite"),
        (np.zeros((60, 80, 3), np.uint8), (5, 5, 0, 0), "width and height are not above 0"),
        (np.zeros((60, 80), np.uint8), (5, 5, 40, 40), "a grey one by np.repeat"),
        (np.zeros((60, 80, 4), np.uint8), (5, 5, 40, 40), r"expected a picture as \(H, W, 3\)"),
        (np.zeros((60, 80, 3)), (5, 5, 40, 40), "one of 0 to 1 times 255"),
    ],
)
def test_pictures_and_places_that_are_none_are_refused(
    embedder: Any, rgb: np.ndarray, square: tuple, words: str
):
    with pytest.raises(ValueError, match=words):
        embedder.chip(rgb, Face(np.array(square, np.float32)))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_vector_that_is_none_is_said(
    embedder: Any, monkeypatch: pytest.MonkeyPatch, value: float
):
    raw = np.full((1, 512), value, np.float32)
    monkeypatch.setattr(embedder, "_network", lambda chips: raw)
    with pytest.raises(ModelError, match=r"\.pt gives a vector that is zero or not finite"):
        embedder([np.zeros((160, 160, 3), np.uint8)])


def test_a_picture_of_one_pixel_has_a_chip(embedder: Any):
    face = Face(np.array([-1, -1, 3, 3], np.float32))
    assert (embedder.chip(np.full((1, 1, 3), 9, np.uint8), face) == 9).all()


def test_a_gpu_that_is_not_there_is_said(
    network: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    torch.save(network.state_dict(), folder / "mine.pt")
    with pytest.raises(ModelError, match="device is cuda, and PyTorch"):
        EMBEDDERS["facenet"].create("mine.pt", "cuda")
