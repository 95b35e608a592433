"""Progress of a training: a line that renews itself on a terminal, and lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from facemake.runtime import heartbeat
from facemake.runtime.screen import Screen, duration

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_LOOKS = 0.5


class EpochProgress:
    """Says how far a training is, how fast, and how long it will still take.

    Args:
        network: its name.
        epochs: in all.
        examples: of an epoch.
    """

    def __init__(self, network: str, epochs: int, examples: int) -> None:
        self._network = network
        self._epochs = epochs
        self._examples = examples
        self._screen = Screen(sys.stderr)
        self._whole = 0
        self._spent = 0.0

    def begin(self, epoch: int) -> None:
        """An epoch begins, counted from 0."""
        self._epoch = epoch
        self._done = 0
        self._rate = 0.0
        self._start = self._said = self._looked = time.monotonic()

    def step(self, count: int, loss: Callable[[], float]) -> None:
        """So many examples more are done; `loss` is asked for only where it is said."""
        self._done += count
        now = time.monotonic()
        if now - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._looked = now
        self._rate = self._done / (now - self._start)
        text = (
            f"{self._network}: epoch {self._epoch + 1} of {self._epochs}, {self._done} of "
            f"{self._examples} examples, loss {loss():.4f}, {self._rate:.0f} samples/s"
            f"{self._left(now)}"
        )
        if self._screen.in_place:
            self._screen.show(text)
        elif now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            logger.info("%s", text)
        heartbeat.tell(frames_done=self._done, frames=self._examples)

    def validating(self) -> None:
        """All examples of the epoch are done."""
        self._rate = self._done / max(1e-9, time.monotonic() - self._start)

    def end(self, loss: float, val_loss: float, words: str, better: bool) -> None:
        """The epoch is done, its checkpoint written."""
        now = time.monotonic()
        self._whole += 1
        self._spent += now - self._start
        self._done = 0
        self._epoch += 1
        self._screen.clear()
        logger.info(
            "%s: epoch %d of %d: loss %.4f, validation %.4f%s, %s, %.0f samples/s%s",
            *(self._network, self._epoch, self._epochs, loss, val_loss),
            " (the lowest)" if better else "",
            *(words, self._rate),
            self._left(now) if self._epoch < self._epochs else "",
        )

    def _left(self, now: float) -> str:
        """In words; by whole epochs where there was one, which have validation in them."""
        if self._whole:
            seconds = (self._epochs - self._epoch) * self._spent / self._whole
            seconds -= now - self._start if self._done else 0.0
        elif self._rate:
            seconds = ((self._epochs - self._epoch) * self._examples - self._done) / self._rate
        else:
            return ""
        return f", {duration(seconds)} left"
