"""Each embedder that is installed against its bare network, over the same chips in same batches.

The loop turns chips into numbers, runs the network and brings the vectors to NumPy, and no more:
nothing is checked, filled up or made of norm 1 (but where the network does it). Both take turns in
one process, on a CPU with one thread. What it costs to cut a chip is printed beside it.

Weights that cannot be had are random: what a network costs does not hang on them. `facenet` is then
facenet-pytorch's network, `onnx` an IResNet-50 (`benchmarks/iresnet.py`), and `dinov3` a Vision
Transformer of the size of ViT-B/16 (12 blocks of 768, 12 heads, patches of 16 px, 86 million
weights) in a clone that is made for it, since its own code is its maker's; the real one has four
tokens more than the 257 here.

An embedder gets a loop by a row of `LOOPS`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from facemake.runtime.job import THREAD_VARIABLES

# before the libraries are imported
for _name in THREAD_VARIABLES:
    os.environ[_name] = "1"

import numpy as np

from facemake.backends.embed import EMBEDDERS, Embedder, Face
from facemake.clones import VARIABLE
from facemake.errors import FacemakeError
from facemake.models import model_path

Loop = Callable[[Sequence[np.ndarray]], Any]

# facemake's name of a double of DINOv3's clone: `hubconf.py`
_CLONE = '''\
import torch
from torch import nn


class Sized(nn.Module):
    """Of the size of ViT-B/16."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 768, 16, 16)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 768))
        self.places = nn.Parameter(torch.zeros(1, 257, 768))
        block = nn.TransformerEncoderLayer(
            768, 12, 3072, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(768)
        self.blocks = nn.TransformerEncoder(block, 12, norm, enable_nested_tensor=False)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        return self.blocks(tokens + self.places)[:, 0]


def dinov3_vitb16(*, pretrained=True, weights=None, check_hash=False, **kwargs):
    return Sized()
'''


def run(folder: Path, runs: int, device: str = "cpu") -> None:
    """Print, by embedder, its speed as a part of its bare network's.

    Args:
        folder: for random weights.
        runs: so often.
        device: `cpu` or `cuda`; what cannot compute there is left out.
    """
    print(_machine(device))
    for name, row in EMBEDDERS.items():
        if name == "facenet-casia":
            continue  # the network of facenet with other numbers
        if name not in LOOPS:
            print(f"{name}: not measured: no loop of its network in benchmarks/embedders.py")
            continue
        if device not in row.devices:
            continue
        try:
            model, whose = _model(name, row.models[0], folder)
            embedder = row.create(model, device)
        except (FacemakeError, ImportError) as error:
            print(f"{name}: not measured: {error}")
            continue
        theirs = LOOPS[name](model, device)
        rng = np.random.default_rng(0)
        frame = rng.integers(0, 256, (480, 640, 3), np.uint8)
        face = Face(np.array([200, 120, 200, 200], np.float32))
        start = time.process_time()
        for _ in range(20):
            embedder.chip(frame, face)
        cut = (time.process_time() - start) / 20
        count = 8 if device == "cpu" else 8 * embedder.batch_size
        chip = embedder.chip(frame, face)
        chips = [rng.integers(0, 256, chip.shape, np.uint8) for _ in range(count)]
        for size in _sizes(embedder, device):
            clock = time.process_time if device == "cpu" else time.perf_counter
            turns = []
            for turn in range(1 + runs):  # who goes first takes turns, too
                if turn % 2:
                    mine = _seconds(embedder, chips, embedder.batch_size, clock)
                    loop = _seconds(theirs, chips, size, clock)
                else:
                    loop = _seconds(theirs, chips, size, clock)
                    mine = _seconds(embedder, chips, embedder.batch_size, clock)
                turns.append((loop, mine))
            del turns[0]  # what is made once
            ratios = [loop / mine for loop, mine in turns]
            ms = 1e3 * median(mine for _, mine in turns) / count
            print(
                f"{name} ({whose}): {median(ratios):.2f} of its network's speed in batches of "
                f"{size} (from {min(ratios):.2f} to {max(ratios):.2f}, {runs} runs), {ms:.1f} ms a "
                f"face in batches of {embedder.batch_size}, and {1e3 * cut:.2f} ms to cut it"
            )
        embedder.close()


def _machine(device: str) -> str:
    if device == "cpu":
        return "on one thread of a CPU"
    import torch

    return f"on {torch.cuda.get_device_name()}, PyTorch {torch.__version__}"


def _sizes(embedder: Embedder, device: str) -> tuple[int, ...]:
    """Batches of the bare network: ours, and on a CPU a larger one, that could be faster."""
    return (1, 8) if device == "cpu" and embedder.batch_size == 1 else (embedder.batch_size,)


def _seconds(
    embed: Loop, chips: Sequence[np.ndarray], size: int, clock: Callable[[], float]
) -> float:
    """On a CPU its time; on a GPU by the clock, when it has done what it was given."""
    if clock is time.perf_counter:
        from facemake.backends.torch_model import synchronize

        synchronize("cuda")
    start = clock()
    for at in range(0, len(chips), size):
        embed(chips[at : at + size])  # the vectors are NumPy's: it is done
    return clock() - start


def _model(name: str, registered: str, folder: Path) -> tuple[str, str]:
    """Its model, and what that is: where its weights are not here, random ones are made."""
    if name == "dinov3":
        return _random_vit(folder), "random weights of the size of ViT-B/16"
    try:
        model_path(registered)
    except FacemakeError:
        if name == "onnx":
            return _random_iresnet(folder), "IResNet-50 of random weights"
        if not name.startswith("facenet"):
            raise
        return _random_facenet(folder), "random weights"
    return registered, registered


def _random_iresnet(folder: Path) -> str:
    from benchmarks.iresnet import write_iresnet50

    path = folder / "iresnet50-random.onnx"
    if not path.is_file():
        write_iresnet50(path)
    _look_in(folder)
    return path.name


def _random_facenet(folder: Path) -> str:
    import torch

    path = folder / "facenet-random.pt"
    if not path.is_file():
        torch.save(_facenet_network().state_dict(), path)
    _look_in(folder)
    return path.name


def _facenet_network() -> Any:
    from facemake.backends import torchvision_parts

    torchvision_parts.provide()
    from facenet_pytorch import InceptionResnetV1

    return InceptionResnetV1().eval()


def _random_vit(folder: Path) -> str:
    import torch

    clone = folder / "clone"
    clone.mkdir(exist_ok=True)
    (clone / "hubconf.py").write_text(_CLONE)
    os.environ[VARIABLE] = str(clone)
    path = folder / "vit-random.pth"
    torch.save(_vit(clone).state_dict(), path)
    _look_in(folder)
    return path.name


def _vit(clone: Path) -> Any:
    import torch

    made: Any = torch.hub.load(str(clone), "dinov3_vitb16", source="local")
    return made.eval()


def _look_in(folder: Path) -> None:
    named = os.environ.get("FACEMAKE_MODELS", "").split(os.pathsep)
    if str(folder) not in named:
        os.environ["FACEMAKE_MODELS"] = os.pathsep.join(filter(None, [*named, str(folder)]))


def _torch_loop(network: Any, device: str, mean: Any, scale: Any) -> Loop:
    import torch

    from facemake.backends.torch_model import exact

    network = network.eval().to(device)
    mean, scale = (torch.tensor(v, device=device).view(-1, 1, 1) for v in (mean, scale))

    def loop(chips: Sequence[np.ndarray]) -> Any:
        with torch.inference_mode(), exact(device):
            pixels = torch.from_numpy(np.stack(chips)).to(device)
            pixels = pixels.permute(0, 3, 1, 2).contiguous()
            return network((pixels.float() - mean) / scale).cpu().numpy()

    return loop


def _facenet(model: str, device: str) -> Loop:
    return _torch_loop(_facenet_network(), device, [127.5], [128.0])


def _dinov3(model: str, device: str) -> Loop:
    from facemake.backends.embed.dinov3 import MEAN, STD

    network = _vit(Path(os.environ[VARIABLE]))
    return _torch_loop(network, device, [255 * v for v in MEAN], [255 * v for v in STD])


def _dlib(model: str, device: str) -> Loop:
    import dlib

    network = dlib.face_recognition_model_v1(str(model_path(model)))
    return lambda chips: [network.compute_face_descriptor(chip) for chip in chips]


def _onnx(model: str, device: str) -> Loop:
    import cv2
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    provider = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
    session = onnxruntime.InferenceSession(str(model_path(model)), options, providers=[provider])
    feed = session.get_inputs()[0].name

    def loop(chips: Sequence[np.ndarray]) -> Any:
        size = chips[0].shape[1::-1]
        blob = cv2.dnn.blobFromImages(list(chips), 1 / 127.5, size, (127.5, 127.5, 127.5))
        return session.run(None, {feed: blob})

    return loop


LOOPS: dict[str, Callable[[str, str], Loop]] = {
    "dlib": _dlib,
    "onnx": _onnx,
    "facenet": _facenet,
    "dinov3": _dinov3,
}
"""Embedder -> what makes its bare network, of a model and a device."""
