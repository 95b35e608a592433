"""Training from a training set in a file against the same steps on batches that are in memory.

Both are the loop of `facemake.nn.training` with the same batch size, in turn, in one process: once
its loader (reading, augmenting, handing over), once a list of batches that are there. Examples are
noise: what a step costs does not hang on what it sees.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from facemake import h5
from facemake.dataset import layout
from facemake.errors import FacemakeError

_EXAMPLES = 4096
_STEPS = 12


def run(folder: Path, runs: int, width_mult: float) -> None:
    """Print, by network, what part of the speed on memory is left with the loader."""
    try:
        from facemake.backends import torch_model
        from facemake.nn import train_au_prediction, train_landmark_pose
        from facemake.nn.options import AUPredictionOptions, LandmarkPoseOptions
    except FacemakeError as error:
        print(f"training: not measured: {error}")
        return
    import torch

    data = folder / "training_data.h5"
    _write(data)
    device = torch_model.best_device()
    name = torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} cores"
    print(
        f"training on {device} ({name}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f}), width_mult {width_mult:g}"
    )
    common = {"data": data, "output": folder / "out", "width_mult": width_mult, "device": device}
    for module, kind in (
        (train_landmark_pose, LandmarkPoseOptions),
        (train_au_prediction, AUPredictionOptions),
    ):
        _compare(module.task(), kind(**common), runs)


def _write(path: Path) -> None:
    generator = np.random.default_rng(0)
    with h5.create(path) as file:
        made = layout.create(file, _EXAMPLES)
        made["images"][...] = generator.integers(0, 256, made["images"].shape, dtype=np.uint8)
        made["landmarks"][...] = 112 * generator.random(made["landmarks"].shape)
        for field in ("global_params", "local_params", "au_intensities"):
            made[field][...] = generator.random(made[field].shape)
        made["metadata/split"][...] = ["train"] * (_EXAMPLES - 32) + ["val"] * 32
        layout.describe(file, _EXAMPLES, {})


def _compare(task: Any, options: Any, runs: int) -> None:
    from facemake.nn.batches import Order, make_loader, usable_workers
    from facemake.nn.training import Training

    training = Training(task, options)
    rows = training.train_set.rows
    order = Order(rows, options.batch_size, options.seed)
    in_memory = [
        batch
        for batch, _ in zip(
            make_loader(training.train_set, order, 0, False), range(_STEPS), strict=False
        )
    ]
    workers = (0, usable_workers(options.num_workers))
    loaders = {number: make_loader(training.train_set, order, number, False) for number in workers}
    spent: dict[str, list[tuple[float, float]]] = {}
    for turn in range(1 + runs):
        ways: list[tuple[str, Iterable[Any]]] = [("memory", in_memory)]
        for number, loader in loaders.items():
            order.epoch = turn
            ways.append((f"{number} workers", loader))
        for name, batches in ways if turn % 2 else reversed(ways):
            spent.setdefault(name, []).append(_seconds(training, batches))
    wall, cpu = (median(column) for column in zip(*spent.pop("memory")[1:], strict=True))
    samples = options.batch_size * (_STEPS - 1)
    parts = []
    for name, times in spent.items():
        mine, my_cpu = (median(column) for column in zip(*times[1:], strict=True))
        # with workers, the time of CPU is that of the process that trains
        parts.append(f"{name}: {wall / mine:.2f} of it by the clock, {cpu / my_cpu:.2f} by CPU")
    print(
        f"{task.network}: {samples / wall:.0f} samples/s on memory; from the file, augmented, "
        f"{', '.join(parts)} ({runs} runs)"
    )


def _seconds(training: Any, batches: Iterable[Any]) -> tuple[float, float]:
    """By the clock and of this process's CPU, of all steps but the first: a loader begins then."""
    from facemake.backends import torch_model

    start = spent = 0.0
    training.model.train()
    for step, batch in enumerate(batches):
        if step == _STEPS:
            break
        training.step(batch)
        if step == 0:
            torch_model.synchronize(training.device)
            start, spent = time.perf_counter(), time.process_time()
    torch_model.synchronize(training.device)
    return time.perf_counter() - start, time.process_time() - spent
