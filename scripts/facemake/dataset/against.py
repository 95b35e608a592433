"""Whether two training sets are the same, and if not, what differs."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from facemake.dataset.files import KEY, Keys, SetFile
from facemake.dataset.layout import FIELDS, Field

Verdict = Literal["identical", "same", "within tolerances", "differs"]
_NAMED = 3
_ATTRIBUTES = ("au_names", "color_format", "image_size", "landmark_scheme", "pdm")
_ROWS_AT_ONCE = 128


@dataclass
class OfField:
    """What differs in one field.

    Attributes:
        examples: how many have another value.
        beyond: how many of them by more than the tolerances.
        largest: the largest difference; NaN for texts, and where a value is on one side only.
        first: the first of them that count, with both values.
    """

    examples: int = 0
    beyond: int = 0
    largest: float = 0.0
    first: list[str] = field(default_factory=list)


@dataclass
class Difference:
    """What two files have in common, and what not.

    Attributes:
        verdict: `identical` byte for byte; the `same` values; the same `within tolerances`; it
            `differs`.
        in_order: examples that both have come in the same order.
        examples: of each.
        only: examples that only the one has, and only the other.
        first_only: the first of those, by name.
        layout: what differs in fields and attributes, in words.
        fields: by name, where a value differs at all.
        notes: what is worth a word and no difference.
    """

    verdict: Verdict
    examples: tuple[int, int]
    in_order: bool = True
    only: tuple[int, int] = (0, 0)
    first_only: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    layout: list[str] = field(default_factory=list)
    fields: dict[str, OfField] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compare(a: SetFile, b: SetFile, *, absolute: float, relative: float) -> Difference:
    """How two training sets differ.

    Examples are matched by recording, frame and track, whatever their order. Memory: about 100
    bytes an example.

    Args:
        a: an open one.
        b: the other one.
        absolute: tolerance of numbers that are not whole (`numpy.isclose`).
        relative: likewise.

    Raises:
        TableError: a file is damaged.
    """
    sizes = (len(a), len(b))
    if filecmp.cmp(a.path, b.path, shallow=False):
        return Difference("identical", sizes)
    found = Difference("same", sizes)
    _layouts(a, b, found)
    keys = a.keys(), b.keys()
    mine, theirs, alone = _matched(*keys)
    found.in_order = bool((np.diff(theirs) > 0).all())
    found.only = (len(alone[0]), len(alone[1]))
    for names, of, rows in zip(found.first_only, keys, alone, strict=True):
        names += [of.words(int(row)) for row in rows[:_NAMED]]
    for one in FIELDS:
        if one.name in a.fields and one.name in b.fields and one.name not in KEY:
            differs = _field(a, b, one, (mine, theirs), keys[0], absolute, relative)
            if differs.examples:
                found.fields[one.name] = differs
    if found.layout or any(found.only) or any(one.beyond for one in found.fields.values()):
        found.verdict = "differs"
    elif found.fields:
        found.verdict = "within tolerances"
    return found


def _layouts(a: SetFile, b: SetFile, found: Difference) -> None:
    found.layout += [f"{file.path}: {fault}" for file in (a, b) for fault in file.faults]
    for one in FIELDS:
        if (one.name in a.fields) != (one.name in b.fields):
            there = a if one.name in a.fields else b
            found.layout.append(f"only {there.path} has {one.name}")
    for name in _ATTRIBUTES:
        mine, theirs = a.words_of(name), b.words_of(name)
        if None not in (mine, theirs) and mine != theirs:
            found.layout.append(f"{name} is {mine} against {theirs}")
        elif mine != theirs:
            found.notes.append(f"only {(b if mine is None else a).path} says {name}")
    left, right = _stages(a.metadata), _stages(b.metadata)
    other = sorted(s for s in left.keys() | right.keys() if left.get(s) != right.get(s))
    if other:
        found.notes.append(f"made in another way: {', '.join(other)}")


def _stages(metadata: dict[str, Any]) -> dict[str, Any]:
    recipe = metadata.get("recipe")
    own = {recipe.get("stage"): recipe} if isinstance(recipe, dict) else {}
    return {**metadata.get("upstream", {}), **own}


def _matched(
    a: Keys, b: Keys
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows of the one, rising, and those of the other that show the same; and those left alone.

    The first example of a face goes with the first of the other file, the second with the second.
    """
    known: dict[str, int] = {}
    columns = []
    for side, keys in enumerate((a, b)):
        numbers = np.array([known.setdefault(n, len(known)) for n in keys.names], np.int64)
        video = numbers[keys.video]
        order = keys.order()
        # which of several examples of one face: its place since the first of them
        change = np.ones(len(order), np.bool_)
        if len(order):
            change[1:] = False
            for column in (keys.video, keys.frame, keys.track):
                change[1:] |= np.diff(column[order]) != 0
        first = np.maximum.accumulate(np.where(change, np.arange(len(order)), 0))
        turn = np.zeros(len(order), np.int64)
        turn[order] = np.arange(len(order)) - first
        sides = np.full(len(order), side, np.int64)
        columns.append(
            np.stack([video, keys.frame, keys.track, turn, sides, np.arange(len(order))])
        )
    both = np.concatenate(columns, axis=1)
    order = np.lexsort(both[4::-1])
    both = both[:, order]
    same = (both[:4, 1:] == both[:4, :-1]).all(axis=0) if both.shape[1] else np.zeros(0, np.bool_)
    first = np.flatnonzero(same)
    mine, theirs = both[5, first], both[5, first + 1]
    rising = np.argsort(mine)
    paired = np.zeros(both.shape[1], np.bool_)
    paired[first] = paired[first + 1] = True
    left = [np.sort(both[5, ~paired & (both[4] == side)]) for side in (0, 1)]
    return mine[rising], theirs[rising], (left[0], left[1])


def _field(
    a: SetFile,
    b: SetFile,
    one: Field,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    keys: Keys,
    absolute: float,
    relative: float,
) -> OfField:
    found = OfField()
    step = _ROWS_AT_ONCE if one.large else 32 * _ROWS_AT_ONCE
    for start in range(0, len(rows[0]), step):
        mine, theirs = (side[start : start + step] for side in rows)
        x, y = a.pick(one.name, mine), b.pick(one.name, theirs)
        if one.large:
            a.tell(start + len(mine))
        differs = x != y
        if one.kind[-2] == "f":
            differs &= ~(np.isnan(x) & np.isnan(y))
        if not differs.any():
            continue
        beyond = differs
        if one.kind[-2] == "f":
            beyond = differs & ~np.isclose(x, y, relative, absolute, equal_nan=True)
        if one.kind == "text":
            found.largest = np.nan
        else:
            with np.errstate(invalid="ignore"):
                gap = np.abs(x[differs].astype(np.float64) - y[differs].astype(np.float64))
            found.largest = float(np.maximum(found.largest, gap.max()))  # NaN stays
        axes = tuple(range(1, differs.ndim))
        found.examples += int(differs.any(axis=axes).sum())
        which = beyond.any(axis=axes)
        found.beyond += int(which.sum())
        for row in np.flatnonzero(which)[: _NAMED - len(found.first)]:
            at = tuple(np.argwhere(beyond[row])[0]) if beyond.ndim > 1 else ()
            place = f"[{', '.join(map(str, at))}]" if at else ""
            found.first.append(
                f"{keys.words(int(mine[row]))}{place}: {_word(x[row][at] if at else x[row])} "
                f"against {_word(y[row][at] if at else y[row])}"
            )
    return found


def _word(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{value:g}"
