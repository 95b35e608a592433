"""ONNX networks: on which device they compute, and in what batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from facemake.errors import ModelError

logger = logging.getLogger(__name__)

_ERRORS_ONLY = 3
"""onnxruntime's severity: its warnings are a page about a network that works."""

BATCH_ON_GPU = 16
"""Pictures at once on a GPU. On a CPU one at a time is as fast, and the same to the last bit
whatever stands beside it (a matrix product of one row is another kernel than that of several)."""


class OnnxModel:
    """A network of one input, (n, C, H, W) float32.

    Args:
        path: its file.
        device: `cpu` or `cuda` (the GPU that the job has leased).

    Attributes:
        batch_size: how many inputs pay off at once.
        input_shape: (C, H, W), None where the network leaves a size open.
        output_names: in the network's order.

    Raises:
        ModelError: the file is no ONNX network with one input, or `cuda` is asked for and not to
            be had.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        self._session = _session(path, options, device)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type != "tensor(float)":
            raise ModelError(
                f"{path} is a network of another kind: it takes "
                f"{[(i.name, i.shape, i.type) for i in inputs]}, wanted is one picture as "
                "(N, C, H, W) float32"
            )
        self._input = inputs[0].name
        batch, *shape = (size if isinstance(size, int) else None for size in inputs[0].shape)
        self._fixed = batch
        self.input_shape = tuple(shape)
        self.output_names = [output.name for output in self._session.get_outputs()]
        self.output_shapes = [tuple(output.shape) for output in self._session.get_outputs()]
        self.batch_size = 1 if device == "cpu" else (batch or BATCH_ON_GPU)
        logger.info("%s on %s", path.name, self.provider)

    @property
    def provider(self) -> str:
        """What computes it, in onnxruntime's word."""
        return str(self._session.get_providers()[0])

    def __call__(self, pictures: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The outputs of n pictures, (n, C, H, W), whose rows follow each other by picture.

        Their first axis is n, or n times the rows of a picture where the network has no other axis
        for them.

        A network that takes a fixed number gets so many at a time, the last ones filled up with
        black; so does one on a GPU, whose results then hang on no batch's length.
        """
        n, size = len(pictures), self._fixed or self.batch_size
        parts: list[Sequence[NDArray[np.float32]]] = []
        for start in range(0, n, size):
            some = pictures[start : start + size]
            if len(some) < size:
                missing = np.zeros((size - len(some), *some.shape[1:]), np.float32)
                some = np.concatenate([some, missing])
            parts.append(self._session.run(None, {self._input: some}))
        if len(parts) == 1 and n == size:
            return list(parts[0])
        total = len(parts) * size
        joined = [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
        return [output[: len(output) * n // total] for output in joined]

    def close(self) -> None:
        """Free the network."""
        del self._session


def _session(path: Path, options: Any, device: str) -> Any:
    providers = ["CPUExecutionProvider"]
    if device != "cpu":
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ModelError(
                f"device is {device}, and onnxruntime here computes on "
                f"{', '.join(onnxruntime.get_available_providers())} alone: install "
                "onnxruntime-gpu in its place (extra onnx-gpu, image of STACKS=cuda), or set "
                "device: cpu"
            )
        providers = ["CUDAExecutionProvider", *providers]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors have no common class but this
        raise ModelError(f"{path} cannot be loaded as an ONNX network: {error}") from None
    if device != "cpu" and session.get_providers()[0] != "CUDAExecutionProvider":
        raise ModelError(
            f"device is {device}, and onnxruntime could not use a GPU (see the lines above): is "
            "there one, with a driver for this CUDA (nvidia-smi)? Or set device: cpu"
        )
    return session
