"""FaceAligner: the crop that the networks were trained on, of a frame and the box of a face.

Landmarks hang on the box that they are looked for in, and so does the crop. Given the workflow's
own box and points of the eyes, the crop is the workflow's but for what another decoder makes of the
colours. Without the points nobody knows who drew the box, and landmarks are looked for a second
time where the first ones say that the face is.

On 124 faces of two videos and two pictures, how far nine points of the crop are from where the
workflow's own has them (root mean square, px; median and 95 % of the faces of a recording, from the
best recording to the worst):

| box | one look | two |
|---|---|---|
| the workflow's, with points | 0.01, 0.02 |  |
| the same without points | 0.4-1.0, 0.8-2.3 | 0.6-1.4, 1.4 |
| a fifth larger | 1.2-1.9, 1.8-5.1 | 0.7-1.4, 1.1-2.6 |
| a fifth smaller | 0.5-1.6, 0.5-3.4 | 0.7-1.3, 1.3-1.8 |
| a tenth of a side right and down | 1.2-1.5, 1.5-3.3 | 0.8-1.2, 1.2-2.1 |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from facemake.alignment import align
from facemake.backends.detect import AS_EXPECTED, DETECTORS
from facemake.backends.landmarks import LANDMARKERS, Face
from facemake.detections import landmark_box
from facemake.runtime.contexts import Closing
from facemake.schemes import IBUG51, IBUG51_GROUPS, convert
from facemake.template import crop_affine, square_of_affine

_EYES = (IBUG51_GROUPS["le"], IBUG51_GROUPS["re"])
_SURE = 0.5
"""As `landmarks.min_confidence` has it."""


class FaceAligner(Closing):
    """Cuts faces as the workflow does for its training set: upright by their landmarks.

    One thread at a time uses it.

    Args:
        landmarks: the network that finds the landmarks in the box (`landmarks.backend`): the one
            that the training set was made with.
        detector: whose boxes they are (`detect.backend`); where they are another's, see the module.
        device: `cpu` or `cuda`, where the network has a choice.

    Raises:
        ValueError: no such network or detector.
        ModelError: a model or a package is missing; the message has the cure.
    """

    def __init__(
        self,
        landmarks: str = "mediapipe478",
        detector: str = "mediapipe",
        device: str = "cpu",
    ) -> None:
        row = LANDMARKERS.get(landmarks)
        if row is None or row.given:
            able = ", ".join(name for name, one in LANDMARKERS.items() if not one.given)
            raise ValueError(f"landmarks are by {landmarks!r}, and can be by {able}")
        if detector not in DETECTORS:
            raise ValueError(
                f"no detector is called {detector!r}; there are {', '.join(DETECTORS)}"
            )
        self._face_box = DETECTORS[detector].face_box
        self._network = row.network(device)

    def align(
        self,
        frame_bgr: NDArray[np.uint8],
        bbox: ArrayLike,
        keypoints5: ArrayLike | None = None,
        *,
        corners: bool = False,
    ) -> NDArray[np.uint8]:
        """The aligned crop of a face.

        Args:
            frame_bgr: (H, W, 3) uint8, as OpenCV reads it.
            bbox: x, y, w, h px; a fifth number, a score, is passed over.
            keypoints5: (5, 2) px, the detector's: image-left eye, image-right eye, nose, mouth
                corners, NaN where it has no such point. With them landmarks are looked for once, as
                the workflow does; without, twice.
            corners: the box is x1, y1, x2, y2, as the training set's `bboxes` are.

        Returns:
            (112, 112, 3) uint8 BGR, black where it reaches out of the frame.

        Raises:
            ValueError: it is no such picture or box, the box lies outside of the frame, or the
                network finds no face in it.
        """
        crop, _ = self.align_with_affine(frame_bgr, bbox, keypoints5, corners=corners)
        return crop

    def align_with_affine(
        self,
        frame_bgr: NDArray[np.uint8],
        bbox: ArrayLike,
        keypoints5: ArrayLike | None = None,
        *,
        corners: bool = False,
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The crop, and the (2, 3) similarity from frame pixels to crop pixels; see `align`."""
        rgb = _rgb(frame_bgr)
        box = _box(bbox, corners, rgb.shape[1], rgb.shape[0])
        drawn = self._face_box
        square = box if drawn == AS_EXPECTED else landmark_box(box, drawn)
        points = None if keypoints5 is None else _points(keypoints5)
        affine, ibug = self._found(rgb, square, points, box)
        if points is None:
            eyes = np.full((5, 2), np.nan, np.float32)
            eyes[0], eyes[1] = (ibug[own].mean(axis=0) for own in _EYES)
            affine, _ = self._found(rgb, square_of_affine(affine), eyes, box)
        return np.ascontiguousarray(align(rgb, affine)[..., ::-1]), affine

    def _found(
        self,
        rgb: NDArray[np.uint8],
        square: NDArray[np.float32],
        keypoints5: NDArray[np.float32] | None,
        box: NDArray[np.float32],
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The crop's affine, and (51, 2) landmarks."""
        (found,) = self._network([Face.of(rgb, square, keypoints5)])
        unsure = found is not None and found.confidence is not None and found.confidence < _SURE
        if found is None or unsure or not np.isfinite(found.points).all():
            raise ValueError(f"no landmarks of a face are found in the box {_words(box)}")
        ibug = convert(found.points, self._network.scheme, IBUG51)
        return crop_affine(ibug), ibug

    def close(self) -> None:
        """Free the network."""
        self._network.close()


def _rgb(frame: object) -> NDArray[np.uint8]:
    if frame is None:
        raise ValueError("the frame is None, which is what OpenCV gives where it cannot read one")
    pixels = np.asarray(frame)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(
            f"the frame is {pixels.dtype} of the shape {pixels.shape}; wanted is (H, W, 3) uint8 "
            "BGR, as OpenCV reads it"
        )
    return np.ascontiguousarray(pixels[..., ::-1])


def _box(bbox: ArrayLike, corners: bool, width: int, height: int) -> NDArray[np.float32]:
    """x, y, w, h."""
    if bbox is None:
        raise ValueError("the box is None: no face was detected, so there is nothing to align")
    given = np.asarray(bbox, np.float64)
    if given.shape not in ((4,), (5,)) or not np.isfinite(given).all():
        raise ValueError(f"the box is {bbox!r}; wanted are four finite numbers, x, y, w, h")
    x, y, w, h = (float(v) for v in given[:4])
    if corners:
        w, h = w - x, h - y
    if w <= 0 or h <= 0:
        said = "x1, y1, x2, y2" if corners else "x, y, w, h"
        raise ValueError(f"the box {bbox!r} has no area as {said}")
    box = np.array([x, y, w, h], np.float32)
    seen = max(0.0, min(x + w, width) - max(x, 0.0)) * max(0.0, min(y + h, height) - max(y, 0.0))
    if seen <= 0:
        raise ValueError(f"the box {_words(box)} lies outside of the frame of {width} x {height}")
    # a box of corners taken for a width and a height reaches far out of the frame on the right or
    # below, and is inside as what it is
    if not corners and seen < 0.5 * w * h and x < w <= width and y < h <= height:
        raise ValueError(
            f"the box {_words(box)} lies for the most part outside of the frame of {width} x "
            f"{height} as x, y, w, h, and inside as x1, y1, x2, y2: is it that? Then give "
            "corners=True"
        )
    return box


def _points(keypoints5: ArrayLike) -> NDArray[np.float32]:
    points = np.asarray(keypoints5, np.float32)
    if points.shape != (5, 2):
        raise ValueError(f"keypoints5 have the shape {points.shape}; wanted is (5, 2)")
    return points


def _words(box: Sequence[float] | NDArray[np.float32]) -> str:
    return f"({', '.join(f'{float(v):g}' for v in box)})"
