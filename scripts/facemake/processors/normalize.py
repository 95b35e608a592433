"""Expression coefficients of 3DI in units of their noise, by the table that belongs to bitbox.

Of each coefficient the table has a band, in which a face at rest stays, and sigma, the standard
deviation of its noise. The normalised coefficient is

    z = 0 within [m - k w, m + k w], else the distance to the nearer end of that band over sigma

with m the middle of the band and w its half-width: never negative, it does not tell the side.

The tables are not facemake's to pass on (CC BY-NC). They are read where the user has them.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake.backends.threedi import FACTS, Engine
from facemake.backends.threedi.rawfiles import N_EXPRESSIONS
from facemake.errors import FacemakeError

Array = NDArray[np.float64]

VARIABLE = "FACEMAKE_3DI_NOISE"
"""Environment variable with a table, or with a folder of tables."""

FILES: Mapping[Engine, str] = MappingProxyType(
    {engine: f"expression_noise_signal_stats_{FACTS[engine].suffix[1:]}.csv" for engine in Engine}
)
"""What bitbox calls the table of an engine."""

_LARGEST = 1 << 20  # bytes


class NoiseError(FacemakeError):
    """The table of the expressions' noise is nowhere, or is no such table."""


@dataclass(frozen=True, eq=False)
class Noise:
    """What each coefficient shows of a face that keeps still.

    Attributes:
        m: (79,) middle of the band of its noise.
        w: (79,) half-width of that band, above 0.
        sigma: (79,) standard deviation, above 0.
    """

    m: Array
    w: Array
    sigma: Array

    def normalize(self, values: ArrayLike, k: float = 1.0) -> Array:
        """(n, 79) coefficients as distances from their band; NaN stays NaN.

        Args:
            values: (n, 79).
            k: half-widths that count as noise, not negative.

        Raises:
            ValueError: for a negative k, or another number of coefficients.
        """
        c = np.asarray(values, dtype=np.float64)
        if c.ndim != 2 or c.shape[1] != len(self.m):
            raise ValueError(f"noise is known of {len(self.m)} coefficients, got {c.shape}")
        if not k >= 0:
            raise ValueError(f"k is {k}, and must not be negative")
        return np.asarray(np.maximum(np.abs(c - self.m) - k * self.w, 0.0) / self.sigma)


def find_table(
    engine: Engine, named: str | Path | None = None, install: Path | None = None
) -> Path:
    """The table of an engine.

    Looked for in this order: the named file or folder, the environment variable, the installed
    bitbox, the install folder of the engine.

    Args:
        engine: whose.
        named: a file, or a folder with it.
        install: the engine's install folder, where this process can look into it.

    Raises:
        NoiseError: it is nowhere; the message says where it can be put.
    """
    name = FILES[engine]
    for origin, place in (("noise", named), (VARIABLE, os.environ.get(VARIABLE))):
        if place:
            path = Path(place).expanduser()
            path = path / name if path.is_dir() else path
            if not path.is_file():
                raise NoiseError(f"{origin} is {place}, and there is no such file: {path}")
            return path
    folders = [folder for folder in (_bitbox(), install) if folder is not None]
    for folder in folders:
        for path in (folder / "data" / name, folder / name):
            if path.is_file():
                return path
    raise NoiseError(
        f"normalize=True wants {name}, the noise of {FACTS[engine].name}'s coefficients, which "
        f"belongs to bitbox and does not come with facemake: install bitbox beside it, or set "
        f"{VARIABLE} (in Python: noise=) to the file, or take the coefficients as they are "
        "(normalize=False)"
    )


def _bitbox() -> Path | None:
    """The folder of the installed bitbox, which is not imported for that."""
    try:
        spec = importlib.util.find_spec("bitbox")
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))) if places else None


def read_table(path: Path) -> Noise:
    """The numbers of a table: 79 rows of three, separated by commas.

    The third column is sigma. The first two are the ends of the band (what bitbox's tables have
    today) or its middle m and half-width w. A header may say which (`m,w,sigma` or `L,U,sigma`);
    else the numbers do: see `_are_ends`.

    Raises:
        NoiseError: it is no such table.
    """
    header, table = _numbers(path)
    first, second, sigma = table.T
    if not (sigma > 0).all():
        raise NoiseError(f"{path}: its third column, sigma, is not above 0 everywhere")
    words = [word.strip().lower() for word in header.split(",")] if header else []
    if words[:2] in (["l", "u"], ["lower", "upper"], ["low", "high"]):
        ends = True
    elif words[:2] == ["m", "w"]:
        ends = False
    elif words:
        raise NoiseError(f"{path}: its header is {header!r}, wanted m,w,sigma or L,U,sigma")
    else:
        ends = _are_ends(first, second, path)
    m, w = ((first + second) / 2, (second - first) / 2) if ends else (first, second)
    if not (w > 0).all():
        raise NoiseError(f"{path}: the band of a coefficient has no width")
    return Noise(m, w, sigma)


def _are_ends(first: Array, second: Array, path: Path) -> bool:
    """Whether the first two columns are the ends of bands, else middle and half-width.

    A half-width is above 0, and a lower end below its upper end: where one of the two is broken,
    that settles it. Where both hold, the reading is taken in which more bands hold 0, the
    coefficient of the mean face: noise of a face at rest lies around it.
    """
    could_be_ends, could_be_widths = bool((first < second).all()), bool((second > 0).all())
    if not (could_be_ends or could_be_widths):
        raise NoiseError(f"{path}: its first two columns are neither ends nor middle and width")
    if could_be_ends != could_be_widths:
        return could_be_ends
    as_ends = int(((first < 0) & (second > 0)).sum())
    as_widths = int((np.abs(first) < second).sum())
    if as_ends == as_widths:
        raise NoiseError(
            f"{path}: its first two columns may be ends of bands or middle and half-width; give it "
            "a first line that says which, L,U,sigma or m,w,sigma"
        )
    return as_ends > as_widths


def _numbers(path: Path) -> tuple[str, Array]:
    """The header, '' where there is none, and (79, 3) numbers."""
    try:
        if path.stat().st_size > _LARGEST:
            raise NoiseError(f"{path} is larger than any table of noise")
        lines = [x for x in path.read_text(encoding="utf-8-sig").splitlines() if x.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise NoiseError(f"{path} cannot be read: {error}") from None
    header = ""
    if lines and any(c.isalpha() and c not in "eE" for c in lines[0].replace("nan", "")):
        header = lines.pop(0).lstrip("#").strip()
    try:
        rows = [[float(word) for word in line.split(",")] for line in lines]
    except ValueError:
        raise NoiseError(f"{path} is no table of numbers") from None
    if len(rows) != N_EXPRESSIONS or any(len(row) != 3 for row in rows):
        raise NoiseError(f"{path} has not {N_EXPRESSIONS} rows of three numbers")
    table = np.array(rows)
    if not np.isfinite(table).all():
        raise NoiseError(f"{path} has a number that is not finite")
    return header, table
