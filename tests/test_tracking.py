"""Tracks from detections whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from facemake.detections import DetectionList, Detections
from facemake.tracking import TrackRules, tracks_of_pictures, tracks_of_video

RULES = TrackRules(max_gap=10, min_frames=5, main="prominent", min_score=0.3, start_score=0.75)


def detections(*faces: tuple[float, float, float, float]) -> Detections:
    """Square boxes from (centre x, centre y, side, score), by falling score."""
    faces = tuple(sorted(faces, key=lambda f: -f[3]))
    bbox = np.array([(x - s / 2, y - s / 2, s, s) for x, y, s, _ in faces], np.float32)
    return Detections(
        bbox.reshape(-1, 4),
        np.array([f[3] for f in faces], np.float32),
        np.full((len(faces), 5, 2), np.nan, np.float32),
    )


def listed(frames: list[Detections]) -> DetectionList:
    found = DetectionList()
    for index, faces in enumerate(frames):
        found.append(index, faces)
    return found


def video(frames: list[Detections], rules: TrackRules = RULES):
    found = listed(frames)
    tracks = tracks_of_video(found, rules, len(frames), 640, 360)
    return found, tracks


def centres(found: DetectionList, track) -> np.ndarray:
    rows = found.values[track.detections]
    return rows[:, 0] + rows[:, 2] / 2


def test_a_track_goes_on_unsure_around_a_sure_detection():
    # sure once in the middle: the frames before and after belong to the same face
    scores = [0.35, 0.4, 0.5, 0.8, 0.5, 0.4, 0.35]
    found, tracks = video([detections((100, 100, 60, s)) for s in scores])
    assert [found.frames[t.detections].tolist() for t in tracks] == [list(range(7))]


def test_a_track_that_was_never_sure_is_no_track():
    # BlazeFace gives false faces up to .69
    _, tracks = video([detections((100, 100, 60, 0.69)) for _ in range(30)])
    assert tracks == []


def test_an_unsure_run_after_a_gap_is_not_taken_for_the_face():
    frames = [detections((100, 100, 60, 0.9))] * 10 + [detections()] * 3
    frames += [detections((110, 105, 55, 0.5))] * 10
    found, tracks = video(frames)
    assert found.frames[tracks[0].detections].tolist() == list(range(10))


@pytest.mark.parametrize(("gap", "expected"), [(10, 1), (11, 2)])
def test_a_gap_of_max_gap_frames_is_bridged_and_no_longer_one(gap: int, expected: int):
    seen = [detections((100, 100, 60, 0.9))] * 8
    _, tracks = video(seen + [detections()] * gap + seen)
    assert len(tracks) == expected


def test_an_unsure_run_does_not_bridge_what_is_longer_than_max_gap():
    sure, unsure, nobody = (
        [detections((100, 100, 60, 0.9))],
        [detections((100, 100, 60, 0.5))],
        [detections()],
    )
    # frames 0-7 and 28-35 are sure, a step of 21; 17-18 is unsure and within max_gap of both
    frames = sure * 8 + nobody * 9 + unsure * 2 + nobody * 9 + sure * 8
    found, tracks = video(frames)
    assert [found.frames[t.detections].tolist() for t in tracks] == [
        list(range(8)),
        list(range(28, 36)),
    ]
    # ten frames apart, the sure runs need no bridge
    frames = sure * 8 + nobody * 4 + unsure * 2 + nobody * 4 + sure * 8
    found, tracks = video(frames)
    assert [found.frames[t.detections].tolist() for t in tracks] == [
        [*range(8), *range(18, 26)],
    ]


def test_short_tracks_are_dropped_but_not_in_a_sample_that_is_itself_short():
    face = detections((100, 100, 60, 0.9))
    nobody = detections()
    assert video([face] * 4 + [nobody] * 20)[1] == []
    assert len(video([face])[1]) == 1


def test_two_people_who_cross_keep_their_identities():
    # equal sizes, opposite ways; while they overlap only one of them is detected
    frames = []
    for t in range(60):
        a, b = 100 + 6 * t, 454 - 6 * t
        if abs(a - b) < 40:
            frames.append(detections((a, 150, 60, 0.9)))
        else:
            frames.append(detections((a, 150, 60, 0.9), (b, 158, 60, 0.88)))
    found, tracks = video(frames)
    assert len(tracks) == 2
    for track in tracks:
        steps = np.diff(centres(found, track)) / np.diff(found.frames[track.detections])
        # a swap would turn a track round
        assert np.all(np.sign(steps) == np.sign(steps[0]))


HIDDEN = [
    [(130, 171, 78, 0.9), (501, 203, 83, 0.85)],
    [(490, 202, 84, 0.84), (145, 173, 76, 0.81)],
    [(479, 202, 85, 0.86), (155, 174, 80, 0.6)],
    [(466, 203, 86, 0.89), (170, 171, 71, 0.57)],
    [(456, 204, 84, 0.88), (180, 173, 81, 0.85)],
    [(445, 206, 84, 0.91), (193, 173, 85, 0.9)],
    [(433, 202, 90, 0.81), (206, 174, 90, 0.78)],
    [(420, 203, 91, 0.88), (217, 175, 92, 0.71)],
    [(409, 204, 90, 0.86), (228, 175, 83, 0.72)],
    [(394, 205, 84, 0.84), (241, 175, 87, 0.76)],
    [(383, 204, 84, 0.88), (250, 175, 80, 0.77)],
    [(372, 203, 88, 0.87), (266, 176, 78, 0.58)],
    [(360, 201, 84, 0.85), (279, 177, 74, 0.81)],
    [(289, 177, 74, 0.81), (354, 210, 76, 0.66)],
    [(303, 172, 69, 0.85)],
    [(314, 173, 71, 0.84)],
    [(325, 176, 83, 0.8)],
    [(313, 191, 96, 0.7)],
    [(287, 200, 100, 0.9), (350, 178, 85, 0.63)],
    [(275, 201, 89, 0.91), (361, 175, 83, 0.83)],
    [(263, 201, 92, 0.91), (371, 177, 87, 0.85)],
    [(251, 202, 88, 0.87), (383, 177, 81, 0.83)],
    [(240, 203, 86, 0.87), (396, 177, 84, 0.75)],
    [(229, 204, 89, 0.88), (408, 175, 80, 0.72)],
    [(216, 202, 89, 0.79), (420, 176, 85, 0.69)],
    [(204, 203, 87, 0.84), (432, 175, 84, 0.78)],
    [(194, 199, 92, 0.9), (444, 177, 79, 0.81)],
    [(182, 201, 92, 0.92), (454, 176, 79, 0.84)],
    [(170, 199, 92, 0.9), (465, 175, 75, 0.83)],
]
"""BlazeFace on two real faces that cross: the one behind is drawn smaller, then not at all."""


def test_a_face_that_was_half_hidden_before_it_was_hidden_keeps_its_identity():
    found, tracks = video([detections(*faces) for faces in HIDDEN])
    assert len(tracks) == 2
    for track in tracks:
        x = centres(found, track)
        assert np.sign(x[-1] - x[0]) == np.sign(x[5] - x[0])  # on the same way as in the beginning
        assert len(track.detections) > 20


def test_a_track_ends_at_a_cut_and_two_who_swap_places_there_are_no_track():
    left, right = (100, 150, 60, 0.9), (140, 150, 62, 0.88)
    frames = [detections(left, right)] * 20
    found = listed(frames)
    seen = [
        sorted(
            found.frames[t.detections].tolist()
            for t in tracks_of_video(found, RULES, 20, 640, 360, cuts)
        )
        for cuts in ([], [7], [7, 15], [19])
    ]
    whole = list(range(20))
    assert seen[0] == [whole] * 2
    assert seen[1] == [whole[:7]] * 2 + [whole[7:]] * 2
    assert seen[2] == [whole[:7]] * 2 + [whole[7:15]] * 2 + [whole[15:]] * 2
    assert seen[3] == [whole[:19]] * 2  # what is left is shorter than min_frames


def test_a_cut_within_a_gap_ends_the_track():
    seen = [detections((100, 100, 60, 0.9))] * 8
    found = listed(seen + [detections()] * 4 + seen)
    for cuts, expected in (([], 1), ([10], 2), ([12], 2), ([8], 2), ([20], 1)):
        assert len(tracks_of_video(found, RULES, 20, 640, 360, cuts)) == expected, cuts


def test_a_second_person_far_away_does_not_join_the_track():
    frames = [detections((100, 100, 60, 0.9))] * 10 + [detections((500, 300, 60, 0.9))] * 10
    found, tracks = video(frames)
    assert len(tracks) == 2
    assert {tuple(set(centres(found, t).tolist())) for t in tracks} == {(100.0,), (500.0,)}


@pytest.mark.parametrize(
    ("rule", "main_x"),
    [
        ("prominent", 500),  # 20 frames of 100 px against 40 of 60 px
        ("longest", 100),
        ("largest", 500),
        ("central", 330),
    ],
)
def test_the_main_face_is_chosen_by_the_rule(rule: str, main_x: int):
    frames = []
    for t in range(40):
        faces = [(100.0, 100.0, 60.0, 0.9)]
        if t < 20:
            faces.append((500.0, 250.0, 100.0, 0.9))
        if t < 10:
            faces.append((330.0, 180.0, 40.0, 0.9))
        frames.append(detections(*faces))
    rules = TrackRules(max_gap=10, min_frames=5, main=rule, min_score=0.3, start_score=0.75)
    found, tracks = video(frames, rules)
    assert centres(found, tracks[0])[0] == main_x


def test_pictures_stand_alone():
    found = listed(
        [
            detections((100, 100, 60, 0.9), (300, 100, 80, 0.8)),
            detections(),
            detections((300, 100, 50, 0.9), (100, 100, 40, 0.7)),  # the second one is not sure
        ]
    )
    sizes = np.full(3, 640, np.int32), np.full(3, 360, np.int32)
    tracks = tracks_of_pictures(found, RULES, *sizes)
    got = [
        [(int(found.frames[i]), float(found.values[i, 2])) for i in track.detections]
        for track in tracks
    ]
    assert got == [[(0, 80.0), (2, 50.0)], [(0, 60.0)]]
