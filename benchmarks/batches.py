"""ONNX networks in batches against one picture at a time, and what facemake hands over at once.

Each network whose file is here computes the same pictures in one session, one at a time and in
batches, in turn: on a CPU on one thread, by CPU time; on a GPU by wall time. The last column is the
speed of the size that facemake takes there (`OnnxModel.batch_size`): 1 by definition where that is
one picture. A network that was exported for one picture gets a copy in memory that takes any
number: its graph is the same, but for the sizes that say 1. Pictures are noise: what a convolution
costs does not depend on what it sees.
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
from facemake.backends.onnx_model import OnnxModel
from facemake.errors import FacemakeError
from facemake.models import model_path

BATCHES = (2, 4, 8, 16)
_PICTURES = 16


def run(runs: int, device: str = "cpu") -> None:
    """Print, by network and batch, the time of a picture alone as a part of one in a batch."""
    rows: dict[str, Backend] = {**DETECTORS, **LANDMARKERS, **EMBEDDERS}
    for name, row in rows.items():
        if row.gpu_stack != "onnx-gpu":
            continue
        try:
            path = model_path(row.models[0])
            taken = OnnxModel(path, device)
            session = _of_any_batch(path, device)
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
                spent[size].append(_seconds(session, feed.name, pictures, size, device))
        one = median(spent[1][1:])  # the first one makes what is made once
        speed = {size: one / median(times[1:]) for size, times in spent.items()}
        ratios = ", ".join(f"{size}: {speed[size]:.2f}" for size in BATCHES)
        chosen = taken.batch_size
        taken.close()
        print(
            f"{name}: speed of batches against one at a time: {ratios}; facemake takes {chosen}: "
            f"{speed[chosen]:.2f} ({1e3 * one / _PICTURES:.1f} ms a picture alone, {runs} runs)"
        )


def _seconds(session: Any, feed: str, pictures: np.ndarray, size: int, device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    for first in range(0, len(pictures), size):
        session.run(None, {feed: pictures[first : first + size]})
    return clock() - start


def _of_any_batch(path: Path, device: str) -> Any:
    """A session of the network, of any number of pictures; on one thread of a CPU.

    Raises:
        ValueError: the network gives something else for several pictures than for each alone.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if device != "cpu":
        providers.insert(0, "CUDAExecutionProvider")
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
