"""create_backend on packs of small networks: boxes, alignment, batches, bad input, devices."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemake import RuntimeKind, create_backend
from facemake.backends.detect import DETECTORS
from facemake.backends.embed import Face
from facemake.backends.embed.arcface import arcface_chip
from facemake.errors import ConfigError, DeviceError, ModelError
from facemake.recognition.arrays import as_rgb
from facemake.recognition.backend import FaceBackend, recognizer_of_pack
from facemake.recognition.config import Config
from makenetworks import DIM, write_recogniser

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("no_variables")

INNER = "scrfd_10g_iresnet50/onnxrt/fp16"


@pytest.fixture(scope="module")
def people(request: pytest.FixtureRequest) -> np.ndarray:
    shared = request.getfixturevalue("shared")
    return np.asarray(Image.open(shared / "data" / "multi_face.jpg").convert("RGB"))


@pytest.fixture
def backend(make_pack: Callable[..., Path], tmp_path: Path) -> FaceBackend:
    return create_backend(local_dir=make_pack(tmp_path / "packs"), repo_base="")


def embedded(path: Path, chip: np.ndarray) -> np.ndarray:
    """By the network alone: (x - 127.5) / 127.5 in float16, the last output, L2."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    blob = ((chip.astype(np.float64) - 127.5) / 127.5).transpose(2, 0, 1)[None].astype(np.float16)
    vector = session.run(None, {"input.1": blob})[-1][0].astype(np.float64)
    return vector / np.linalg.norm(vector)


def test_boxes_are_cut_and_resized_and_no_boxes_are_the_whole_picture(
    backend: FaceBackend, people: np.ndarray
):
    network = Path(backend.info.model)
    boxes = [(50, 60, 200, 240), (699.5, 300.2, 780.1, 5000.0)]
    found = backend.embed(people, boxes=boxes)
    height = people.shape[0]
    for vector, (x1, y1, x2, y2) in zip(found, [boxes[0], (699, 300, 781, height)], strict=True):
        cut = Image.fromarray(people[y1:y2, x1:x2]).resize((112, 112), Image.Resampling.BILINEAR)
        assert vector.shape == (DIM,) and vector.dtype == np.float32
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(vector, embedded(network, np.asarray(cut)), atol=1e-6)
    (whole,) = backend.embed(Image.fromarray(people))
    small = Image.fromarray(people).resize((112, 112), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(whole, embedded(network, np.asarray(small)), atol=1e-6)
    assert backend.embed(people, boxes=[]) == []
    assert np.array_equal(backend.embed(people, np.array(boxes))[0], found[0])


def test_detect_gives_the_boxes_of_scrfd_and_align_its_points(
    backend: FaceBackend, people: np.ndarray, shared: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    (wanted,) = DETECTORS["scrfd"].create("scrfd_2.5g_kps", 0.5, "cpu")([people])
    boxes = backend.detect(people)
    assert len(boxes) == len(wanted.score) == 5 and all(type(box) is tuple for box in boxes)
    for (x1, y1, x2, y2), bbox in zip(boxes, wanted.bbox, strict=True):
        np.testing.assert_allclose([x1 - 0.5, y1 - 0.5, x2 - x1, y2 - y1], bbox, atol=1e-3)
    assert backend.detect(people, min_score=0.9999) == []
    network = Path(backend.info.model)
    aligned = backend.embed(people, boxes[::-1], align=True)
    for vector, points in zip(aligned, wanted.keypoints5[::-1], strict=True):
        chip = arcface_chip(people, Face(np.zeros(4, np.float32), keypoints5=points))
        np.testing.assert_allclose(vector, embedded(network, chip), atol=1e-6)
    plain = backend.embed(people, boxes[::-1])
    assert max(float(a @ b) for a, b in zip(aligned, plain, strict=True)) < 0.999
    assert backend.detect(np.zeros((90, 160, 3), np.uint8)) == []
    with pytest.raises(ValueError, match=r"box 0 is .* detector finds no face: take a box of"):
        backend.embed(people, [(0, 0, 20, 20)], align=True)
    with pytest.raises(ValueError, match="align wants boxes"):
        backend.embed(people, align=True)


def test_a_pack_has_a_recognizer_that_aligns(
    make_pack: Callable[..., Path], tmp_path: Path, people: np.ndarray
):
    config = Config(local_dir=make_pack(tmp_path / "packs"), repo_base="")
    with recognizer_of_pack(config) as recognizer, create_backend(local_dir=config.local_dir) as b:
        (faces,) = recognizer.find([people])
        vectors = recognizer.embed(people, [face.face for face in faces])
        theirs = b.embed(people, b.detect(people), align=True)
        assert np.array_equal(vectors, np.array(theirs))
        assert recognizer.row.dim == DIM and recognizer.row.same_person is None


@pytest.mark.parametrize("precision", ["fp16", "int8", "fp32"])
def test_each_precision_has_its_file(
    make_pack: Callable[..., Path], tmp_path: Path, people: np.ndarray, precision: str
):
    folder = make_pack(tmp_path / "packs", precision)
    with create_backend(precision=precision, local_dir=folder) as backend:
        assert backend.info.precisions == (precision,) and f"/{precision}/" in backend.info.model
        assert np.linalg.norm(backend.embed(people)[0]) == pytest.approx(1, abs=1e-6)


def test_a_detector_of_float16_finds_the_same_faces(
    backend: FaceBackend, people: np.ndarray, tmp_path: Path
):
    onnx = pytest.importorskip("onnx")
    helper, half, full = onnx.helper, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    wanted = backend.detect(people)
    path = Path(backend.info.model).with_name("detection.onnx")
    graph = (model := onnx.load(path)).graph
    ends = [*graph.input, *graph.output]
    for end, outwards in zip(ends, [False, *[True] * 9], strict=True):
        inner, end.name = end.name, f"half_{end.name}"
        end.type.tensor_type.elem_type = half
        ins = [inner, end.name] if outwards else [end.name, inner]
        cast = helper.make_node("Cast", ins[:1], ins[1:], to=half if outwards else full)
        graph.node.insert(len(graph.node) if outwards else 0, cast)
    onnx.save(model, path)
    path.with_name("detection.onnx.sha256").unlink()
    with create_backend(local_dir=path.parents[3]) as other:
        np.testing.assert_allclose(other.detect(people), wanted, atol=1)


@pytest.mark.parametrize("fixed", [None, 1, 4])
def test_results_hang_on_no_batch(
    make_pack: Callable[..., Path], tmp_path: Path, people: np.ndarray, fixed: int | None
):
    folder = make_pack(tmp_path / "packs", batch=fixed)
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (11, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 200, (11, 2))], axis=1)
    with create_backend(local_dir=folder) as backend:
        together = np.array(backend.embed(people, boxes))
        alone = np.array([backend.embed(people, [box])[0] for box in boxes])
        np.testing.assert_allclose(together, alone, atol=1e-5)
        if fixed is None:
            backend._embedder.batch_size = 4  # as on a GPU
            np.testing.assert_allclose(np.array(backend.embed(people, boxes)), alone, atol=1e-5)


def test_arguments_come_before_the_environment_and_that_before_defaults(
    make_pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_pack(tmp_path / "packs", "int8")
    monkeypatch.setenv("LUMEN_FACE_LOCAL_DIR", str(tmp_path / "packs"))
    monkeypatch.setenv("LUMEN_FACE_PRECISION", "fp16")
    monkeypatch.setenv("LUMEN_FACE_REPO_BASE", "https://127.0.0.1:1")
    with pytest.raises(ModelError, match=r"int8/recognition\.onnx is there \(LUMEN_FACE_RUNTIME"):
        create_backend()
    with create_backend(RuntimeKind.ONNXRT, "cpu", precision="int8", max_batch_size=3) as backend:
        info = backend.info.as_dict()
    assert (info["runtime"], info["device"], info["max_batch_size"]) == ("onnxrt", "cpu", 3)
    assert info["face_embedding_dim"] == DIM and info["provider"] == "CPUExecutionProvider"
    assert len(info["model_sha256"]) == 64 and "127.5" in info["chip"]
    with pytest.raises(TypeError, match="presicion"):
        create_backend(presicion="int8")
    with pytest.raises(ConfigError, match="LUMEN_FACE_MAX_BATCH_SIZE is 0"):
        create_backend(max_batch_size=0)


def test_without_cuda_the_cpu_computes_with_one_warning_and_strict_is_an_error(
    make_pack: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime here may have a GPU")
    folder = make_pack(tmp_path / "packs")
    with caplog.at_level(logging.WARNING), create_backend(None, "cuda:0", local_dir=folder) as one:
        one.detect(np.zeros((64, 64, 3), np.uint8))
        assert (one.info.device, one.info.provider) == ("cuda:0", "CPUExecutionProvider")
    (record,) = caplog.records
    assert "install onnxruntime-gpu" in record.message and "on the CPU" in record.message
    with pytest.raises(DeviceError, match="device is cuda:0"):
        create_backend(None, "cuda:0", local_dir=folder, strict=True)


PICTURES = {
    "float": (np.zeros((9, 9, 3)), r"got \(9, 9, 3\) of float64: .* times 255 and rounded"),
    "uint16": (np.zeros((9, 9, 3), np.uint16), r"got \(9, 9, 3\) of uint16"),
    "grey": (np.zeros((9, 9), np.uint8), r"got \(9, 9\) of uint8: a grey one by np.repeat"),
    "alpha": (np.zeros((9, 9, 4), np.uint8), r"\(9, 9, 4\) of uint8: .*alpha as rgba\["),
    "two channels": (np.zeros((9, 9, 2), np.uint8), r"got \(9, 9, 2\)"),
    "batch": (np.zeros((1, 9, 9, 3), np.uint8), r"got \(1, 9, 9, 3\)"),
    "empty": (np.zeros((0, 9, 3), np.uint8), "of 9 x 0 px has no pixel"),
    "path": ("face.jpg", r"of str: .*a file by Image.open"),
    "16 bit": (Image.fromarray(np.zeros((9, 9), np.uint16)), "a picture of mode I;16 has other"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_no_picture_is_refused_with_the_cure(name: str):
    image, said = PICTURES[name]
    with pytest.raises(ValueError, match=said):
        as_rgb(image)


BOXES = {
    "outside": ((900, 10, 950, 60), "lies outside of the picture of 824 x 550 px"),
    "before": ((-60, 10, 0, 60), "lies outside"),
    "shares": ((2000.0, 0.2, 2001.5, 0.4), "pixels are wanted"),
    "zero": ((50, 60, 50, 80), "has no area: the last two are its right and lower edge"),
    "x y w h": ((400, 300, 50, 60), "has no area"),
    "nan": ((np.nan, 1, 2, 3), "four finite numbers"),
    "infinite": ((0, 0, np.inf, 9), "four finite numbers"),
    "three": ((1, 2, 3), r"box 1 is \(1, 2, 3\), not four numbers"),
    "words": ("left", "not four numbers"),
}


@pytest.mark.parametrize("name", BOXES)
def test_what_is_no_box_is_refused_by_its_number(
    backend: FaceBackend, people: np.ndarray, name: str
):
    box, said = BOXES[name]
    picture = np.zeros((550, 824, 3), np.uint8)
    with pytest.raises(ValueError, match=said) as caught:
        backend.embed(picture, [(0, 0, 9, 9), box])
    assert "box 1 is" in str(caught.value)


def test_a_box_far_larger_than_the_picture_is_the_picture(backend: FaceBackend, people: np.ndarray):
    (whole,) = backend.embed(people)
    (large,) = backend.embed(people, [(-1e300, -5, 1e300, 1e300)])
    np.testing.assert_array_equal(whole, large)


def test_a_picture_of_one_pixel(backend: FaceBackend):
    one = np.full((1, 1, 3), 200, np.uint8)
    assert backend.detect(one) == []
    (whole,), (boxed,) = backend.embed(one), backend.embed(one, [(0, 0, 1, 1)])
    assert np.array_equal(whole, boxed) and np.isfinite(whole).all()
    other = backend.embed(Image.new("L", (1, 1), 200))[0]
    assert np.array_equal(whole, other)  # grey pictures of Pillow's become RGB


def test_a_pack_without_its_detector_embeds_and_says_what_detect_lacks(
    backend: FaceBackend, people: np.ndarray
):
    (Path(backend.info.model).parent / "detection.onnx").unlink()
    assert len(backend.embed(people)) == 1
    with pytest.raises(ModelError, match=r"has no detection of .*put your own file there as .*det"):
        backend.detect(people)


def test_files_that_are_no_such_network_are_refused_by_name(
    make_pack: Callable[..., Path], tmp_path: Path
):
    folder = make_pack(tmp_path / "packs")
    detection = folder / INNER / "detection.onnx"
    recognition = folder / INNER / "recognition.onnx"
    swapped = detection.read_bytes()
    detection.write_bytes(recognition.read_bytes())
    with (
        create_backend(local_dir=folder) as backend,
        pytest.raises(ModelError, match=r"detection\.onnx is no SCRFD with key points"),
    ):
        backend.detect(np.zeros((64, 64, 3), np.uint8))
    recognition.with_name("recognition.onnx.sha256").unlink()
    recognition.write_bytes(swapped)
    with pytest.raises(ModelError, match=r"recognition\.onnx is no network that embeds faces"):
        create_backend(local_dir=folder)
    recognition.write_bytes(b"<html>")
    with pytest.raises(ModelError, match=r"recognition\.onnx has changed"):
        create_backend(local_dir=folder)
    recognition.with_name("recognition.onnx.sha256").unlink()
    with pytest.raises(ModelError, match=r"recognition\.onnx cannot be loaded as an ONNX network"):
        create_backend(local_dir=folder)


def test_a_machine_without_onnxruntime_is_told_what_to_install(
    make_pack: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = make_pack(tmp_path / "packs")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"needs the package onnxruntime .*`make onnx`"):
        create_backend(local_dir=folder)


def test_a_closed_backend_says_so_and_can_be_closed_again(backend: FaceBackend, people: np.ndarray):
    with backend:
        backend.detect(people)
    backend.close()
    assert backend.info.provider == "CPUExecutionProvider"
    for call in (backend.embed, backend.detect):
        with pytest.raises(ValueError, match="the backend is closed"):
            call(people)


def test_threads_share_a_backend(backend: FaceBackend, people: np.ndarray):
    boxes = backend.detect(people)
    wanted = np.array(backend.embed(people, boxes, align=True))
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(np.array(backend.embed(people, boxes, align=True)))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and all(np.array_equal(one, wanted) for one in found)


def test_a_size_that_the_network_leaves_open_is_112(
    make_pack: Callable[..., Path], tmp_path: Path, people: np.ndarray
):
    folder = make_pack(tmp_path / "packs", size=None)
    with create_backend(local_dir=folder) as backend:
        assert backend._embedder.size == (112, 112)
        assert len(backend.embed(people)) == 1
    recogniser = folder / INNER / "recognition.onnx"
    recogniser.with_name("recognition.onnx.sha256").unlink()
    write_recogniser(recogniser, precision="fp16", size=(128, 96))
    with create_backend(local_dir=folder) as backend:
        assert backend._embedder.size == (96, 128)  # width, height
        assert len(backend.embed(people, backend.detect(people), align=True)) == 5
