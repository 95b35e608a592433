"""What every reader gives: frames, what opened them, and how bad data is said."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from facemake.runtime.contexts import Closing
from facemake.status import FrameStatus, SampleStatus

Pixels = npt.NDArray[np.uint8]


class Kind(StrEnum):
    """What a sample's path holds."""

    VIDEO = "video"
    IMAGE = "image"
    IMAGES = "images"
    """A folder of pictures."""


class MediaError(Exception):
    """What is wrong with a sample's data: expected of real data, a status and no crash.

    Attributes:
        status: what the tables say of the sample.
        reason: the same in words for a researcher: names the file (without its folders: no path
            stands in a table), and the cure if there is one.
    """

    def __init__(self, status: SampleStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Orientation(NamedTuple):
    """How stored pixels become upright: first transposed, then mirrored. All eight ways."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def degrees(self) -> int:
        """The turn, clockwise, that makes the picture upright: 0, 90, 180 or 270.

        Of a mirrored picture: the turn that follows after mirroring left and right.
        """
        turns = {
            (False, False, False): 0,
            (True, True, False): 90,
            (False, True, True): 180,
            (True, False, True): 270,
            (False, True, False): 0,
            (True, True, True): 90,
            (False, False, True): 180,
            (True, False, False): 270,
        }
        return turns[self.transpose, self.flip_x, self.flip_y]

    @classmethod
    def from_exif(cls, value: object) -> Orientation:
        """Of EXIF's Orientation tag (1 to 8); anything else is taken for upright."""
        ways = {
            2: cls(flip_x=True),
            3: cls(flip_x=True, flip_y=True),
            4: cls(flip_y=True),
            5: cls(transpose=True),
            6: cls(transpose=True, flip_x=True),
            7: cls(transpose=True, flip_x=True, flip_y=True),
            8: cls(transpose=True, flip_y=True),
        }
        return ways.get(value, cls()) if isinstance(value, int) else cls()

    @classmethod
    def from_display_matrix(cls, matrix: bytes) -> Orientation:
        """Of a stream's display matrix, nine int32: x' = a·x + c·y, y' = b·x + d·y.

        Arguments:
            matrix: a, b, u, c, d, v, x, y, w in the machine's byte order. An angle that is no
                multiple of 90° is taken for the nearest one.
        """
        a, b, _, c, d = (int(v) for v in np.frombuffer(matrix, np.int32)[:5])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def apply(self, pixels: Pixels) -> Pixels:
        """Upright pixels, contiguous; the array itself where nothing is to be done.

        Arguments:
            pixels: (H, W, 3) uint8.
        """
        if self == Orientation():
            return pixels
        if self.transpose:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(
            pixels[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        )


class Frame:
    """One frame of a sample: who it is at once, its pixels only when they are asked for.

    Attributes:
        index: from 0 in presentation order within the sample (and its time range).
        time: seconds, the stream's own stamp; None for pictures and where a stream has none.
        duration: seconds that it is shown by its own word; None where it says nothing.
        status: `ok`, or `decode_error`: then it has no pixels, and `error` says why.
        width, height: pixels, upright; 0 where nothing could be decoded.
        orientation: what `rgb` has already undone.
        codec: of this frame's file or stream, in ffmpeg's or Pillow's word, lower case.
    """

    __slots__ = (
        "_load",
        "_rgb",
        "codec",
        "duration",
        "error",
        "height",
        "index",
        "orientation",
        "status",
        "time",
        "width",
    )

    def __init__(
        self,
        index: int,
        load: Callable[[], Pixels] | None,
        *,
        width: int = 0,
        height: int = 0,
        time: float | None = None,
        duration: float | None = None,
        error: MediaError | None = None,
        orientation: Orientation = Orientation(),  # noqa: B008 (immutable)
        codec: str | None = None,
    ) -> None:
        self.index = index
        self.time = time
        self.duration = duration
        self.status = FrameStatus.OK if load else FrameStatus.DECODE_ERROR
        self.error = error
        self.width = width
        self.height = height
        self.orientation = orientation
        self.codec = codec
        self._load = load
        self._rgb: Pixels | None = None

    @property
    def rgb(self) -> Pixels:
        """Upright pixels, (height, width, 3) uint8 RGB, converted at the first call and kept.

        Raises:
            ValueError: the frame's status is `decode_error`: there is nothing to look at.
        """
        if self._rgb is None:
            if self._load is None:
                raise ValueError(f"frame {self.index} has no pixels: {self.error}")
            self._rgb = self._load()
            # The decoder's buffer is free again; the pixels are the frame's own from here.
            self._load = None
        return self._rgb

    def __repr__(self) -> str:
        return f"<Frame {self.index} {self.width}x{self.height} time={self.time} {self.status}>"


class Media(Closing):
    """An open sample. Iterating decodes it from its beginning; closed when the context ends."""

    kind: Kind
    codec: str | None
    """Of a video: known when it is open. Of pictures: None, each frame has its own."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    @abstractmethod
    def pick(self, wanted: list[int], times: list[float] | None) -> Iterator[Frame]:
        """The frames of these indices (sorted, no two alike): see `read_frames`."""

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Width and height of every frame in order, upright, px; (0, 0) where it has none."""
        for frame in self:
            yield frame.width, frame.height

    @property
    def undamaged(self) -> bool:
        """Whether the last pass met no damage; frames that cannot be decoded say so themselves.

        What a decoder makes of damage hangs on what it has seen before: on where one begins.
        """
        return True

    @abstractmethod
    def close(self) -> None:
        """Lets go of the file."""
