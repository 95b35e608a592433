"""ONNX networks in batches against one picture at a time: the backends, and the networks alone.

First, each backend whose network is here is given pictures one after another, and the same ones
sixteen at once, as `Detector`, `Landmarker` and `Embedder` take them: the way that facemake goes.
Then its network alone computes them in batches of 2 to 16, in one session, against one at a time:
the reason for the number that a backend puts together there (`OnnxModel.batch_size`). One that was
exported for one picture is made to take any number (`facemake.backends.onnx_batches`). On a CPU on
one thread, by CPU time; on a GPU by wall time; all ways take turns. Pictures are noise: what a
convolution costs does not depend on what it sees.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before the libraries are imported

import numpy as np

from facemake.backends import Backend
from facemake.backends.detect import DETECTORS, DetectorBackend
from facemake.backends.embed import EMBEDDERS, EmbedderBackend
from facemake.backends.embed import Face as FaceToEmbed
from facemake.backends.landmarks import LANDMARKERS, Face, LandmarkBackend
from facemake.backends.onnx_batches import session_of_any_batch
from facemake.errors import FacemakeError
from facemake.models import model_path

BATCHES = (2, 4, 8, 16)
_PICTURES = 16


def run(runs: int, device: str = "cpu") -> None:
    """Print, by backend, the speed of batches as a part of that of one at a time."""
    rows: dict[str, Backend] = {**DETECTORS, **LANDMARKERS, **EMBEDDERS}
    for name, row in rows.items():
        if row.gpu_stack != "onnx-gpu":
            continue
        try:
            path = model_path(row.models[0])
            backend, items = _backend(row, device)
            with closing(backend):
                handed = _speeds(backend, items, (_PICTURES,), runs, device)
                size = backend.batch_size
        except (FacemakeError, ImportError) as error:
            print(f"{name}: not measured: {error}")
            continue
        print(
            f"{name}: {_PICTURES} handed over at once, {size} at a time through the network: "
            f"{handed[_PICTURES]} ({handed[1]}, {runs} runs)"
        )
        try:
            session = _of_any_batch(path, device)
        except ValueError as error:
            print(f"  its network in batches: not measured: {error}")
            continue
        feed = session.get_inputs()[0]
        shape = [size if isinstance(size, int) else 640 for size in feed.shape[1:]]
        noise = np.random.default_rng(0).normal(size=(_PICTURES, *shape)).astype(np.float32)
        look = _run(session, feed.name)
        alone = _speeds(look, noise, BATCHES, runs, device)
        ratios = ", ".join(f"{size}: {alone[size]}" for size in BATCHES)
        print(f"  its network in batches of {ratios} ({alone[1]})")


def _run(session: Any, feed: str) -> Callable[[Any], Any]:
    return lambda some: session.run(None, {feed: some})


def _backend(row: Backend, device: str) -> tuple[Any, list[Any]]:
    """The backend, and sixteen of what it takes."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (480, 640, 3), np.uint8) for _ in range(_PICTURES)]
    box = np.array([200, 120, 200, 200], np.float32)
    if isinstance(row, DetectorBackend):
        return row.create(row.models[0], row.min_score, device), pictures
    if isinstance(row, LandmarkBackend):
        return row.network(device), [Face.of(rgb, box) for rgb in pictures]
    assert isinstance(row, EmbedderBackend)
    embedder = row.create(row.models[0], device)
    return embedder, [embedder.chip(rgb, FaceToEmbed(box)) for rgb in pictures]


def _speeds(
    look: Callable[[Any], Any], items: Sequence[Any], sizes: Sequence[int], runs: int, device: str
) -> dict[int, str]:
    """By size the speed as a part of one at a time, with its spread; by 1, the time of an item."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    spent: dict[int, list[float]] = {size: [] for size in (1, *sizes)}
    for turn in range(1 + runs):  # who goes first takes turns
        for size in spent if turn % 2 else reversed(spent):
            start = clock()
            for first in range(0, len(items), size):
                look(items[first : first + size])
            spent[size].append(clock() - start)
    # the first turn makes what is made once
    said = {1: f"{1e3 * median(spent[1][1:]) / len(items):.1f} ms one at a time"}
    for size in sizes:
        ratios = [one / many for one, many in zip(spent[1][1:], spent[size][1:], strict=True)]
        said[size] = f"{median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
    return said


def _of_any_batch(path: Path, device: str) -> Any:
    """A session of the network, of any number of pictures; on one thread of a CPU.

    Raises:
        ValueError: the network gives something else for several pictures than for each alone.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if device != "cpu":
        providers.insert(0, "CUDAExecutionProvider")

    def opened(model: bytes | str) -> Any:
        return onnxruntime.InferenceSession(model, options, providers=providers)

    given = opened(str(path))
    if given.get_inputs()[0].shape[0] != 1:
        return given
    session = session_of_any_batch(path, given, opened)
    if session is None:
        raise ValueError(f"{path.name} was exported for one picture, and so it stays")
    return session
