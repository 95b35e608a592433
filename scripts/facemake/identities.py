"""One person, one track: tracks by boxes taken apart where boxes are in doubt, and joined by looks.

Where two faces come near each other, or one is not seen for a while, boxes do not tell whether each
is still on its own face. There a track is cut into pieces. Pieces whose embeddings are near are one
person, across gaps of any length, crossings and shot cuts; two that are seen in the same frame
never are. What looks cannot tell (a face too small, or never clear of others) stays as boxes had
it.

Embeddings are compared as unit vectors, the mean of a few frames of each piece. dlib says of its
own that two faces less than 0.6 apart are one person; its vectors have a norm of about 1.47, so
that is 0.41 here. Measured on pieces of five frames: of one person in one recording the means are
0.25 apart on average and at most 0.39, in two recordings of one person 0.09 and at most 0.16, of
two people 0.55 and at least 0.45. Two people who look alike may be nearer (0.35 was seen, in one
picture): they stay apart only where they are once seen together.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facemake.detections import DetectionList, Track

SAME_PERSON = 0.41
"""Largest distance of two unit vectors of one person: dlib's 0.6 over the norm of its vectors."""
SAME_TRACK = 0.5
"""The same where boxes go on from one piece to the other: single frames of one person are up to
0.53 apart, two people are at least 0.44."""

_NEAR = 1.0
"""Of two faces, in units of their size: they touch, and a detection of one may go to the other."""
_APART = 1.5
"""They have parted for sure."""
_GAP = 5
"""Frames without a detection after which somebody else may stand there."""
_LINGERS = 12
"""Frames that a face counts as being where it was last seen, or was first seen later."""


@dataclass
class Piece:
    """A piece of a track in which there is no doubt.

    Attributes:
        detections: that belong to it, by frame.
        clear: those of them that no other face is near to.
        follows: the piece of which boxes say that it goes on in this one; -1: none.
    """

    detections: list[int]
    clear: list[int] = field(default_factory=list)
    follows: int = -1


def pieces_of(
    found: DetectionList, tracks: Sequence[Track], cuts: Sequence[int] = ()
) -> list[Piece]:
    """The tracks of a video, taken apart wherever boxes are in doubt.

    Args:
        found: all detections.
        tracks: by boxes.
        cuts: frames that begin another shot, rising: faces of two shots never meet.
    """
    courses = [_Course(found, track, cuts) for track in tracks]
    splits: list[set[int]] = [set() for _ in tracks]
    near: list[set[int]] = [set() for _ in tracks]
    order = sorted(range(len(tracks)), key=lambda k: courses[k].first)
    beside: list[int] = []
    for b in order:
        beside = [a for a in beside if courses[a].end >= courses[b].start]
        for a in beside:
            _meet(courses[a], courses[b], splits[a], splits[b], near[a], near[b])
        beside.append(b)
    pieces: list[Piece] = []
    for track, split, touched in zip(tracks, splits, near, strict=True):
        frames = found.frames[track.detections]
        breaks = frames[1:][np.diff(frames) > _GAP].tolist()
        at = np.searchsorted(frames, sorted({*split, *breaks}))
        follows = -1
        for members in np.split(np.array(track.detections), at):
            if not len(members):
                continue
            clear = [int(i) for i in members if int(found.frames[i]) not in touched]
            pieces.append(Piece(members.tolist(), clear, follows))
            follows = len(pieces) - 1
    return pieces


class _Course:
    """Where a face is in every frame about its track."""

    def __init__(self, found: DetectionList, track: Track, cuts: Sequence[int]) -> None:
        frames = found.frames[track.detections]
        rows = found.values[track.detections].astype(np.float64)
        self.first = int(frames[0])
        self.start, self.end = self.first - _LINGERS, int(frames[-1]) + _LINGERS
        if shot := bisect_right(cuts, self.first):
            self.start = max(self.start, cuts[shot - 1])
        if shot < len(cuts):
            # a track that was to go on through cuts ends behind this one
            self.end = max(int(frames[-1]), min(self.end, cuts[shot] - 1))
        every = np.arange(self.start, self.end + 1)
        middle = (rows[:, 0] + rows[:, 2] / 2, rows[:, 1] + rows[:, 3] / 2)
        size = np.sqrt(np.maximum(rows[:, 2] * rows[:, 3], 1.0))
        self.values = np.stack([np.interp(every, frames, v) for v in (*middle, size)])

    def between(self, first: int, last: int) -> NDArray[np.float64]:
        """(3, n) middle x and y and size, px, of these frames."""
        return self.values[:, first - self.start : last - self.start + 1]


def _meet(
    a: _Course,
    b: _Course,
    split_a: set[int],
    split_b: set[int],
    near_a: set[int],
    near_b: set[int],
) -> None:
    """Where two faces come near each other: split both where they are nearest."""
    first = max(a.start, b.start)
    last = min(a.end, b.end)
    if first > last:
        return
    here, there = a.between(first, last), b.between(first, last)
    size = (here[2] + there[2]) / 2
    distance = np.hypot(here[0] - there[0], here[1] - there[1]) / size
    touching = np.flatnonzero(distance < _NEAR)
    if not len(touching):
        return
    near_a.update((touching + first).tolist())
    near_b.update((touching + first).tolist())
    wide = np.flatnonzero(distance < _APART)
    for run in np.split(wide, np.flatnonzero(np.diff(wide) > 1) + 1):
        nearest = int(run[distance[run].argmin()])
        if distance[nearest] < _NEAR:
            split_a.add(nearest + first)
            split_b.add(nearest + first)


def people_of(
    found: DetectionList,
    pieces: Sequence[Piece],
    looks: Sequence[NDArray[np.float64]],
) -> tuple[list[Track], list[NDArray[np.float64] | None]]:
    """Join the pieces to one track a person.

    Agglomerative clustering: the two nearest groups become one until none are nearer than
    `SAME_PERSON`; groups with pieces in one frame never do. A group is as near as the mean of its
    vectors. Then what boxes alone would join is joined, where looks do not speak against it.

    Args:
        found: all detections.
        pieces: of all tracks.
        looks: (n, D) of each piece, unit vectors of n of its frames; n may be 0.

    Returns:
        The tracks, in no order of rank, and the mean unit vector of each; None where there is none.
    """
    groups = _Groups(found, pieces, looks)
    groups.join_nearest()
    groups.join_links([(piece.follows, k) for k, piece in enumerate(pieces) if piece.follows >= 0])
    tracks, means = [], []
    for members in groups.members():
        indices = [i for k in members for i in pieces[k].detections]
        tracks.append(Track(sorted(indices, key=lambda i: int(found.frames[i]))))
        means.append(groups.mean(members[0]))
    return tracks, means


class _Groups:
    """Pieces that are one person so far."""

    def __init__(
        self,
        found: DetectionList,
        pieces: Sequence[Piece],
        looks: Sequence[NDArray[np.float64]],
    ) -> None:
        self._group = list(range(len(pieces)))
        self._members = {k: [k] for k in range(len(pieces))}
        self._sums = {k: one.sum(axis=0) for k, one in enumerate(looks) if len(one)}
        self._apart = seen_together(found, pieces)
        n, length = len(pieces), max((len(total) for total in self._sums.values()), default=0)
        self._distances = np.full((n, n), np.inf, np.float32)
        self._means = np.zeros((n, length))
        self._known = np.zeros(n, bool)  # groups whose means are there

    def mean(self, piece: int) -> NDArray[np.float64] | None:
        """The mean unit vector of a piece's group."""
        total = self._sums.get(self._group[piece])
        return None if total is None else np.asarray(total / np.linalg.norm(total))

    def members(self) -> list[list[int]]:
        """The pieces of each group."""
        return [sorted(self._members[k]) for k in sorted(self._members)]

    def _join(self, a: int, b: int) -> None:
        """Group b becomes part of group a."""
        for k in self._members[b]:
            self._group[k] = a
        self._members[a] += self._members.pop(b)
        if b in self._sums:
            self._sums[a] = self._sums.get(a, 0.0) + self._sums.pop(b)
        self._apart[a] |= self._apart[b]
        self._apart[:, a] |= self._apart[:, b]

    def _measure(self, a: int) -> None:
        """The distances of a group to all others."""
        self._means[a], self._known[a] = self.mean(a), True
        # of unit vectors; all at once, since there can be thousands
        squares = 2 - 2 * (self._means @ self._means[a])
        distance = np.sqrt(np.maximum(squares, 0))
        distance[self._apart[a] | ~self._known] = np.inf
        distance[a] = np.inf
        self._distances[a], self._distances[:, a] = distance, distance

    def join_nearest(self) -> None:
        """By looks alone."""
        if len(self._sums) < 2:
            return
        for k in self._sums:
            self._measure(k)
        nearest = self._distances.argmin(axis=1)
        rows = np.arange(len(nearest))
        while len(self._sums) > 1:
            least = self._distances[rows, nearest]
            a = int(least.argmin())
            b = int(nearest[a])
            if not least[a] < SAME_PERSON:
                break
            self._join(a, b)
            self._known[b] = False
            self._distances[b], self._distances[:, b] = np.inf, np.inf
            self._measure(a)
            # those that were nearest to one of the two may be nearer to another now
            lost = (nearest == a) | (nearest == b)
            nearer = self._distances[a] < least
            lost[[a, b]] = True
            nearest[nearer] = a
            nearest[lost & ~nearer] = self._distances[lost & ~nearer].argmin(axis=1)

    def join_links(self, links: Sequence[tuple[int, int]]) -> None:
        """What boxes join, the nearest first, those without looks last."""

        def distance(link: tuple[int, int]) -> float | None:
            a, b = (self.mean(k) for k in link)
            return None if a is None or b is None else float(np.linalg.norm(a - b))

        def ends(link: tuple[int, int]) -> set[int]:
            return {self._group[k] for k in link}

        left = {link: distance(link) for link in links if len(ends(link)) == 2}
        while left:
            near, link = min((2.0 if near is None else near, link) for link, near in left.items())
            known = left.pop(link) is not None
            a, b = sorted(ends(link))
            if self._apart[a, b] or (known and near >= SAME_TRACK):
                continue
            self._join(a, b)
            for other in [one for one in left if a in ends(one)]:
                left[other] = distance(other)
                if len(ends(other)) == 1:
                    del left[other]


def seen_together(found: DetectionList, pieces: Sequence[Piece]) -> NDArray[np.bool_]:
    """(n, n) which pieces have a frame in common: they are two people."""
    together = np.zeros((len(pieces), len(pieces)), bool)
    seen: dict[int, list[int]] = {}
    for k, piece in enumerate(pieces):
        for frame in found.frames[piece.detections].tolist():
            for other in seen.setdefault(frame, []):
                together[k, other] = together[other, k] = True
            seen[frame].append(k)
    return together
