"""A stand-in for a session of onnxruntime on a GPU: computed on the CPU, in the GPU's name."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")


class Gpu(onnxruntime.InferenceSession):
    """TEST DOUBLE of a session on a GPU: says what it is asked for, and how much at once.

    Attributes:
        asked: the providers of each session.
        fed: how many inputs each run had.
    """

    asked: ClassVar[list[object]] = []
    fed: ClassVar[list[int]] = []

    def __init__(self, model: str | bytes, options: object, providers: list[object]) -> None:
        self.asked.append(providers)
        super().__init__(model, options, providers=["CPUExecutionProvider"])

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run(self, names: object, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.fed.append(len(next(iter(feed.values()))))
        return super().run(names, feed)


def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Gpu]:
    """Let onnxruntime have a GPU, and nothing else."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", Gpu)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    Gpu.asked, Gpu.fed = [], []
    return Gpu
