"""What an engine is given to look at: the recording itself where it sees it as we do, else a video.

3DI reads videos by OpenCV, frame by frame. Where that gives just our frames, upright, it gets the
recording as it is. A time range, a turned or mirrored video, one with several streams of pictures,
a recording of which OpenCV sees other frames (edit lists, damage) or is told another number of them
(3DI believes it), a picture and a folder of pictures are offered as a video of exactly our frames:
H.264 at a quality of no visible loss, frames of several sizes in the upper left of one size, so
that pixels keep their coordinates, and a frame that cannot be decoded as a black one.

From the fit on, an engine may leave out the last frame. A recording can spare it; a picture cannot,
nor can a recording of one frame: such a video has its last frame once more (`padding`).
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from facemake.archives import Archive
from facemake.media import Kind, Orientation, open_media
from facemake.runtime.atomic import replacing
from facemake.samples import Sample
from facemake.status import FrameStatus, SampleStatus

SUFFIX = ".mp4"
# The same bytes always: one thread, and no mbtree, for which x264 reads memory nobody has written.
_QUALITY = {"crf": "8", "preset": "medium", "threads": "1", "x264-params": "mbtree=0"}
_PICTURES_A_SECOND = 30
_SLOWEST, _FASTEST = Fraction(1, 1000), Fraction(1000)
"""Frames a second that MP4 and H.264 take."""
_EVEN = 2  # H.264 wants even sides
_FEWEST = 2


@dataclass(frozen=True)
class Offer:
    """What an engine is given of a sample.

    Attributes:
        prepared: whether it is a video made for it; else the recording itself.
        n_frames: frames in it.
        padding: how many of them, at the end, are none of the sample's.
        width, height: of its frames, px.
        why: in words, where it was prepared.
    """

    prepared: bool
    n_frames: int
    padding: int
    width: int
    height: int
    why: str = ""

    def to_json(self) -> bytes:
        """What `read` reads."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def read(cls, videos: Archive, sample: str) -> Offer:
        """What was offered of a sample (`facemake.stages.threedi_video`)."""
        return cls(**json.loads(videos.read(f"{sample}.json")))


def offer(sample: Sample, probe: dict[str, Any], video: Path) -> Offer:
    """Decide what an engine is given of a sample, and make the video where one must be made.

    Args:
        sample: the sample.
        probe: its row of the probe table.
        video: where a prepared video goes.

    Raises:
        MediaError, OSError: the recording cannot be read any more.
    """
    why = _why_not(sample, probe)
    if not why:
        return Offer(False, int(probe["n_frames"]), 0, int(probe["width"]), int(probe["height"]))
    return _prepare(sample, probe, video, why)


def _why_not(sample: Sample, probe: dict[str, Any]) -> str:
    """Why the recording itself will not do; '' where it does."""
    if probe["kind"] != Kind.VIDEO:
        return "an engine reads videos, and these are pictures"
    if sample.start is not None or sample.end is not None:
        return "a part of the recording is wanted"
    if probe["rotation"]:
        return f"its pixels are stored turned by {probe['rotation']} degrees"
    if probe["status"] != SampleStatus.OK or probe["width"] is None:
        return "it is damaged, or its frames differ in size"
    if probe["n_frames"] < _FEWEST:
        return "an engine leaves out the last frame, and it has no other"
    with av.open(str(sample.path)) as container:
        streams = len(container.streams.video)
    if streams > 1:  # OpenCV may look at another one than we do
        return f"it has {streams} streams of pictures"
    with open_media(sample) as media:
        if any(frame.orientation != Orientation() for frame in itertools.islice(media, 1)):
            return "its pixels are stored mirrored"
    if FrameStatus.DECODE_ERROR in probe["reason"]:
        return "some of its frames are damaged"
    seen = as_opencv_sees(sample.path)
    if (seen.frames, seen.width, seen.height) != (
        probe["n_frames"],
        probe["width"],
        probe["height"],
    ):
        return f"OpenCV sees {seen.frames} frames of {seen.width}x{seen.height} in it"
    if seen.promised != seen.frames:
        return f"it promises {seen.promised} frames and has {seen.frames}"
    return ""


class Seen(NamedTuple):
    """A video as OpenCV sees it."""

    frames: int
    """That it decodes."""
    promised: int
    """That it is told of."""
    width: int
    height: int


def as_opencv_sees(path: Path) -> Seen:
    """Look at a video as the engines do; one that cannot be opened has no frames."""
    # a job has one core, and a name with a percent sign is no row of pictures
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, (cv2.CAP_PROP_N_THREADS, 1))
    try:
        about = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        promised, width, height = (round(capture.get(what)) for what in about)
        count = 0
        while capture.grab():
            count += 1
        return Seen(count, promised, width, height)
    finally:
        capture.release()


def _prepare(sample: Sample, probe: dict[str, Any], video: Path, why: str) -> Offer:
    width, height = _size(sample, probe)
    rate = Fraction(probe["fps"] or _PICTURES_A_SECOND).limit_denominator(1001)
    rate = min(max(rate, _SLOWEST), _FASTEST)
    count = 0
    picture = np.zeros((height, width, 3), np.uint8)
    # to the bit exact: no date and no version of the muxer stands in the file (x264's own does)
    flags = {"fflags": "+bitexact", "movflags": "+faststart"}
    with (
        replacing(video) as beside,
        av.open(str(beside), "w", format="mp4", options=flags) as container,
    ):
        stream = container.add_stream("libx264", rate=rate, options=_QUALITY)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        with open_media(sample) as media:
            for frame in media:
                picture[:] = 0
                if frame.status is FrameStatus.OK:
                    rgb = frame.rgb
                    picture[: rgb.shape[0], : rgb.shape[1]] = rgb
                _encode(container, stream, picture)
                count += 1
        spare = probe["kind"] == Kind.VIDEO and count >= _FEWEST
        padding = 0 if spare or not count else 1
        for _ in range(padding):
            _encode(container, stream, picture)
        container.mux(stream.encode())
    return Offer(True, count + padding, padding, width, height, why)


def _encode(container: Any, stream: Any, picture: NDArray[np.uint8]) -> None:
    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))


def _size(sample: Sample, probe: dict[str, Any]) -> tuple[int, int]:
    """Width and height that hold every frame, even; looked up where frames differ."""
    width, height = probe["width"] or 0, probe["height"] or 0
    if not width:
        with open_media(sample) as media:
            for w, h in media.sizes():
                width, height = max(width, w), max(height, h)
    return width + width % _EVEN, height + height % _EVEN
