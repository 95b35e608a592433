"""Long recordings in segments: parts of one recording that are looked at by jobs of their own.

A segment is a range of the stream's own clock, entered at the key frame before it. Each frame of
the recording is in exactly one, by its stamp, so that what is found in the segments is put
together to what one pass over the whole gives; where that is not certain, the whole is gone over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.samples import PlanRow, Sample

if TYPE_CHECKING:
    from facemake.hashes import HashMemo

logger = logging.getLogger(__name__)

LEAST_BYTES_A_SECOND = 10_000
"""Below the rate of any recording of a face: smaller files need not be opened to tell that they
are short."""


@dataclass(frozen=True)
class Segment:
    """One segment of a sample.

    Attributes:
        sample: its name.
        number: from 0 in the order of time.
        start, end: s on the stream's clock, [start, end); None: where the sample begins, or ends.
    """

    sample: str
    number: int
    start: float | None
    end: float | None

    @property
    def name(self) -> str:
        """Of its job and its files."""
        return f"{self.sample}.{self.number}"

    def whole(self, samples: Iterable[Sample]) -> Sample:
        """Its sample.

        Raises:
            KeyError: there is no such sample.
        """
        for sample in samples:
            if sample.sample == self.sample:
                return sample
        raise KeyError(self.sample)

    def of(self, samples: Iterable[Sample]) -> Sample:
        """Its sample, cut to the segment's range.

        Raises:
            KeyError: there is no such sample.
        """
        sample = self.whole(samples)
        return replace(
            sample,
            start=sample.start if self.start is None else self.start,
            end=sample.end if self.end is None else self.end,
        )

    def frames(self, sample: Sample, probed: Mapping[str, Any]) -> int:
        """About how many frames it has, for who watches; 0 where that cannot be said.

        Args:
            sample: its sample, whole.
            probed: the sample's row of the probe table.
        """
        seconds, frames = float(probed["duration"] or 0.0), int(probed["n_frames"])
        if not seconds:
            return 0
        begin = sample.start or 0.0
        start = begin if self.start is None else self.start
        end = begin + seconds if self.end is None else self.end
        return round(frames * min(max((end - start) / seconds, 0.0), 1.0))


def segment(sample: str, number: int, cuts: Sequence[float]) -> Segment:
    """A segment by its number, from the cuts between all of them (s, rising)."""
    return Segment(
        sample,
        number,
        cuts[number - 1] if number else None,
        cuts[number] if number < len(cuts) else None,
    )


def cuts_of(
    rows: Sequence[PlanRow], sizes: Sequence[int], minutes: float, memo: HashMemo
) -> dict[str, list[float]]:
    """Sample -> where it is cut, in s of its stream's clock; only samples that are.

    Args:
        rows: all samples, hashed.
        sizes: bytes of each one's file; 0 for what is not looked at.
        minutes: about how long a segment shall be.
        memo: remembers what the headers of the files say.
    """
    least = minutes * 60 * LEAST_BYTES_A_SECOND
    large = [row for row, size in zip(rows, sizes, strict=True) if size >= least and row.sha256]
    spans = memo.spans([(row.path, str(row.sha256)) for row in large], header_span)
    found = {}
    for row, (first, last) in zip(large, spans, strict=True):
        begin = first if row.start is None else max(row.start, first)
        end = last if row.end is None else min(row.end, last)
        count = round((end - begin) / (minutes * 60))
        if count > 1:
            step = (end - begin) / count
            found[row.sample] = [round(begin + i * step, 3) for i in range(1, count)]
    return found


def header_span(path: str) -> tuple[float, float]:
    """Seconds at which a video begins and ends by the word of its header; 0 and 0 without one.

    Only a hint: how a recording is cut changes no result.
    """
    import av

    try:
        options = {"protocol_whitelist": "file"}
        with av.open(path, options=options, metadata_errors="replace") as container:
            start = (container.start_time or 0) / av.time_base
            return start, start + (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError, ValueError):
        return 0.0, 0.0


def by_sample(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Sample -> the files of its segments (`SAMPLE.NUMBER.suffix`), in the order of time."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        sample, _, number = path.stem.rpartition(".")
        found.setdefault(sample, []).append((int(number), path))
    return {sample: [path for _, path in sorted(each)] for sample, each in found.items()}


def say_if_in_doubt(sample: str, segments: int) -> None:
    """Log that a recording is gone over as a whole, should it have been cut into segments."""
    if segments:
        logger.info(
            "%s: its %d segments are not certain to give what the whole gives (damage, no stamps, "
            "or stamps out of order), so all of it is gone over in one pass",
            sample,
            segments,
        )
