"""Every frame of some samples before a detector, in its batches.

A detector that wants several pictures at once gets them from one sample and the next, while the
next ones are decoded: short clips and single pictures fill its batches too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass

from facemake.backends.detect import Detector
from facemake.media import open_media
from facemake.media.frame import Frame
from facemake.samples import Sample
from facemake.stages.ahead import ahead
from facemake.stages.batches import batches
from facemake.stages.raw_detections import RawDetections
from facemake.status import FrameStatus


@dataclass(frozen=True)
class _End:
    """Comes after the last frame of a sample."""

    undamaged: bool


_Item = Frame | _End
_Items = Generator[_Item, None, None]


def looked_at(
    samples: Iterable[Sample],
    detector: Detector,
    seen: Callable[[], None],
    for_table: bool = False,
) -> Generator[RawDetections, None, None]:
    """What a detector finds in every frame of each sample, in their order.

    Args:
        samples: that can be decoded.
        detector: whose results hang on no other picture.
        seen: is called after each frame.
        for_table: what is found is to be written as a segment's table.

    Raises:
        Whatever the decoder or the detector raises, with a note that names the sample.
    """
    items = _frames(samples)
    size = detector.batch_size
    with closing(items if size == 1 else ahead(items, 2 * size, _pixels)) as stream:
        raw = RawDetections(for_table)
        for batch in batches(stream, size, _pixels):
            raw = yield from _emptied(batch, raw, detector, seen)


def _emptied(
    batch: list[_Item], raw: RawDetections, detector: Detector, seen: Callable[[], None]
) -> Generator[RawDetections, None, RawDetections]:
    """Hand on a batch; returns the sample that goes on."""
    pictures = [one.rgb for one in batch if isinstance(one, Frame) and _has_pixels(one)]
    faces = iter(detector(pictures) if pictures else ())
    for one in batch:
        if isinstance(one, Frame):
            raw.add(one, next(faces) if _has_pixels(one) else None)
            seen()
        else:
            raw.undamaged = one.undamaged
            yield raw
            raw = RawDetections(raw.for_table)
    return raw


def _pixels(item: _Item) -> int:
    """Decodes them, too."""
    return item.rgb.nbytes if isinstance(item, Frame) and _has_pixels(item) else 0


def _has_pixels(item: _Item) -> bool:
    return isinstance(item, Frame) and item.status is FrameStatus.OK


def _frames(samples: Iterable[Sample]) -> _Items:
    for sample in samples:
        try:
            with open_media(sample) as media:
                yield from media
                yield _End(media.undamaged)
        except Exception as error:
            error.add_note(f"in sample {sample.sample} ({sample.path})")
            raise
