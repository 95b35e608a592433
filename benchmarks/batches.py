"""ONNX networks in batches against one picture at a time: whether a CPU gains by them.

Each network whose file is here computes the same pictures in one session on one thread, one at a
time and in batches, in turn. A network that was exported for one picture gets a copy in memory that
takes any number: its graph is the same, but for the sizes that say 1. Pictures are noise: what a
convolution costs does not hang on what it sees.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries are imported

import numpy as np

from facemake.backends import Backend
from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.backends.landmarks import LANDMARKERS
from facemake.errors import FacemakeError
from facemake.models import model_path

BATCHES = (4, 8, 16)
_PICTURES = 16


def run(runs: int) -> None:
    """Print, by network and batch, the CPU time of a picture alone as a part of one in a batch."""
    rows: dict[str, Backend] = {**DETECTORS, **LANDMARKERS, **EMBEDDERS}
    for name, row in rows.items():
        if row.gpu_stack != "onnx-gpu":
            continue
        try:
            session = _of_any_batch(model_path(row.models[0]))
        except (FacemakeError, ImportError, ValueError) as error:
            print(f"{name}: not measured: {error}")
            continue
        feed = session.get_inputs()[0]
        shape = [size if isinstance(size, int) else 640 for size in feed.shape[1:]]
        generator = np.random.default_rng(0)
        pictures = generator.normal(size=(_PICTURES, *shape)).astype(np.float32)
        spent: dict[int, list[float]] = {size: [] for size in (1, *BATCHES)}
        for turn in range(1 + runs):  # who goes first takes turns
            for size in spent if turn % 2 else reversed(spent):
                spent[size].append(_seconds(session, feed.name, pictures, size))
        one = median(spent[1][1:])  # the first one makes what is made once
        ratios = ", ".join(f"{size}: {one / median(spent[size][1:]):.2f}" for size in BATCHES)
        print(
            f"{name}: speed of batches against one at a time: {ratios} "
            f"({1e3 * one / _PICTURES:.1f} ms of CPU a picture alone, {runs} runs)"
        )


def _seconds(session: Any, feed: str, pictures: np.ndarray, size: int) -> float:
    start = time.process_time()
    for first in range(0, len(pictures), size):
        session.run(None, {feed: pictures[first : first + size]})
    return time.process_time() - start


def _of_any_batch(path: Path) -> Any:
    """A session of the network on one thread, of any number of pictures.

    Raises:
        ValueError: the network gives something else for several pictures than for each alone.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    model = onnx.load(path)
    values = {value.name: value for value in model.graph.initializer}
    values |= {
        node.output[0]: node.attribute[0].t
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    taken = [value for value in model.graph.input if value.name not in values]
    if taken[0].type.tensor_type.shape.dim[0].dim_value == 1:
        for value in (*taken, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "n"
        del model.graph.value_info[:]
        for node in model.graph.node:
            if node.op_type == "Reshape" and node.input[1] in values:
                tensor = values[node.input[1]]
                sizes = onnx.numpy_helper.to_array(tensor).copy()
                if sizes.size and sizes[0] == 1:
                    sizes[0] = 0  # as many as there were
                    tensor.CopyFrom(onnx.numpy_helper.from_array(sizes, tensor.name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    given = onnxruntime.InferenceSession(str(path), options, providers=providers)
    feed = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 640 for size in feed.shape[1:]]
    two = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    alone = [given.run(None, {feed.name: two[i : i + 1]}) for i in range(2)]
    for together, *each in zip(session.run(None, {feed.name: two}), *alone, strict=True):
        both = np.concatenate(each)
        if not np.allclose(together.reshape(both.shape), both, atol=1e-4):
            raise ValueError(f"{path.name} was exported for one picture, and so it stays")
    return session
