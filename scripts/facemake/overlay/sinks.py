"""Where drawn frames go: an H.264 video with the recording's own stamps, or picture files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facemake.errors import FacemakeError
from facemake.runtime.atomic import replacing
from facemake.runtime.contexts import Committing

Pixels = NDArray[np.uint8]

STAMPLESS_RATE = 25
"""Frames a second of a stream that has no stamps, as libav plays it."""

X264 = {
    "crf": "20",
    # mbtree reads memory that nobody has written: other bytes each time
    "x264-params": "mbtree=0:cpu-independent=1:log-level=none",
}
"""What the encoder is told; its preset is x264's own, medium."""

_ONLY_FILES = {"protocol_whitelist": "file"}
_QUALITY = 95  # of a JPEG
_FINEST = 10**7  # ticks a second
_BT709, _BT470, _BT601 = 1, 5, 6  # H.273's words for matrices
_UNSAID = 2  # and for a colour property that nobody states


class StampsError(FacemakeError):
    """A recording has stamps that no MP4 can hold."""


class Sink(Protocol):
    """Takes drawn frames in order."""

    def write(
        self, rgb: Pixels, index: int, time: float | None, duration: float | None, name: str
    ) -> None:
        """Take a frame: its index, its time and duration (s), and its file's name of a picture."""


@dataclass(frozen=True)
class Stream:
    """What a video takes over from its recording.

    Attributes:
        tick: s, the step of its clock; None where it has no stamps.
        fps: its mean frame rate, where known.
        aspect: width of a pixel over its height, of upright frames.
        primaries, transfer, matrix: of its colours, in H.273's numbers.
    """

    tick: float | None
    fps: float | None = None
    aspect: Fraction = Fraction(1)
    primaries: int = _UNSAID
    transfer: int = _UNSAID
    matrix: int = _UNSAID

    @property
    def time_base(self) -> Fraction:
        """Its tick as the fraction that it is."""
        if not self.tick:
            return Fraction(1, STAMPLESS_RATE)
        return max(Fraction(self.tick).limit_denominator(_FINEST), Fraction(1, _FINEST))

    @property
    def coding(self) -> tuple[int, Colorspace]:
        """The matrix that is written, in H.273's number and swscale's word.

        The recording's own where it is of 8 bits of old: there and back by one matrix changes the
        least, and so costs the fewest bits. What does not say is read as BT.601, and now says so.
        """
        if self.matrix in (_UNSAID, _BT470, _BT601):
            return (_BT470 if self.matrix == _BT470 else _BT601), Colorspace.ITU601
        return _BT709, Colorspace.ITU709


class VideoSink(Committing):
    """Writes an MP4 with H.264; one frame in, one frame out, each at its own time.

    All frames have the size of the first, made even by a row or a column at the end that repeats
    the one beside it; a frame of another size is scaled into it. Colours are of limited range.
    The same frames give the same bytes on one family of processors, for one number of threads.

    Args:
        path: of the file.
        stream: what it takes over.
        comment: for the file's own word of what made it.
        sound: of the recording; None: without.
        threads: of the encoder.
    """

    def __init__(
        self, path: Path, stream: Stream, comment: str, sound: Sound | None, threads: int
    ) -> None:
        try:
            av.Codec("libx264", "w")
        except ValueError:
            raise FacemakeError(
                "this build of PyAV has no encoder for H.264 (libx264): install the wheel that "
                "requirements/default.txt pins"
            ) from None
        self._stream = stream
        self._threads = threads
        self._sound = sound
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()
        self._last = -1
        self._container: OutputContainer = av.open(
            str(path),
            "w",
            format="mp4",
            options={
                # no version of the muxer in the file, and no creation time
                "fflags": "+bitexact",
                # where the first stamp is told: in milliseconds otherwise
                "movie_timescale": str(stream.time_base.denominator),
            },
        )
        self._container.metadata["comment"] = comment

    def _begin(self, width: int, height: int) -> None:
        base, rate = self._stream.time_base, self._stream.fps or STAMPLESS_RATE
        out: Any = self._container.add_stream(
            "libx264",
            rate=Fraction(rate).limit_denominator(1001),
            options=dict(X264),
        )
        self._size = width, height
        out.width, out.height, out.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        context = out.codec_context
        context.thread_count = self._threads
        context.time_base = out.time_base = base
        context.sample_aspect_ratio = self._stream.aspect
        context.colorspace, context.color_range = self._stream.coding[0], int(ColorRange.MPEG)
        context.color_primaries = self._stream.primaries
        context.color_trc = self._stream.transfer
        self._out = out
        if self._sound is not None:
            self._sound.attach(self._container)

    def write(
        self, rgb: Pixels, index: int, time: float | None, duration: float | None, name: str = ""
    ) -> None:
        """See `Sink`.

        Raises:
            StampsError: a stamp is before 0, or not later than the one before it.
        """
        if self._size is None:
            self._begin(rgb.shape[1], rgb.shape[0])
        assert self._size is not None
        # not from_ndarray, which copies: what comes of it below is a copy
        whole = np.ascontiguousarray(_fitted(rgb, *self._size))
        frame = VideoFrame.from_numpy_buffer(whole, format="rgb24")
        frame = self._reformatter.reformat(
            frame,
            format="yuv420p",
            dst_colorspace=self._stream.coding[1],
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
        base = self._stream.time_base
        frame.pts = index if time is None else round(Fraction(time) / base)
        frame.time_base = base
        if frame.pts < 0:
            raise StampsError(
                f"frame {index} is at {time} s, before 0, where an MP4 shows nothing: `facemake "
                "overlay` with --from-zero makes one that begins at 0"
            )
        if frame.pts <= self._last:
            raise StampsError(
                f"frame {index} is at {time} s, not later than the one before it: an MP4 cannot "
                "hold this. Put the recording in order first (ffmpeg -i ... -c:v libx264 out.mp4), "
                "and run the workflow on that"
            )
        self._last = frame.pts
        if duration:
            frame.duration = max(1, round(Fraction(duration) / base))
        for packet in self._out.encode(frame):
            self._mux(packet)

    def _mux(self, packet: Packet[Any]) -> None:
        if self._sound is not None and packet.dts is not None:
            for sound in self._sound.until(float(packet.dts * (packet.time_base or 0))):
                self._container.mux(sound)
        self._container.mux(packet)

    def _finish(self) -> None:
        if self._size is None:
            return
        for packet in self._out.encode(None):
            self._mux(packet)
        if self._sound is not None:
            for sound in self._sound.until(float("inf")):
                self._container.mux(sound)

    def close(self) -> None:
        """Write what the encoder still holds, and the file's end."""
        try:
            self._finish()
        finally:
            self._container.close()

    def discard(self) -> None:
        """Let go of the file, which is then no whole video."""
        self._container.close()


class Sound:
    """The recording's sound, packet by packet as it is, of a time range.

    Args:
        path: of the recording.
        start, end: s of its clock; None: from its beginning, to its end.
        shift: s that are taken off its stamps.

    Raises:
        FacemakeError: it has no sound.
    """

    def __init__(
        self, path: Path, start: float | None, end: float | None, shift: float = 0.0
    ) -> None:
        self._path = path
        self._start = -float("inf") if start is None else start
        self._end = float("inf") if end is None else end
        self._shift = shift
        self._container: InputContainer = av.open(
            str(path), options=_ONLY_FILES, metadata_errors="replace"
        )
        stream = self._container.streams.best("audio")
        if stream is None:
            self._container.close()
            raise FacemakeError(f"{path.name} has no sound: leave --audio out")
        self._in: Any = stream
        self._packets = self._demuxed()
        self._ahead: Packet[Any] | None = None

    def attach(self, output: OutputContainer) -> None:
        """Announce it in a video.

        Raises:
            FacemakeError: an MP4 cannot hold its coding.
        """
        if not set(output.supported_codecs) & {self._in.codec_context.codec.canonical_name}:
            raise FacemakeError(
                f"the sound of {self._path.name} is {self._in.codec_context.codec.canonical_name}, "
                "which an MP4 cannot hold: leave --audio out"
            )
        self._out = output.add_stream_from_template(self._in)

    def _demuxed(self) -> Iterator[Packet[Any]]:
        for packet in self._container.demux(self._in):
            if packet.dts is None or packet.is_discard:
                continue
            time = float((packet.pts if packet.pts is not None else packet.dts) * packet.time_base)
            if time >= self._end:
                return
            if time >= self._start:
                yield packet

    def until(self, time: float) -> Iterator[Packet[Any]]:
        """The packets up to a time (s, of the video that is written), for its muxer."""
        while True:
            packet: Any = self._ahead if self._ahead is not None else next(self._packets, None)
            self._ahead = packet
            if packet is None or float(packet.dts * packet.time_base) - self._shift > time:
                return
            self._ahead = None
            ticks = round(self._shift / packet.time_base)
            packet.dts -= ticks
            if packet.pts is not None:
                packet.pts -= ticks
            packet.stream = self._out
            yield packet

    def close(self) -> None:
        """Let go of the recording."""
        self._container.close()


class PictureSink:
    """Writes picture files: JPEG where the source is one, else PNG; nothing of its EXIF data.

    Args:
        folder: where they go.
        name: of the one file, without its suffix; None: `000012_NAME` by each picture's own.
        comment: for each file's own word of what made it.
        named: whether pictures of a folder keep their names behind their numbers.
    """

    def __init__(self, folder: Path, name: str | None, comment: str, *, named: bool = True) -> None:
        self._named = named
        self._folder = folder
        self._name = name
        self._comment = comment

    def path(self, index: int, name: str) -> Path:
        """Of a picture."""
        source = Path(name)
        suffix = ".jpg" if source.suffix.lower() in (".jpg", ".jpeg") else ".png"
        own = f"_{source.stem}" if self._named else ""
        stem = f"{index:06d}{own}" if self._name is None else self._name
        return self._folder / f"{stem}{suffix}"

    def write(
        self, rgb: Pixels, index: int, time: float | None, duration: float | None, name: str = ""
    ) -> None:
        """See `Sink`."""
        path = self.path(index, name)
        image = Image.fromarray(rgb)
        with replacing(path) as beside:
            if path.suffix == ".jpg":
                image.save(beside, "JPEG", quality=_QUALITY, subsampling=0, comment=self._comment)
            else:
                word = PngInfo()
                word.add_text("Comment", self._comment)
                image.save(beside, "PNG", pnginfo=word)


def comment_of(path: Path) -> str:
    """A file's own word of what made it, of a folder that of its first picture; "" if none."""
    if path.is_dir():
        first = min((one for one in path.iterdir() if one.name[0] != "."), default=None)
        return "" if first is None or first.is_dir() else comment_of(first)
    try:
        if path.suffix == ".mp4":
            with av.open(str(path), options=_ONLY_FILES, metadata_errors="replace") as container:
                return container.metadata.get("comment", "")
        with Image.open(path, formats=("JPEG", "PNG")) as picture:
            word = picture.info.get("Comment") or picture.info.get("comment") or ""
    except (OSError, ValueError, SyntaxError, FFmpegError):
        return ""
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def colours_of(path: Path) -> tuple[int, int, int]:
    """Primaries, transfer and matrix of a video, in H.273's numbers; 2 where it does not say."""
    try:
        with av.open(str(path), options=_ONLY_FILES, metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is not None:
                context: Any = stream.codec_context
                names = ("color_primaries", "color_trc", "colorspace")
                primaries, transfer, matrix = (int(getattr(context, name)) for name in names)
                return primaries, transfer, matrix
    except FFmpegError:
        pass
    return _UNSAID, _UNSAID, _UNSAID


def _fitted(rgb: Pixels, width: int, height: int) -> Pixels:
    """A picture of this size, made even; another size is scaled into it, on black."""
    if rgb.shape[:2] != (height, width):
        scale = min(width / rgb.shape[1], height / rgb.shape[0])
        small = cv2.resize(
            rgb,
            (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))),
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        canvas = np.zeros((height, width, 3), np.uint8)
        top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
        canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
        rgb = canvas
    if width % 2 or height % 2:
        rgb = np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    return rgb
