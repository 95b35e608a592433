"""A sample with its tracks: to and from the rows of the detections table."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from facemake.detections import DetectionList, Track
from facemake.rows import lists, numbers
from facemake.status import FrameStatus
from facemake.tables import TableReader, TableWriter


@dataclass(frozen=True)
class Tracked:
    """What the detections table says of a sample.

    Attributes:
        found: its detections; those of no track are not written.
        tracks: by their number; one without detections has no face anywhere.
        times: s of each frame; NaN where it has none.
        broken: frames that cannot be decoded.
        cuts: frames that begin another shot, rising; None where none were looked for.
        alone: each frame stands alone (`facemake.pictures`).
    """

    found: DetectionList
    tracks: Sequence[Track]
    times: array[float]
    broken: set[int]
    cuts: Sequence[int] | None
    alone: bool

    def write(self, writer: TableWriter, sample: str) -> None:
        """Write the rows of the sample."""
        for row in _rows(self.found, self.tracks, self.times, self.broken, self.alone):
            shot = None if self.cuts is None else bisect_right(self.cuts, row["frame"])
            writer.append(sample=sample, shot=shot, **row)


def read_tracked(reader: TableReader, sample: str, alone: bool) -> Tracked:
    """The sample as `Tracked.write` wrote it, without detections of no track."""
    times, broken = array("d"), set[int]()
    pieces: list[tuple[Any, ...]] = []
    shots: list[int | None] = []
    for table in reader.groups(sample):
        status = np.array(table["status"].to_pylist())
        first = numbers(table, "track") == 0
        times.frombytes(numbers(table, "time")[first].astype(np.float64).tobytes())
        broken.update(numbers(table, "frame")[status == FrameStatus.DECODE_ERROR].tolist())
        shots += [shot for shot, main in zip(table["shot"].to_pylist(), first, strict=True) if main]
        table = table.filter(status == FrameStatus.OK)
        boxes = [numbers(table, name).astype(np.float32) for name in ("x", "y", "w", "h", "score")]
        points = lists(table, "keypoints5", 10)
        keys = [numbers(table, name) for name in ("frame", "face", "track")]
        pieces.append((*keys, np.concatenate([np.stack(boxes, axis=1), points], axis=1)))
    nothing = (np.zeros(0, np.int32), np.zeros(0, np.int16), np.zeros(0, np.int16))
    pieces.append((*nothing, np.zeros((0, 15), np.float32)))
    frames, faces, track, values = (np.concatenate(column) for column in zip(*pieces, strict=True))
    count = int(track.max()) + 1 if len(track) else 0
    tracks = [Track(np.flatnonzero(track == k).tolist()) for k in range(count)]
    cuts = None
    if shots and shots[0] is not None:
        cuts = (np.flatnonzero(np.diff(np.array(shots, np.int64))) + 1).tolist()
    return Tracked(DetectionList.of(frames, faces, values), tracks, times, broken, cuts, alone)


def _rows(
    found: DetectionList,
    tracks: Sequence[Track],
    times: array[float],
    broken: set[int],
    alone: bool,
) -> Iterator[dict[str, Any]]:
    """The rows of a sample by frame, then track.

    Between two pictures that stand alone no face is lost: it was never to be expected.
    """
    frames, values, faces = found.frames, found.values, found.faces
    at = [{int(frames[i]): i for i in track.detections} for track in tracks]
    ends = [(min(where, default=1), max(where, default=0)) for where in at]
    # of thousands of tracks few are in a frame
    begin = defaultdict[int, list[int]](list)
    for number, (first, _) in enumerate(ends):
        begin[first].append(number)
    going: list[int] = []
    for frame, time in enumerate(times):
        clock = None if isnan(time) else time  # a picture has none
        going = sorted(k for k in (*going, *begin.get(frame, ())) if frame <= ends[k][1])
        here = [k for k in going if frame in at[k]] if alone else going
        for number in here if here[:1] == [0] else (0, *here):
            inside = number in here
            row: dict[str, Any] = {"frame": frame, "track": number, "time": clock}
            index = at[number].get(frame) if inside else None
            if frame in broken:
                yield {**row, "status": FrameStatus.DECODE_ERROR}
            elif index is None:
                yield {**row, "status": FrameStatus.LOST if inside else FrameStatus.NO_FACE}
            else:
                x, y, w, h, score = values[index, :5].tolist()
                yield {
                    **row,
                    "face": int(faces[index]),
                    "x": x,
                    "y": y,
                    "w": w,
                    "h": h,
                    "score": score,
                    "keypoints5": values[index, 5:],
                    "status": FrameStatus.OK,
                }
