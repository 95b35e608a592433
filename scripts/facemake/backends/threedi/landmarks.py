"""The landmarks that 3DI and 3DI-lite have found, as a source for the stage `landmarks`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake import schemes
from facemake.archives import Archive
from facemake.backends.landmarks import Finder, Landmarks
from facemake.backends.threedi import Engine, convert
from facemake.backends.threedi.convert import view_of
from facemake.backends.threedi.rawfiles import ROWS_AT_ONCE
from facemake.backends.threedi.streams import Stream
from facemake.media import Frame
from facemake.status import FrameStatus


class FoundLandmarks:
    """The raw landmark files of a shard; they say nothing of depth or confidence.

    Args:
        videos: archive of what the engine was given.
        raw: archive of its landmarks.
    """

    scheme = schemes.IBUG51
    batch_size = 1

    def __init__(self, videos: Path, raw: Path) -> None:
        self._videos, self._raw = Archive(videos), Archive(raw)
        self._engine = Engine(self._raw.metadata["recipe"]["backend"])

    def sample(self, probe: Mapping[str, Any], settings: Mapping[str, Any]) -> Finder:
        """See `LandmarkSource`."""
        name = probe["sample"]
        view = view_of(settings, probe, self._videos, name)
        stream = Stream(self._raw, name, "landmarks", self._engine)
        held: NDArray[np.float64] = np.empty((0, schemes.N_POINTS[self.scheme], 2))
        first = 0

        def found(frame: Frame) -> Landmarks | FrameStatus:
            nonlocal held, first
            if not stream.there:
                return FrameStatus.NOT_CONVERGED  # the program failed on this sample
            while frame.index >= first + len(held):
                first += len(held)
                points = convert.landmark_points(stream.take(ROWS_AT_ONCE))
                held = points if view is None else view.to_picture(points)
            mine = held[frame.index - first]
            if not np.isfinite(mine).all():
                return FrameStatus.LOW_CONFIDENCE
            return Landmarks(mine.astype(np.float32), None, None)

        return lambda faces: [found(face.frame) for face in faces]

    def close(self) -> None:
        """Close the archives."""
        self._videos.close()
        self._raw.close()


def create(videos: Path, raw: Path) -> FoundLandmarks:
    """What the registry calls."""
    return FoundLandmarks(videos, raw)
