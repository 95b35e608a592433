"""Large pictures in tiles: each face once and where it is, whatever tile has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemake.backends.detect import DETECTORS, DetectorBackend
from facemake.backends.detect.tiles import Tiled, _starts
from facemake.detections import Detections


class Squares:
    """A detector of white squares from 12 px; of a cut one it sees what is there.

    Its score falls with the distance to 40 px, its first point is the upper left corner.
    """

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self.calls: list[list[tuple[int, ...]]] = []
        self.closed = False

    def __call__(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        assert 0 < len(pictures) <= self.batch_size
        self.calls.append([rgb.shape for rgb in pictures])
        return [self._found(rgb) for rgb in pictures]

    def _found(self, rgb: np.ndarray) -> Detections:
        assert rgb.flags.c_contiguous and rgb.dtype == np.uint8
        mask = (rgb[:, :, 0] > 127).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        boxes = stats[1:, :4].astype(np.float32)
        boxes = boxes[boxes[:, 2:].min(axis=1) >= 12]
        score = 1 / (1 + np.abs(np.sqrt(np.prod(boxes[:, 2:], axis=1)) - 40) / 100)
        order = np.argsort(-score, kind="stable")
        boxes[:, :2] -= 0.5
        points = np.full((len(boxes), 5, 2), np.nan, np.float32)
        points[:, 0] = boxes[:, :2]
        return Detections(boxes[order], score[order].astype(np.float32), points[order])

    def close(self) -> None:
        self.closed = True


def test_tiles_cover_a_side_and_overlap_by_a_quarter_or_more():
    for side in (128, 640, 1001):
        for length in (1, side - 1, side, side + 1, 2 * side, 1999, 12_000):
            starts = _starts(length, side)
            assert starts[0] == 0 and starts[-1] + side >= length
            if length > side:
                assert starts[-1] + side == length
                assert np.diff(starts).max() <= side - side // 4
                # as few as that takes
                assert (len(starts) - 2) * (side - side // 4) + side < length


def scattered(height: int, width: int, sides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """White squares that do not touch, on black; and their boxes, (n, 4) px."""
    rng = np.random.default_rng(5)
    rgb, taken, boxes = np.zeros((height, width, 3), np.uint8), np.zeros((height, width)), []
    for side in sorted(sides, reverse=True):
        while True:
            x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
            around = taken[max(0, y - 4) : y + side + 4, max(0, x - 4) : x + side + 4]
            if not around.any():
                break
        taken[y : y + side, x : x + side] = 1
        rgb[y : y + side, x : x + side] = 255
        boxes.append((x - 0.5, y - 0.5, side, side))
    return rgb, np.array(boxes)


@pytest.mark.parametrize(("height", "width"), [(1500, 2100), (700, 300), (257, 1031)])
def test_each_face_is_found_once_where_it_is_whatever_its_size(height: int, width: int):
    largest = min(height, width) / 2
    sides = [s for s in (12, 15, 20, 27, 35, 47, 62, 83, 110, 150, 200, 320, 500) if s < largest]
    rgb, truth = scattered(height, width, sides)
    (found,) = Tiled(Squares(), 256)([rgb])
    assert len(found.score) == len(truth)
    assert (np.diff(found.score) <= 0).all()
    for box in truth:
        nearest = found.bbox[np.abs(found.bbox - box).max(axis=1).argmin()]
        # of a size that was halved, halves of its pixels are seen
        assert np.abs(nearest - box).max() <= 1 + box[2] / 40, (box, nearest)
    assert np.abs(found.keypoints5[:, 0] - found.bbox[:, :2]).max() < 1e-3
    assert np.isnan(found.keypoints5[:, 1:]).all()


def test_nothing_larger_than_a_tile_is_ever_looked_at():
    detector = Squares(batch_size=16)
    Tiled(detector, 256)([np.zeros((900, 4000, 3), np.uint8)])
    shapes = [shape for call in detector.calls for shape in call]
    assert max(max(shape[:2]) for shape in shapes) == 256
    assert len(detector.calls) == -(-len(shapes) // 16)
    assert (57, 250, 3) in shapes  # the whole of it, made small


def test_a_picture_of_a_tile_is_looked_at_as_it_is():
    rgb, _ = scattered(256, 200, (30, 50))
    detector = Squares()
    (found,) = Tiled(detector, 256)([rgb])
    (alone,) = detector([rgb])
    for name in ("bbox", "score", "keypoints5"):
        assert getattr(found, name).tobytes() == getattr(alone, name).tobytes()


def test_what_sees_every_pixel_sees_no_more_than_so_many_at_once(bundled: Path):
    assert {name for name, row in DETECTORS.items() if row.largest} == {"opencv", "mtcnn"}
    row = replace(DETECTORS["opencv"], largest=200)
    plain = replace(row, largest=None)
    portrait = cv2.imread(str(bundled / "portraits" / "eileen_collins.png"))[:, :, ::-1]
    small = cv2.resize(portrait, (200, 200), interpolation=cv2.INTER_AREA)
    large = np.full((300, 640, 3), 128, np.uint8)
    large[50:250, 100:300] = small

    def seen(row: DetectorBackend, rgb: np.ndarray, tile: int | None = None) -> bytes:
        (found,) = row.create(row.models[0], row.min_score, "cpu", tile)([rgb])
        return found.bbox.tobytes() + found.score.tobytes()

    assert seen(row, small) == seen(plain, small) != b""
    assert seen(row, large) == seen(plain, large, 200) != seen(plain, large)
    assert seen(row, large, 150) == seen(plain, large, 150)
    assert seen(row, large, 500) == seen(plain, large, 200)


def test_what_is_found_hangs_on_no_batch():
    pictures = [scattered(h, w, (12, 20, 40, 80))[0] for h, w in ((500, 900), (200, 200))]
    pictures += [np.zeros((1, 3000, 3), np.uint8), np.zeros((300, 300, 3), np.uint8)]
    seen = []
    for size in (1, 3, 16):
        detector = Squares(size)
        tiled = Tiled(detector, 160)
        assert tiled.batch_size == size
        found = [one for k in range(0, 4, size) for one in tiled(pictures[k : k + size])]
        seen.append([(f.bbox.tobytes(), f.score.tobytes(), f.keypoints5.tobytes()) for f in found])
        tiled.close()
        assert detector.closed
    assert seen[0] == seen[1] == seen[2]
    assert [len(f[1]) // 4 for f in seen[0]] == [4, 4, 0, 0]


def test_two_faces_of_one_tile_stay_two_though_one_is_before_the_other():
    """What a detector tells apart in a tile, tiles do not make one."""

    class Both(Squares):
        def _found(self, rgb: np.ndarray) -> Detections:
            if rgb[0, 0, 0] == 255:  # the left one
                boxes, score = [(20, 20, 100, 100), (60, 60, 30, 30)], [0.9, 0.8]
            elif len(rgb) == 200:  # the right one, a pixel further, sees the small one alone
                boxes, score = [(59, 60, 30, 30)], [0.85]
            else:
                boxes, score = [(10, 10, 50, 50)], [0.7]
            points = np.zeros((len(boxes), 5, 2), np.float32)
            return Detections(np.array(boxes, np.float32), np.array(score, np.float32), points)

    rgb = np.zeros((200, 201, 3), np.uint8)
    rgb[0, 0] = 255
    (found,) = Tiled(Both(), 200)([rgb])
    # the right tile's is in the large box, whose tile has it too and is as sure as that
    assert found.bbox.tolist() == [[20, 20, 100, 100], [60, 60, 30, 30]]


@pytest.mark.parametrize(("name", "side"), [("mediapipe", 48), ("yunet", 24), ("scrfd-500m", 24)])
def test_small_faces_of_a_large_picture(
    models: Path, picture: Callable[[str], np.ndarray], name: str, side: int
):
    """Five people, twice."""
    if name == "scrfd-500m":
        pytest.importorskip("onnxruntime")
    row = DETECTORS[name]
    people = picture("multi_face.jpg")
    (near,) = row.create(row.models[0], row.start_score, "cpu")([people])
    scale = side / float(np.median(near.bbox[:, 2]))
    small = cv2.resize(people, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    rgb = np.full((1400, 2200, 3), 128, np.uint8)
    corners = [(300, 200), (1100, 700)]
    for x, y in corners:
        rgb[y : y + height, x : x + width] = small
    (as_one,) = row.create(row.models[0], row.start_score, "cpu")([rgb])
    (found,) = row.create(row.models[0], row.start_score, "cpu", 640)([rgb])
    assert len(near.score) == 5 and len(as_one.score) < 5 and len(found.score) == 10
    for corner in corners:
        for box, points in zip(near.bbox, near.keypoints5, strict=True):
            wanted = np.concatenate([(box[:2] + 0.5) * scale + corner - 0.5, box[2:] * scale])
            off = np.abs(found.bbox - wanted).max(axis=1)
            assert off.min() < side / 4, (wanted, off.min())
            eyes = (points[:2] + 0.5) * scale + corner - 0.5
            assert np.abs(found.keypoints5[off.argmin(), :2] - eyes).max() < side / 8
