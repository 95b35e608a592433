"""The training set as PyTorch reads it: whole batches by their rows, each process with its handle.

A row of a data set that lies in the file as it is (one chunk an example and no filter, or one
contiguous array: `facemake.dataset.layout`) is read at its place, without HDF5's selections; any
other data set, as pyfaceau's own compressed ones, through h5py.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from facemake import h5
from facemake.dataset.layout import AU_NAMES, FIELDS, Field
from facemake.errors import FacemakeError, TableError
from facemake.nn.augment import Augmentation, shape_mirror
from facemake.template import CROP_SIZE

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]

IMAGES = "images"
LABELS = ("landmarks", "global_params", "local_params", "au_intensities")
NEEDED: tuple[Field, ...] = tuple(f for f in FIELDS if f.name in (IMAGES, *LABELS))
"""What pyfaceau's files have, too."""

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


class Draw(NamedTuple):
    """A batch that is asked for: rows of the file, and the epoch of their augmentation."""

    rows: Rows
    epoch: int | None


class _Column:
    """Rows of one data set, in any order."""

    def __init__(self, dataset: h5py.Dataset, file: int) -> None:
        self._dataset = dataset
        self._file = file
        self._shape = dataset.shape[1:]
        self._bytes = int(np.prod(self._shape, dtype=np.int64)) * dataset.dtype.itemsize
        self._places: Rows | None = None
        properties = dataset.id.get_create_plist()
        if properties.get_layout() == h5py.h5d.CONTIGUOUS and not properties.get_external_count():
            start = dataset.id.get_offset()
            if start is not None:
                self._places = start + self._bytes * np.arange(len(dataset), dtype=np.int64)
        elif properties.get_layout() == h5py.h5d.CHUNKED:
            whole = (1, *self._shape)
            if dataset.chunks == whole and not properties.get_nfilters():
                self._places = _places(dataset, self._bytes)

    def read(self, rows: Rows) -> NDArray[Any]:
        """(n, ...) of n rows.

        Raises:
            OSError: the file is damaged.
        """
        out = np.empty((len(rows), *self._shape), self._dataset.dtype)
        if self._places is not None:
            for row, place, into in zip(
                rows.tolist(), self._places[rows].tolist(), out, strict=True
            ):
                self._one(row, place, into)
            return out
        # HDF5 wants rows that rise, each once
        rising, where = np.unique(rows, return_inverse=True)
        self._dataset.read_direct(out[: len(rising)], rising)
        return out[where]

    def _one(self, row: int, place: int, into: NDArray[Any]) -> None:
        if place < 0:  # never written
            into[...] = self._dataset[row]
        elif os.preadv(self._file, [into.data.cast("B")], place) != self._bytes:
            raise OSError(f"row {row} of {self._dataset.name} is cut short")


def _places(dataset: h5py.Dataset, size: int) -> Rows:
    """(n,) where each row's chunk lies in the file; -1 where it was never written.

    HDF5 walks through all chunks to find one, so they are found once, unless they lie one after the
    other, as those of a data set do whose size was fixed and whose place was taken at once.

    Args:
        dataset: of one chunk a row.
        size: bytes of a row.
    """
    n = len(dataset)
    early = dataset.id.get_create_plist().get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY
    if n and early and dataset.maxshape == dataset.shape:
        first, last = (int(dataset.id.get_chunk_info(i).byte_offset) for i in (0, n - 1))
        if last - first == size * (n - 1):
            return first + size * np.arange(n, dtype=np.int64)
    places = np.full(n, -1, np.int64)

    def found(chunk: Any) -> None:
        if chunk.byte_offset is not None:
            places[chunk.chunk_offset[0]] = chunk.byte_offset

    dataset.id.chunk_iter(found)
    return places


class _Handle:
    """An open file of one process."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.process = os.getpid()
        self.file = _open(path)
        self._descriptor = os.open(path, os.O_RDONLY)
        self.columns = {name: _Column(self.file[name], self._descriptor) for name in names}

    def close(self) -> None:
        """Give the file back. A handle of the parent process is the parent's."""
        if self.process == os.getpid():
            self.file.close()
            os.close(self._descriptor)


class TrainingDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """The examples of a training set, ours or pyfaceau's, or of one split of it.

    The file is looked at when this is made and closed again; each process that reads opens it for
    itself. `dataset[i]` is one example for the networks; `batch` gives many, as they are stored.

    Args:
        path: of the HDF5 file.
        split: `train`, `val` or `test`; None: all examples. See `divide`.
        labels: which of LABELS are read; None: all.
        val_split: share that is held back where the file does not say.
        seed: of what is held back.
        augmentation: what `batch` does with an epoch given.

    Attributes:
        rows: (n,) of the file, rising.
        division: of the whole file.
        in_crop: whether landmarks are pixels of the crop; pyfaceau's files have those of frames.
        metadata: what made the file; empty where that is not facemake.
        total: examples of the whole file.

    Raises:
        TableError: no such file, damaged, or of another layout.
        FacemakeError: there is no example, or none of that split.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        *,
        labels: Sequence[str] | None = None,
        val_split: float = 0.1,
        seed: int = 42,
        augmentation: Augmentation | None = None,
    ) -> None:
        if split is not None and split not in SPLITS:
            raise FacemakeError(f"split is {split!r}, not one of {', '.join(SPLITS)}")
        self.path = Path(path)
        self.labels = tuple(LABELS if labels is None else labels)
        self.augmentation = augmentation
        self._handle: _Handle | None = None
        with _open(self.path) as file:
            total = check(file)
            if not total:
                raise FacemakeError(
                    f"{self.path} has no example: no face was good enough, or there was none; "
                    "`dataset.min_quality` is the limit, and the run's report says why"
                )
            self.total = total
            self.division = divide(file, total, val_split, seed)
            self.in_crop = _in_crop(file, total)
        self.metadata = _metadata(self.path)
        self.rows: Rows = np.arange(total)
        if split is not None:
            self._take(split)

    def _take(self, split: str) -> None:
        self.rows = getattr(self.division, split)
        if not len(self.rows):
            raise FacemakeError(f"{self.path} has no example of split {split}")

    def only(self, split: str) -> TrainingDataset:
        """The examples of one split of the same file, as they are stored.

        Raises:
            FacemakeError: there are none.
        """
        part = copy.copy(self)
        part._handle, part.augmentation = None, None
        part._take(split)
        return part

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One example: `image` (3, 112, 112) float32 RGB in [0, 1], and the labels as stored."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        batch = self.batch(self.rows[[index]])
        images, labels = (
            batch.pop("image"),
            {name: torch.from_numpy(v[0]) for name, v in batch.items()},
        )
        picture = torch.from_numpy(images[0]).permute(2, 0, 1).float() / 255
        return {"image": picture.contiguous(), **labels}

    def batch(self, rows: Rows, epoch: int | None = None) -> dict[str, NDArray[Any]]:
        """Examples by their rows in the file.

        Args:
            rows: (n,) in any order.
            epoch: of the augmentation; None: as they are stored.

        Returns:
            `image` (n, 112, 112, 3) uint8 RGB, and each label (n, ...) float32.

        Raises:
            TableError: the file is damaged.
        """
        handle = self._open()
        try:
            images = handle.columns[IMAGES].read(rows)
            labels = {
                name: handle.columns[name].read(rows).astype(np.float32, copy=False)
                for name in self.labels
            }
        except OSError as error:
            raise TableError(f"{self.path} is damaged: {error}") from None
        if self.augmentation is not None and epoch is not None:
            images, labels = self.augmentation(images, labels, epoch, rows)
        return {"image": images, **labels}

    def means(self) -> dict[str, torch.Tensor]:
        """The mean of each label over these examples, in float32; NaN where there is none."""
        handle = self._open()
        found = {}
        for name in self.labels:
            column = handle.columns[name]
            total: Any = 0.0
            count: Any = 0
            for start in range(0, len(self), _ROWS_AT_ONCE):
                values = column.read(self.rows[start : start + _ROWS_AT_ONCE])
                total = total + np.nansum(values, axis=0, dtype=np.float64)
                count = count + np.isfinite(values).sum(axis=0)
            mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
            found[name] = torch.from_numpy(mean.astype(np.float32))
        self.close()
        return found

    def _open(self) -> _Handle:
        if self._handle is None or self._handle.process != os.getpid():
            self._handle = _Handle(self.path, (IMAGES, *self.labels))
        return self._handle

    def close(self) -> None:
        """Close the file of this process, if it is open."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the handle: another process opens its own."""
        return {**self.__dict__, "_handle": None}


def check(file: h5py.File) -> int:
    """How many examples a training set has, ours or pyfaceau's.

    Raises:
        TableError: a data set is missing or of another type or shape, or action units are others.
    """
    count: int | None = None
    for field in NEEDED:
        dataset = file.get(field.name)
        if not isinstance(dataset, h5py.Dataset):
            raise TableError(f"{file.filename} is no training set: it has no {field.name}")
        if dataset.shape[1:] != field.shape or dataset.dtype != field.dtype:
            raise TableError(
                f"{file.filename} has {field.name} of type {dataset.dtype} and shape "
                f"{dataset.shape}, not {field.dtype} {('n', *field.shape)}"
            )
        if count is not None and len(dataset) != count:
            raise TableError(
                f"{file.filename} has {len(dataset)} rows of {field.name} and {count} of "
                f"{NEEDED[0].name}: it is damaged, or was not finished"
            )
        count = len(dataset)
    names = tuple(str(name) for name in file.attrs.get("au_names", AU_NAMES))
    if names != tuple(AU_NAMES):
        raise TableError(
            f"{file.filename} has other action units, or another order of them: {', '.join(names)}"
        )
    if file.attrs.get("color_format", "RGB") != "RGB":
        raise TableError(f"{file.filename} has pictures of {file.attrs['color_format']}, not RGB")
    # pyfaceau's writer makes room for more than there will be
    return min(count or 0, int(file.attrs.get("num_samples", count or 0)))


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
            f"{file.filename} has {len(rest)} examples of one video: too few to hold some back"
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


def _in_crop(file: h5py.File, total: int) -> bool:
    """Whether the landmarks are pixels of the crop: what is far outside of it is the frame's."""
    if "affine" in file and "landmark_scheme" in file.attrs:
        return True
    points = file["landmarks"][: min(total, _ROWS_AT_ONCE)]
    middle = np.nanmedian(points) if np.isfinite(points).any() else 0.0
    spread = np.nanpercentile(points, [1, 99]) if np.isfinite(points).any() else (0.0, 0.0)
    return bool(
        0 < middle < CROP_SIZE and spread[0] > -0.25 * CROP_SIZE and spread[1] < 1.25 * CROP_SIZE
    )


def _metadata(path: Path) -> dict[str, Any]:
    try:
        return h5.read_metadata(path)
    except TableError:
        return {}


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise TableError(f"there is no training set {path}") from None
    except OSError as error:
        raise TableError(
            f"{path} cannot be read as HDF5: it is damaged, was cut short, or is no HDF5 file "
            f"({error})"
        ) from None


def augmentation_for(dataset: TrainingDataset, seed: int) -> Augmentation:
    """What the examples of a training set allow, said where that is not all."""
    mirror = None
    if not dataset.in_crop:
        logger.warning(
            "%s has landmarks that are no pixels of its crops (pyfaceau stored those of the "
            "frames): they are taken as they are, and pictures are neither mirrored nor moved. "
            "The network's landmarks are within the crop: such labels it cannot learn",
            dataset.path,
        )
    elif "local_params" in dataset.labels:
        mirror = shape_mirror(dataset.metadata)
        if mirror is None:
            logger.warning(
                "%s does not say of which face model its local parameters are, or that model is "
                "not here: mirrored examples have none",
                dataset.path,
            )
    return Augmentation(seed, geometry=dataset.in_crop, mirror=mirror)


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


def summary(dataset: TrainingDataset) -> Mapping[str, Any]:
    """What a checkpoint says of how the examples were divided."""
    division = dataset.division
    return {
        "train": len(division.train),
        "val": len(division.val),
        "test": len(division.test),
        "divided_by": division.by,
    }
