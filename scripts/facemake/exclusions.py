"""What a person leaves out of the training set: samples, or frames of them, each with a reason.

The table of `dataset.exclude` is read once, when a run is planned; a shard's lines are in the plan.
All other stages look at a sample that is left out here as at any other: only the training set does
without it.
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.errors import ConfigError
from facemake.provenance import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLUMNS = ("sample", "first", "last", "reason")
"""Of the table; `first` and `last` are frames from 0, both left out too, and may be empty."""

_UNSAID = "excluded by dataset.exclude"
_MEANT = 5  # wrong lines, of which it is said which sample may be meant


@dataclass(frozen=True, order=True)
class Exclusion:
    """A sample that is left out, or frames of it.

    Attributes:
        sample: its name.
        first, last: frames from 0, both left out; None: from the beginning, to the end.
        reason: in words.
    """

    sample: str
    first: int | None = None
    last: int | None = None
    reason: str = _UNSAID

    @property
    def whole(self) -> bool:
        """Whether nothing of the sample is left."""
        return self.first is None and self.last is None

    @property
    def words(self) -> str:
        """What the manifest says."""
        if self.whole:
            return self.reason
        last = "the end" if self.last is None else str(self.last)
        return f"frames {self.first or 0} to {last} excluded: {self.reason}"

    def to_list(self) -> list[Any]:
        """As plain values, for the plan."""
        return [self.sample, self.first, self.last, self.reason]


class Exclusions:
    """The exclusions of a shard.

    Args:
        rows: each as `Exclusion.to_list` gives it.
    """

    def __init__(self, rows: Iterable[Sequence[Any]] = ()) -> None:
        self._rows = sorted((Exclusion(*row) for row in rows), key=_order)

    def __bool__(self) -> bool:
        return bool(self._rows)

    @property
    def digest(self) -> str:
        """Of all of them: another one is another training set."""
        return digest([row.to_list() for row in self._rows])

    def of(self, sample: str) -> list[Exclusion]:
        """Those of a sample, by their first frame."""
        return [row for row in self._rows if row.sample == sample]

    def covers(self, sample: str, first: int | None, last: int | None) -> bool:
        """Whether one of them leaves out all of these frames; None: of the whole sample."""
        return any(
            row.whole
            or (
                first is not None
                and last is not None
                and (row.first or 0) <= first
                and (row.last is None or last <= row.last)
            )
            for row in self.of(sample)
        )


def excludes(rows: Sequence[Exclusion], frames: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """(n,) which of these frames of a sample one of its exclusions names."""
    import numpy as np  # a job of a cluster that parses the Snakefile has no use for it

    out = np.zeros(len(frames), bool)
    for row in rows:
        first = 0 if row.first is None else row.first
        last = np.iinfo(np.int64).max if row.last is None else row.last
        out |= (frames >= first) & (frames <= last)
    return out


def read(path: Path, known: Set[str]) -> list[Exclusion]:
    """The exclusions of a table.

    Tabs between the columns of `COLUMNS`, of which `sample` must be there; lines that begin with #
    say nothing.

    Args:
        path: of the table.
        known: names of samples.

    Raises:
        ConfigError: all lines that are wrong, each with its cure.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = [
                (number, cells)
                for number, cells in enumerate(
                    csv.reader(handle, "excel-tab", quoting=csv.QUOTE_NONE), 1
                )
                if any(cells) and not cells[0].startswith("#")
            ]
    except FileNotFoundError:
        raise ConfigError(
            f"config: dataset.exclude is {path}, and there is no such file; `facemake qc` writes "
            "one, or set it to null"
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"config: dataset.exclude {path} cannot be read as a tab-separated table ({error})"
        ) from None
    (_, header), rows = lines[0] if lines else (1, []), lines[1:]
    problems = [
        f"  {path}:{lines[0][0] if lines else 1}: {name} is no column; there are "
        f"{', '.join(COLUMNS)} (are they parted by tabs?)"
        for name in header
        if name not in COLUMNS
    ]
    if "sample" not in header:
        problems.append(f"  {path}:1: the column sample is missing")
    if len(set(header)) < len(header):
        problems.append(f"  {path}:1: a column stands there twice")
    found: list[Exclusion] = []
    for number, cells in rows if not problems else ():
        cell = dict(zip(header, (text.strip() for text in cells), strict=False))
        first, last, wrong = _range(cell.get("first", ""), cell.get("last", ""))
        sample = cell.get("sample", "")
        if len(cells) > len(header) and any(cells[len(header) :]):
            wrong = f"has {len(cells)} cells for {len(header)} columns; is a tab wrong?"
        if sample not in known:
            # with many samples each look for the nearest takes seconds
            near = difflib.get_close_matches(sample, known, 1) if len(problems) < _MEANT else []
            cure = f"did you mean {near[0]}?" if near else "mend the name or delete the line"
            wrong = f"{sample!r} is no sample; {cure}"
        if wrong:
            problems.append(f"  {path}:{number}: {wrong}")
        else:
            found.append(Exclusion(sample, first, last, cell.get("reason") or _UNSAID))
    if problems:
        raise ConfigError("the table of exclusions is refused:\n" + "\n".join(problems))
    return found


def _range(first: str, last: str) -> tuple[int | None, int | None, str]:
    """Both ends, and what is wrong with them."""
    for name, text in (("first", first), ("last", last)):
        if text and not (text.isascii() and text.isdigit()):
            return None, None, f"{name} is {text!r}; give a frame's number from 0, or nothing"
    low, high = int(first) if first else None, int(last) if last else None
    if low is not None and high is not None and high < low:
        return None, None, f"last {high} is before first {low}"
    return low, high, ""


def _order(row: Exclusion) -> tuple[str, int, int, str]:
    last = -1 if row.last is None else row.last
    return row.sample, -1 if row.first is None else row.first, last, row.reason
