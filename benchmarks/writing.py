"""The training set written from Python: examples a second, against the disk's own speed.

The disk's speed is that of one plain file of as many bytes, written in blocks of 4 MB from the same
memory and flushed to the disk, in turn with the writer, whose file is flushed too.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from facemake.data.writer import TrainingDataWriter
from facemake.dataset.layout import NUMBERS

_DIFFERENT = 256
_BLOCK = 4 << 20


def run(folder: Path, examples: int, runs: int) -> None:
    """Print the writer's speed, example by example and in batches, and as a share of the disk's."""
    generator = np.random.default_rng(0)
    names = {
        **{"images": "image", "hog_features": "hog_features", "landmarks": "landmarks"},
        **{"global_params": "global_params", "local_params": "local_params"},
        **{"au_intensities": "au_intensities", "bboxes": "bbox"},
    }
    made = {
        field.name: generator.integers(0, 256, (_DIFFERENT, *field.shape)).astype(field.kind)
        for field in NUMBERS
        if field.name in names
    }
    rows = [{names[name]: values[i] for name, values in made.items()} for i in range(_DIFFERENT)]
    spent: dict[str, list[float]] = {"one by one": [], "in batches": [], "plain": []}
    size = 0
    for turn in range(runs):
        for how in [*spent] if turn % 2 else [*reversed(spent)]:  # who goes first takes turns
            if how == "plain":
                size = size or _written(folder, rows, made, examples, "in batches")[1]
                seconds = _plain(folder / "plain", size)
            else:
                seconds, size = _written(folder, rows, made, examples, how)
            spent[how].append(seconds)
    disk = size / median(spent["plain"])
    print(f"disk, one plain file of {size / 1e6:.0f} MB: {disk / 1e6:.0f} MB/s ({runs} runs)")
    for how in ("one by one", "in batches"):
        seconds = median(spent[how])
        print(
            f"training set, {how}: {examples / seconds:.0f} examples/s, "
            f"{size / seconds / disk:.2f} of the disk's speed "
            f"({examples} examples in {seconds:.2f} s)"
        )


def _written(
    folder: Path,
    rows: list[dict[str, Any]],
    batch: dict[str, Any],
    examples: int,
    how: str,
) -> tuple[float, int]:
    """Seconds that a training set takes, and its bytes."""
    path = folder / "set.h5"
    start = time.perf_counter()
    with TrainingDataWriter(path, expected_samples=examples) as writer:
        if how == "one by one":
            for i in range(examples):
                writer.add_sample(**rows[i % _DIFFERENT], video_name="v", frame_index=i)
        else:
            for i in range(0, examples, _DIFFERENT):
                n = min(_DIFFERENT, examples - i)
                writer.add_batch(
                    **{name: values[:n] for name, values in batch.items()},
                    frame_indices=np.arange(i, i + n),
                )
    seconds = time.perf_counter() - start
    size = path.stat().st_size
    path.unlink()
    return seconds, size


def _plain(path: Path, size: int) -> float:
    block = memoryview(np.random.default_rng(1).bytes(_BLOCK))
    start = time.perf_counter()
    with path.open("wb", buffering=0) as handle:
        left = size
        while left:
            left -= handle.write(block[: min(left, _BLOCK)])
        os.fsync(handle.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds
