"""Every detector that is installed before the same pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from facemake.backends.detect import DETECTORS, Detector
from facemake.choosing.consensus import Face, faces_of
from facemake.choosing.pictures import Looked
from facemake.detections import Detections, landmark_box
from facemake.errors import FacemakeError


@dataclass(frozen=True)
class Picture:
    """What all detectors found in a picture.

    Attributes:
        name: of the picture.
        size: width and height, px.
        thumbnail: (h, w, 3) uint8 RGB, at most `THUMBNAIL` px wide or high.
        found: detector -> its detections, those sure enough to start a track.
        faces: the places where at least one sees a face.
    """

    name: str
    size: tuple[int, int]
    thumbnail: NDArray[np.uint8]
    found: Mapping[str, Detections]
    faces: list[Face]


@dataclass
class Comparison:
    """What came out.

    Attributes:
        pictures: in order.
        seconds: detector -> s of each picture, decoding apart: of CPU time, or on a GPU as a clock
            has it.
        devices: detector -> what computed it.
        missing: detector -> why it did not take part.
    """

    pictures: list[Picture] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def detectors(self) -> list[str]:
        """Those that took part."""
        return list(self.seconds)


THUMBNAIL = 240


def compare(
    pictures: Iterable[Looked],
    names: Iterable[str],
    device: str = "cpu",
    seen: Callable[[int], None] = lambda count: None,
    tile: int | None = None,
) -> Comparison:
    """Have detectors look at pictures, each alone, all with one thread.

    Args:
        pictures: each is looked at by every detector and then forgotten.
        names: of `DETECTORS`.
        device: for those that can compute on it; the others take the CPU, and the figures say so.
        seen: is told how many pictures are done.
        tile: px, see `DetectorBackend.create`.

    Raises:
        FacemakeError: none of the detectors can be had.
    """
    import cv2

    cv2.setNumThreads(1)
    result = Comparison()
    with ExitStack() as stack:
        detectors: dict[str, Detector] = {}
        for name in names:
            row = DETECTORS[name]
            on = device if device in row.devices else "cpu"
            try:
                made = row.create(row.models[0], row.start_score, on, tile)
            except (FacemakeError, ImportError) as error:
                result.missing[name] = str(error)
                continue
            detectors[name] = stack.enter_context(closing(made))
            result.seconds[name] = []
            result.devices[name] = on
        if not detectors:
            raise FacemakeError(
                "no detector can be had: "
                + "; ".join(f"{name}: {why}" for name, why in result.missing.items())
            )
        for count, picture in enumerate(pictures, start=1):
            if count == 1:  # what a library loads at its first picture is no part of its speed
                for detector in detectors.values():
                    detector([picture.rgb])
            clock = time.process_time if device == "cpu" else time.perf_counter
            result.pictures.append(_looked(picture, detectors, result.seconds, clock))
            seen(count)
    return result


def _looked(
    picture: Looked,
    detectors: Mapping[str, Detector],
    seconds: Mapping[str, list[float]],
    clock: Callable[[], float],
) -> Picture:
    found, squares = {}, {}
    for name, detector in detectors.items():
        start = clock()
        (found[name],) = detector([picture.rgb])
        seconds[name].append(clock() - start)
        squares[name] = landmark_box(found[name].bbox, DETECTORS[name].face_box)
    height, width = picture.rgb.shape[:2]
    return Picture(picture.name, (width, height), _thumbnail(picture.rgb), found, faces_of(squares))


def _thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    small = Image.fromarray(rgb)
    small.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2.0)
    return np.asarray(small)
