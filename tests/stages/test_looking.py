"""Frames before a detector in batches: the same, whatever stands beside them in a batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemake.backends.detect import Picture
from facemake.detections import Detections
from facemake.samples import Sample
from facemake.stages.looking import looked_at
from makemedia import write_video


class Means:
    """A detector that finds one face a picture, whose score is the picture's mean."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.sizes: list[int] = []

    def __call__(self, pictures: Sequence[Picture]) -> list[Detections]:
        self.sizes.append(len(pictures))
        return [
            Detections(
                np.array([[0, 0, *p.shape[1::-1]]], np.float32),
                np.array([p.mean() / 255], np.float32),
                np.full((1, 5, 2), np.nan, np.float32),
            )
            for p in pictures
        ]

    def close(self) -> None:
        pass


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(3)

    def picture() -> np.ndarray:
        return rng.integers(0, 255, (48, 64, 3), np.uint8)

    write_video(tmp_path / "a.mp4", [picture() for _ in range(7)])
    (tmp_path / "b").mkdir()
    for i in range(4):
        Image.fromarray(picture()).save(tmp_path / "b" / f"{i}.png")
    (tmp_path / "b" / "2.png").write_bytes(b"no picture")
    Image.fromarray(picture()[:20]).save(tmp_path / "c.png")
    write_video(tmp_path / "d.mp4", [picture() for _ in range(3)])
    names = ("a.mp4", "b", "c.png", "d.mp4")
    return [Sample(n[0], tmp_path / n, n[0]) for n in names]


@pytest.mark.parametrize("size", [2, 4, 5, 16, 100])
def test_batches_cross_samples_and_change_nothing(samples: list[Sample], size: int):
    one, many = Means(1), Means(size)
    seen = []
    alone = list(looked_at(samples, one, lambda: None))
    together = list(looked_at(samples, many, lambda: seen.append(1)))
    assert len(seen) == 15 and [len(raw.times) for raw in together] == [7, 4, 1, 3]
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a.found.values, b.found.values, equal_nan=True)
        assert np.array_equal(a.found.frames, b.found.frames)
        assert (a.widths, a.heights, a.broken) == (b.widths, b.heights, b.broken)
        assert a.undamaged == b.undamaged
    assert together[1].broken == {2}
    # all batches are full but the last one: 14 pictures can be decoded
    assert many.sizes == [size] * (14 // size) + [14 % size] * (14 % size > 0)


@pytest.mark.parametrize("size", [1, 4])
def test_what_goes_wrong_names_the_sample_it_goes_wrong_in(samples: list[Sample], size: int):
    samples[3] = Sample("gone", samples[3].path.with_name("gone.mp4"), "gone")
    with pytest.raises(OSError) as caught:
        list(looked_at(samples, Means(size), lambda: None))
    assert any("in sample gone" in note for note in caught.value.__notes__)


def test_whoever_stops_early_leaves_no_thread(samples: list[Sample]):
    found = looked_at(samples * 50, Means(4), lambda: None)
    next(found)
    found.close()
    assert not [t for t in threading.enumerate() if t.name == "ahead"]
