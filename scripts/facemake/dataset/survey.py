"""What is in a training set: counts, splits, statistics of each field, balance of action units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.dataset.files import SetFile
from facemake.dataset.layout import AU_NAMES, Field

PRESENT = 1.0
"""Intensity from which an action unit counts as there: FACS's A, a trace."""

_QUANTILES = {"min": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "max": 1.0}
_COMPONENTS = {
    "images": ("red", "green", "blue"),
    "landmarks": ("x", "y"),
    "frame/landmarks": ("x", "y"),
    "global_params": ("scale", "rx", "ry", "rz", "tx", "ty"),
    "frame/global_params": ("scale", "rx", "ry", "rz", "tx", "ty"),
    "au_intensities": AU_NAMES,
    "bboxes": ("x1", "y1", "x2", "y2"),
}
"""Names of the last axis."""


class Moments:
    """Count, mean, deviation and range of C columns, of values that come in pieces."""

    def __init__(self, columns: int) -> None:
        self.count = np.zeros(columns)
        self.missing = np.zeros(columns)
        self.mean = np.zeros(columns)
        self._squares = np.zeros(columns)
        self.low = np.full(columns, np.inf)
        self.high = np.full(columns, -np.inf)

    def add(self, values: NDArray[Any], weights: NDArray[Any] | None = None) -> None:
        """Take (n, C) values; what is not finite is missing.

        Args:
            values: them.
            weights: (n, C), how many times each counts; None: once.
        """
        if not len(values):
            return
        if weights is None and np.isfinite(values.sum(dtype=np.float64)):  # most pieces: all known
            n, columns = values.shape
            flat = values.ravel() if columns == 1 else values  # rows of one number are slow
            count = np.full(columns, float(n))
            mean = np.full(columns, flat.mean(axis=0, dtype=np.float64))
            squares = np.full(columns, n * flat.var(axis=0, dtype=np.float64))
            low, high = (np.reshape(f(axis=0), columns) for f in (flat.min, flat.max))
        else:
            count, mean, squares, low, high = self._of(values, weights)
        # Chan, Golub & LeVeque (1979): the sums of two pieces to those of both
        total = self.count + count
        share = np.divide(count, total, where=total > 0, out=np.zeros_like(total))
        apart = mean - self.mean
        self._squares += squares + apart**2 * self.count * share
        self.mean += apart * share
        self.count = total
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def _of(
        self, values: NDArray[Any], weights: NDArray[Any] | None
    ) -> tuple[NDArray[np.float64], ...]:
        """Count, mean, squares about it, least and largest of each column of a piece."""
        wide = values.astype(np.float64)
        known = np.isfinite(wide)
        times = known.astype(np.float64)
        if weights is not None:
            times *= weights
        wide = np.where(known, wide, 0.0)
        self.missing += (~known).sum(axis=0)
        count = times.sum(axis=0)
        total = (wide * times).sum(axis=0)
        mean = np.divide(total, count, where=count > 0, out=np.zeros_like(total))
        squares = ((wide - mean) ** 2 * times).sum(axis=0)
        low = np.where(times > 0, wide, np.inf).min(axis=0)
        high = np.where(times > 0, wide, -np.inf).max(axis=0)
        return count, mean, squares, low, high

    @property
    def deviation(self) -> NDArray[np.float64]:
        """(C,) the standard deviation of all values, as they are: not of a sample of more."""
        variance = np.divide(self._squares, self.count, where=self.count > 0, out=self._nan())
        root: NDArray[np.float64] = np.sqrt(variance)
        return root

    def whole(self) -> dict[str, float | int | None]:
        """Of all columns together."""
        total = self.count.sum()
        if not total:
            return {"missing": int(self.missing.sum()), **dict.fromkeys(_FIGURES)}
        mean = float((self.mean * self.count).sum() / total)
        squares = self._squares + (self.mean - mean) ** 2 * self.count
        found = (mean, float(np.sqrt(squares.sum() / total)), self.low.min(), self.high.max())
        figures = {name: float(v) for name, v in zip(_FIGURES, found, strict=True)}
        return {"missing": int(self.missing.sum()), **figures}

    def each(self, names: tuple[str, ...]) -> dict[str, dict[str, float | None]]:
        """Of each column by its name."""
        columns = zip(self.mean, self.deviation, self.low, self.high, strict=True)
        return {
            name: {
                figure: float(value) if there else None
                for figure, value in zip(_FIGURES, column, strict=True)
            }
            for name, there, column in zip(names, self.count > 0, columns, strict=True)
        }

    def _nan(self) -> NDArray[np.float64]:
        return np.full(len(self.count), np.nan)


_FIGURES = ("mean", "std", "min", "max")


def survey(file: SetFile, *, quick: bool = False) -> dict[str, Any]:
    """What is in a training set, as plain numbers and words.

    Memory: about 30 bytes an example, besides a piece of the file.

    Args:
        file: an open one.
        quick: leave out the statistics of pictures and FHOG, which are nearly all of the bytes.

    Raises:
        TableError: the file is damaged.
    """
    keys = file.keys()
    video = keys.video
    subjects, subject = _numbers(file, "metadata/subjects")
    splits, split = _numbers(file, "metadata/split")
    fields, balance, quality = {}, None, None
    for name, field in file.fields.items():
        if field.kind == "text":
            continue
        dataset = file.file[name]
        about: dict[str, Any] = {"shape": list(dataset.shape), "type": str(dataset.dtype)}
        if not (quick and field.large):
            names = _COMPONENTS.get(name, ())
            moments = _moments(file, field, max(1, len(names)))
            about |= moments.whole()
            if names:
                about["of"] = moments.each(names)
        fields[name] = about
    if "au_intensities" in file.fields:
        balance = _balance(file, splits, split)
    if "metadata/quality_scores" in file.fields and len(file):
        scores = file.read("metadata/quality_scores", slice(0, len(file)))
        known = scores[np.isfinite(scores)]
        if len(known):
            quality = {n: float(np.quantile(known, q)) for n, q in _QUANTILES.items()}
    return {
        "file": str(file.path),
        "bytes": file.path.stat().st_size,
        "examples": len(file),
        "videos": len(np.unique(video)),
        "subjects": _named(subjects, subject),
        "splits": {
            name: {
                "examples": int((split == i).sum()),
                "videos": len(np.unique(video[split == i])),
                "subjects": _named(subjects, subject[split == i]),
            }
            for i, name in sorted(enumerate(splits), key=lambda pair: pair[1])
        },
        "fields": fields,
        "aus": balance,
        "quality": quality,
        "pdm": file.pdm,
        "made": made(file),
        "faults": [*file.faults],
    }


def made(file: SetFile) -> dict[str, Any] | None:
    """What made a file: stage, version, and the backend of each stage before; None: unknown."""
    recipe = file.metadata.get("recipe")
    if not isinstance(recipe, dict):
        return None
    before = file.metadata.get("upstream", {})
    return {
        "stage": recipe.get("stage"),
        "version": recipe.get("version"),
        "backends": {s: r["backend"] for s, r in sorted(before.items()) if r.get("backend")},
        "ways": len(file.metadata.get("sources", ())) or 1,
        "lineage": file.metadata.get("lineage"),
    }


def _numbers(file: SetFile, name: str) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    if name in file.fields:
        return file.numbers_of(name)
    return ("",), np.zeros(len(file), np.int32)


def _named(names: tuple[str, ...], numbers: NDArray[np.int32]) -> int:
    """How many different texts there are, the empty one apart, which is none."""
    return sum(1 for i in np.unique(numbers) if names[i])


def _moments(file: SetFile, field: Field, columns: int) -> Moments:
    moments = Moments(columns)
    levels = np.repeat(np.arange(256)[:, None], columns, axis=1)
    for start, rows in file.rows([field.name]):
        values = rows[field.name]
        if field.kind == "u1":  # counting levels is ten times as fast as sums of squares
            moments.add(levels, _levels(values.reshape(-1, columns)))
        else:
            moments.add(values.reshape(-1, columns))
        file.tell(start + len(values))
    return moments


def _levels(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    counts = [np.bincount(values[:, c], minlength=256) for c in range(values.shape[1])]
    return np.stack(counts, axis=1)


def _balance(
    file: SetFile, splits: tuple[str, ...], split: NDArray[np.int32]
) -> dict[str, dict[str, Any]]:
    """Of each action unit: in how many examples it is known, and in which share of them present."""
    known = np.zeros((len(splits), len(AU_NAMES)), np.int64)
    there = np.zeros_like(known)
    for start, rows in file.rows(["au_intensities"]):
        values = rows["au_intensities"]
        of = split[start : start + len(values)]
        np.add.at(known, of, np.isfinite(values))
        np.add.at(there, of, values >= PRESENT)

    def share(present: int, of: int) -> float | None:
        return present / of if of else None

    return {
        name: {
            "known": int(known[:, i].sum()),
            "present": share(int(there[:, i].sum()), int(known[:, i].sum())),
            "present_by_split": {
                text: share(int(there[s, i]), int(known[s, i])) for s, text in enumerate(splits)
            },
        }
        for i, name in enumerate(AU_NAMES)
    }
