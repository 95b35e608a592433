"""People from tracks whose truth is known: who is who by made-up looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from facemake.detections import DetectionList, Detections, Track
from facemake.identities import SAME_PERSON, SAME_TRACK, people_of, pieces_of
from facemake.tracking import TrackRules, tracks_of_video

RULES = TrackRules(max_gap=10, min_frames=1, main="prominent", min_score=0.3, start_score=0.75)
Face = tuple[str, float, float]
"""Who, and where the middle is; 60 px large."""


def vector(name: str, shift: float = 0.0) -> np.ndarray:
    """(128,) of unit length: the person's own, `shift` away from it."""
    rng = np.random.default_rng(sum(map(ord, name)))
    own, other = rng.normal(size=(2, 128))
    own /= np.linalg.norm(own)
    other -= (other @ own) * own
    other /= np.linalg.norm(other)
    angle = 2 * np.arcsin(shift / 2)
    return np.cos(angle) * own + np.sin(angle) * other


class Video:
    """Detections of people, their tracks by boxes, and what became of them."""

    def __init__(self, frames: Sequence[Sequence[Face]], cuts: Sequence[int] = ()) -> None:
        self.found, self.who = DetectionList(), list[str]()
        for index, faces in enumerate(frames):
            boxes = [(x - 30, y - 30, 60, 60) for _, x, y in faces]
            self.found.append(
                index,
                Detections(
                    np.array(boxes, np.float32).reshape(-1, 4),
                    np.full(len(faces), 0.9, np.float32),
                    np.full((len(faces), 5, 2), np.nan, np.float32),
                ),
            )
            self.who += [name for name, _, _ in faces]
        self.cuts = cuts
        self.by_boxes = tracks_of_video(self.found, RULES, len(frames), 640, 360, cuts)
        self.pieces = pieces_of(self.found, self.by_boxes, cuts)

    def people(self, looks: Callable[[str], np.ndarray] = vector, blind: str = "") -> list[str]:
        """Who is in each track after joining, in the order of time; `blind` are never clear."""
        vectors = []
        for piece in self.pieces:
            chosen = [self.who[i] for i in piece.clear if self.who[i] not in blind][:5]
            vectors.append(np.array([looks(name) for name in chosen]).reshape(-1, 128))
        tracks, means = people_of(self.found, self.pieces, vectors)
        assert sorted(i for t in tracks for i in t.detections) == list(range(len(self.found)))
        for track in tracks:
            frames = self.found.frames[track.detections]
            assert (np.diff(frames) > 0).all()
        assert len(means) == len(tracks)
        return sorted(self.seen(track) for track in tracks)

    def seen(self, track: Track) -> str:
        return "".join(dict.fromkeys(self.who[i] for i in track.detections))


def test_one_person_in_one_place_is_one_piece():
    video = Video([[("a", 100, 100)]] * 40)
    (piece,) = video.pieces
    assert piece.detections == piece.clear == list(range(40))
    assert piece.follows == -1
    assert video.people() == ["a"]


def test_a_gap_longer_than_max_gap_is_closed_by_looks():
    there, nobody = [[("a", 100, 100)]] * 10, [[]] * 60
    video = Video([*there, *nobody, *[[("a", 500, 250)]] * 10])
    assert len(video.by_boxes) == 2
    assert video.people() == ["a"]
    other = Video([*there, *nobody, *[[("b", 500, 250)]] * 10])
    assert other.people() == ["a", "b"]


def test_somebody_else_who_takes_the_place_in_a_gap_is_told_apart():
    video = Video([*[[("a", 100, 100)]] * 10, *[[]] * 8, *[[("b", 104, 100)]] * 10])
    assert len(video.by_boxes) == 1  # by boxes it is one face
    assert video.people() == ["a", "b"]


def test_two_who_swap_places_at_a_cut_are_themselves_again():
    first = [[("a", 100, 150), ("b", 400, 150)]] * 12
    swapped = [[("a", 400, 150), ("b", 100, 150)]] * 12
    through = Video(first + swapped)
    assert sorted(map(through.seen, through.by_boxes)) == ["ab", "ba"]
    video = Video(first + swapped + first, cuts=[12, 24])
    assert len(video.by_boxes) == 6
    assert video.people() == ["a", "b"]


def crossing(turn_back: bool = False, behind_unseen: bool = True) -> list[list[Face]]:
    """Two walk towards each other; where they meet they go on, or turn back."""
    frames: list[list[Face]] = []
    for t in range(61):
        way = 5 * t if not turn_back or t <= 30 else 5 * (60 - t)
        a, b = ("a", 150.0 + way, 150.0), ("b", 450.0 - way, 155.0)
        hidden = behind_unseen and abs(a[1] - b[1]) < 40
        frames.append([a] if hidden else [a, b])
    return frames


def clear_of_each_other(video: Video, track: Track) -> str:
    """Who a track shows before and after they meet."""
    frames = video.found.frames[track.detections].tolist()
    who = [video.who[i] for i in track.detections]
    return "".join(dict.fromkeys(w for f, w in zip(frames, who, strict=True) if abs(f - 30) > 10))


@pytest.mark.parametrize("turn_back", [False, True])
@pytest.mark.parametrize("behind_unseen", [False, True])
def test_two_who_meet_are_themselves_after_it(turn_back: bool, behind_unseen: bool):
    video = Video(crossing(turn_back, behind_unseen))
    by_boxes = sorted(clear_of_each_other(video, track) for track in video.by_boxes)
    # boxes are expected to go on as they went
    assert by_boxes == (["ab", "ba"] if turn_back else ["a", "b"])
    tracks, _ = people_of(video.found, video.pieces, looks_of(video))
    assert sorted(clear_of_each_other(video, track) for track in tracks) == ["a", "b"]


def looks_of(video: Video, looks: Callable[[str], np.ndarray] = vector) -> list[np.ndarray]:
    clear = [[video.who[i] for i in piece.clear] for piece in video.pieces]
    return [np.array([looks(name) for name in names]).reshape(-1, 128) for names in clear]


def test_faces_that_touch_say_nothing_of_who_they_are():
    video = Video(crossing(behind_unseen=False))
    for piece in video.pieces:
        frames = video.found.frames[piece.clear]
        assert len(frames)
        assert (np.abs(300 - 10 * frames) / 60 >= 1).all()  # px apart, in units of their size


def test_two_seen_together_are_two_however_alike():
    def alike(name: str) -> np.ndarray:
        return vector("x", 0.1 if name == "b" else 0.0)

    together = [[("a", 100, 100), ("b", 400, 100)]] * 10
    apart = [[("a", 400, 200)]] * 10
    video = Video([*together, *[[]] * 30, *apart])
    assert video.people(alike) == ["a", "b"]


def test_where_looks_say_nothing_boxes_do():
    video = Video([*[[("a", 100, 100)]] * 10, *[[]] * 8, *[[("a", 104, 100)]] * 10])
    assert len(video.pieces) == 2
    assert video.people(blind="a") == ["a"]
    far = Video([*[[("a", 100, 100)]] * 10, *[[]] * 30, *[[("a", 104, 100)]] * 10])
    assert far.people(blind="a") == ["a", "a"]


@pytest.mark.parametrize(
    ("distance", "gap", "people"),
    [
        (SAME_PERSON - 0.02, 30, 1),
        (SAME_PERSON + 0.02, 30, 2),
        # boxes go on there
        (SAME_TRACK - 0.02, 8, 1),
        (SAME_TRACK + 0.02, 8, 2),
    ],
)
def test_how_far_one_person_may_be_from_itself(distance: float, gap: int, people: int):
    def turned(name: str) -> np.ndarray:
        return vector("a", distance if name == "A" else 0.0)

    video = Video([*[[("a", 100, 100)]] * 10, *[[]] * gap, *[[("A", 104, 100)]] * 10])
    assert len(video.people(turned)) == people


def test_of_two_candidates_the_nearer_one_is_the_person():
    def looks(name: str) -> np.ndarray:
        return vector("a", {"a": 0.0, "n": 0.1, "f": 0.3}[name])

    shots = [[("a", 100, 100)]] * 10, [[("f", 100, 100), ("n", 400, 100)]] * 10
    assert Video(shots[0] + shots[1], cuts=[10]).people(looks) == ["an", "f"]


def test_faces_on_either_side_of_a_cut_do_not_touch():
    video = Video([[("a", 100, 100)]] * 6 + [[("b", 100, 100)]] * 6, cuts=[6])
    assert [piece.clear for piece in video.pieces] == [list(range(6)), list(range(6, 12))]


def test_nobody_is_nobody():
    video = Video([[]] * 5)
    assert video.pieces == []
    assert video.people() == []
