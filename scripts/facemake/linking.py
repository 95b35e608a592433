"""Who came out again: where faces that are near each other are lost, both sides of the gap decide.

A tracker that goes through a recording once must say whose a box is when it appears, and that box
is one of a face half hidden: too small, drawn to what is to be seen of it. Here the whole recording
is known. Tracks are cut where they miss a face, or turn round at once with a box that has shrunk,
while another face is near; each piece is known by its place, velocity and size on either side of
the cut, from looks at the whole face; and all pieces that end and begin about there are linked so
that they fit best together. Where another way to link them fits nearly as well, boxes do not tell
who is who: these tracks end, and others begin.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from facemake.detections import DetectionList, Track

_Values = NDArray[np.float64]
_Edges = dict[tuple[int, int], float]
"""An end and a beginning -> what it costs to link them."""

_LOOKS = 12
"""That a piece is known by on either side."""
_LEAST = 8
"""Detections that a piece needs to be somebody: fewer are what is seen of a face half hidden."""
_WHOLE = 0.85
"""Of a face's size, which the box of a face half hidden is below."""
_NEAR = 1.5
_NEAR_A_FRAME = 0.3
"""Sides: another face nearer than this to a gap may have a part in it; more, the longer it is."""
_TURNS = 0.06
"""Sides a frame: change of velocity from which a face is said to turn round."""
_AROUND = 8
"""Frames before and after it that velocities are taken from."""

# Standard deviations, in sides of the face (of its size: natural logarithms), by the frames of the
# gap. Between both sides of gaps of 1 and 25 frames in three recordings of a face each they are,
# along x 0.033 and 0.115, along y 0.032 and 0.099, of size 0.031 and 0.050, of velocity 0.006: here
# it is about twice as much, people who walk are less steady.
_PLACE, _PLACE_A_FRAME = 0.06, 0.006
_WAY, _WAY_A_FRAME = 0.1, 0.02
_SIZE, _SIZE_A_FRAME = 0.06, 0.002
_VELOCITY = 0.02
_BOX = 0.03
"""Of a box about its face."""

_CHANGES = 6.0
"""What it costs that a face does not go on as it went: it stopped behind something, or turned."""
_FARTHEST = 25.0
"""What a link may cost, and what it costs to leave a piece without one."""
_TOGETHER = 24
"""Pieces that are linked at once at most: each pair of the best way is tried without, so that time
grows with the fourth power."""
_KEPT = 24.9
"""The most that a link costs which there was: it is better than none."""
_CERTAIN = 4.0
"""How much more another way to link has to cost: it is then 7 times less likely."""


def relinked(
    found: DetectionList, tracks: Sequence[Track], cuts: Sequence[int], max_gap: int
) -> list[Track]:
    """The tracks of a video, with those changed that lose a face near another one.

    Args:
        found: all detections.
        tracks: none of them empty, or with a longer gap than `max_gap`.
        cuts: frames that begin another shot, rising: nothing is linked across.
        max_gap: frames that a track may miss.
    """
    if len(tracks) < 2:
        return list(tracks)
    return _Pieces(found, tracks, cuts, max_gap).linked()


@dataclass
class _Piece:
    """A part of a track between two cuts.

    Attributes:
        members: its detections, by frame.
        first, last: frames of them.
        begins, ends: the same with looks at half a face before and after, if it has any.
        track: which one.
        follows: the piece before it in its track; -1: none.
        after, before: what it is linked to; -1: nothing.
    """

    members: list[int]
    first: int
    last: int
    begins: int
    ends: int
    track: int
    follows: int
    after: int = -1
    before: int = -1

    @property
    def somebody(self) -> bool:
        return len(self.members) >= _LEAST


@dataclass(frozen=True)
class _State:
    """A face at one side of a gap.

    Attributes:
        frame: of its last look, or its first one.
        place: (2,) px, the middle.
        velocity: (2,) px a frame.
        size: px.
        spread: of the velocity, px a frame.
    """

    frame: int
    place: _Values
    velocity: _Values
    size: float
    spread: float


class _Pieces:
    """The tracks of a video cut up, and how they are put together."""

    def __init__(
        self, found: DetectionList, tracks: Sequence[Track], cuts: Sequence[int], max_gap: int
    ) -> None:
        rows = found.values[:, :4].astype(np.float64)
        self._boxes = np.stack(
            [
                rows[:, 0] + rows[:, 2] / 2,
                rows[:, 1] + rows[:, 3] / 2,
                np.sqrt(np.maximum(rows[:, 2] * rows[:, 3], 1.0)),
            ],
            axis=1,
        )
        self._frames = found.frames
        self._cuts, self._max_gap = cuts, max_gap
        self._doubtful: set[int] = set()
        self._states: dict[tuple[int, bool], _State] = {}
        self._track = np.full(len(found), -1)
        for number, track in enumerate(tracks):
            self._track[track.detections] = number
        self._pieces: list[_Piece] = []
        for number, track in enumerate(tracks):
            members = np.array(track.detections)
            follows = -1
            for whole in np.split(members, self._breaks(number, members)):
                begins, ends = (int(self._frames[whole[k]]) for k in (0, -1))
                for part in self._trimmed(whole):
                    first, last = (int(self._frames[part[k]]) for k in (0, -1))
                    piece = _Piece(part.tolist(), first, last, begins, ends, number, follows)
                    self._pieces.append(piece)
                    follows = len(self._pieces) - 1

    def _breaks(self, number: int, members: NDArray[np.int64]) -> list[int]:
        """Where a track is cut: places in `members`, rising."""
        frames = self._frames[members]
        gaps = (np.flatnonzero(np.diff(frames) > 1) + 1).tolist()
        places = sorted({*gaps, *self._turns(members)})
        return [place for place in places if self._beside(number, members, place)]

    def _trimmed(self, members: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """A part of a track, looks at half a face at its ends apart."""
        size = self._boxes[members, 2]
        ends = [0, len(members)]
        for last, some in ((False, size), (True, size[::-1])):
            whole = np.flatnonzero(some >= _WHOLE * np.median(some[: 2 * _LOOKS]))
            if len(members) >= 2 * _LEAST and 0 < whole[0] < _LEAST:
                ends.insert(-1 if last else 1, int(len(members) - whole[0] if last else whole[0]))
        return [members[start:end] for start, end in pairwise(ends)]

    def _turns(self, members: NDArray[np.int64]) -> list[int]:
        """Where a face turns round at once, and its box is that of one half hidden."""
        if len(members) < 2 * _AROUND:
            return []
        x, y, size = self._boxes[members].T
        middle = (np.arange(_AROUND) - (_AROUND - 1) / 2) / ((_AROUND**3 - _AROUND) / 12)
        slopes = [np.convolve(v, middle[::-1], "valid") for v in (x, y)]
        # of the looks before each place and from it on
        change = np.hypot(*(v[_AROUND:] - v[:-_AROUND] for v in slopes))
        back = sum(v[_AROUND:] * v[:-_AROUND] for v in slopes) < 0
        usual = np.convolve(size, np.full(2 * _AROUND, 0.5 / _AROUND), "valid")
        steps = np.diff(self._frames[members])
        turns = []
        sudden = np.flatnonzero(back & (change > _TURNS * usual))
        for run in np.split(sudden, np.flatnonzero(np.diff(sudden) > 1) + 1):
            if not len(run):
                continue
            at = int(run[change[run].argmax()]) + _AROUND
            around = slice(max(0, at - _AROUND // 2), at + _AROUND // 2)
            if (steps[around] > 1).any():
                continue  # it is cut there as it is
            if size[around].min() < _WHOLE * np.median(size[at - _AROUND : at + _AROUND]):
                # before or after the smallest box, wherever the face seems to be elsewhere
                ahead = np.hypot(np.diff(x[around]), np.diff(y[around]))
                turns.append(around.start + 1 + int(ahead.argmax()))
        return turns

    def _beside(self, number: int, members: NDArray[np.int64], place: int) -> bool:
        """Whether another track is so near where this one is cut that it may have a part in it."""
        edges = members[place - 1], members[place]
        before, after = (int(self._frames[own]) for own in edges)
        start, end = np.searchsorted(
            self._frames, [before - self._max_gap, after + self._max_gap + 1]
        )
        others = np.arange(start, end)
        others = others[(self._track[others] >= 0) & (self._track[others] != number)]
        at = self._frames[others]
        # the other one goes on, unseen too
        frames = after - before + np.maximum(before - at, 0) + np.maximum(at - after, 0)
        size = float(np.median(self._boxes[members[max(0, place - _LOOKS) : place + _LOOKS], 2]))
        reach = (_NEAR + _NEAR_A_FRAME * frames) * size
        away = [np.hypot(*(self._boxes[others, :2] - self._boxes[own, :2]).T) for own in edges]
        return bool((np.minimum(*away) < reach).any())

    def linked(self) -> list[Track]:
        """The pieces as tracks, by their first frame."""
        for edges in self._doubts():
            self._decide(edges)
        self._put_in_small_ones()
        tracks = []
        for first in sorted(self._pieces, key=lambda one: (one.first, one.track)):
            if first.before < 0:
                members, piece = list(first.members), first
                while piece.after >= 0:
                    piece = self._pieces[piece.after]
                    members += piece.members
                tracks.append(Track(members))
        return tracks

    def _shot(self, frame: int) -> int:
        return bisect_right(self._cuts, frame)

    def _doubts(self) -> list[_Edges]:
        """Links that may be, and what they cost; those together that may exclude each other."""
        some = [k for k, piece in enumerate(self._pieces) if piece.somebody]
        by_end = sorted(some, key=lambda k: (self._pieces[k].last, k))
        edges: _Edges = {}
        waiting: list[int] = []
        at = 0
        for s in sorted(some, key=lambda k: (self._pieces[k].first, k)):
            first = self._pieces[s].first
            while at < len(by_end) and self._pieces[by_end[at]].last < first:
                waiting.append(by_end[at])
                at += 1
            begins = self._pieces[s].begins
            waiting = [e for e in waiting if begins - self._pieces[e].ends <= self._max_gap + 1]
            for e in waiting:
                if self._shot(self._pieces[e].last) != self._shot(first):
                    continue
                cost = _cost(self._state(e, True), self._state(s, False))
                if cost < _FARTHEST:
                    edges[e, s] = cost
            if (e := self._follows(s)) >= 0:
                # of any length: small ones may be between them
                cost = _cost(self._state(e, True), self._state(s, False))
                edges[e, s] = min(cost, _KEPT)
        return self._small(edges)

    def _small(self, edges: _Edges) -> list[_Edges]:
        """Links by what excludes each other, no more than are looked at together.

        Of more than that, as of people who are found now and then over minutes, those that there
        were and that are plain are kept unasked; if they are still as many, all that there were.
        """
        small: list[_Edges] = []
        for most in (_CERTAIN, np.inf):
            large: _Edges = {}
            for some in _apart(edges):
                if len({e for e, _ in some}) <= _TOGETHER:
                    small.append(some)
                else:
                    large |= some
            for (e, s), cost in large.items():
                if self._follows(s) == e and cost < most:
                    self._link(e, s)
            edges = {
                (e, s): cost
                for (e, s), cost in large.items()
                if self._pieces[e].after < 0 and self._pieces[s].before < 0
            }
        return small

    def _decide(self, edges: _Edges) -> None:
        """Link pieces where that is the best way, and no other one is nearly as good."""
        ends, starts = (sorted(set(some)) for some in zip(*edges, strict=True))
        costs = np.full((len(ends), len(starts)), np.inf)
        for (e, s), cost in edges.items():
            costs[ends.index(e), starts.index(s)] = cost
        several = min(len(ends), len(starts)) > 1
        if not several and not any(self._follows(s) == e for e, s in edges):
            return  # one leaves, another one comes: nothing speaks for one person
        least, pairs = _best(costs)
        for i, j in pairs:
            without = costs.copy()
            without[i, j] = np.inf
            other, others = _best(without)
            if len(others) < len(pairs) or other - least >= _CERTAIN:
                self._link(ends[i], starts[j])
            else:
                self._doubtful |= {ends[i], starts[j]}

    def _follows(self, k: int) -> int:
        """The piece of somebody before this one in its track."""
        k = self._pieces[k].follows
        while k >= 0 and not self._pieces[k].somebody:
            k = self._pieces[k].follows
        return k

    def _link(self, e: int, s: int) -> None:
        self._pieces[e].after, self._pieces[s].before = s, e

    def _put_in_small_ones(self) -> None:
        """Into the gap, or at the end, of the track that they are nearest to, or else alone."""
        pieces = self._pieces
        placed = [k for k, piece in enumerate(pieces) if piece.somebody]
        by_last = sorted((pieces[k].last, k) for k in placed)
        by_first = sorted((pieces[k].first, k) for k in placed)
        for k in sorted(range(len(pieces)), key=lambda k: (pieces[k].first, k)):
            first, last, follows = pieces[k].first, pieces[k].last, pieces[k].follows
            if pieces[k].somebody:
                # where only small ones were between it and the one before
                if (
                    pieces[k].before < 0 <= follows
                    and k not in self._doubtful
                    and not pieces[follows].somebody
                    and pieces[follows].after < 0
                ):
                    self._link(follows, k)
                continue
            found: list[tuple[float, int, int, int]] = []
            ends = (
                bisect_left(by_last, (first - self._max_gap - 1,)),
                bisect_left(by_last, (first,)),
            )
            for _, e in by_last[slice(*ends)]:
                s = pieces[e].after
                if s < 0 or pieces[s].first > last:
                    found.append((self._away(k, e, s), first - pieces[e].last, e, s))
            starts = (last + 1,), (last + self._max_gap + 2,)
            for _, s in by_first[slice(*(bisect_left(by_first, at) for at in starts))]:
                if pieces[s].before < 0:
                    # whom it goes on from comes before who goes on from it
                    found.append((self._away(k, -1, s), self._max_gap + pieces[s].first, -1, s))
            away, _, e, s = min(found, default=(np.inf, 0, -1, -1))
            if away < 1:
                if e >= 0:
                    self._link(e, k)
                if s >= 0:
                    self._link(k, s)
            insort(by_last, (last, k))
            insort(by_first, (first, k))

    def _away(self, k: int, e: int, s: int) -> float:
        """Sides from a piece to where the track is between two others; -1: it has none there.

        Nothing where the tracks that there were had it there, and that is not in doubt.
        """
        piece = self._pieces[k]
        if any(
            self._shot(self._pieces[one].first) != self._shot(piece.first)
            for one in (e, s)
            if one >= 0
        ):
            return float("inf")
        sure = {e, s} - self._doubtful - {-1}
        if any(self._pieces[one].track == piece.track for one in sure):
            return 0.0
        ends = [self._pieces[e].members[-1]] if e >= 0 else []
        ends += [self._pieces[s].members[0]] if s >= 0 else []
        own = self._boxes[[piece.members[0], piece.members[-1]]]
        x, y, size = (
            np.interp([piece.first, piece.last], self._frames[ends], values)
            for values in self._boxes[ends].T
        )
        away = np.hypot(own[:, 0] - x, own[:, 1] - y) / np.maximum(size, own[:, 2])
        return float(away.min())

    def _state(self, k: int, last: bool) -> _State:
        if (k, last) not in self._states:
            self._states[k, last] = self._look(k, last)
        return self._states[k, last]

    def _look(self, k: int, last: bool) -> _State:
        """One side of a piece of somebody."""
        members = np.array(self._pieces[k].members)
        members = members[-2 * _LOOKS :] if last else members[: 2 * _LOOKS]
        sizes = self._boxes[members, 2]
        whole = members[sizes >= _WHOLE * np.median(sizes)]  # half of them at least
        whole = whole[-_LOOKS:] if last else whole[:_LOOKS]
        frames = self._frames[whole].astype(np.float64)
        at = frames[-1] if last else frames[0]
        since = frames - at
        places = self._boxes[whole, :2]
        size = float(np.median(self._boxes[whole, 2]))
        i, j = np.triu_indices(len(whole), 1)
        # Theil-Sen: some of the looks may be at half a face all the same
        slopes = (places[j] - places[i]) / (since[j] - since[i])[:, None]
        velocity = np.median(slopes, axis=0)
        spread = _BOX * size / float(np.sqrt(((since - since.mean()) ** 2).sum()))
        place = np.median(places - velocity * since[:, None], axis=0)
        return _State(int(at), place, velocity, size, spread)


def _apart(edges: _Edges) -> list[_Edges]:
    """Links by those that have an end or a beginning in common, by way of others too."""
    above: dict[int, int] = {}

    def of(number: int) -> int:
        while (higher := above.setdefault(number, number)) != number:
            above[number] = number = above[higher]
        return number

    for e, s in edges:
        a, b = sorted((of(2 * e), of(2 * s + 1)))
        above[b] = a
    together: dict[int, _Edges] = defaultdict(dict)
    for (e, s), cost in edges.items():
        together[of(2 * e)][e, s] = cost
    return [*together.values()]


def _cost(before: _State, after: _State) -> float:
    """Of two sides of a gap being one face: as sums of squared standard deviations are."""
    size = float(np.sqrt(before.size * after.size))
    gap = after.frame - before.frame
    way = (after.place - before.place) / size
    velocities = before.velocity / size, after.velocity / size
    spread = (before.spread**2 + after.spread**2) / size**2
    fastest = max(velocities, key=lambda v: float(np.hypot(*v)))
    speed = float(np.hypot(*fastest))
    along = fastest / speed if speed else np.array([1.0, 0.0])
    across = np.array([-along[1], along[0]])
    blur = (gap / 2) ** 2 * spread
    of_way = (_WAY + _WAY_A_FRAME * gap) ** 2 + blur
    of_place = (_PLACE + _PLACE_A_FRAME * gap) ** 2 + blur
    missed = way - gap * (velocities[0] + velocities[1]) / 2
    change = velocities[1] - velocities[0]
    goes_on = (
        float(missed @ along) ** 2 / of_way
        + float(missed @ across) ** 2 / of_place
        + float(change @ change) / (_VELOCITY**2 + spread)
    )
    too_far = max(abs(float(way @ along)) - speed * gap, 0.0)
    changes = _CHANGES + too_far**2 / of_way + float(way @ across) ** 2 / of_place
    larger = float(np.log(after.size / before.size))
    return min(goes_on, changes) + larger**2 / (_SIZE + _SIZE_A_FRAME * gap) ** 2


def _best(costs: _Values) -> tuple[float, list[tuple[int, int]]]:
    """What the cheapest way to link costs, and its pairs (row, column); inf: no link."""
    import lap

    n, m = costs.shape
    # who has no link stands beside somebody who is not there
    square = np.full((n + m, n + m), _FARTHEST)
    square[:n, :m] = np.where(np.isfinite(costs), costs, 1e3 * _FARTHEST)
    square[n:, m:] = 0.0
    _, columns, _ = lap.lapjv(square)
    pairs = [(i, int(j)) for i, j in enumerate(columns[:n]) if j < m and np.isfinite(costs[i, j])]
    return sum(float(costs[pair]) for pair in pairs) + _FARTHEST * (n - len(pairs)), pairs
