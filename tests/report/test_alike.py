"""Copies of one recording: by bytes, by parts of a file, by what small frames show."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facemake.report import alike
from facemake.report.alike import SIDE, Look, find, packed, unpacked

RNG = np.random.default_rng(5)
SCENE = np.kron(40 + 150 * RNG.random((6, 8)), np.ones((8, 8)))


def frames(seed: int, count: int = 12) -> list[np.ndarray]:
    """A patch that walks before one scene, by a path of its own."""
    rng = np.random.default_rng(seed)
    at = np.add(np.cumsum(rng.normal(scale=3, size=(count, 2)), axis=0).astype(int), [16, 24])
    result = []
    for y, x in np.clip(at, 0, [32, 44]).tolist():
        picture = SCENE.copy()
        picture[y : y + 16, x : x + 20] = 220
        result.append(picture.astype(np.uint8))
    return result


def jpegs(pictures: list[np.ndarray], quality: int = 90, size: tuple[int, int] = (64, 48)):
    for picture in pictures:
        out = io.BytesIO()
        Image.fromarray(picture).resize(size).save(out, "JPEG", quality=quality)
        yield out.getvalue()


def look(sample: str, small: Iterator[bytes], **more: Any) -> Look:
    about = {"kind": "video", "sha256": sample, "start": None, "end": None, "length": 8.0, **more}
    return Look(sample, small=unpacked(packed(small)), **about)


def test_small_frames_come_back_as_they_were_packed():
    small = unpacked(packed(jpegs(frames(1, 3))))
    assert small.shape == (3, SIDE * SIDE)
    cells = frames(1, 3)[0].reshape(SIDE, 3, SIDE, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(small[0].reshape(SIDE, SIDE), cells, atol=4)
    assert unpacked("").shape == (0, SIDE * SIDE)


def test_a_copy_is_found_and_another_take_in_the_same_room_is_not():
    takes = [look(f"take {i}", jpegs(frames(i))) for i in range(6)]
    copy = look("copy", jpegs(frames(2), quality=30, size=(32, 24)), length=8.05)
    found = find([*takes, copy])
    assert [one.samples for one in found] == [("copy", "take 2")]
    assert found[0].how == "looks"
    assert alike.SAME_MOVEMENT < found[0].likeness < 1


def test_what_lasts_longer_is_not_compared():
    one = look("one", jpegs(frames(1)))
    assert find([one, look("other", jpegs(frames(1), 40), length=8.3)]) == []
    assert len(find([one, look("other", jpegs(frames(1), 40), length=8.1)])) == 1


def test_nothing_is_said_of_recordings_in_which_nothing_moves():
    still = [SCENE.astype(np.uint8)] * 12
    assert find([look("a", jpegs(still)), look("b", jpegs(still, 50))]) == []


def test_a_picture_is_compared_as_it_is():
    (face,), (other,) = frames(1, 1), frames(9, 1)
    pictures = {"a": face, "b": face, "c": other, "d": 255 - face}
    looks = [
        look(name, jpegs([picture], 90 - 10 * i), kind="image", length=1.0)
        for i, (name, picture) in enumerate(pictures.items())
    ]
    assert [one.samples for one in find(looks)] == [("a", "b")]


def test_one_file_is_the_same_bytes_or_parts_that_overlap():
    def part(name: str, start: float | None, end: float | None) -> Look:
        return look(name, iter(()), sha256="f", start=start, end=end)

    found = find([part("x", 0, 4), part("y", 0, 4), part("z", 4, 8), part("rest", 8, None)])
    assert [(one.how, one.samples) for one in found] == [("bytes", ("x", "y"))]
    found = find([part("all", None, None), part("z", 4, 8), part("far", 3, 5)])
    assert [(one.how, one.samples) for one in found] == [("overlap", ("all", "far", "z"))]
    # samples whose bytes nobody knows are no copies of each other
    assert find([look("p", iter(()), sha256=""), look("q", iter(()), sha256="")]) == []


@pytest.mark.parametrize("rows", [3, 512])
def test_the_pieces_of_a_large_comparison_make_no_difference(
    rows: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(alike, "_ROWS", rows)
    monkeypatch.setattr(alike, "_FEW", rows)
    looks = [look(f"{i:02}", jpegs(frames(i % 5), 90 - i), length=8 + 0.01 * i) for i in range(11)]
    groups = [one.samples for one in find(looks)]
    assert groups == [("00", "05", "10"), ("01", "06"), ("02", "07"), ("03", "08"), ("04", "09")]
