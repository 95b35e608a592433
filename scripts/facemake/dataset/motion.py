"""How far a face moved since the frame before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Motion:
    """Remembers the landmarks of each track's latest frame, while the rows go by in order."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, NDArray[np.float32]]] = {}

    def __call__(
        self, frames: NDArray[np.int32], tracks: NDArray[np.int16], points: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The motion of the next rows of a sample.

        Args:
            frames: (n,), not falling, and not below those of an earlier call.
            tracks: (n,).
            points: (n, K, 2) px of the frame; NaN where there are none.

        Returns:
            (n,) px: the root mean square, over the points, of the distance from the frame before;
            NaN where that frame has no landmarks of the track, or this one has none.
        """
        out = np.full(len(frames), np.nan)
        have = np.isfinite(points[:, 0, 0])
        for track in np.unique(tracks[have]).tolist():
            rows = np.flatnonzero(have & (tracks == track))
            when, where = frames[rows], points[rows]
            if track in self._last:
                before, seen = self._last[track]
                when, where = np.concatenate([[before], when]), np.concatenate([[seen], where])
            step = np.diff(where.astype(np.float64), axis=0)
            moved = np.sqrt((step * step).sum(axis=2).mean(axis=1))
            moved[np.diff(when) != 1] = np.nan
            out[rows[len(rows) - len(moved) :]] = moved
            # a copy: a view would keep the whole batch alive
            self._last[track] = int(when[-1]), where[-1].copy()
        newest = int(frames[-1]) if len(frames) else 0
        self._last = {t: kept for t, kept in self._last.items() if kept[0] >= newest - 1}
        return out
