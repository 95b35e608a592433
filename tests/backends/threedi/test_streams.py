"""Raw files in an archive, a piece at a time; the landmarks that are taken from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facemake import archives
from facemake.archives import Archive
from facemake.backends.landmarks import Face, Landmarks
from facemake.backends.threedi import Engine, landmarks, rawfiles
from facemake.backends.threedi.offer import Offer
from facemake.backends.threedi.rawfiles import RawFileError
from facemake.backends.threedi.streams import Stream
from facemake.errors import TableError
from facemake.media import Frame
from facemake.status import FrameStatus

FULL, LITE = Engine.FULL, Engine.LITE
N = 1300
"""More than two blocks of rows."""


def text(numbers: np.ndarray) -> bytes:
    return "".join(" ".join(f"{v:.17g}" for v in row) + "\n" for row in numbers).encode()


def numbers(columns: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(columns).normal(0, 100, (n, columns))


@pytest.fixture
def stream(tmp_path: Path) -> Callable[..., Stream]:
    """A stream of one raw file, of these numbers or this text."""

    def make(content: np.ndarray | bytes | None, kind: str = "rects", engine: Engine = FULL):
        files = {}
        if content is not None:
            data = content if isinstance(content, bytes) else text(content)
            files[rawfiles.file_name("v", kind, engine)] = data
        archives.write(tmp_path / "a.zip", files, {})
        return Stream(Archive(tmp_path / "a.zip"), "v", kind, engine)

    return make


@pytest.mark.parametrize("size", [1, 7, 511, 512, 513, 1024, 1299, 1300, 2000])
def test_any_pieces_are_the_whole(stream: Callable[..., Stream], size: int) -> None:
    values = numbers(4)
    taken = stream(values)
    assert taken.there and taken.columns == 4
    found = np.concatenate([taken.take(size) for _ in range(-(-N // size))])
    assert found.dtype == np.float64
    assert np.array_equal(found[:N], values) and np.isnan(found[N:]).all()
    assert taken.take(3).shape == (3, 4) and np.isnan(taken.take(3)).all()


def test_pieces_of_several_sizes(stream: Callable[..., Stream]) -> None:
    values = numbers(4)
    taken = stream(values)
    sizes = [0, 1, 600, 0, 5, 500, 300]
    found = [taken.take(size) for size in sizes]
    assert [len(piece) for piece in found] == sizes
    whole = np.concatenate(found)
    assert np.array_equal(whole[:N], values) and np.isnan(whole[N:]).all()


def test_all_that_is_left(stream: Callable[..., Stream]) -> None:
    values = numbers(4)
    assert np.array_equal(stream(values).all(), values)
    for first in (1, 512, 700, N):
        taken = stream(values)
        taken.take(first)
        assert np.array_equal(taken.all(), values[first:])
        assert taken.all().shape == (0, 4) and np.isnan(taken.take(2)).all()


def test_a_file_that_is_not_there(stream: Callable[..., Stream]) -> None:
    taken = stream(None)
    assert not taken.there
    assert np.isnan(taken.take(5)).all() and taken.take(5).shape == (5, 4)
    assert taken.all().shape == (0, 4)
    unknown = stream(None, "illumination")
    assert unknown.take(5).shape == (5, 0)


def test_an_empty_file(stream: Callable[..., Stream]) -> None:
    taken = stream(b"")
    assert taken.there and np.isnan(taken.take(2)).all()


def test_columns_of_the_engine(stream: Callable[..., Stream]) -> None:
    assert stream(numbers(9, 3), "pose").take(3).shape == (3, 9)
    assert stream(numbers(6, 3), "pose_smooth", LITE).take(3).shape == (3, 6)
    # any number, of the file's first row
    taken = stream(numbers(32, 3), "expression_localized")
    assert taken.columns == 32 and taken.take(5).shape == (5, 32)


def test_coefficients_in_a_row(stream: Callable[..., Stream]) -> None:
    values = numbers(199, 1)
    assert np.array_equal(stream(values, "shape_coeff").all(), values.T)
    assert np.array_equal(stream(values.T, "shape_coeff").all(), values.T)


def test_a_row_that_is_damaged_is_named(stream: Callable[..., Stream], tmp_path: Path) -> None:
    lines = text(numbers(4)).splitlines(keepends=True)
    lines[700] = b"1 2 3\n"
    taken = stream(b"".join(lines))
    assert taken.take(512).shape == (512, 4)
    with pytest.raises(RawFileError, match=r"v_rects\.3DI in .*a\.zip, row 701: has 3 numbers"):
        taken.take(512)
    with pytest.raises(RawFileError, match=r"row 1: .* are not numbers"):
        stream("1 2 ü 4\n".encode())


def test_two_streams_of_one_archive(tmp_path: Path) -> None:
    a, b = numbers(4), numbers(102)
    files = {"v_rects.3DI": text(a), "v_landmarks.3DI": text(b), "w_rects.3DI": text(a + 1)}
    archives.write(tmp_path / "a.zip", files, {})
    with Archive(tmp_path / "a.zip") as archive:
        first, second = (Stream(archive, "v", kind, FULL) for kind in ("rects", "landmarks"))
        third = Stream(archive, "w", "rects", FULL)
        for at in range(0, N, 100):
            assert np.array_equal(first.take(100), a[at : at + 100])
            assert np.array_equal(second.take(100), b[at : at + 100])
            assert np.array_equal(third.take(100), a[at : at + 100] + 1)


def test_damage_in_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    archives.write(path, {"v_rects.3DI": text(numbers(4))}, {}, stored=True)
    data = bytearray(path.read_bytes())
    at = data.rindex(b"\n", 0, len(data) // 2)
    data[at + 2] = ord("7") if data[at + 2] != ord("7") else ord("8")  # still a number
    path.write_bytes(data)
    with Archive(path) as archive, pytest.raises(TableError, match=r"v_rects\.3DI in .*a\.zip"):
        Stream(archive, "v", "rects", FULL).all()


# --- landmarks -----------------------------------------------------------------------------------


def frame(index: int) -> Frame:
    return Frame(index, lambda: np.zeros((2, 2, 3), np.uint8), width=2, height=2)


BOX: Any = (np.zeros(4, np.float32), np.zeros(10, np.float32))


def found_landmarks(tmp_path: Path, values: np.ndarray | None) -> landmarks.FoundLandmarks:
    offer = Offer(False, N, 0, 320, 240)
    archives.write(tmp_path / "videos.zip", {"v.json": offer.to_json()}, {})
    files = {} if values is None else {"v_landmarks.3DI": text(values)}
    word = {"recipe": {"backend": "3di"}}
    archives.write(tmp_path / "raw.zip", files, word)
    return landmarks.create(tmp_path / "videos.zip", tmp_path / "raw.zip")


def test_landmarks_of_each_frame(tmp_path: Path) -> None:
    values = numbers(102)
    values[[0, 600]] = 0
    source = found_landmarks(tmp_path, values)
    assert source.scheme == "ibug51"
    find = source.sample({"sample": "v", "rotation": 0}, {"fov": 30.0})
    for index in (0, 1, 511, 512, 600, 601, 1299):  # frames without a box are not asked for
        (found,) = find([Face(frame(index), *BOX)])
        if index in (0, 600):
            assert found is FrameStatus.LOW_CONFIDENCE
            continue
        assert isinstance(found, Landmarks) and found.depth is None and found.confidence is None
        assert found.points.dtype == np.float32
        assert np.array_equal(found.points.ravel(), values[index].astype(np.float32))
    assert find([Face(frame(N + 5), *BOX)]) == [FrameStatus.LOW_CONFIDENCE]
    source.close()


def test_landmarks_of_a_sample_that_has_none(tmp_path: Path) -> None:
    source = found_landmarks(tmp_path, None)
    find = source.sample({"sample": "v", "rotation": 0}, {"fov": 30.0})
    for index in (0, 5000):  # the program failed: that is not a face that nobody is sure of
        assert find([Face(frame(index), *BOX)]) == [FrameStatus.NOT_CONVERGED]
    source.close()


def test_pieces_that_are_at_hand(stream: Callable[..., Stream]) -> None:
    values = numbers(4)
    found = stream(values)
    first = found.take(5)
    pieces = []
    while len(piece := found.some()):
        pieces.append(piece)
    assert np.array_equal(np.concatenate([first, *pieces]), values)
    assert not len(stream(None).some())
