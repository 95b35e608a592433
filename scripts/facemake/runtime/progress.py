"""Progress that a person can read in a terminal and in a log: a line now and then, no bar."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemake.runtime import heartbeat
from facemake.runtime.screen import duration

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_TELLING = 1.0


class Progress:
    """Counts frames and samples of a shard and says so every ten seconds.

    Args:
        stage, shard: what runs.
        samples: how many samples the shard has.
    """

    def __init__(self, stage: str, shard: str, samples: int) -> None:
        self._what = f"{stage} {shard}"
        self._samples = samples
        self._frames = 0
        self._done_samples = 0
        self._done_frames = 0
        self._start = self._said = self._told = time.monotonic()
        heartbeat.tell(samples=samples)

    def expect(self, frames: int) -> None:
        """Say how many frames there are in all (from the probe table)."""
        self._frames = frames
        heartbeat.tell(frames=frames)

    def begin(self, sample: str) -> None:
        """Say which sample comes next."""
        heartbeat.tell(sample=sample, frames_done=self._done_frames)

    def frame(self, count: int = 1) -> None:
        """Count frames that are done."""
        self._done_frames += count
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_TELLING:
            self._told = now
            heartbeat.tell(frames_done=self._done_frames)
        if now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            self._say(now)

    def rows(self, track: NDArray[np.integer[Any]]) -> None:
        """Count the frames that rows of a table are about.

        Args:
            track: (n,) theirs. A frame has one row with track 0, whatever other faces it has.
        """
        self.frame(int(np.count_nonzero(track == 0)))

    def sample(self) -> None:
        """Count a sample that is done."""
        self._done_samples += 1
        heartbeat.tell(sample="", samples_done=self._done_samples, frames_done=self._done_frames)

    def _say(self, now: float) -> None:
        rate = self._done_frames / (now - self._start)
        left = ""
        if self._frames and rate > 0:
            seconds = (self._frames - self._done_frames) / rate
            left = f", {duration(seconds)} left"
        of_frames = f"/{self._frames}" if self._frames else ""
        logger.info(
            "%s: sample %d of %d, %d%s frames, %.0f frames/s%s",
            self._what,
            min(self._done_samples + 1, self._samples),
            self._samples,
            self._done_frames,
            of_frames,
            rate,
            left,
        )

    def end(self) -> None:
        """Say what was done in all."""
        seconds = time.monotonic() - self._start
        logger.info(
            "%s: %d samples, %d frames in %.1f s",
            self._what,
            self._done_samples,
            self._done_frames,
            seconds,
        )
