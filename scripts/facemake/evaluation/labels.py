"""Labels of the user's: intensities of action units, by people who coded them."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facemake.errors import ConfigError
from facemake.nn.action_units import AU_NAMES

HIGHEST = 5.0

_KEY = ("sample", "frame")
_AU = re.compile(r"AU0*(\d+)(_r)?", re.IGNORECASE)
_SHOWN = 20


@dataclass(frozen=True)
class Labels:
    """Of frames of the main face.

    Attributes:
        rows: (sample, frame) -> its row of `values`.
        values: (n, 17) float32, 0-5, in the order of `AU_NAMES`; NaN where nobody said.
        columns: which of `AU_NAMES` the file has.
    """

    rows: dict[tuple[str, int], int]
    values: NDArray[np.float32]
    columns: tuple[str, ...]

    def of(self, samples: Sequence[str], frames: Sequence[int]) -> NDArray[np.float32]:
        """(n, 17) of these frames; NaN where the file does not have them."""
        out = np.full((len(samples), len(AU_NAMES)), np.nan, np.float32)
        for i, key in enumerate(zip(samples, frames, strict=True)):
            row = self.rows.get(key)
            if row is not None:
                out[i] = self.values[row]
        return out

    @property
    def from_one(self) -> bool:
        """Whether frames seem to be counted from 1, as DISFA's are: none has 0, and all have 1."""
        samples = {sample for sample, _ in self.rows}
        return all((sample, 1) in self.rows and (sample, 0) not in self.rows for sample in samples)


def read_labels(path: Path) -> Labels:
    """Read a file of labels: tab-separated, a row a frame.

    Columns are `sample`, `frame` (from 0 in presentation order), and an action unit each, `AU1`,
    `AU01` or `AU01_r`, with 0 to 5; an empty cell says nothing.

    Args:
        path: of the file, in UTF-8.

    Raises:
        ConfigError: with all that is wrong, a line each.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"labels {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"labels {path} are no text in UTF-8: {error}") from None
    lines = _lines(path, text)
    header = [name.strip() for name in lines[0][1]] if lines else []
    columns = _columns(path, header)
    sample_at, frame_at = (header.index(name) for name in _KEY)
    rows: dict[tuple[str, int], int] = {}
    values: list[list[float]] = []
    wrong: list[str] = []
    for number, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            wrong.append(f"{path}:{number}: has {len(cells)} cells, the header {len(header)}")
            continue
        frame = cells[frame_at].strip()
        if not frame.isdecimal():
            wrong.append(f"{path}:{number}: frame is {frame!r}, no whole number from 0")
            continue
        key = (cells[sample_at].strip(), int(frame))
        if key in rows:
            wrong.append(f"{path}:{number}: sample {key[0]}, frame {key[1]} is there twice")
            continue
        found = [math.nan] * len(AU_NAMES)
        for name, at in columns.items():
            value = _number(cells[at].strip())
            if value is None:
                wrong.append(f"{path}:{number}: {header[at]} is {cells[at]!r}, not 0 to 5")
            else:
                found[AU_NAMES.index(name)] = value
        rows[key] = len(values)
        values.append(found)
    if not rows and not wrong:
        wrong.append(f"{path} has no row of labels")
    if wrong:
        more = len(wrong) - _SHOWN
        raise ConfigError(
            "\n".join(wrong[:_SHOWN]) + (f"\n... and {more} more lines" if more > 0 else "")
        )
    return Labels(rows, np.array(values, np.float32), tuple(columns))


def _lines(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Number and cells of each line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t")
    try:
        return [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: {error}") from None


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Name of an action unit -> its column."""
    if twice := [name for name in _KEY if header.count(name) > 1]:
        raise ConfigError(f"{path}:1: {twice[0]} is there twice")
    lacking = [name for name in _KEY if name not in header]
    if lacking:
        raise ConfigError(
            f"{path}:1: there is no column {' and '.join(lacking)}; labels are tab-separated, with "
            "sample, frame and action units (AU12, AU12_r) as columns"
        )
    found: dict[str, int] = {}
    wrong = []
    for at, title in enumerate(header):
        if title in _KEY:
            continue
        number = _AU.fullmatch(title)
        name = f"AU{int(number[1]):02d}_r" if number else ""
        if name not in AU_NAMES:
            wrong.append(f"{path}:1: {title!r} is none of {', '.join(AU_NAMES)}")
        elif name in found:
            wrong.append(f"{path}:1: {name} is there twice")
        else:
            found[name] = at
    if not found and not wrong:
        wrong.append(f"{path}:1: there is no column of an action unit")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return found


def _number(text: str) -> float | None:
    """NaN of an empty cell, None of what is no intensity."""
    if text.lower() in ("", "nan", "na"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= HIGHEST else None
