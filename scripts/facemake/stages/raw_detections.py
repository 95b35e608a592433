"""What a detector finds in each frame, before tracks: in memory, and as a table of a segment."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path

import numpy as np

from facemake.cuts import N_BYTES, CutFinder, sampled
from facemake.detections import DetectionList, Detections
from facemake.media.frame import Frame
from facemake.rows import numbers
from facemake.tables import TableReader, TableWriter

N_VALUES = 15
"""Of a face: x, y, w, h, score, ten coordinates of its key points."""


class RawDetections:
    """The frames of a recording: their times and sizes, and the faces in them.

    Attributes:
        found: all faces, by frame.
        times: s of each frame; NaN where it has none.
        widths, heights: px of each frame; 0 of one that cannot be decoded.
        broken: the frames that cannot be decoded.
        undamaged: whether the pass over the recording met no damage (`facemake.media.Media`).
        shots: knows where it changes to another shot.
        for_table: it is of a segment, to be written: more is kept of each frame (432 bytes).
    """

    def __init__(self, for_table: bool = False) -> None:
        self.found = DetectionList()
        self.times = array("d")
        self.widths, self.heights = array("i"), array("i")
        self.broken: set[int] = set()
        self.undamaged = True
        self.shots = CutFinder(keep=for_table)
        self.for_table = for_table

    def add(self, frame: Frame, faces: Detections | None) -> None:
        """Add the next frame and its faces; None of one that cannot be decoded."""
        index = len(self.times)
        self.times.append(nan if frame.time is None else frame.time)
        whole = faces is not None
        self.widths.append(frame.width if whole else 0)
        self.heights.append(frame.height if whole else 0)
        self.shots.add(sampled(frame.rgb) if whole else None)
        if faces is not None:
            self.found.append(index, faces)
        else:
            self.broken.add(index)

    def append(self, reader: TableReader, sample: str) -> None:
        """Add the frames of the segment that comes next in time."""
        for table in reader.groups(sample):
            offset = len(self.times)
            self.times.frombytes(numbers(table, "time").astype(np.float64).tobytes())
            for values, name in ((self.widths, "width"), (self.heights, "height")):
                values.frombytes(numbers(table, name).astype(np.int32).tobytes())
            for row, faces in enumerate(table["faces"].to_pylist()):
                self.found.append_values(
                    offset + row, np.array(faces, np.float32).reshape(-1, N_VALUES)
                )
            self.shots.add_signatures(b"".join(table["signature"].to_pylist()))

    def write(self, writer: TableWriter, sample: str) -> None:
        """Write the rows of a segment, all of whose frames can be decoded."""
        assert self.for_table, "what a table needs was not kept"
        self.shots.flush()
        looks = memoryview(self.shots.signatures)
        frames, values = self.found.frames, self.found.values
        ends = np.searchsorted(frames, np.arange(len(self.times) + 1))
        for index, time in enumerate(self.times):
            writer.append(
                sample=sample,
                frame=index,
                time=None if isnan(time) else time,
                width=self.widths[index],
                height=self.heights[index],
                faces=values[ends[index] : ends[index + 1]].ravel(),
                signature=bytes(looks[index * N_BYTES : (index + 1) * N_BYTES]),
            )


def joined(segments: Sequence[Path], sample: str, n_frames: int) -> RawDetections | None:
    """The segments of a recording as one pass over the whole would give it.

    Args:
        segments: their tables, in the order of time.
        sample: its name.
        n_frames: of the whole, as the probe counted them.

    Returns:
        None where it is not certain that it would: frames are missing, or stamps do not rise.
    """
    whole = RawDetections()
    for path in segments:
        with TableReader(path) as reader:
            whole.append(reader, sample)
    times = np.frombuffer(whole.times, np.float64)
    rises = bool(np.all(np.diff(times) > 0)) if len(times) > 1 else True
    return whole if len(times) == n_frames and rises else None
