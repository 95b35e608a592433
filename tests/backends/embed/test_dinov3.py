"""DINOv3 by a clone and by an ONNX export, on doubles of both (tests/makeclone.py)."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import makeclone
from facemake import clones
from facemake.backends.embed import EMBEDDERS, Face
from facemake.backends.embed.vectors import embed_chips
from facemake.errors import ModelError

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make facenet)")

from facemake.backends.embed import dinov3  # noqa: E402


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One process has one clone; each test here has another."""
    monkeypatch.setenv("FACEMAKE_MODELS", str(tmp_path))
    monkeypatch.delenv(clones.VARIABLE, raising=False)
    forget()
    yield
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dinov3"]:
        del sys.modules[name]


@pytest.fixture
def by_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(clones.VARIABLE, str(makeclone.make_clone(tmp_path / "clone")))
    return EMBEDDERS["dinov3"].create(makeclone.write_weights(tmp_path).name, "cpu")


@pytest.fixture
def by_onnx(tmp_path: Path) -> Any:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make onnx)")
    makeclone.write_onnx(tmp_path / "tiny.onnx")
    return EMBEDDERS["dinov3"].create("tiny.onnx", "cpu")


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3), np.uint8)


def expected(chips: list[np.ndarray]) -> np.ndarray:
    """By the page: 0 to 1, ImageNet's mean and deviation, class token, norm 1; a face at a time."""
    network, out = makeclone.network(), []
    for chip in chips:
        values = (chip / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        with torch.inference_mode():
            tensor = torch.tensor(values.transpose(2, 0, 1)[None], dtype=torch.float32)
            vector = network(tensor)[0].double().numpy()
        out.append(vector / np.linalg.norm(vector))
    return np.array(out)


@pytest.mark.parametrize("which", ["by_clone", "by_onnx"])
def test_vectors_are_those_of_the_network_in_any_split(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    embedder = request.getfixturevalue(which)
    rgb = noise(400, 300)
    boxes = [(40, 30, 100, 120), (-20, -30, 90, 80), (250, 350, 200, 200), (10, 10, 1, 1)]
    faces = [Face(np.zeros(4, np.float32), None, np.array(b, np.float32)) for b in boxes]
    chips = [embedder.chip(rgb, face) for face in faces]
    alone = (
        embedder(chips)
        if embedder.batch_size > 1
        else np.concatenate([embedder([chip]) for chip in chips])
    )
    np.testing.assert_allclose(alone, expected(chips), atol=1e-6)
    assert alone.dtype == np.float32 and alone.shape == (4, 768)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-6)
    for size in (2, 3, 8):
        monkeypatch.setattr(embedder, "batch_size", size)
        monkeypatch.setattr(embedder._network._model, "batch_size", size)
        np.testing.assert_allclose(list(embed_chips(embedder, chips)), alone, atol=1e-5)


def test_the_chip_is_the_padded_box_squashed(by_clone: Any):
    from facemake import crop_face_from_frame

    rgb = noise(300, 400)
    box = np.array([50.5, 60.5, 100, 80], np.float32)  # edges of pixels: 51 to 151, 61 to 141
    square = np.array([0, 0, 9, 9], np.float32)
    chip = by_clone.chip(rgb, Face(square, None, box))
    # 20 % of 100 and of 80 on each side
    part = Image.fromarray(rgb[61 - 16 : 141 + 16, 51 - 20 : 151 + 20])
    assert np.array_equal(chip, np.asarray(part.resize((256, 256), Image.Resampling.BILINEAR)))
    cropped = crop_face_from_frame(rgb[:, :, ::-1], [51, 61, 151, 141])
    assert np.array_equal(np.asarray(cropped), np.asarray(part))
    # where the detector has no box of its own, the square is it
    assert np.array_equal(by_clone.chip(rgb, Face(box)), chip)


def test_an_export_with_all_tokens_gives_the_first(by_onnx: Any, tmp_path: Path):
    makeclone.write_onnx(tmp_path / "tokens.onnx", tokens=True)
    other = EMBEDDERS["dinov3"].create("tokens.onnx", "cpu")
    chips = [noise(256, 256)]
    np.testing.assert_allclose(other(chips), by_onnx(chips), atol=1e-6)


def test_missing_packages_are_said_with_what_installs_them(
    by_onnx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    weights = makeclone.write_weights(tmp_path)
    monkeypatch.setenv(clones.VARIABLE, str(makeclone.make_clone(tmp_path / "clone")))
    for module in ("onnx_model", "torch_model"):
        monkeypatch.delitem(sys.modules, f"facemake.backends.{module}", raising=False)
        monkeypatch.delattr(f"facemake.backends.{module}", raising=False)
    for package in ("onnxruntime", "torch"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=r"tiny\.onnx needs the package onnxruntime.*`make onnx`"):
        EMBEDDERS["dinov3"].create("tiny.onnx", "cpu")
    with pytest.raises(ModelError, match=r"torch.*`make facenet`"):
        EMBEDDERS["dinov3"].create(weights.name, "cpu")


def test_without_clone_or_weights_both_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    both = r"facebookresearch/dinov3.*ai\.meta\.com|ai\.meta\.com.*facebookresearch/dinov3"
    row = EMBEDDERS["dinov3"]
    with pytest.raises(ModelError, match=both):  # neither
        row.create(row.models[0], "cpu")
    weights = makeclone.write_weights(tmp_path)
    with pytest.raises(ModelError, match=f"no clone of DINOv3 is named: .*({both})"):
        row.create(weights.name, "cpu")
    monkeypatch.setenv(clones.VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match="nowhere, and there is no such folder"):
        row.create(weights.name, "cpu")
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(ModelError, match=r"is no clone of DINOv3: it has no hubconf\.py"):
        row.create(weights.name, "cpu")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("import of_detection", "needs the module of_detection, .* or use an ONNX export"),
        ("raise RuntimeError('no nms')", r"gives no dinov3_vitb16.*\(RuntimeError: no nms\)"),
    ],
)
def test_a_missing_package_of_other_heads_is_no_hindrance(tmp_path: Path, line: str, words: str):
    """The real hubconf.py imports detection and segmentation, too."""
    clone = makeclone.make_clone(tmp_path / "clone", f"{line}\n")
    assert isinstance(dinov3.network_of(clone), torch.nn.Module)
    assert str(clone) not in sys.path
    forget()
    (clone / "dinov3" / "hub" / "backbones.py").unlink()
    with pytest.raises(ModelError, match=words):
        dinov3.network_of(clone)


@pytest.mark.parametrize(
    ("hubconf", "words"),
    [
        (
            "def other(): ...\n",
            r"gives no dinov3_vitb16\(pretrained=False\) \(RuntimeError: Cannot",
        ),
        ("def dinov3_vitb16(**k): raise OSError('no disk')\n", r"\(OSError: no disk\)"),
        ("def dinov3_vitb16(weights): ...\n", r"\(TypeError: .*pretrained"),
        ("def dinov3_vitb16(**k): return 'model'\n", "gives a str, no network"),
        ("this is no Python\n", r"\(SyntaxError: "),
    ],
)
def test_a_clone_whose_function_fails_is_said(tmp_path: Path, hubconf: str, words: str):
    (tmp_path / "hubconf.py").write_text(hubconf)
    with pytest.raises(ModelError, match=words):
        dinov3.network_of(tmp_path)


def test_a_second_clone_in_one_process_is_refused(tmp_path: Path):
    dinov3.network_of(makeclone.make_clone(tmp_path / "one"))
    dinov3.network_of(tmp_path / "one")
    with pytest.raises(ModelError, match="another clone of DINOv3 is loaded already"):
        dinov3.network_of(makeclone.make_clone(tmp_path / "two"))


def test_weights_with_the_wrong_hash_are_refused(
    by_clone: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (weights,) = tmp_path.glob("tiny*.pth")
    monkeypatch.setenv(clones.VARIABLE, str(tmp_path / "clone"))
    renamed = tmp_path / "tiny-0123abcd.pth"
    renamed.write_bytes(weights.read_bytes())
    with pytest.raises(ModelError, match="by its name it starts with 0123abcd: it is cut short or"):
        EMBEDDERS["dinov3"].create(renamed.name, "cpu")
    weights.write_bytes(weights.read_bytes()[:-99])
    with pytest.raises(ModelError, match=r"has changed: its SHA-256 is"):
        EMBEDDERS["dinov3"].create(weights.name, "cpu")
    torch.save({"cls_token": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="the weights of another network"):
        EMBEDDERS["dinov3"].create("other.pth", "cpu")
    broken = {k: v * np.nan for k, v in makeclone.network().state_dict().items()}
    torch.save(broken, tmp_path / "broken.pth")
    embedder = EMBEDDERS["dinov3"].create("broken.pth", "cpu")
    with pytest.raises(ModelError, match="not finite: its weights are damaged"):
        embedder([noise(256, 256)])


def test_networks_of_another_kind_are_refused(by_onnx: Any, tmp_path: Path, shared: Path):
    for name in ("pfld.onnx", "scrfd_2.5g_kps.onnx"):
        (tmp_path / name).write_bytes((shared / "models" / name).read_bytes())
        with pytest.raises(ModelError, match=r"is no export of DINOv3's ViT-B/16: it takes"):
            EMBEDDERS["dinov3"].create(name, "cpu")
    for name, junk in {"text": b"no network", "none": b"", "ones": b"\xff" * 2_000_000}.items():
        (tmp_path / f"{name}.onnx").write_bytes(junk)
        with pytest.raises(ModelError, match="cannot be loaded as an ONNX network"):
            EMBEDDERS["dinov3"].create(f"{name}.onnx", "cpu")
    with pytest.raises(ModelError, match=r"mine gives \(384,\) a face, and not 768 numbers"):
        dinov3.checked(np.zeros((1, 384), np.float32), "mine")


@pytest.mark.parametrize(
    ("rgb", "box", "words"),
    [
        (noise(60, 80), (300, 5, 40, 40), "has no pixel in a picture of 80 x 60"),
        (noise(60, 80), (5, np.nan, 40, 40), "its numbers are not finite"),
        (noise(60, 80), (5, 5, 0, 10), "width and height are not above 0"),
        (noise(60, 80)[..., 0], (5, 5, 40, 40), "a grey one by np.repeat"),
        (noise(60, 80) / 255, (5, 5, 40, 40), "one of 0 to 1 times 255"),
    ],
)
def test_pictures_and_places_that_are_none_are_refused(
    by_clone: Any, rgb: np.ndarray, box: tuple, words: str
):
    with pytest.raises(ValueError, match=words):
        by_clone.chip(rgb, Face(np.zeros(4, np.float32), None, np.array(box, np.float32)))


def test_the_hash_of_a_clone_is_that_of_its_python(tmp_path: Path):
    clone = makeclone.make_clone(tmp_path / "clone")
    before = clones.code_sha256(clone)
    (clone / "README.md").write_text("words")
    (clone / ".git").mkdir()
    (clone / ".git" / "hook.py").write_text("nothing")
    assert clones.code_sha256(clone) == before
    moved = clone.rename(tmp_path / "moved")
    assert clones.code_sha256(moved) == before
    (moved / "dinov3" / "layer.py").write_text("A = 1\n")
    added = clones.code_sha256(moved)
    assert added != before
    (moved / "dinov3" / "layer.py").rename(moved / "dinov3" / "other.py")
    assert clones.code_sha256(moved) not in (added, before)
    assert len(added) == len(hashlib.sha256().hexdigest())


def test_weights_in_a_second_file_are_refused(by_onnx: Any, tmp_path: Path):
    """As exporters write large networks: the hash of the first file says nothing of them."""
    import onnx

    made = onnx.load(tmp_path / "tiny.onnx")
    onnx.save(made, tmp_path / "two.onnx", save_as_external_data=True, size_threshold=0)
    assert len(list(tmp_path.iterdir())) > 3
    with pytest.raises(
        ModelError, match=r"two\.onnx has its weights in another file, [\w.-]+, whi"
    ):
        EMBEDDERS["dinov3"].create("two.onnx", "cpu")
    onnx.save(onnx.load(tmp_path / "two.onnx"), tmp_path / "one.onnx")  # the cure
    EMBEDDERS["dinov3"].create("one.onnx", "cpu")
