"""The batches of an epoch, and the processes that load them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from facemake.errors import FacemakeError
from facemake.nn.columns import Rows
from facemake.nn.loader import TrainingDataset


class Draw(NamedTuple):
    """A batch that is asked for: rows of the file, and the epoch of their augmentation."""

    rows: Rows
    epoch: int | None


class _Batches(torch.utils.data.Dataset[Any]):
    """What a loader draws from: one of its items is a whole batch."""

    def __init__(self, dataset: TrainingDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, draw: Draw) -> dict[str, Any] | str:
        try:
            batch = self._dataset.batch(draw.rows, draw.epoch)
        except FacemakeError as error:
            return str(error)  # PyTorch would hand a worker's traceback on
        return {name: torch.from_numpy(values) for name, values in batch.items()}


@dataclass
class Order(torch.utils.data.Sampler[Draw]):
    """The batches of an epoch: as many as there must be, their sizes one apart at most.

    So no batch is of one example alone, and none is left away.

    Attributes:
        rows: of the file.
        size: of a batch, at most.
        seed: of the order; None: as the rows are, without augmentation.
        epoch: the next one, from 0.
    """

    rows: Rows
    size: int
    seed: int | None
    epoch: int = 0

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __iter__(self) -> Iterator[Draw]:
        rows, epoch = self.rows, None
        if self.seed is not None:
            epoch = self.epoch
            rows = np.random.default_rng([self.seed, epoch]).permutation(rows)
        for part in np.array_split(rows, len(self)):
            yield Draw(part, epoch)


def make_loader(dataset: TrainingDataset, order: Order, workers: int, pin: bool) -> Any:
    """A `DataLoader` of the batches of an order: tensors as `TrainingDataset.batch` has arrays.

    Args:
        dataset: whose `augmentation` is used where the order has a seed.
        order: set its `epoch` before each epoch.
        workers: processes that load; they stay from epoch to epoch. 0: this one does.
        pin: whether batches are put where a GPU copies them from without waiting.
    """
    return torch.utils.data.DataLoader(
        _Batches(dataset),
        sampler=order,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
        worker_init_fn=_begin if workers else None,
        prefetch_factor=4 if workers else None,
        # its own, so that how often loaders begin moves no other random number
        generator=torch.Generator().manual_seed(0),
    )


def _begin(_: int) -> None:
    """A worker computes on one thread, and leaves it to its parent what an interruption means."""
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def usable_workers(wanted: int) -> int:
    """As many processes as are asked for, and no more than this process may have cores."""
    return max(
        0,
        min(
            wanted,
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
        ),
    )
