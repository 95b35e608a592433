"""What a detector says of one frame, and of all frames of a sample."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from facemake.errors import ModelError


@dataclass(frozen=True, slots=True)
class Detections:
    """The faces of one frame, by falling score.

    Attributes:
        bbox: (n, 4) float32 x, y, w, h in pixels, top-left origin.
        score: (n,) float32, 0-1, the detector's own.
        keypoints5: (n, 5, 2) float32 pixels: image-left eye, image-right eye, nose, image-left and
            image-right mouth corner; NaN where the detector has no such point.

    Raises:
        ModelError: a number is none: a track would go on with it.
    """

    bbox: NDArray[np.float32]
    score: NDArray[np.float32]
    keypoints5: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.score)
        if self.bbox.shape != (n, 4) or self.keypoints5.shape != (n, 5, 2):
            raise ValueError(
                f"expected bbox ({n}, 4) and keypoints5 ({n}, 5, 2), got {self.bbox.shape} and "
                f"{self.keypoints5.shape}"
            )
        numbers = np.isfinite(self.bbox).all() and np.isfinite(self.score).all()
        if not numbers or np.isinf(self.keypoints5).any():
            raise ModelError(
                "the detector gives boxes, scores or points that are no numbers: its file is "
                "damaged, or half precision does not suffice for it; get it again, or take one in "
                "float32"
            )

    @classmethod
    def none(cls) -> Self:
        """Of a frame without a face."""
        empty = ((0, 4), (0,), (0, 5, 2))
        return cls(*(np.zeros(shape, np.float32) for shape in empty))


class DetectionList:
    """The detections of a sample, packed: 66 bytes each, whatever the length of the video."""

    def __init__(self) -> None:
        self._values = array("f")
        self._frames = array("i")
        self._faces = array("h")

    @classmethod
    def of(
        cls, frames: NDArray[np.int32], faces: NDArray[np.int16], values: NDArray[np.float32]
    ) -> DetectionList:
        """Detections that were known before: see the properties."""
        made = cls()
        made._values.frombytes(values.astype(np.float32).tobytes())
        made._frames.frombytes(frames.astype(np.int32).tobytes())
        made._faces.frombytes(faces.astype(np.int16).tobytes())
        return made

    def append(self, frame: int, found: Detections) -> None:
        """Add the detections of a frame, by falling score."""
        packed = np.concatenate(
            [found.bbox, found.score[:, None], found.keypoints5.reshape(-1, 10)], axis=1
        )
        self.append_values(frame, packed)

    def append_values(self, frame: int, values: NDArray[np.float32]) -> None:
        """Add the detections of a frame as rows of `values`, (n, 15), by falling score."""
        self._values.frombytes(values.astype("<f4").tobytes())
        self._frames.extend([frame] * len(values))
        self._faces.extend(range(len(values)))

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def values(self) -> NDArray[np.float32]:
        """(n, 15) float32: x y w h, score, ten key point coordinates."""
        return np.frombuffer(self._values, np.float32).reshape(-1, 15)

    @property
    def frames(self) -> NDArray[np.int32]:
        """(n,) int32, not falling."""
        return np.frombuffer(self._frames, np.int32)

    @property
    def faces(self) -> NDArray[np.int16]:
        """(n,) int16: which detection of its frame."""
        return np.frombuffer(self._faces, np.int16)


@dataclass
class Track:
    """One face through time: the detections that belong to it, by frame."""

    detections: list[int] = field(default_factory=list)


def landmark_box(
    bbox: NDArray[np.float32], face_box: tuple[float, float, float] | list[float]
) -> NDArray[np.float32]:
    """The square that landmark networks expect around a face, of a detector's box.

    Each detector draws its boxes another way: from brow to chin, or with the forehead, tight or
    with a margin. Landmark networks here are told what BlazeFace would draw.

    Args:
        bbox: (n, 4) or (4,) x, y, w, h px.
        face_box: how far the middle of BlazeFace's square lies away, right and down, and how large
            it is, in sides of the square with the area of the detector's box; measured on faces
            that both detectors found (a detector's row has it).

    Returns:
        The same shape, float32 px.
    """
    x, y, w, h = np.moveaxis(np.asarray(bbox, np.float64), -1, 0)
    dx, dy, scale = face_box
    side = np.sqrt(w * h)
    half = scale * side / 2
    square = (x + w / 2 + dx * side - half, y + h / 2 + dy * side - half, 2 * half, 2 * half)
    return np.asarray(np.stack(square, axis=-1), np.float32)
