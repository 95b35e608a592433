"""A double of the user's clone of DINOv3 and of its weights, which no test may have.

It keeps what the real one promises: `hubconf.py` with `dinov3_vitb16(*, pretrained, weights,
check_hash, **kwargs)`, which takes it from `dinov3/hub/backbones.py`; a network whose `forward(x)`
gives class tokens, (n, 3, H, W) float32 to (n, 768), with a state dict that `torch.save` wrote. It
has one block of attention instead of twelve, 16 numbers a token instead of 768.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

BACKBONES = '''\
import torch
from torch import nn


class Tiny(nn.Module):
    """Patches of 16 px, a class token, attention, a norm; widened to 768 at the end."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 16, 16)
        self.cls_token = nn.Parameter(torch.empty(1, 1, 16))
        self.qkv = nn.Linear(16, 48)
        self.norm = nn.LayerNorm(16)
        self.widen = nn.Linear(16, 768)

    def init_weights(self):
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)

    def forward(self, x):
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)
        q, k, v = self.qkv(tokens).chunk(3, dim=-1)
        tokens = tokens + torch.softmax(q @ k.transpose(1, 2) / 4, dim=-1) @ v
        return self.widen(self.norm(tokens)[:, 0])


def dinov3_vitb16(*, pretrained=True, weights="LVD1689M", check_hash=False, **kwargs):
    model = Tiny()
    if pretrained:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    else:
        model.init_weights()
    return model
'''


def make_clone(folder: Path, hubconf: str = "") -> Path:
    """The clone.

    Args:
        folder: where.
        hubconf: lines before the real one's import.
    """
    (folder / "dinov3" / "hub").mkdir(parents=True)
    for package in ("dinov3", "dinov3/hub"):
        (folder / package / "__init__.py").write_text("")
    (folder / "dinov3" / "hub" / "backbones.py").write_text(BACKBONES)
    lines = 'dependencies = ["torch"]\nfrom dinov3.hub.backbones import dinov3_vitb16  # noqa\n'
    (folder / "hubconf.py").write_text(hubconf + lines)
    return folder


def network(seed: int = 0) -> Any:
    """Its network with random weights, made without the clone."""
    import torch

    names: dict[str, Any] = {}
    exec(BACKBONES, names)
    torch.manual_seed(seed)
    made: Any = names["dinov3_vitb16"](pretrained=False)
    return made.eval()


def write_weights(folder: Path, seed: int = 0) -> Path:
    """A file of weights, named by its hash as Meta's are."""
    import torch

    path = folder / "weights.pth"
    torch.save(network(seed).state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(folder / f"tiny_vitb16-{sha256[:8]}.pth")


def write_onnx(path: Path, seed: int = 0, tokens: bool = False) -> Path:
    """The same network as an ONNX export, by hand: PyTorch's own exporter needs more packages.

    Args:
        path: where.
        seed: of its weights.
        tokens: with all tokens as its output, the class token first, as transformers exports it.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    state = {k: v.numpy() for k, v in network(seed).state_dict().items()}
    constants = {
        "patches.weight": state["patches.weight"],
        "patches.bias": state["patches.bias"],
        "cls": state["cls_token"],
        "qkv.weight": state["qkv.weight"].T,
        "qkv.bias": state["qkv.bias"],
        "norm.weight": state["norm.weight"],
        "norm.bias": state["norm.bias"],
        "widen.weight": state["widen.weight"].T,
        "widen.bias": state["widen.bias"],
        "flat": np.array([0, 16, -1]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "tail": np.array([1, 16]),
        "scale": np.array(0.25, np.float32),
        "first": np.array(0),
    }
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "patches.weight", "patches.bias"], ["grid"], strides=[16, 16]),
        node("Reshape", ["grid", "flat"], ["flattened"]),
        node("Transpose", ["flattened"], ["patched"], perm=[0, 2, 1]),
        node("Shape", ["x"], ["shape"], start=0, end=1),
        node("Concat", ["shape", "tail"], ["repeats"], axis=0),
        node("Expand", ["cls", "repeats"], ["classes"]),
        node("Concat", ["classes", "patched"], ["tokens"], axis=1),
        node("MatMul", ["tokens", "qkv.weight"], ["qkv0"]),
        node("Add", ["qkv0", "qkv.bias"], ["qkv"]),
        node("Split", ["qkv"], ["q", "k", "v"], axis=2, num_outputs=3),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["scores0"]),
        node("Mul", ["scores0", "scale"], ["scores"]),
        node("Softmax", ["scores"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v"], ["mixed"]),
        node("Add", ["tokens", "mixed"], ["attended"]),
        node("LayerNormalization", ["attended", "norm.weight", "norm.bias"], ["normed"], axis=-1),
        node("MatMul", ["normed", "widen.weight"], ["wide0"]),
        node("Add", ["wide0", "widen.bias"], ["last_hidden_state"]),
    ]
    output, shape = "last_hidden_state", ["n", 257, 768]
    if not tokens:
        nodes.append(node("Gather", ["last_hidden_state", "first"], ["class_token"], axis=1))
        output, shape = "class_token", ["n", 768]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 256, 256])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in constants.items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 9
    onnx.checker.check_model(made)
    onnx.save(made, path)
    return path
