"""ArcFace networks: alignment and preprocessing against computations of their own making."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facemake import recipes, settings
from facemake.backends.embed import EMBEDDERS, Face
from facemake.backends.embed.arcface import ArcFace, arcface_chip
from facemake.backends.embed.vectors import embed_chips
from facemake.errors import ModelError, PassingError
from facemake.models import registry
from makenetworks import DIM, write_recogniser
from standingpu import Gpu, stand_in

onnxruntime = pytest.importorskip("onnxruntime")

MARGIN = np.array([8, 0])
TEMPLATE = np.array(  # FACTS of the field: insightface's, px of 112 x 112
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
FIVE = np.array([[301, 198], [371, 214], [325, 246], [285, 272], [345, 288]], np.float32)
SQUARE = np.array([250, 130, 170, 170], np.float32)


def umeyama(src: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """(2, 3): Umeyama's own formulae (1991), by the singular values of the covariance."""
    ms, md = src.mean(axis=0), dst.mean(axis=0)
    covariance = (dst - md).T @ (src - ms) / len(src)
    u, values, vt = np.linalg.svd(covariance)
    sign = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(values) @ sign) / ((src - ms) ** 2).sum(axis=1).mean()
    return np.column_stack([scale * rotation, md - scale * rotation @ ms])


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """A picture that is smooth enough for two ways of interpolating to agree."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    return cv2.resize(noise, (640, 420), interpolation=cv2.INTER_CUBIC)


def ibug68(five: np.ndarray) -> np.ndarray:
    """(68, 2) landmarks whose middles of the eyes, tip of the nose and corners these are."""
    marks = np.tile(five.mean(axis=0), (68, 1)).astype(np.float32)
    around = np.array([[-9, 0], [-4, -5], [4, -5], [9, 0], [4, 5], [-4, 5]])
    marks[36:42], marks[42:48] = five[0] + around, five[1] + around
    marks[30], marks[48], marks[54] = five[2:]
    return marks


def assert_alike(found: np.ndarray, wanted: np.ndarray) -> None:
    """OpenCV rounds places to 1/32 px, counted from another corner in a part of the picture."""
    difference = np.abs(found.astype(int) - wanted.astype(int))
    assert difference.max() <= 8 and difference.mean() < 0.5


@pytest.mark.parametrize("known", ["keypoints5", "ibug68", "ibug51"])
def test_the_chip_is_umeyamas_similarity_on_the_template(rgb: np.ndarray, known: str):
    face = Face(SQUARE, keypoints5=FIVE)
    if known != "keypoints5":
        marks = ibug68(FIVE)
        # the landmarks count where the detector's points say something else
        face = Face(SQUARE, marks if known == "ibug68" else marks[17:], keypoints5=FIVE + 20)
    chip = arcface_chip(rgb, face)
    wanted = cv2.warpAffine(rgb, umeyama(FIVE.astype(float), TEMPLATE), (112, 112))
    assert chip.shape == (112, 112, 3) and chip.dtype == np.uint8 and chip.flags.c_contiguous
    assert_alike(chip, wanted)
    theirs, _ = cv2.estimateAffinePartial2D(FIVE, TEMPLATE.astype(np.float32), method=cv2.LMEDS)
    assert np.abs(umeyama(FIVE.astype(float), TEMPLATE) - theirs).max() < 0.7  # a robust one


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((224, 224), TEMPLATE * 2),
        ((128, 128), TEMPLATE + MARGIN),  # insightface's face_align.estimate_norm
        ((256, 256), (TEMPLATE + MARGIN) * 2),
        ((96, 112), TEMPLATE - MARGIN),  # width, height; SphereFace's
    ],
)
def test_another_size_has_the_template_where_insightface_has_it(
    rgb: np.ndarray, size: tuple[int, int], target: np.ndarray
):
    chip = arcface_chip(rgb, Face(SQUARE, keypoints5=FIVE), size)
    assert chip.shape == (size[1], size[0], 3)
    assert_alike(chip, cv2.warpAffine(rgb, umeyama(FIVE.astype(float), target), size))


def test_without_points_the_square_is_cut_and_eyes_turn_it(rgb: np.ndarray):
    upright = arcface_chip(rgb, Face(SQUARE))
    side = 1.21 * 170
    left, top = 250 + 85 - side / 2, 130 + 85 - 0.18 * 170 - side / 2
    scale = 112 / side
    by_hand = np.array([[scale, 0, -left * scale - 0.5], [0, scale, -top * scale - 0.5]])
    assert_alike(upright, cv2.warpAffine(rgb, by_hand, (112, 112)))
    points = np.full((5, 2), np.nan, np.float32)
    points[:2] = (300, 200), (380, 200)  # level eyes, wherever they are
    assert np.array_equal(arcface_chip(rgb, Face(SQUARE, keypoints5=points)), upright)
    # a picture and its face turned by a quarter
    turned = np.ascontiguousarray(np.rot90(rgb, -1))
    square = np.array([420 - 130 - 170 - 1, 250, 170, 170], np.float32)
    points[:2] = (100, 300), (100, 380)
    assert_alike(arcface_chip(turned, Face(square, keypoints5=points)), upright)


@pytest.mark.parametrize(
    "face",
    [
        Face(np.array([900, 900, 50, 50], np.float32)),
        Face(np.array([50, 50, 0, 50], np.float32)),
        Face(np.array([np.nan, 50, 50, 50], np.float32)),
        Face(np.array([np.inf, 50, 50, 50], np.float32)),
        Face(SQUARE, np.full((68, 2), np.nan, np.float32)),
        Face(SQUARE, np.full((68, 2), 7, np.float32)),
        Face(SQUARE, keypoints5=FIVE + 5000),
    ],
)
def test_a_face_that_is_not_in_the_picture_is_refused(rgb: np.ndarray, face: Face):
    with pytest.raises(ValueError, match=r"no pixel of a face at .* picture of 640 x 420 px"):
        arcface_chip(rgb, face)


def test_a_picture_of_one_pixel_gives_a_chip():
    chip = arcface_chip(np.full((1, 1, 3), 9, np.uint8), Face(np.array([0, 0, 1, 1], np.float32)))
    assert chip.shape == (112, 112, 3)


def by_hand(path: Path, chips: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    planes = ((chips.astype(np.float64) - 127.5) / 127.5).transpose(0, 3, 1, 2).astype(dtype)
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: one[None]})[-1][0] for one in planes]
    vectors = np.array(rows, np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


NETWORKS = {
    "as the real ones": {},
    "fixed batch of one": {"batch": 1},
    "free size": {"size": None},
    "float16": {"precision": "fp16"},
    "int8": {"precision": "int8"},
    "128 px": {"size": (128, 128)},
    "two outputs": {"first": True, "dim": 128},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_vectors_are_those_of_the_network_by_itself(tmp_path: Path, name: str):
    path = write_recogniser(tmp_path / "r.onnx", **NETWORKS[name])
    network = ArcFace(path)
    width, height = network.size
    assert (height, width) == (NETWORKS[name].get("size") or (112, 112))
    assert network.dim == NETWORKS[name].get("dim", DIM)
    chips = np.random.default_rng(3).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
    found = network(list(chips))
    assert found.dtype == np.float32 and found.shape == (5, network.dim)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    half = NETWORKS[name].get("precision") == "fp16"
    np.testing.assert_allclose(
        found, by_hand(path, chips, np.float16 if half else np.float32), atol=1e-6
    )
    assert network.provider == "CPUExecutionProvider"
    network.close()


def test_a_network_that_normalises_is_given_the_values_as_they_are(tmp_path: Path):
    chips = list(np.random.default_rng(3).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8))
    plain = ArcFace(write_recogniser(tmp_path / "plain.onnx"))
    older = ArcFace(write_recogniser(tmp_path / "older.onnx", normalises=True))
    np.testing.assert_allclose(older(chips), plain(chips), atol=1e-5)


@pytest.mark.parametrize(("largest", "sizes"), [(None, [16, 16]), (4, [4] * 5), (1, [1] * 17)])
def test_a_gpu_has_its_number_and_batches_of_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int | None, sizes: list[int]
):
    path = write_recogniser(tmp_path / "r.onnx")
    chips = list(np.random.default_rng(4).integers(0, 256, (17, 112, 112, 3), dtype=np.uint8))
    alone = ArcFace(path)
    wanted = np.concatenate([alone([chip]) for chip in chips])
    stand_in(monkeypatch)
    network = ArcFace(path, "cuda:1", largest)
    found = np.array(list(embed_chips(network, chips)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert Gpu.fed == sizes and network.provider == "CUDAExecutionProvider"
    assert [providers[0][1]["device_id"] for providers in Gpu.asked] == ["1"]


@pytest.mark.parametrize(
    ("reason", "kind", "said"),
    [
        ("CUDA failure 2: out of memory ; GPU=0", PassingError, r"16 pictures of r\.onnx at once"),
        ("BFCArena: Failed to allocate memory for 4 bytes", PassingError, "MAX_BATCH_SIZE"),
        ("Reshape: cannot be reshaped to {1,512}", ModelError, "was it made for one"),
    ],
)
def test_a_gpu_that_fails_is_words(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    kind: type[Exception],
    said: str,
):
    def failing(*_: object) -> None:
        raise RuntimeError(reason)

    stand_in(monkeypatch)
    network = ArcFace(write_recogniser(tmp_path / "r.onnx"), "cuda")
    monkeypatch.setattr(Gpu, "run", failing)
    with pytest.raises(kind, match=said):
        network([np.zeros((112, 112, 3), np.uint8)])


@pytest.mark.parametrize("fixed", [None, 4])
def test_a_vector_hangs_on_no_batch(tmp_path: Path, fixed: int | None):
    network = ArcFace(write_recogniser(tmp_path / "r.onnx", batch=fixed))
    chips = list(np.random.default_rng(4).integers(0, 256, (9, 112, 112, 3), dtype=np.uint8))
    alone = np.concatenate([network([chip]) for chip in chips])
    for size in (2, 3, 9):
        network.batch_size = size  # as a GPU has it: batches that are filled up
        some = np.array(list(embed_chips(network, chips)))
        np.testing.assert_allclose(some, alone, atol=1e-5)


def test_what_is_no_recognition_network_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    onnx = pytest.importorskip("onnx")
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    row = EMBEDDERS["onnx"]
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ModelError, match=r"text\.onnx cannot be loaded as an ONNX network"):
        row.create("text.onnx", "cpu")
    with pytest.raises(ModelError, match=r"w600k_r50 is not on this machine: `facemake models fe"):
        row.create(row.models[0], "cpu")
    whole = write_recogniser(tmp_path / "r.onnx")
    model = onnx.load(whole)
    map_ = onnx.helper.make_tensor_value_info("lit", onnx.TensorProto.FLOAT, [1, 8, 28, 28])
    model.graph.output.append(map_)
    onnx.save(model, tmp_path / "map.onnx")
    with pytest.raises(ModelError, match=r"map\.onnx is no network that embeds .* wanted are"):
        row.create("map.onnx", "cpu")
    model = onnx.load(whole)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.save(model, tmp_path / "grey.onnx")
    with pytest.raises(ModelError, match=r"grey\.onnx"):
        row.create("grey.onnx", "cpu")


def test_a_vector_that_is_none_is_said(tmp_path: Path):
    chips = list(np.random.default_rng(4).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8))
    for gain, precision in ((0.0, "fp32"), (60000.0, "fp16")):
        path = write_recogniser(tmp_path / "r.onnx", gain=gain, precision=precision)
        with pytest.raises(ModelError, match=r"r\.onnx gives a vector that is zero or not finite"):
            ArcFace(path)(chips)


def test_a_gpu_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    path = write_recogniser(tmp_path / "r.onnx")
    with pytest.raises(ModelError, match=r"device is cuda:1, and onnxruntime here computes on"):
        ArcFace(path, "cuda:1")


def test_registered_networks_are_pinned_and_say_their_licence():
    for name in ("w600k_r50", "w600k_mbf", "glintr100"):
        row = registry()[name]
        assert row.url and row.url.startswith("https://") and len(row.sha256 or "") == 64
        assert "non-commercial" in row.licence


def test_the_recipe_says_what_the_network_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    write_recogniser(tmp_path / "mine.onnx")
    config = settings.filled({"embed": {"backend": "onnx", "model": "mine.onnx"}})
    settings.check(config)
    recipe = recipes.recipe("embed", config)
    assert recipe.settings["chip"] == EMBEDDERS["onnx"].chip
    assert recipe.settings["device"] == "cpu"
    assert recipe.models[0]["name"] == "mine.onnx" and len(recipe.models[0]["sha256"]) == 64
    assert "onnxruntime" in recipe.libraries
