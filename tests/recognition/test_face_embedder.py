"""FaceEmbedder and every code block of its page, on doubles of DINOv3 (tests/makeclone.py)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import documentation
import facemake
import makeclone
from facemake import clones
from facemake.backends.embed import Face
from facemake.errors import ModelError

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make facenet)")

from facemake.recognition import face_embedder, transforms  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a clone, its weights and an export of the same."""
    folder = tmp_path_factory.mktemp("dinov3")
    makeclone.make_clone(folder / "dinov3")
    makeclone.write_weights(folder).rename(folder / "weights.pth")
    makeclone.write_onnx(folder / "tiny.onnx")
    return folder


@pytest.fixture(scope="module", autouse=True)
def fresh() -> Iterator[None]:
    """One process has one clone; this module has its own."""
    forget()
    yield
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dinov3"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Iterator[Any]:
    with facemake.FaceEmbedder(folder / "dinov3", folder / "weights.pth", "cpu") as one:
        yield one


def faces(bundled: Path) -> list[Image.Image]:
    portraits = [cv2.imread(str(path)) for path in sorted((bundled / "portraits").iterdir())]
    return [
        facemake.crop_face_from_frame(p, [100, 50, 300, 310]) for p in portraits if p is not None
    ]


def blocks(shared: Path) -> list[str]:
    (page,) = (shared / "seeds").glob("003_*.txt")
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_vectors_are_of_norm_1_on_the_cpu(embedder: Any, bundled: Path):
    one, two = some = faces(bundled)
    vector = embedder.get_embedding(one)
    assert isinstance(vector, torch.Tensor) and vector.shape == (768,)
    assert vector.dtype == torch.float32 and vector.device.type == "cpu"
    batch = embedder.get_embeddings_batch(some)
    assert batch.shape == (2, 768)
    assert torch.equal(batch[0], vector) and torch.equal(batch[1], embedder.get_embedding(two))
    torch.testing.assert_close(batch.norm(dim=1), torch.ones(2))
    assert embedder.get_embeddings_batch([]).shape == (0, 768)
    # as the page has it: through its transform, the network, and F.normalize
    raw = makeclone.network()(transforms.TRANSFORM(one).unsqueeze(0))
    page = torch.nn.functional.normalize(raw[0], p=2, dim=0)
    torch.testing.assert_close(vector, page, atol=1e-6, rtol=0)


def test_it_gives_what_the_workflow_gives(embedder: Any, folder: Path, monkeypatch: Any):
    from facemake.backends.embed import EMBEDDERS

    monkeypatch.setenv("FACEMAKE_MODELS", str(folder))
    rgb = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    backend = EMBEDDERS["dinov3"].create("tiny.onnx", "cpu")
    box = np.array([49.5, 59.5, 100, 80], np.float32)  # from the middle of the first pixel
    chip = backend.chip(rgb, Face(np.zeros(4, np.float32), None, box))
    crop = embedder.crop_face_from_frame(rgb[:, :, ::-1], [50, 60, 150, 140])
    np.testing.assert_allclose(embedder.get_embedding(crop), backend([chip])[0], atol=1e-6)


def test_an_export_needs_no_clone(
    embedder: Any, folder: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv(clones.VARIABLE, raising=False)
    with facemake.FaceEmbedder(weights=folder / "tiny.onnx") as other:
        batch = other.get_embeddings_batch(faces(bundled))
    torch.testing.assert_close(
        batch, embedder.get_embeddings_batch(faces(bundled)), atol=1e-5, rtol=0
    )


def test_threads_share_one_embedder(folder: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(clones.VARIABLE, str(folder / "dinov3"))
    makes: list[object] = []
    real = face_embedder.open_network

    def counted(*arguments: Any) -> Any:
        makes.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(face_embedder, "open_network", counted)
    some = faces(bundled)

    def ask(i: int) -> tuple[int, Any]:
        one = facemake.get_embedder(weights=folder / "weights.pth")
        return id(one), one.get_embedding(some[i % 2])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(16)))
    assert len({one for one, _ in found}) == len(makes) == 1
    for i, (_, vector) in enumerate(found):
        assert torch.equal(vector, found[i % 2][1])
    shared_one = facemake.get_embedder(weights=folder / "weights.pth")
    # another device or network is another one
    assert facemake.get_embedder(weights=folder / "tiny.onnx") is not shared_one
    shared_one.close()
    again = facemake.get_embedder(weights=folder / "weights.pth")
    assert again is not shared_one
    again.close()


def test_weights_that_change_are_refused(folder: Path, tmp_path: Path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes((folder / "weights.pth").read_bytes())
    facemake.FaceEmbedder(folder / "dinov3", weights).close()
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(ModelError, match="has changed: its SHA-256 is"):
        facemake.FaceEmbedder(folder / "dinov3", weights)


def test_without_anything_both_parts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    monkeypatch.delenv(clones.VARIABLE, raising=False)
    for make in (facemake.FaceEmbedder, facemake.get_embedder):
        with pytest.raises(ModelError, match=r"facebookresearch/dinov3 .* repo_dir.*ai\.meta\.com"):
            make()
    with pytest.raises(ModelError, match=r"there is no file .*mine\.pth: clone"):
        facemake.FaceEmbedder(weights=tmp_path / "mine.pth")


def test_bad_pictures_are_refused_and_odd_ones_taken(embedder: Any):
    grey = np.random.default_rng(2).integers(0, 256, (40, 30), np.uint8)
    as_rgb = embedder.get_embedding(np.repeat(grey[..., None], 3, axis=2))
    assert torch.equal(embedder.get_embedding(Image.fromarray(grey)), as_rgb)
    assert embedder.get_embedding(Image.new("RGBA", (1, 1), (1, 2, 3, 4))).shape == (768,)
    bad = {
        "a grey one by np.repeat": grey,
        "one of 0 to 1 times 255": np.zeros((9, 9, 3), np.float32),
        "other numbers than 8 bits a colour": Image.fromarray(grey.astype(np.uint16) * 256),
        r"a picture of mode F": Image.new("F", (9, 9)),
        r"expected a picture as \(H, W, 3\)": "face.jpg",
        "has no pixel": Image.new("RGB", (0, 5)),
        "no pixel": np.zeros((0, 5, 3), np.uint8),
    }
    for words, picture in bad.items():
        with pytest.raises(ValueError, match=words):
            embedder.get_embedding(picture)
    with pytest.raises(ValueError, match="must be at least 1"):
        facemake.FaceEmbedder(batch_size=0)


@pytest.mark.parametrize(
    ("frame", "box", "words"),
    [
        (np.zeros((9, 9, 3), np.uint8), [np.nan, 1, 5, 5], "is none: not finite"),
        (np.zeros((9, 9, 3), np.uint8), [1, 1, np.inf, 5], "is none: not finite"),
        (np.zeros((9, 9, 3), np.uint8), [3, 3, 3, 3], "has no pixel"),
        (np.zeros((1, 1, 3), np.uint8), [3, 3, 5, 5], "has no pixel in a picture of 1 x 1 px"),
        (np.zeros((9, 9), np.uint8), [1, 1, 5, 5], "COLOR_GRAY2BGR"),
        (np.zeros((9, 9, 3)), [1, 1, 5, 5], r"expected a frame as \(H, W, 3\) uint8 BGR"),
        (None, [1, 1, 5, 5], r"got \(\) of NoneType"),
    ],
)
def test_crops_of_nothing_are_refused(frame: Any, box: list[float], words: str):
    with pytest.raises(ValueError, match=words):
        facemake.crop_face_from_frame(frame, box)


# Every python block of the page, in its order.


def test_the_page_has_these_blocks(shared: Path):
    heads = (
        "TRANSFORM",
        "model = torch.hub",
        "embedding = F",
        "# Single",
        "_instance",
        "def get_d",
    )
    found = blocks(shared)
    assert len(found) == len(heads) + 1 and found[-1].startswith("cur_dir")
    assert all(code.startswith(head) for code, head in zip(found, heads, strict=False))


def test_its_transform(shared: Path, bundled: Path):
    """Of torchvision the package's name is changed alone; values by Pillow and plain numbers."""
    names: dict[str, Any] = {"torch": torch, "v2": transforms}
    exec(blocks(shared)[0], names)
    for face in faces(bundled):
        small = np.asarray(face.resize((256, 256), Image.Resampling.BILINEAR)) / 255.0
        values = (small - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        found = names["TRANSFORM"](face)
        assert found.shape == (3, 256, 256) and found.dtype == torch.float32
        np.testing.assert_allclose(found, values.transpose(2, 0, 1), atol=2e-6)
        assert torch.equal(found, transforms.TRANSFORM(face))


def test_its_resize_is_that_which_torchvision_calls(bundled: Path):
    """PyTorch's own, of uint8: what torchvision's v2.Resize is on most CPUs."""
    rng = np.random.default_rng(4)
    some = [*faces(bundled), Image.fromarray(rng.integers(0, 256, (300, 517, 3), np.uint8))]
    for face in some:
        pixels = transforms.ToImage()(face)
        theirs = torch.nn.functional.interpolate(
            pixels[None], (256, 256), mode="bilinear", antialias=True
        )[0]
        ours = transforms.Resize((256, 256))(pixels)
        assert (ours.int() - theirs.int()).abs().max() <= 1


def test_the_data_flow_of_the_page(embedder: Any, bundled: Path, shared: Path, monkeypatch: Any):
    """Frame, YOLOv8-face, crop, vectors, the best match."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make onnx)")
    from facemake.backends.detect import DETECTORS

    monkeypatch.setenv("FACEMAKE_MODELS", str(shared / "models"))
    row = DETECTORS["yolov8-face"]
    detector = row.create(row.models[0], row.start_score, "cpu")
    crops = []
    for name in ("eileen_collins.png", "grace_hopper.jpg"):
        frame = cv2.imread(str(bundled / "portraits" / name))
        (found,) = detector([np.ascontiguousarray(frame[:, :, ::-1])])
        x, y, w, h = found.bbox[0].tolist()
        crops.append(facemake.crop_face_from_frame(frame, [x, y, x + w, y + h]))
        assert crops[-1].mode == "RGB" and min(crops[-1].size) > 100
    database = embedder.get_embeddings_batch(crops)
    for i, crop in enumerate(crops):
        similarities = database @ embedder.get_embedding(crop)
        assert similarities.argmax().item() == i and similarities.max() > 0.999


def test_its_loading(shared: Path, folder: Path, embedder: Any, bundled: Path):
    names: dict[str, Any] = {
        "torch": torch,
        "REPO_DIR": str(folder / "dinov3"),
        "WEIGHTS": str(folder / "weights.pth"),
    }
    exec(blocks(shared)[1], names)
    # and what the page does with it next
    names["F"] = torch.nn.functional
    with torch.inference_mode():
        names["embedding"] = names["model"](transforms.TRANSFORM(faces(bundled)[0]).unsqueeze(0))
        exec(blocks(shared)[2], names)
    ours = embedder.get_embedding(faces(bundled)[0])
    torch.testing.assert_close(names["embedding"].cpu(), ours, atol=1e-6, rtol=0)


def test_its_comparing(shared: Path, embedder: Any, bundled: Path):
    database = embedder.get_embeddings_batch(faces(bundled))
    names: dict[str, Any] = {
        "torch": torch,
        "emb1": database[0],
        "emb2": database[1],
        "database_embs": database,
        "query_emb": database[1],
    }
    exec(blocks(shared)[3], names)
    assert -1 <= names["score"] <= 1 and names["best_idx"] == 1
    assert names["similarities"].shape == (2,)


def test_the_block_of_the_documentation(folder: Path, embedder: Any, bundled: Path, tmp_path: Path):
    """That of docs/embeddings.md."""
    code = documentation.block("embeddings", "python", "import cv2")
    code = re.sub(r"FaceEmbedder\(repo_dir=.*\)", "given", code)
    Image.open(bundled / "portraits" / "eileen_collins.png").convert("RGB").save(
        tmp_path / "anna.jpg"
    )
    names: dict[str, Any] = {"given": embedder}
    exec(code.replace("anna.jpg", str(tmp_path / "anna.jpg")), names)
    assert names["vectors"].shape == (2, *names["vector"].shape)


def test_its_instance_device_and_paths(shared: Path, tmp_path: Path):
    import os

    script = tmp_path / "FaceEmbedder.py"
    names: dict[str, Any] = {"torch": torch, "os": os, "__file__": str(script)}
    for code in blocks(shared)[4:]:
        exec(compile(code, script, "exec"), names)
    assert names["_instance"] is None
    assert names["get_device"]() == face_embedder.get_device()
    assert names["MODEL_REPO"] == str(tmp_path / "dinov3")


def test_what_is_not_offered_of_the_transforms_is_refused():
    with pytest.raises(ValueError, match="antialias=False"):
        transforms.Resize((256, 256), antialias=False)
    with pytest.raises(ValueError, match="expected a type of floating point"):
        transforms.ToDtype(torch.uint8)
    with pytest.raises(ValueError, match=r"\(H, W, C\) uint8"):
        transforms.ToImage()(np.zeros((4, 4, 3)))
    assert transforms.ToImage()(np.zeros((4, 5), np.uint8)).shape == (1, 4, 5)
