"""Shot cuts: those that are there, at their frame, and none elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemake.cuts import FLASH, N_BYTES, CutFinder, sampled
from facemake.media import open_media
from facemake.samples import Sample

Pixels = np.ndarray
# frames that begin another shot; the one in the moving picture is black
KNOWN = {
    "single_face.mp4": [],
    "WolfgangLanger_Pexels.mp4": [],
    "no_face.mp4": [],
    "face_noface.mov": [72, 73],
}


def cuts(frames: Sequence[Pixels | None]) -> list[int]:
    finder = CutFinder()
    for frame in frames:
        finder.add(None if frame is None else sampled(frame))
    return finder.cuts()


def scene(seed: int, frames: int, speed: float = 2.0, noise: float = 2.0) -> list[Pixels]:
    """A camera that pans over a landscape of its own, with grain."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 235, (9, 60, 3))
    wide = cv2.resize(coarse, (1200, 180), interpolation=cv2.INTER_LINEAR)
    shown = []
    for t in range(frames):
        x = round(speed * t)
        shown.append(wide[:, x : x + 320] + rng.normal(0, noise, (180, 320, 3)))
    return [np.clip(one, 0, 255).astype(np.uint8) for one in shown]


@pytest.fixture(scope="module")
def recordings(shared: Path, bundled: Path) -> dict[str, list[Pixels]]:
    found = {}
    for path in (*(shared / "data" / name for name in KNOWN), bundled / "moving_portrait.mp4"):
        with open_media(Sample("a", path, "a")) as media:
            found[path.name] = [frame.rgb for frame in media]
    return found


def test_real_recordings_have_the_cuts_that_one_sees(recordings):
    assert {name: cuts(frames) for name, frames in recordings.items()} == {
        **KNOWN,
        "moving_portrait.mp4": [],
    }


def test_real_recordings_joined_end_to_end_have_a_cut_where_they_meet(recordings):
    for a, b in permutations(recordings, 2):
        assert cuts(recordings[a][-20:] + recordings[b][:20]) == [20], (a, b)


def test_a_flash_is_no_cut_and_neither_is_light(recordings):
    frames = recordings["single_face.mp4"]
    white = np.full_like(frames[0], 250)
    dim = [(frame * 0.5).astype(np.uint8) for frame in frames]
    for length in range(1, FLASH + 1):
        assert cuts(frames[:30] + [white] * length + frames[30 + length :]) == []
    assert cuts(frames[:30] + dim[30:]) == []
    assert cuts(dim[:30] + frames[30:]) == []


def test_fast_motion_and_frames_that_are_shown_several_times_are_no_cuts():
    assert cuts(scene(1, 20, speed=14)) == []
    slow = scene(2, 12, speed=9)
    assert cuts([frame for frame in slow for _ in range(4)]) == []


def test_a_motion_that_begins_is_no_cut_and_a_cut_amid_motion_is_one():
    still = scene(3, 1) * 20
    assert cuts(still + scene(3, 20, speed=6)) == []
    assert cuts(scene(3, 20, speed=3) + scene(4, 20, speed=3)) == [20]


def test_a_shot_of_a_few_frames_between_two_others_has_two_cuts():
    a, b, c = scene(5, 20), scene(6, 3), scene(7, 20)
    assert cuts(a + b + c) == [20, 23]


def test_a_fade_is_not_found():
    a, b = scene(8, 20), scene(9, 20)
    fade = [
        (a[-1] * (1 - t) + b[0] * t).astype(np.uint8) for t in np.linspace(0, 1, 14)[1:-1].tolist()
    ]
    assert cuts(a + fade + b) == []


def test_frames_that_cannot_be_decoded_are_stepped_over():
    a, b = scene(10, 20), scene(11, 20)
    assert cuts([*a, None, None, *b]) == [22]
    assert cuts([None, *a, None, *a[::-1]]) == []
    assert cuts([*a[:10], None, *b[:1], None, *b[1:10]]) == [11]


def test_what_is_too_short_to_tell_has_none():
    assert cuts([]) == cuts([None]) == cuts(scene(12, 1)) == []
    assert cuts(scene(12, 1) + scene(13, 1)) == []
    assert cuts(scene(12, 2) + scene(13, 2)) == [2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 12000), (9, 16), (18, 32), (19, 33), (2160, 3840)])
def test_frames_of_any_size_have_a_signature(shape: tuple[int, int]):
    finder = CutFinder(keep=True)
    finder.add(sampled(np.full((*shape, 3), 77, np.uint8)))
    finder.flush()
    assert finder.signatures == bytes([77]) * N_BYTES


def test_a_signature_is_of_the_whole_frame():
    frame = np.zeros((180, 320, 3), np.uint8)
    frame[-20:, :] += 100
    frame[:, -20:] += 100
    finder = CutFinder(keep=True)
    finder.add(sampled(frame))
    finder.flush()
    small = np.frombuffer(finder.signatures, np.uint8).reshape(9, 16, 3)
    assert (small[:-1, :-1] == 0).all()
    assert (small[-1, :-1] == 100).all()
    assert (small[:-1, -1] == 100).all()
    assert (small[-1, -1] == 200).all()


@pytest.mark.parametrize("parts", [[1], [5, 63, 64, 65, 66], [127, 128], [10, 11, 12, 13, 14, 15]])
def test_a_recording_in_parts_gives_what_the_whole_gives(parts: list[int]):
    shown = [frame for seed in range(20, 32) for frame in scene(seed, 11 + seed % 3)]
    assert len(shown) > 140
    joined = CutFinder()
    for first, last in pairwise([0, *parts, len(shown)]):
        part = CutFinder(keep=True)
        for frame in shown[first:last]:
            part.add(sampled(frame))
        part.flush()
        joined.add_signatures(bytes(part.signatures))
    assert joined.cuts() == cuts(shown)
    assert len(joined.cuts()) == 11
