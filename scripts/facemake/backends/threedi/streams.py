"""Raw files in an archive, read a few hundred rows at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from facemake.archives import Archive
from facemake.backends.threedi import Engine, rawfiles

Array = NDArray[np.float64]


class Stream:
    """The rows of one raw file of a sample, taken in order; NaN beyond its end.

    Args:
        archive: that holds it.
        sample: whose it is.
        kind: of `rawfiles.KINDS`.
        engine: that wrote it.
    """

    def __init__(self, archive: Archive, sample: str, kind: str, engine: Engine) -> None:
        name = rawfiles.file_name(sample, kind, engine)
        self.there = name in archive
        """Whether the sample has such a file."""
        self._columns = rawfiles.KINDS[kind].columns[engine]
        self._blocks: Iterator[Array] = iter(())
        if self.there:
            where = f"{name} in {archive.path}"
            self._blocks = rawfiles.blocks(archive.lines(name), where, kind, engine)
        self._held = self._next()
        self.columns = self._columns or self._held.shape[1]
        """Numbers in a row."""

    def _next(self) -> Array:
        return next(self._blocks, np.empty((0, self._columns or 0)))

    def take(self, n: int) -> Array:
        """The next n rows, (n, columns); NaN where the file has none left."""
        parts, wanted = [], n
        while wanted:
            if not len(self._held):
                self._held = self._next()
            if not len(self._held):
                parts.append(np.full((wanted, self.columns), np.nan))
                break
            piece, self._held = self._held[:wanted], self._held[wanted:]
            parts.append(piece)
            wanted -= len(piece)
        return np.concatenate(parts) if parts else np.empty((0, self.columns))

    def some(self) -> Array:
        """The next rows that are at hand, (n, columns); none at the end of the file."""
        piece, self._held = self._held, np.empty((0, self.columns))
        return piece if len(piece) else self._next()

    def all(self) -> Array:
        """All rows that are left."""
        parts = [self._held, *self._blocks]
        self._held = np.empty((0, self.columns))
        return np.concatenate([p for p in parts if len(p)] or [self._held])
