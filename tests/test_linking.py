"""Tracks of people who are lost near each other: walks whose truth is known, with half faces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from facemake import linking
from facemake.detections import DetectionList, Detections, Track
from facemake.linking import relinked
from facemake.tracking import TrackRules, tracks_of_video

RULES = TrackRules(max_gap=25, min_frames=5, main="prominent", min_score=0.3, start_score=0.72)
MIDDLE, FRAMES = 320, 80
SIDE = 80.0


def seen(
    ways: list[np.ndarray], pillar: float, heights: tuple[float, ...], sides: tuple[float, ...]
) -> DetectionList:
    """Detections of faces whose middles move along x behind a pillar of so many pixels.

    A face of which less than 0.85 is to be seen gets a box of that part, one of which less than 0.4
    is, none: as BlazeFace's are.
    """
    left, right = MIDDLE - pillar / 2, MIDDLE + pillar / 2
    found = DetectionList()
    for frame in range(FRAMES):
        boxes = []
        for way, height, side in zip(ways, heights, sides, strict=True):
            start, end = way[frame] - side / 2, way[frame] + side / 2
            on_left, on_right = min(end, left) - start, end - max(start, right)
            part = max(on_left, on_right)
            if part > 0.85 * side:
                boxes.append((start, height - side / 2, side, side))
            elif part > 0.4 * side:
                at = start if on_left > on_right else end - part
                boxes.append((at, height - part / 2, part, part))
        found.append(
            frame,
            Detections(
                np.array(boxes, np.float32).reshape(-1, 4),
                np.full(len(boxes), 0.9, np.float32),
                np.full((len(boxes), 5, 2), np.nan, np.float32),
            ),
        )
    return found


def halves_of(found: DetectionList) -> tuple[np.ndarray, np.ndarray]:
    return found.frames < FRAMES / 2, found.frames >= FRAMES / 2


def sides_of_pillar(found: DetectionList, tracks: list[Track]) -> list[str]:
    """On which side of the pillar each track begins and ends."""
    middles = found.values[:, 0] + found.values[:, 2] / 2
    return sorted(
        "".join("L" if middles[track.detections[k]] < MIDDLE else "R" for k in (0, -1))
        for track in tracks
    )


def walked(
    speed: float,
    late: int,
    pillar: float,
    apart: float = 0.0,
    sides: tuple[float, ...] = (SIDE, SIDE),
    turn_back: bool = False,
) -> list[str]:
    """Two walk towards each other, one of them `late` frames late."""
    time = np.arange(FRAMES) - FRAMES / 2
    along = [-speed * np.abs(time), -speed * np.abs(time - late)]
    if not turn_back:
        along = [speed * time, speed * (time - late)]
    ways = [MIDDLE + along[0], MIDDLE - along[1]]
    found = seen(ways, pillar, (150 - apart / 2, 150 + apart / 2), sides)
    return sides_of_pillar(found, tracks_of_video(found, RULES, FRAMES, 640, 360))


@pytest.mark.parametrize("pillar", [60, 120])
@pytest.mark.parametrize("late", [-8, 0, 8])
@pytest.mark.parametrize("speed", [5, 8])
def test_two_who_pass_behind_something_keep_their_identities(speed: int, late: int, pillar: int):
    """Whoever comes out first does so near where the other one was last seen."""
    assert walked(speed, late, pillar) == ["LR", "RL"]


def test_one_who_comes_out_at_once_where_the_other_one_has_gone_is_no_part_of_their_track():
    # no frame between them lacks a face
    assert walked(12, -8, 120) == ["LR", "RL"]


@pytest.mark.parametrize(
    ("apart", "sides"), [(30.0, (SIDE, SIDE)), (0.0, (SIDE, 1.35 * SIDE))], ids=["height", "size"]
)
def test_two_who_turn_back_are_told_by_height_and_by_size(apart: float, sides: tuple[float, float]):
    assert walked(12, 0, 60, apart, sides, turn_back=True) == ["LL", "RR"]


def test_who_turns_round_in_sight_of_another_one_stays_in_their_track():
    time = np.arange(FRAMES) - FRAMES / 2
    ways = [MIDDLE - 60 - 12 * np.abs(time), MIDDLE + 60 + 12 * np.abs(time)]
    found = seen(ways, 0, (150, 150), (SIDE, SIDE))
    tracks = tracks_of_video(found, RULES, FRAMES, 640, 360)
    assert sides_of_pillar(found, tracks) == ["LL", "RR"]


def test_where_boxes_do_not_tell_who_is_who_tracks_end():
    # as much larger as speaks against walking on, and no more
    sides = (SIDE, 1.25 * SIDE)
    assert walked(12, 0, 60, 0.0, sides, turn_back=True) == ["LL", "LL", "RR", "RR"]


def test_a_third_one_far_away_has_no_part_in_it():
    time = np.arange(FRAMES) - FRAMES / 2
    ways = [MIDDLE + 8 * time, MIDDLE - 8 * time, np.full(FRAMES, 560.0)]
    found = seen(ways, 60, (150, 150, 320), (SIDE,) * 3)
    tracks = tracks_of_video(found, RULES, FRAMES, 640, 360)
    assert sides_of_pillar(found, tracks) == ["LR", "RL", "RR"]


def test_one_who_leaves_and_one_who_comes_in_there_are_two():
    time = np.arange(FRAMES)
    away = np.full(FRAMES, -1e4)  # where nobody is seen
    ways = [
        np.where(time < 36, 320 - 8.0 * time, away),
        np.where(time > 50, time * 8.0 - 370, away),
    ]
    found = seen([way + MIDDLE for way in ways], 0, (150, 150), (SIDE, SIDE))
    inside = found.values[:, 0] > -1000
    kept = DetectionList.of(found.frames[inside], found.faces[inside], found.values[inside])
    tracks = tracks_of_video(kept, RULES, FRAMES, 640, 360)
    assert sorted(len(track.detections) for track in tracks) == [29, 36]


def test_nothing_is_lost_or_linked_across_a_cut_or_a_long_gap():
    time = np.arange(FRAMES) - FRAMES / 2
    found = seen([MIDDLE + 5 * time, MIDDLE - 5 * time], 60, (150, 150), (SIDE, SIDE))
    middles = found.values[:, 0] + found.values[:, 2] / 2
    on_left = middles < MIDDLE
    parts = [
        np.flatnonzero(side & half) for side in (on_left, ~on_left) for half in halves_of(found)
    ]
    longest = max(int(found.frames[b[0]] - found.frames[a[-1]]) - 1 for a, b in pairwise(parts))
    apart = ["LL", "LL", "RR", "RR"]
    for cuts, max_gap, expected in (
        ((), longest, ["LR", "RL"]),
        ((40,), longest, apart),
        ((), 4, apart),
    ):
        tracks = relinked(found, [Track(part.tolist()) for part in parts], cuts, max_gap)
        assert sides_of_pillar(found, tracks) == expected, (cuts, max_gap)
        members = [i for track in tracks for i in track.detections]
        assert sorted(members) == list(range(len(found)))
        for track in tracks:
            assert (np.diff(found.frames[track.detections]) > 0).all()


@pytest.mark.parametrize(
    ("missed", "noise", "together"),
    [(0.05, 2, 24), (0.1, 2, 24), (0.1, 2, 4), (0.1, 6, 1), (0.2, 2, 24), (0.4, 2, 24)],
)
def test_people_beside_each_other_who_are_found_now_and_then_stay_in_their_tracks(
    missed: float, noise: float, together: int, monkeypatch: pytest.MonkeyPatch
):
    """However many pieces may be one: of more than `together`, what is plain is not asked, and
    what is not, as with much noise, stays as it was.
    """
    monkeypatch.setattr(linking, "_TOGETHER", together)
    rng = np.random.default_rng(0)
    frames = np.arange(1200)
    rows = []
    for number, x in enumerate((200, 300, 400)):
        there = frames[rng.random(len(frames)) > missed]
        boxes = np.zeros((len(there), 17))
        boxes[:, 0], boxes[:, 1] = there, number
        boxes[:, 2] = x + 20 * np.sin(there / 50 + number) + rng.normal(0, noise, len(there))
        boxes[:, 3] = 100 + rng.normal(0, noise, len(there))
        boxes[:, 4:6] = SIDE + rng.normal(0, 2, (len(there), 1))
        rows.append(boxes)
    every = np.concatenate(rows)
    every = every[np.lexsort((every[:, 1], every[:, 0]))]
    found = DetectionList.of(every[:, 0], every[:, 1], every[:, 2:])
    tracks = [Track(np.flatnonzero(every[:, 1] == number).tolist()) for number in range(3)]
    again = relinked(found, tracks, (), RULES.max_gap)
    members = sorted(track.detections for track in again)
    assert members == sorted(track.detections for track in tracks)
