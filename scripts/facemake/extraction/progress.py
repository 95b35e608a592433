"""What a person sees of an extraction: one line that says how far it is, and how it ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from facemake.counting import counted
from facemake.extraction.inputs import Listed
from facemake.extraction.result import Extraction
from facemake.runtime.screen import Screen, duration
from facemake.status import CropStatus, SampleStatus

Say = Callable[[str], None]
_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_LOOKS = 1.0
_NAMED = 10
_FAILED = frozenset(SampleStatus) - {SampleStatus.OK, SampleStatus.NO_FACE}


class Progress:
    """Counts, and says so now and then.

    Args:
        total: inputs.
        say: who is told lines; None: standard error, where a terminal has one line that changes.
        quiet: nobody.
        alike: whether they are pictures alone or videos alone: else those that are done say nothing
            of how long the others take.
    """

    def __init__(self, total: int, say: Say | None, *, quiet: bool, alike: bool = True) -> None:
        self._total = total
        self._alike = alike
        self._say = say
        self._quiet = quiet
        self._screen = Screen(sys.stderr, False if say is not None or quiet else None)
        self._before = self._done = self._faces = self._failed = 0
        self._began = time.monotonic()
        self._looked = self._said = self._began

    def begin(self, done_before: int) -> None:
        """So many inputs are done already."""
        self._before = self._done = done_before
        if done_before and done_before < self._total:
            self._line(f"{done_before} of {self._total} inputs are done already: going on")

    @contextmanager
    def working(self) -> Iterator[None]:
        """While inputs are worked on."""
        try:
            yield
        except KeyboardInterrupt:
            self._screen.clear()
            self._line(
                f"stopped: {self._done} of {self._total} inputs are done and kept; the same call "
                "goes on from there"
            )
            raise
        finally:
            self._screen.clear()

    def rows(self, rows: Sequence[dict[str, Any]], *, done: bool) -> None:
        """Rows of an input, the last ones where it is done."""
        self._faces += sum(row["output"] is not None for row in rows)
        self._failed += sum(row["status"] in _FAILED for row in rows)
        self._done += done

    def due(self) -> bool:
        """Whether it is time to keep and show."""
        return time.monotonic() - self._looked >= _SECONDS_BETWEEN_LOOKS

    def show(self) -> None:
        """Say how far it is."""
        now = self._looked = time.monotonic()
        if self._screen.in_place:
            self._screen.show(self._text(now))
        elif now - self._said >= _SECONDS_BETWEEN_LINES:
            self._said = now
            self._line(self._text(now))

    def _text(self, now: float) -> str:
        text = f"{self._done} of {counted(self._total, 'input')}, {counted(self._faces, 'face')}"
        if self._failed:
            text += f", {self._failed} not read"
        new, seconds = self._done - self._before, now - self._began
        if new and seconds > 0:
            left = (self._total - self._done) * seconds / new
            text += f", {new / seconds:.1f} inputs/s"
            if self._alike:
                text += f", {duration(left)} left"
        return text

    def end(self, lines: Sequence[str]) -> None:
        """Say how it ended."""
        self._screen.clear()
        for line in lines:
            self._line(line)

    def _line(self, text: str) -> None:
        if self._say is not None:
            self._say(text)
        elif not self._quiet:
            self._screen.say(text)


def said_at_the_end(result: Extraction, inputs: Listed) -> list[str]:
    """What a person wants to know, failures by name."""
    crops, of = counted(result.crops, "crop"), counted(result.inputs, "input")
    lines = [f"{crops} of {of}; the table: {result.table}"]
    words = {
        CropStatus.NO_FACE: "pictures and frames without a face",
        CropStatus.NO_EYES: "faces whose eyes were not found, cut as a square around the box",
        CropStatus.NO_LANDMARKS: "faces without landmarks, cut as a square around the box",
        CropStatus.OUTSIDE: "faces outside of their picture",
        CropStatus.DECODE_ERROR: "frames that cannot be decoded",
    }
    for status, what in words.items():
        if result.statuses.get(status):
            lines.append(f"  {result.statuses[status]} {what} ({status})")
    if inputs.repeated:
        lines.append(f"  {inputs.repeated} paths were given more than once; each counts once")
    for folder in inputs.crops:
        lines.append(f"  passed over, as crops of another extraction (name it if wanted): {folder}")
    if inputs.others:
        some = ", ".join(path.name for path in inputs.others[:3])
        more = ", ..." if len(inputs.others) > 3 else ""
        lines.append(f"  {len(inputs.others)} passed over, no picture or video: {some}{more}")
    if result.failed:
        lines.append(f"  {counted(len(result.failed), 'input')} could not be read, or not whole:")
        lines += [f"    {name}: {why}" for name, why in list(result.failed.items())[:_NAMED]]
        if len(result.failed) > _NAMED:
            lines.append(f"    ... {len(result.failed) - _NAMED} more are in the table")
    return lines
