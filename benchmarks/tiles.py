"""Small faces in a large picture, looked at as one and in tiles: how many each detector finds.

The picture is composed of the faces in pictures that are named, as BlazeFace finds them there, each
made as small as said and set on grey in an oval. A face is found where a box of the detector's,
brought to BlazeFace's, overlaps where it was set (`facemake.choosing.consensus.OVERLAP`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.faces import AROUND, cut_out, sized
from facemake.backends.detect import DETECTORS, Detector
from facemake.choosing.consensus import OVERLAP, overlap
from facemake.detections import landmark_box
from facemake.errors import FacemakeError

SIZE = (12_000, 8_000)
SIDES = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""px of BlazeFace's square."""
EACH = 8
TILES = (None, 1280, 640)
_SLOW = ("dlib-cnn", "opencv", "dlib")
"""Minutes for a picture of this size."""


def run(pictures: Sequence[Path], names: Sequence[str] = ()) -> None:
    """Print, by detector and tile, how many faces of each size it finds, false ones and seconds."""
    cv2.setNumThreads(1)
    rgb, squares = crowd([face for path in pictures for face in cut_out(path)])
    sides = squares[:, 2]
    print(f"{SIZE[0]} x {SIZE[1]} px, {EACH} faces of each side: {', '.join(map(str, SIDES))} px")
    for name, row in DETECTORS.items():
        if name not in (names or DETECTORS.keys() - _SLOW):
            continue
        for tile in TILES:
            try:
                detector = row.create(row.models[0], row.start_score, "cpu", tile)
            except (FacemakeError, ImportError) as error:
                print(f"{name}: not measured: {error}")
                break
            boxes, seconds = _look(detector, rgb)
            detector.close()
            there = overlap(
                squares.astype(np.float64), landmark_box(boxes, row.face_box).astype(np.float64)
            )
            found = (there > OVERLAP).any(axis=1)
            twice = int(((there > OVERLAP).sum(axis=1) > 1).sum())
            counts = [int(found[sides == side].sum()) for side in SIDES]
            print(
                f"{name}, {f'tiles of {tile} px' if tile else 'as one'}: {int(found.sum())} of "
                f"{len(squares)} ({' '.join(map(str, counts))}), {twice} more than once, "
                f"{int((~(there > OVERLAP).any(axis=0)).sum())} where none is, {seconds:.1f} s of "
                "CPU",
                flush=True,
            )


def _look(detector: Detector, rgb: np.ndarray) -> tuple[np.ndarray, float]:
    start = time.process_time()
    (found,) = detector([rgb])
    return found.bbox, time.process_time() - start


def crowd(faces: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The picture, and where its faces are, (n, 4) squares x, y, w, h px."""
    if not faces:
        raise FacemakeError("there is no face in these pictures")
    generator = np.random.default_rng(0)
    width, height = SIZE
    rgb = np.full((height, width, 3), 120, np.uint8)
    rgb += generator.integers(0, 8, rgb.shape, np.uint8)
    taken = np.zeros((height // 8 + 1, width // 8 + 1), bool)
    squares = []
    for count, side in enumerate(sorted(SIDES * EACH, reverse=True)):
        length = round(side * AROUND)
        while True:
            x, y = (int(generator.integers(0, end - length)) for end in SIZE)
            around = (slice(y // 8, (y + length) // 8 + 2), slice(x // 8, (x + length) // 8 + 2))
            if not taken[around].any():
                break
        taken[around] = True
        face = faces[count % len(faces)]
        small, oval = sized(face, length)
        part = rgb[y : y + length, x : x + length]
        part[:] = np.where(oval, small, part)
        edge = (length - side) / 2
        squares.append((x + edge - 0.5, y + edge - 0.5, side, side))
    return rgb, np.array(squares, np.float32)
