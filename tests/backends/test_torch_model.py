"""PyTorch networks in fixed batches; a GPU's words, of doubles: there may be none here."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest

from facemake.errors import ModelError, PassingError

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make facenet)")

from facemake.backends import torch_model  # noqa: E402
from facemake.backends.torch_model import TorchModel  # noqa: E402


class Counting(torch.nn.Module):
    """A double of a network that says how many pictures it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(pictures))
        assert pictures.dtype == torch.float32 and pictures.is_contiguous()
        return pictures.mean(dim=(2, 3))


def model(network: torch.nn.Module) -> TorchModel:
    return TorchModel(network, lambda pixels: pixels / 255, "cpu")


def test_pictures_go_in_batches_of_one_size_and_come_back_in_order():
    network = Counting()
    made = model(network)
    pictures = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    expected = np.repeat(np.arange(7)[:, None] / 255, 3, axis=1)
    np.testing.assert_allclose(made(pictures), expected, rtol=1e-6)
    assert network.seen == [1] * 7
    network.seen.clear()
    made.batch_size = 3  # as on a GPU: the last one is filled up
    np.testing.assert_allclose(made(pictures), expected, rtol=1e-6)
    assert network.seen == [3, 3, 3]


class Full(torch.nn.Module):
    """A double of a network on a GPU without room: it says what PyTorch says there."""

    def __init__(self, error: RuntimeError) -> None:
        super().__init__()
        self.error = error

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    ],
)
def test_a_full_gpu_is_said_with_the_cure(error: RuntimeError):
    pictures = np.zeros((1, 4, 4, 3), np.uint8)
    with pytest.raises(PassingError, match=r"jobs_per_gpu: 1.* smaller batch_size, .* PyTorch say"):
        model(Full(error))(pictures)
    with pytest.raises(RuntimeError, match="a bug"):
        model(Full(RuntimeError("a bug")))(pictures)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "mps"])
def test_devices_that_are_not_there_are_said(device: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match=rf"device is {device}, .* device: cpu"):
        TorchModel(Counting(), lambda pixels: pixels, device)


@pytest.mark.parametrize(
    ("mps", "cuda", "first"), [(True, True, "mps"), (False, True, "cuda"), (False, False, "cpu")]
)
def test_the_order_of_devices(mps: bool, cuda: bool, first: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert torch_model.best_device() == first


def test_settings_of_the_process_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch):
    cudnn = torch.backends.cudnn
    before = (cudnn.allow_tf32, cudnn.deterministic)
    with torch_model.exact("cpu"):
        assert (cudnn.allow_tf32, cudnn.deterministic) == before
    with torch_model.exact("cuda"):  # nothing is computed there
        assert (cudnn.allow_tf32, cudnn.deterministic) == (False, True)
    assert (cudnn.allow_tf32, cudnn.deterministic) == before


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_are_cut_short_or_changed_are_refused_in_words(tmp_path: Path, zipped: bool):
    path = tmp_path / "weights.pt"
    state = {"a": torch.ones(3, 4), "b.c": torch.zeros(2)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    assert torch_model.read_weights(path)["a"].sum() == 12
    generator = random.Random(0)
    for n in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:n])
        with pytest.raises(ModelError, match=r"weights\.pt is no file of weights"):
            torch_model.read_weights(path)
    for _ in range(150):  # some changes are of a number alone: those the pinned hash finds
        changed = bytearray(whole)
        changed[generator.randrange(min(600, len(whole)))] = generator.randrange(256)
        path.write_bytes(changed)
        with contextlib.suppress(ModelError):
            torch_model.read_weights(path)


@pytest.mark.parametrize(("device", "asked"), [("cuda", ["cuda"]), ("mps", ["mps"]), ("cpu", [])])
def test_clocks_wait_for_the_gpu(device: str, asked: list, monkeypatch: pytest.MonkeyPatch):
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: waited.append("cuda"))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    torch_model.synchronize(device)
    assert waited == asked
