"""The training set as PyTorch reads it: examples by their rows, each process with its handle."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from facemake import h5
from facemake.dataset.layout import AU_NAMES, FIELDS, Field, as_text, length
from facemake.errors import FacemakeError, TableError
from facemake.nn.augment import Augmentation, shape_mirror
from facemake.nn.columns import Handle, Rows, open_file
from facemake.nn.division import SPLITS, divide
from facemake.template import CROP_SIZE

logger = logging.getLogger(__name__)

IMAGES = "images"
LABELS = ("landmarks", "global_params", "local_params", "au_intensities")
NEEDED: tuple[Field, ...] = tuple(f for f in FIELDS if f.name in (IMAGES, *LABELS))
"""What pyfaceau's files have, too."""

_ROWS_AT_ONCE = 4096


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
        self._handle: Handle | None = None
        with open_file(self.path) as file:
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

    def moments(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Mean and standard deviation of each label over these examples; NaN where there is none.

        Returns:
            Both in float32, by the labels' names.

        Raises:
            TableError: a label is infinite.
        """
        handle = self._open()
        means, spreads = {}, {}
        for name in self.labels:
            column = handle.columns[name]
            total: Any = 0.0
            squares: Any = 0.0
            count: Any = 0
            for start in range(0, len(self), _ROWS_AT_ONCE):
                values = column.read(self.rows[start : start + _ROWS_AT_ONCE])
                if (endless := np.isinf(values)).any():
                    row = self.rows[start + int(np.argwhere(endless)[0][0])]
                    raise TableError(
                        f"{self.path} has {name} of example {row} that are infinite: NaN is what a "
                        f"missing label is; `facemake dataset validate {self.path}` names them all"
                    )
                values = values.astype(np.float64)
                total = total + np.nansum(values, axis=0)
                squares = squares + np.nansum(values**2, axis=0)
                count = count + np.isfinite(values).sum(axis=0)
            n = np.where(count > 0, count, np.nan)
            mean = total / n
            spread = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
            means[name] = torch.from_numpy(mean.astype(np.float32))
            spreads[name] = torch.from_numpy(spread.astype(np.float32))
        self.close()
        return means, spreads

    def _open(self) -> Handle:
        if self._handle is None or self._handle.process != os.getpid():
            self._handle = Handle(self.path, (IMAGES, *self.labels))
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
    count = length(file, NEEDED, "it is damaged, was not finished, or is no training set")
    names = [as_text(name) for name in file.attrs.get("au_names", AU_NAMES)]
    if names != list(AU_NAMES):
        raise TableError(
            f"{file.filename} has other action units, or another order of them: {', '.join(names)}"
        )
    if (colours := as_text(file.attrs.get("color_format", "RGB"))) != "RGB":
        raise TableError(f"{file.filename} has pictures of {colours}, not RGB")
    # pyfaceau's writer makes room for more than there will be
    return min(count, int(file.attrs.get("num_samples", count)))


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


def augmentation_for(
    dataset: TrainingDataset, seed: int, changed: Mapping[str, float] | None = None
) -> Augmentation:
    """What the examples of a training set allow, said where that is not all.

    Args:
        dataset: the examples.
        seed: of all random numbers.
        changed: fields of `Augmentation` that are not as by default.
    """
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
    return Augmentation(seed, geometry=dataset.in_crop, mirror=mirror, **(changed or {}))


def summary(dataset: TrainingDataset) -> Mapping[str, Any]:
    """What a checkpoint says of how the examples were divided."""
    division = dataset.division
    return {
        "train": len(division.train),
        "val": len(division.val),
        "test": len(division.test),
        "divided_by": division.by,
    }
