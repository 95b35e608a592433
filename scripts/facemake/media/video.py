"""Videos as frames, decoded by libav with its default options.

Pixels become RGB by the stream's own matrix and range, BT.601 and limited range where it does not
say, as ffmpeg does; nothing is tone-mapped, no pixel aspect ratio and no colour profile is applied,
an alpha channel is dropped. Edit lists are honoured: what they hide is decoded and not given.
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from facemake.media.files import declared_bytes, head
from facemake.media.frame import Frame, Kind, Media, MediaError, Orientation, Pixels
from facemake.media.libav import cannot_open, error_count, last_error, raise_if_ours, said
from facemake.status import SampleStatus

# 8-bit 4:2:0 takes swscale's short way (0.1 ms at 640x360, within 4 of 255 of the exact value);
# the rest, 10 bit among them, is exact to 1 or 2 only with full chroma interpolation.
_SCALING = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT
# Where a key frame is known to start afresh, and stamps and index are known to be sound.
_SEEKABLE_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg"})
_SEEKABLE_FORMATS = frozenset({"mov", "matroska"})
_PLAYLISTS = frozenset({"hls", "concat", "dash"})
# Where the header tells the duration, and not libav's guess by what it has read.
_TELL_DURATION = frozenset({"matroska", "flv", "asf"})
# What the MJPEG decoder says where it gives up in the middle of a picture.
_TORN = re.compile(r"error (y=|dc|count)|decode_sos")
_TOLERANCE = 0.5
"""Seconds that a container may promise too much: what sound encoders put before and after."""
# H.273 matrices that swscale refuses: a reserved number counts as not said, BT.2020 of constant
# luminance as the other BT.2020; YCgCo, ICtCp and the like would come out in false colours.
_KNOWN_MATRICES = frozenset({0, 1, 2, 4, 5, 6, 7, 9})
_MATRICES = {10: Colorspace.BT2020}
_UNKNOWN_MATRICES = frozenset({8, *range(11, 18)})


class _DoubtError(Exception):
    """A seek did not give what is certain to be right: decode from the beginning."""


@dataclass(slots=True)
class Tally:
    """What one pass over a video has met so far."""

    packets: int = 0
    """Of the video stream, without those that an edit list hides."""
    failed: int = 0
    """How many of them the decoder refused."""
    frames: int = 0
    """That came out of the decoder."""
    interlaced: int = 0
    """Frames woven of two half pictures."""
    finished: bool = False
    """The pass came to the end of the file."""
    cut: bool = False
    """The last packet of any stream is not whole, or reading itself failed."""
    end: float = 0.0
    """Seconds: the latest end of a packet of any stream."""
    video_end: float = 0.0
    """Seconds: the latest end of a packet of the video stream, the hidden apart."""
    shown_end: float = 0.0
    """Seconds: the latest end of a frame."""
    sound_start: float | None = None
    """Seconds: where the first packet of the sound begins; None where there is none."""
    sound_end: float = 0.0
    """Seconds: the latest end of a packet of the sound."""
    error: str = ""
    """The first message of the decoder."""
    torn: set[int] = field(default_factory=set)
    """Stamps, in ticks, of frames that are broken off though libav does not mark them."""


class VideoMedia(Media):
    """An open video, or a time range of it.

    Attributes:
        codec: the coding's name as ffmpeg has it, lower case.
        tally: of the last pass over its frames.
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
        self._rotation: int | None = None  # as libav has it: that of the last frame
        self._orientation = Orientation()
        if not head(path):
            raise self._unreadable("is empty (0 bytes): copy it again from where it came")
        self._open()
        self.codec = self._stream.codec_context.codec.canonical_name
        ranged = start is not None or end is not None
        if ranged and self._stampless:
            raise self._unreadable(
                "is a bare stream without time stamps, so that no time range can be cut from it: "
                "put it into a container first (ffmpeg -i … -c copy out.mkv)"
            )

    # -- opening

    def _unreadable(self, what: str) -> MediaError:
        return MediaError(SampleStatus.UNREADABLE, f"{self.path.name} {what}")

    def _open(self) -> None:
        """Opens the file afresh, at its beginning."""
        self.close()
        try:
            # Only files: a playlist that calls itself a video must not open a connection.
            container = av.open(
                str(self.path),
                options={"protocol_whitelist": "file"},
                metadata_errors="replace",  # a title in Latin-1 is no reason to fail
            )
        except FFmpegError as error:
            raise_if_ours(error)
            raise self._unreadable(cannot_open(error, head(self.path))) from error
        self._container, self._used = container, False
        self._formats = frozenset(container.format.name.split(","))
        if self._formats & _PLAYLISTS:
            self.close()
            raise self._unreadable("is a list of other files: name the recordings themselves")
        videos = [
            stream
            for stream in container.streams.video
            # A song's cover is a video stream of one picture to libav.
            if not stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
        ]
        if not videos:
            kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
            self.close()
            raise MediaError(
                SampleStatus.NO_VIDEO_STREAM,
                f"{self.path.name} has no video, only {' and '.join(kinds)}",
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
        if context.colorspace in _UNKNOWN_MATRICES:
            self.close()
            raise self._unreadable(
                f"has a colour coding that is not understood here (H.273 matrix "
                f"{context.colorspace}): convert it with ffmpeg -i … -c:v libx264 out.mp4"
            )
        # One thread: the rule's share of the machine, and the same bytes at any core count.
        context.thread_count = 1
        self._stampless = bool(Flags(container.format.flags) & Flags.no_timestamps)
        self._tick = float(self._stream.time_base or 0) or 1.0

    def close(self) -> None:
        """Lets go of the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def tick(self) -> float | None:
        """Seconds: the step of the stream's clock; None where it has no stamps."""
        return None if self._stampless else self._tick

    @property
    def shown_until(self) -> float:
        """Seconds: where an edit list ends the stream; infinite where nothing says so."""
        stream = self._stream
        if "mov" not in self._formats or stream.duration is None:
            return math.inf
        return ((stream.start_time or 0) + stream.duration) * self._tick

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height. Frames are given as they are stored all the same."""
        return self._stream.sample_aspect_ratio or Fraction(1)

    # -- decoding

    def _decoded(self) -> Iterator[VideoFrame]:
        """Frames from where the container stands, in presentation order; fills a new tally."""
        assert self._container is not None, "the video is closed"
        self._used = True
        tally = self.tally = Tally()
        stream, avi, mjpeg = self._stream, "avi" in self._formats, self.codec == "mjpeg"
        slots: list[int] = []
        damaged: set[int | None] = set()
        ticks = {s.index: float(s.time_base or 0) for s in self._container.streams}
        sound = self._container.streams.best("audio", related=stream)
        for packet in self._packets():
            if packet.size:
                stamp = packet.dts if packet.pts is None else packet.pts
                end = ((stamp or 0) + (packet.duration or 0)) * ticks.get(packet.stream_index, 0.0)
                tally.cut = packet.is_corrupt
                tally.end = max(tally.end, end)
                if packet.stream is not stream:
                    if packet.stream is sound and stamp is not None and not packet.is_discard:
                        if tally.sound_start is None:
                            tally.sound_start = stamp * ticks[sound.index]
                        tally.sound_end = max(tally.sound_end, end)
                    continue
                if not packet.is_discard:
                    tally.packets += 1
                    tally.video_end = max(tally.video_end, end)
            errors = error_count()
            try:
                frames = stream.codec_context.decode(packet)
            except FFmpegError as error:
                raise_if_ours(error)
                tally.failed += packet.size > 0
                tally.error = tally.error or said(error)
                frames = []
            else:
                if avi and packet.dts is not None:
                    heapq.heappush(slots, packet.dts)
            if packet.is_corrupt or (
                mjpeg and error_count() > errors and _TORN.match(last_error())
            ):
                damaged.add(packet.dts if packet.pts is None else packet.pts)
            for frame in frames:
                torn = frame.pts in damaged
                if slots:
                    # An AVI has one slot of time a frame and none for the order of B-frames, so
                    # the stamps that libav derives run backwards: frames fill the slots in turn.
                    frame.pts = heapq.heappop(slots)
                if torn:
                    tally.torn.add(frame.pts or 0)
                tally.frames += 1
                tally.interlaced += frame.interlaced_frame
                if frame.pts is not None:
                    end = (frame.pts + (frame.duration or 0)) * self._tick
                    tally.shown_end = max(tally.shown_end, end)
                yield frame
        tally.finished = True

    def _packets(self) -> Iterator[Packet[Stream]]:
        """All streams' packets from where the container stands; at last an empty one of ours."""
        assert self._container is not None, "the video is closed"
        try:
            for packet in self._container.demux():
                if packet.size:
                    yield packet
                elif packet.dts is None and packet.pts is None:
                    # PyAV's marks of the end, one a stream: no more than the first, for it trips
                    # over streams that libav found after it had opened the file.
                    break
        except FFmpegError as error:
            raise_if_ours(error)
            self.tally.cut = True
            self.tally.error = self.tally.error or said(error)
        # Gets out what the decoder still holds back. Unlike None, it lends the frames its clock.
        last: Packet[Stream] = Packet()
        last.stream = self._stream
        last.time_base = self._stream.time_base or Fraction(1)
        yield last

    def _frame(self, frame: VideoFrame, index: int) -> Frame:
        if frame.rotation != self._rotation:
            self._rotation, self._orientation = frame.rotation, _orientation(frame)
        orientation = self._orientation
        width, height = frame.width, frame.height
        if orientation.transpose:
            width, height = height, width
        damaged = frame.is_corrupt or frame.pts in self.tally.torn
        return Frame(
            index,
            None if damaged else lambda: self._rgb(frame, orientation),
            width=width,
            height=height,
            time=self._time(frame),
            duration=(frame.duration or 0) * self._tick or None if not self._stampless else None,
            error=self._unreadable(f"has damage in frame {index}") if damaged else None,
            orientation=orientation,
            codec=self.codec,
        )

    def _time(self, frame: VideoFrame) -> float | None:
        return None if self._stampless else frame.time

    def _rgb(self, frame: VideoFrame, orientation: Orientation) -> Pixels:
        converted = self._reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=None
            if frame.colorspace in _KNOWN_MATRICES
            else _MATRICES.get(frame.colorspace, Colorspace.ITU601),
            interpolation=_SCALING,
            threads=1,
        )
        pixels: Pixels = converted.to_ndarray()  # type: ignore[assignment]  # rgb24 is uint8
        # A stream that is RGB already hands out the decoder's own buffer.
        upright = orientation.apply(pixels.copy() if converted is frame else pixels)
        # the rows of an odd width are padded, and not every library takes such an array
        whole: Pixels = np.ascontiguousarray(upright)
        return whole

    # -- all frames

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(self._in_range()):
            yield self._frame(frame, index)

    def _in_range(self) -> Iterator[VideoFrame]:
        """The range's frames. It is entered at a key frame where that is certain to be right."""
        if self._used:
            self._open()  # so that every pass is the same, be the file ever so damaged
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
        frames: Iterator[VideoFrame] = iter(())
        reached, ahead = -math.inf, None
        errors = error_count()
        for time in times:
            if reached == -math.inf or self._key_before(time) > reached:
                frames, ahead = self._from_key_frame(time), None
            while True:
                frame = next(frames, None) if ahead is None else ahead
                if frame is None or frame.time is None or frame.is_corrupt:
                    raise _DoubtError
                if error_count() > errors:  # what libav makes of damage hangs on what was before
                    raise _DoubtError
                ahead = None
                if _same(frame.time, time):
                    break
                if frame.time > time:
                    raise _DoubtError
            reached = frame.time
            ahead = next(frames, None)
            if ahead is not None and (ahead.time is None or _same(ahead.time, time)):
                raise _DoubtError  # two frames of one stamp: which one was meant?
            yield frame

    def _key_before(self, time: float) -> float:
        """Seconds: the last key frame at or before `time` that the file's index names."""
        entries = self._stream.index_entries
        entry = entries.search_timestamp(math.floor((time + _slack(time)) / self._tick))
        return entries[entry].timestamp * self._tick if entry >= 0 else -math.inf

    def _from_key_frame(self, time: float) -> Iterator[VideoFrame]:
        """Frames from a sound key frame at or before `time`, as when decoded from frame 0.

        Raises:
            _DoubtError: there is no way there that is certain.
        """
        if not math.isfinite(time) or not self._seekable:
            raise _DoubtError
        assert self._container is not None, "the video is closed"
        latest = time + _slack(time)
        # An index may tell decoding times, which run ahead: later tries go further back.
        for back in (0.0, 2.0, 20.0):
            self._used = True  # wherever a seek that fails may leave it
            try:
                offset = math.floor((latest - back) / self._tick)
                self._container.seek(offset, stream=self._stream)
            except FFmpegError as error:
                raise _DoubtError from error
            frames = self._decoded()
            for frame in frames:
                # Presented before the key frame are those that lean on what was not decoded;
                # what is presented after it leans on nothing before it.
                if frame.time is None or frame.time > latest:
                    break
                if frame.key_frame and frame.pict_type == PictureType.I and not frame.is_corrupt:
                    return itertools.chain([frame], frames)
        raise _DoubtError

    @cached_property
    def _seekable(self) -> bool:
        """Whether entering amid the stream is understood for this container and codec."""
        assert self._container is not None, "the video is closed"
        if not self._formats & _SEEKABLE_FORMATS or self.codec not in _SEEKABLE_CODECS:
            return False
        # An edit list that hides frames amid the others joins pieces of the recording.
        shown = [not entry.is_discard for entry in self._stream.index_entries]
        if True not in shown:
            return not shown
        return False not in shown[shown.index(True) : len(shown) - shown[::-1].index(True)]

    # -- is it whole?

    @property
    def undamaged(self) -> bool:
        """See `Media`."""
        return not (self.tally.failed or self.tally.cut)

    def missing(self) -> str:
        """What the container promises and the file does not hold, in words; "" if nothing.

        Asked after a pass over its frames. Sound that is longer than the picture, edit lists and
        counts in headers mean nothing here: bytes and times do.
        """
        assert self._container is not None, "the video is closed"
        tally, size = self.tally, self.path.stat().st_size
        if "mov" in self._formats:
            entries = [
                entry
                for entry in self._stream.index_entries
                if not entry.is_discard
                and (self.end is None or entry.timestamp * self._tick < self.end)
            ]
            beyond = sum(entry.pos + entry.size > size for entry in entries)
            if beyond:
                return f"{beyond} of the {len(entries)} frames in its index lie beyond its end"
        if not tally.finished:
            return ""
        short = declared_bytes(self.path) - size
        if short > 0:
            return f"the file is {short} bytes shorter than its own header says"
        if tally.cut:
            return "its last packet is not whole"
        declared = (self._container.duration or 0) / 1e6
        if self._formats & _TELL_DURATION and declared - tally.end > _TOLERANCE:
            return f"it should last {declared:.2f} s, but there is nothing after {tally.end:.2f} s"
        if tally.video_end - tally.shown_end > _TOLERANCE:
            return (
                f"nothing after {tally.shown_end:.2f} s of {tally.video_end:.2f} s can be decoded"
            )
        return ""


def _orientation(frame: VideoFrame) -> Orientation:
    """Of a frame's display matrix.

    Not asked of every frame: PyAV ties `side_data` and frame into a knot that only the garbage
    collector undoes, so that hundreds of frames would wait in memory.
    """
    matrix = cast("dict[str, Any]", frame.side_data).get("DISPLAYMATRIX")
    return Orientation() if matrix is None else Orientation.from_display_matrix(bytes(matrix))


def _same(stamp: float, time: float) -> bool:
    """Equal but for what float32 takes away; frames are always much further apart."""
    return abs(stamp - time) <= _slack(time)


def _slack(time: float) -> float:
    return 1e-6 + 1.2e-7 * abs(time)
