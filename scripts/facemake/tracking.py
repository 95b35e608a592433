"""From detections to identities through time: one track a face.

Tracking is the only place, smoothing apart, where one frame knows of another. It runs on the
detections of a whole sample, so its result does not depend on how the sample was decoded. A track
ends where the picture changes to another shot: boxes do not tell who is who after it.

A detection joins the track whose predicted box it fits best (Hungarian assignment on centre
distance and size, constant-velocity prediction), first those that are sure, then the others, as in
ByteTrack (Zhang et al. 2022). Scores decide by hysteresis: every unbroken run of a track must have
been sure once (`start_score`), and may be unsure around that (`min_score`).

Where faces that are near each other are lost, what comes after decides, too: `facemake.linking`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from facemake.detections import DetectionList, Track
from facemake.linking import relinked

# A face moves less than this between two looks, in units of its own size, more after a gap.
_REACH = 0.6
_REACH_A_FRAME = 0.05
_LONGEST_REACH = 1.5
_LARGEST_SIZE_RATIO = 2.0
# Looks that velocity and size are estimated from, and frames for which they are believed after the
# last one.
_LOOKS = 16
_LONGEST_PREDICTION = 25


@dataclass(frozen=True)
class TrackRules:
    """The `track` section of the config.

    Attributes:
        max_gap: frames that a track may miss.
        min_frames: detections that a track needs.
        main: prominent | longest | largest | central.
        min_score, start_score: the hysteresis.
    """

    max_gap: int
    min_frames: int
    main: str
    min_score: float
    start_score: float


def tracks_of_video(
    found: DetectionList,
    rules: TrackRules,
    n_frames: int,
    width: int,
    height: int,
    cuts: Sequence[int] = (),
) -> list[Track]:
    """Tracks of a sample whose frames follow each other in time, the main one first.

    Args:
        found: all its detections.
        rules: the config.
        n_frames: decoded frames; a sample shorter than `min_frames` keeps its short tracks.
        width: of the frames in pixels.
        height: of the frames in pixels.
        cuts: frames at which tracks end, rising: the first ones of another shot.
    """
    tracks = _associate(found, rules, cuts)
    tracks = [sure for track in tracks for sure in _sure_tracks(track, found, rules)]
    tracks = relinked(found, tracks, cuts, rules.max_gap)
    least = min(rules.min_frames, n_frames)
    tracks = [track for track in tracks if len(track.detections) >= least]
    return ordered(tracks, found, rules.main, width, height)


def tracks_of_pictures(
    found: DetectionList, rules: TrackRules, width: NDArray[np.int32], height: NDArray[np.int32]
) -> list[Track]:
    """Tracks of unrelated pictures: in each, the main face is track 0, the next one track 1, ….

    Args:
        found: all detections; `frames` counts pictures.
        rules: the config; only sure detections count, there is no time to be sure from.
        width: (pictures,) pixels.
        height: (pictures,) pixels.
    """
    by_frame: dict[int, list[int]] = defaultdict(list)
    for i, frame in enumerate(found.frames.tolist()):
        if found.values[i, 4] >= rules.start_score:
            by_frame[frame].append(i)
    tracks: list[Track] = []
    for frame, members in by_frame.items():
        ranked = ordered(
            [Track([i]) for i in members], found, rules.main, int(width[frame]), int(height[frame])
        )
        while len(tracks) < len(ranked):
            tracks.append(Track())
        for track, one in zip(tracks, ranked, strict=False):
            track.detections.extend(one.detections)
    return tracks


@dataclass
class _Live:
    """A track that may go on: its last looks, for the prediction."""

    track: Track
    frames: list[int]
    boxes: list[tuple[float, float, float]]  # centre x, centre y, size

    def predicted(self, frame: int) -> tuple[float, float, float]:
        x, y, _ = self.boxes[-1]
        half = len(self.frames) // 2
        if half:
            # means of the first and of the second half: the box of a face that is about to be
            # hidden shrinks and is drawn to what is left of it
            early, late = slice(half), slice(-half, None)
            frames = sum(self.frames[late]) - sum(self.frames[early])
            ahead = min(frame - self.frames[-1], _LONGEST_PREDICTION) / frames
            x += ahead * (
                sum(b[0] for b in self.boxes[late]) - sum(b[0] for b in self.boxes[early])
            )
            y += ahead * (
                sum(b[1] for b in self.boxes[late]) - sum(b[1] for b in self.boxes[early])
            )
        return x, y, median(size for _, _, size in self.boxes)

    def see(self, frame: int, index: int, box: tuple[float, float, float]) -> None:
        self.track.detections.append(index)
        self.frames.append(frame)
        self.boxes.append(box)
        del self.frames[:-_LOOKS], self.boxes[:-_LOOKS]


def _associate(found: DetectionList, rules: TrackRules, cuts: Sequence[int]) -> list[Track]:
    values, frames = found.values, found.frames.tolist()
    tracks: list[Track] = []
    live: list[_Live] = []
    shots = np.searchsorted(np.asarray(cuts, np.int64), frames, side="right").tolist()
    start = shot = 0
    while start < len(frames):
        frame = frames[start]
        end = start
        while end < len(frames) and frames[end] == frame:
            end += 1
        live = [t for t in live if frame - t.frames[-1] <= rules.max_gap + 1]
        if shots[start] != shot:
            shot, live = shots[start], []
        here = [i for i in range(start, end) if values[i, 4] >= rules.min_score]
        boxes = {i: _centre_and_size(values[i]) for i in here}
        free = list(live)
        left: list[int] = []
        for sure in (True, False):
            wanted = [i for i in here if (values[i, 4] >= rules.start_score) == sure]
            pairs = _assign(free, [boxes[i] for i in wanted], frame)
            for t, d in pairs:
                free[t].see(frame, wanted[d], boxes[wanted[d]])
            taken_tracks = {t for t, _ in pairs}
            taken = {wanted[d] for _, d in pairs}
            free = [t for k, t in enumerate(free) if k not in taken_tracks]
            left += [i for i in wanted if i not in taken]
        for i in left:
            track = Track([i])
            tracks.append(track)
            live.append(_Live(track, [frame], [boxes[i]]))
        start = end
    return tracks


def _centre_and_size(row: NDArray[np.float32]) -> tuple[float, float, float]:
    x, y, w, h = (float(v) for v in row[:4])
    return x + w / 2, y + h / 2, max(1.0, (w * h) ** 0.5)


def _assign(
    tracks: list[_Live], boxes: list[tuple[float, float, float]], frame: int
) -> list[tuple[int, int]]:
    if not tracks or not boxes:
        return []
    cost = np.full((len(tracks), len(boxes)), np.inf)
    for t, track in enumerate(tracks):
        px, py, psize = track.predicted(frame)
        reach = min(_REACH + _REACH_A_FRAME * (frame - track.frames[-1] - 1), _LONGEST_REACH)
        for d, (x, y, size) in enumerate(boxes):
            ratio = max(size / psize, psize / size)
            distance = ((x - px) ** 2 + (y - py) ** 2) ** 0.5 / (0.5 * (size + psize))
            if distance <= reach and ratio <= _LARGEST_SIZE_RATIO:
                cost[t, d] = distance + abs(np.log(size / psize))
    if cost.size == 1:
        return [(0, 0)] if np.isfinite(cost[0, 0]) else []
    # imported here: a recording of one person never comes to this line
    import lap

    limit = _LONGEST_REACH + np.log(_LARGEST_SIZE_RATIO) + 1.0
    bounded = np.where(np.isfinite(cost), cost, 10 * limit)
    _, columns, _ = lap.lapjv(bounded, extend_cost=True, cost_limit=limit)
    return [(t, int(d)) for t, d in enumerate(columns) if d >= 0 and np.isfinite(cost[t, d])]


def _sure_tracks(track: Track, found: DetectionList, rules: TrackRules) -> list[Track]:
    """The track without its unbroken runs that were never sure.

    Two runs that are now further apart than `max_gap` are two tracks: what bridged them was unsure.
    """
    indices = np.array(track.detections)
    frames, scores = found.frames[indices], found.values[indices, 4]
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    tracks: list[Track] = []
    for run, score in zip(np.split(indices, breaks), np.split(scores, breaks), strict=True):
        if score.max() < rules.start_score:
            continue
        gap = found.frames[run[0]] - found.frames[tracks[-1].detections[-1]] - 1 if tracks else 0
        if not tracks or gap > rules.max_gap:
            tracks.append(Track())
        tracks[-1].detections.extend(run.tolist())
    return tracks


def ordered(
    tracks: Sequence[Track], found: DetectionList, rule: str, width: int, height: int
) -> list[Track]:
    """By the main-face rule, falling; ties by first frame, then from left to right.

    Args:
        tracks: none of them empty.
        found: all detections.
        rule: prominent | longest | largest | central.
        width: of the frames in pixels.
        height: of the frames in pixels.
    """

    def key(track: Track) -> tuple[float, int, float]:
        rows = found.values[track.detections].astype(np.float64)
        area = rows[:, 2] * rows[:, 3]
        if rule == "prominent":
            value = float(area.sum())
        elif rule == "longest":
            value = float(len(rows))
        elif rule == "largest":
            value = float(np.median(area))
        else:
            centre = rows[:, :2] + rows[:, 2:4] / 2 - (width / 2, height / 2)
            value = -float(np.median(np.hypot(centre[:, 0], centre[:, 1])))
        return -value, int(found.frames[track.detections[0]]), float(rows[0, 0])

    return sorted(tracks, key=key)
