"""Videos as frames, decoded by libav with its default options.

Pixels become RGB by the stream's own matrix and range, BT.601 and limited range where it does not
say, as ffmpeg does; nothing is tone-mapped, no pixel aspect ratio and no colour profile is applied,
an alpha channel is dropped. Edit lists are honoured: what they hide is decoded and not given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import Type as SideDataType
from av.stream import Disposition
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from facemake.media.files import head
from facemake.media.frame import Frame, Kind, Media, MediaError, Orientation, Pixels
from facemake.status import SampleStatus

if av.logging.get_level() is None:
    # PyAV throws libav's messages away; at this level none is printed, but an exception carries
    # the last error that was said, which is the only useful word ("moov atom not found").
    av.logging.set_level(av.logging.PANIC)

# 8-bit 4:2:0 takes swscale's short way (0.1 ms at 640x360, within 4 of 255 of the exact value);
# the rest, 10 bit among them, is exact to 1 or 2 only with full chroma interpolation.
_SCALING = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT
# Where a key frame is known to start afresh, and stamps and index are known to be sound.
_SEEKABLE_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "mjpeg"})
_SEEKABLE_FORMATS = frozenset({"mov", "mp4", "matroska", "webm"})


class _DoubtError(Exception):
    """A seek did not give what is certain to be right: decode from the beginning."""


@dataclass(slots=True)
class Tally:
    """What reading a video has met so far; complete when its frames are at an end."""

    packets: int = 0
    """Of the video stream, those hidden by an edit list included."""
    failed: int = 0
    """Packets that the decoder refused."""
    failed_last: int = 0
    """How many of them in a row at the end."""
    cut: bool = False
    """The last packet that was read is not whole, or reading itself failed."""
    end: float = 0.0
    """Seconds: the latest end of a packet of any stream."""
    errors: list[str] = field(default_factory=list)
    """The first few messages of libav, no two alike."""

    def note(self, error: FFmpegError) -> None:
        message = error.log[1][2].strip() if error.log and error.log[1] else error.strerror
        if message and message not in self.errors and len(self.errors) < 3:
            self.errors.append(message)


class VideoMedia(Media):
    """An open video, or a time range of it.

    Attributes:
        codec: ffmpeg's name, lower case.
        tally: of the last pass over its frames.
        notes: what a researcher should know of it, in words, though it is no failure.
    """

    kind = Kind.VIDEO

    def __init__(self, path: Path, start: float | None = None, end: float | None = None) -> None:
        """Opens it; `start` and `end` are seconds on the stream's clock, [start, end).

        Raises:
            MediaError: no permission, no video, or no decoder for it.
            OSError: the file is gone, or the disk fails.
        """
        self.path, self.start, self.end = path, start, end
        self.tally = Tally()
        self._container: InputContainer | None = None
        self._reformatter = VideoReformatter()
        if not head(path):
            raise self._unreadable("is empty (0 bytes): copy it again from where it came")
        self._open()
        self.codec = self._stream.codec_context.name
        ranged = start is not None or end is not None
        if ranged and self._stampless:
            raise self._unreadable(
                "is a bare stream without time stamps, so that no time range can be cut from it: "
                "put it into a container first (ffmpeg -i … -c copy out.mkv)"
            )

    # -- opening

    def _unreadable(self, what: str) -> MediaError:
        return MediaError(SampleStatus.UNREADABLE, f"{self.path} {what}")

    def _open(self) -> None:
        """Opens the file afresh, at its beginning."""
        self.close()
        try:
            # Only files: a playlist that calls itself a video must not open a connection.
            container = av.open(str(self.path), options={"protocol_whitelist": "file"})
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            raise self._unreadable(_cannot_open(error)) from error
        self._container, self._used = container, False
        videos = [
            stream
            for stream in container.streams.video
            # A song's cover is a video stream of one picture to libav.
            if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
        ]
        if not videos:
            kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
            self.close()
            raise MediaError(
                SampleStatus.NO_VIDEO_STREAM,
                f"{self.path} has no video, only {' and '.join(kinds)}",
            )
        best = container.streams.best("video")
        self._stream: VideoStream = next((s for s in videos if s is best), videos[0])
        context = self._stream.codec_context
        if context is None:
            self.close()
            raise self._unreadable(
                "is in a video format that cannot be decoded here: convert it with "
                "ffmpeg -i … -c:v libx264 -crf 16 out.mp4"
            )
        # One thread: the rule's share of the machine, and the same bytes at any core count.
        context.thread_count = 1
        self._stampless = bool(container.format.flags & av.format.Flags.no_timestamps.value)

    def close(self) -> None:
        """Lets go of the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def notes(self) -> list[str]:
        """What is unusual and no failure."""
        ratio = self._stream.sample_aspect_ratio
        if ratio and ratio != 1:
            return [f"its pixels are not square ({ratio.numerator}:{ratio.denominator})"]
        return []

    # -- decoding

    def _decoded(self) -> Iterator[VideoFrame]:
        """Frames from where the container stands, in presentation order; fills the tally."""
        assert self._container is not None, "the video is closed"
        self._used = True
        tally, stream = self.tally, self._stream
        others = [s for s in self._container.streams.audio if s.codec_context is not None]
        packets = self._container.demux(stream, *others)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                tally.cut = True
                tally.note(error)
                packet = None
            if packet is not None and packet.size:
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None:
                    end = float((stamp + (packet.duration or 0)) * packet.time_base)
                    tally.end = max(tally.end, end)
                tally.cut = packet.is_corrupt
            if packet is not None and packet.stream is not stream:
                continue
            real = packet is not None and packet.size > 0
            tally.packets += real
            try:
                # An empty packet, or none, gets out what the decoder still holds back.
                frames = stream.codec_context.decode(packet)
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                if real:
                    tally.failed += 1
                    tally.failed_last += 1
                tally.note(error)
                frames = []
            else:
                tally.failed_last = 0
            yield from frames
            if not real:
                return

    def _frame(self, frame: VideoFrame, index: int) -> Frame:
        orientation = Orientation()
        matrix = frame.side_data.get(SideDataType.DISPLAYMATRIX)
        if matrix is not None:
            orientation = Orientation.from_display_matrix(bytes(matrix))
        width, height = frame.width, frame.height
        if orientation.transpose:
            width, height = height, width
        damaged = frame.is_corrupt
        return Frame(
            index,
            None if damaged else lambda: self._rgb(frame, orientation),
            width=width,
            height=height,
            time=self._time(frame),
            duration=float(frame.duration * frame.time_base)
            if frame.duration and frame.time_base and not self._stampless
            else None,
            reason="the decoder calls it damaged" if damaged else "",
            orientation=orientation,
            codec=self.codec,
        )

    def _time(self, frame: VideoFrame) -> float | None:
        return None if self._stampless else frame.time

    def _rgb(self, frame: VideoFrame, orientation: Orientation) -> Pixels:
        converted = self._reformatter.reformat(
            frame, format="rgb24", interpolation=_SCALING, threads=1
        )
        pixels: Pixels = converted.to_ndarray().astype(np.uint8, copy=converted is frame)
        return orientation.apply(pixels)

    # -- all frames

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(self._in_range()):
            yield self._frame(frame, index)

    def _in_range(self) -> Iterator[VideoFrame]:
        """The range's frames. It is entered at a key frame where that is certain to be right."""
        start = -math.inf if self.start is None else self.start
        end = math.inf if self.end is None else self.end
        try:
            frames = self._from_key_frame(start)
        except _DoubtError:
            frames = self._from_beginning()
        time = -math.inf
        for frame in frames:
            stamp = self._time(frame)
            time = time if stamp is None else stamp  # without one, it belongs to its neighbour
            if time >= end:
                return
            if time >= start:
                yield frame

    def _from_beginning(self) -> Iterator[VideoFrame]:
        if self._used:
            self._open()
        self.tally = Tally()
        return self._decoded()

    # -- chosen frames

    def pick(self, wanted: list[int], times: list[float] | None) -> Iterator[Frame]:
        """Chosen frames: by way of key frames while that is certain, else from the beginning."""
        done = 0
        if times is not None:
            try:
                for frame, index in zip(self._seek_each(times), wanted, strict=True):
                    yield self._frame(frame, index)
                    done += 1
                return
            except _DoubtError:
                pass
        left = wanted[done:]
        stamps = dict(zip(wanted, times or [], strict=False))
        for whole in self:
            if whole.index != left[0]:
                continue
            time = stamps.get(whole.index)
            if time is not None and (whole.time is None or not _same(whole.time, time)):
                raise ValueError(
                    f"frame {whole.index} of {self.path} is at {whole.time} s, not at {time} s: "
                    "the recording was exchanged since it was probed"
                )
            yield whole
            left = left[1:]
            if not left:
                return
        raise ValueError(f"{self.path} has no frame {left[0]}: it was exchanged since its probe")

    def _seek_each(self, times: list[float]) -> Iterator[VideoFrame]:
        """The frame at each of these stamps.

        Raises:
            _DoubtError: as soon as one cannot be had with certainty.
        """
        frames: Iterator[VideoFrame] | None = None
        reached = -math.inf
        for time in times:
            if frames is None or self._key_before(time) > reached:
                frames = self._from_key_frame(time)
            for frame in frames:
                stamp = self._time(frame)
                if stamp is None or frame.is_corrupt:
                    raise _DoubtError
                reached = stamp
                if _same(stamp, time):
                    break
                if stamp > time:
                    raise _DoubtError
            else:
                raise _DoubtError
            after = next(frames, None)
            if after is not None:
                if after.time is None or _same(after.time, time):
                    raise _DoubtError
                frames = itertools.chain([after], frames)
            yield frame

    def _key_before(self, time: float) -> float:
        """Seconds: the last key frame at or before `time` that the file's index names."""
        stream = self._stream
        assert stream.time_base is not None
        entry = stream.index_entries.search_timestamp(math.floor(time / stream.time_base))
        if entry < 0:
            return -math.inf
        return float(stream.index_entries[entry].timestamp * stream.time_base)

    def _from_key_frame(self, time: float) -> Iterator[VideoFrame]:
        """Frames from a sound key frame at or before `time`, as when decoded from frame 0.

        Raises:
            _DoubtError: there is no way there that is certain.
        """
        if not math.isfinite(time) or not self._seekable:
            raise _DoubtError
        stream = self._stream
        assert self._container is not None, "the video is closed"
        assert stream.time_base is not None
        # An index may tell decoding times, which run ahead: later tries go further back.
        for back in (0.0, 2.0, 20.0):
            try:
                self._container.seek(math.floor((time - back) / stream.time_base), stream=stream)
            except FFmpegError as error:
                raise _DoubtError from error
            self.tally = Tally()
            frames = self._decoded()
            for frame in frames:
                # Presented before the key frame are those that lean on what was not decoded;
                # what is presented after it leans on nothing before it.
                if frame.time is None or frame.time > time:
                    break
                if frame.key_frame and frame.pict_type == PictureType.I and not frame.is_corrupt:
                    return itertools.chain([frame], frames)
        raise _DoubtError

    @cached_property
    def _seekable(self) -> bool:
        """Whether entering amid the stream is understood for this container and codec."""
        assert self._container is not None, "the video is closed"
        names = set(self._container.format.name.split(","))
        if not names & _SEEKABLE_FORMATS or self.codec not in _SEEKABLE_CODECS:
            return False
        # An edit list that hides frames amid the others joins pieces of the recording.
        shown = [not entry.is_discard for entry in self._stream.index_entries]
        if True not in shown:
            return not shown
        return False not in shown[shown.index(True) : len(shown) - shown[::-1].index(True)]

    # -- is it whole?

    def missing(self) -> str:
        """What the container promises and the file does not hold; asked after a whole pass."""
        assert self._container is not None, "the video is closed"
        size = self.path.stat().st_size
        names = set(self._container.format.name.split(","))
        if names & {"mov", "mp4"}:
            entries = [entry for entry in self._stream.index_entries if not entry.is_discard]
            beyond = sum(entry.pos + entry.size > size for entry in entries)
            return f"{beyond} of its {len(entries)} frames lie beyond its end" if beyond else ""
        return ""


def _same(stamp: float, time: float) -> bool:
    """Equal but for what float32 takes away; frames are always much further apart."""
    return abs(stamp - time) <= 1e-6 + 1.2e-7 * abs(time)


def _cannot_open(error: FFmpegError) -> str:
    said = error.log[1][2].strip() if error.log and error.log[1] else ""
    if "moov atom not found" in said:
        return (
            "is an MP4 or MOV without its table of contents (moov): the copy or the recording "
            "was cut short. Copy it again; of an original, a repair tool may save it"
        )
    return f"is not a video that can be read ({said or error.strerror}): copy it again"
