"""Pictures and videos before a detector, and their faces into files: what a worker does."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facemake.backends.detect import Detector
from facemake.detections import Detections
from facemake.extraction.cutting import Cutter, crop_columns
from facemake.extraction.encoding import encoded
from facemake.extraction.inputs import Input
from facemake.extraction.journal import Row
from facemake.media import Frame, MediaError, VideoMedia, open_media
from facemake.runtime.atomic import replacing
from facemake.samples import Sample
from facemake.stages.ahead import ahead
from facemake.stages.batches import batches
from facemake.status import CropStatus, FrameStatus, SampleStatus

_ROWS_AT_ONCE = 64
"""Of a video: from there it goes on when it was stopped."""


@dataclass(frozen=True)
class Given:
    """Rows of an input, in order; the last ones where it is done."""

    index: int
    rows: list[Row]
    done: bool


@dataclass
class _Work:
    """An input at work."""

    index: int
    what: Input
    rows: list[Row] = field(default_factory=list)
    count: int = 0
    faces: int = 0
    frames: int = 0


@dataclass(frozen=True)
class _End:
    """Comes after the frames of an input, with what is wrong with it."""

    work: _Work
    status: SampleStatus
    reason: str


@dataclass(frozen=True)
class _Look:
    """A frame that is to be looked at."""

    work: _Work
    frame: Frame


_Item = _Look | _End


class Extractor:
    """Finds, cuts and writes the faces of inputs.

    Args:
        detector: finds them.
        cutter: cuts them.
        out: the folder of the crops.
        kind, quality: of their files (`facemake.extraction.encoding`).
        frame_step: of videos every n-th frame is looked at, from the first one.
    """

    def __init__(
        self,
        detector: Detector,
        cutter: Cutter,
        out: Path,
        kind: str,
        quality: int,
        frame_step: int,
    ) -> None:
        self._detector = detector
        self._cutter = cutter
        self._out = out
        self._kind = kind
        self._quality = quality
        self._frame_step = frame_step

    def __call__(self, inputs: Iterable[tuple[int, Input]]) -> Iterator[Given]:
        """The rows of inputs, in their order; a crop is there before its row is given.

        Raises:
            ModelError: a model is missing or not the registered one.
            OSError: the disk fails, or is full; a note names the input.
        """
        items = self._items(inputs)
        size = self._detector.batch_size
        with closing(items if size == 1 else ahead(items, 2 * size, _pixels)) as stream:
            for batch in batches(stream, size, _pixels):
                yield from self._emptied(batch)

    def _items(self, inputs: Iterable[tuple[int, Input]]) -> Generator[_Item, None, None]:
        for index, one in inputs:
            work = _Work(index, one, frames=one.start)
            try:
                yield from self._frames(work)
            except MediaError as error:
                yield _End(work, error.status, error.reason)
            except Exception as error:
                error.add_note(f"in {one.path}")
                raise

    def _frames(self, work: _Work) -> Generator[_Item, None, None]:
        path = work.what.path
        with suppress(PermissionError):  # of which it is said how to get it
            if not path.exists():
                gone = "is a link to nothing" if path.is_symlink() else "is gone"
                raise MediaError(SampleStatus.UNREADABLE, f"{path.name} {gone}")
        status, reason, broken = SampleStatus.OK, "", None
        with open_media(Sample(path.name, path, path.name)) as media:
            for frame in media:
                if isinstance(media, VideoMedia):
                    if frame.index % self._frame_step == 0 and frame.index >= work.what.start:
                        yield _Look(work, frame)
                elif frame.status is FrameStatus.OK:
                    yield _Look(work, frame)
                else:
                    broken = frame.error
            if isinstance(media, VideoMedia) and (missing := media.missing()):
                status = SampleStatus.TRUNCATED
                reason = f"{path.name} is cut short: {missing}"
        if broken is not None:
            raise broken
        yield _End(work, status, reason)

    def _emptied(self, batch: list[_Item]) -> Iterator[Given]:
        looks = [one for one in batch if isinstance(one, _Look) and _seen(one)]
        found: Iterator[Detections] = iter(())
        if looks:
            try:
                found = iter(self._detector([one.frame.rgb for one in looks]))
            except Exception as error:
                error.add_note(f"in {looks[0].work.what.path}")
                raise
        for one in batch:
            work = one.work
            if isinstance(one, _End):
                self._ended(one)
                yield Given(work.index, work.rows, done=True)
                work.rows = []
                continue
            try:
                self._faces(work, one.frame, next(found) if _seen(one) else None)
            except Exception as error:
                error.add_note(f"in {work.what.path}")
                raise
            if len(work.rows) >= _ROWS_AT_ONCE:
                yield Given(work.index, work.rows, done=False)
                work.rows = []

    def _faces(self, work: _Work, frame: Frame, found: Detections | None) -> None:
        work.frames += 1
        base: Row = {"frame": frame.index, "time": frame.time}
        if found is None:
            reason = str(frame.error or "")
            work.rows.append(_empty(base, CropStatus.DECODE_ERROR, reason))
            return
        if not len(found.score):
            if work.what.video:
                work.rows.append(_empty(base, CropStatus.NO_FACE, ""))
            return
        for face in range(len(found.score)):
            cut = self._cutter(frame.rgb, found.bbox[face], found.keypoints5[face])
            row = {**base, "face": face, "output": None, "bytes": None}
            row |= crop_columns(found.bbox[face], float(found.score[face]), cut)
            if cut.crop is not None:
                row["output"] = work.what.crop(self._kind, face, frame.index)
                row["bytes"] = self._write(row["output"], cut.crop.pixels)
            work.faces += 1
            work.rows.append(row)

    def _write(self, name: str, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
        data = encoded(pixels, self._kind, self._quality)
        # who goes on after a power cut looks at its size
        with replacing(self._out / name, flush=False) as beside:
            beside.write_bytes(data)
        return len(data)

    def _ended(self, end: _End) -> None:
        """What is said of the input itself: where it has no row yet, or is not whole."""
        work = end.work
        if end.status is not SampleStatus.OK:
            work.rows.append(_empty({}, end.status, end.reason))
        elif not work.frames:
            reason = f"{work.what.path.name} gives not a single frame"
            work.rows.append(_empty({}, SampleStatus.UNREADABLE, reason))
        elif not work.faces and not work.what.video:
            work.rows.append(_empty({"frame": 0}, CropStatus.NO_FACE, ""))


def _empty(base: Row, status: CropStatus | SampleStatus, reason: str) -> Row:
    return {**base, "output": None, "bytes": None, "status": str(status), "reason": reason}


def _seen(look: _Look) -> bool:
    return look.frame.status is FrameStatus.OK


def _pixels(item: _Item) -> int:
    """Decodes them, too."""
    return item.frame.rgb.nbytes if isinstance(item, _Look) and _seen(item) else 0


def chunks(inputs: Sequence[Input], pictures: int) -> Iterator[list[int]]:
    """Indices of inputs in order, so many pictures at once, a video alone."""
    waiting: list[int] = []
    for index, one in enumerate(inputs):
        if one.video:
            if waiting:
                yield waiting
                waiting = []
            yield [index]
            continue
        waiting.append(index)
        if len(waiting) == pictures:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
