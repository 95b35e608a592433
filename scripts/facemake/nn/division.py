"""Which examples of a training set are to train with, which to validate with, which to test."""

from __future__ import annotations

from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from facemake.errors import FacemakeError
from facemake.nn.columns import Rows

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""Name here -> what a file may call it."""

_GAP = 0.05
"""Share of one video's examples between training and validation that is in neither."""

_ROWS_AT_ONCE = 4096


class Division(NamedTuple):
    """Rows of a file, rising, and by what they were divided, in words."""

    train: Rows
    val: Rows
    test: Rows
    by: str
    loud: bool
    """Whether what validation says must be taken with care."""


def divide(file: h5py.File, total: int, val_split: float, seed: int) -> Division:
    """Which examples are for what.

    As the file's `metadata/split` says, where it has examples to train with and to validate with.
    Else those that are not `test` are divided by subject, so that nobody, and no video, is on both
    sides; where there is one subject, by video; where there is one video, by time: its last part
    validates, and what is just before it is left out, since neighbouring frames are nearly one.

    Args:
        file: open.
        total: examples.
        val_split: share that is held back.
        seed: of which subjects or videos are held back.

    Raises:
        FacemakeError: val_split is no share, or there are too few examples to hold any back.
    """
    if not 0 < val_split < 1:
        raise FacemakeError(f"val_split is {val_split:g}: it is a share, above 0 and below 1")
    named = _codes(file, "metadata/split", total)
    parts = {
        name: np.isin(named[0], [i for i, text in enumerate(named[1]) if text in texts])
        for name, texts in SPLITS.items()
    }
    test = np.flatnonzero(parts["test"])
    if parts["train"].any() and parts["val"].any():
        train, val = np.flatnonzero(parts["train"]), np.flatnonzero(parts["val"])
        return Division(train, val, test, "the splits of the file", False)
    rest = np.flatnonzero(~parts["test"])
    wanted = max(1, round(val_split * len(rest)))
    codes, people = _codes(file, "metadata/subjects", total)
    subjects = codes[rest]
    why = "there is one subject" if any(people) else "nobody said who is in which"
    videos = _codes(file, "metadata/video_names", total)[0][rest]
    for by, groups, loud in (
        ("subject", _connected(subjects, videos), False),
        (f"video, since {why}", _connected(videos, videos), True),
    ):
        held = _hold_back(groups, wanted, seed)
        if held is not None:
            return Division(rest[~held], rest[held], test, by, loud)
    order = rest[np.argsort(_numbers(file, "metadata/frame_indices", total)[rest], kind="stable")]
    gap = max(1, round(_GAP * len(order)))
    train, val = order[: max(0, len(order) - wanted - gap)], order[len(order) - wanted :]
    if not len(train):
        raise FacemakeError(
            f"{file.filename} has {len(rest)} examples of one video, which is too few to hold some "
            "back: take more recordings or frames, or say who is who in `metadata/split`"
        )
    return Division(np.sort(train), np.sort(val), test, "time, since there is one video", True)


def _codes(file: h5py.File, name: str, total: int) -> tuple[NDArray[np.int64], list[str]]:
    """(total,) a number a text, and the texts; all one where the file does not have them."""
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or len(dataset) < total:
        return np.zeros(total, np.int64), [""]
    numbers: dict[str, int] = {}
    codes = np.empty(total, np.int64)
    for start in range(0, total, _ROWS_AT_ONCE):
        texts = dataset.asstr(errors="replace")[start : min(start + _ROWS_AT_ONCE, total)]
        codes[start : start + len(texts)] = [numbers.setdefault(t, len(numbers)) for t in texts]
    return codes, [*numbers]


def _numbers(file: h5py.File, name: str, total: int) -> NDArray[np.int64]:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset) or len(dataset) < total:
        return np.arange(total)
    return np.asarray(dataset[:total], np.int64)


def _connected(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) a number a group: rows that share either code, over however many others, are in one."""
    group = np.arange(int(one.max(initial=-1)) + 1)
    while True:
        # the least group of each `other`, and of each `one` over all its `other`s
        least = np.full(int(other.max(initial=-1)) + 1, len(group))
        np.minimum.at(least, other, group[one])
        fresh = group.copy()
        np.minimum.at(fresh, one, least[other])
        if (fresh == group).all():
            return group[one]
        group = fresh


def _hold_back(groups: NDArray[np.int64], wanted: int, seed: int) -> NDArray[np.bool_] | None:
    """(n,) which rows are in groups that are held back; None where there is one group only.

    Groups are taken in a random order as long as each brings the number nearer to the wanted one.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2:
        return None
    held: list[int] = []
    count = 0
    for i in np.random.default_rng(seed).permutation(len(names)).tolist():
        if abs(count + sizes[i] - wanted) < abs(count - wanted) and len(held) < len(names) - 1:
            held.append(i)
            count += int(sizes[i])
    if not held:
        held = [int(sizes.argmin())]
    return np.isin(groups, names[held])
