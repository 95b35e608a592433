"""Tiny videos for tests, made on the spot with PyAV, and what else tests of media share."""

from __future__ import annotations

import gc
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame

from facemake.media import open_media
from facemake.samples import Sample

Pixels = npt.NDArray[np.uint8]
# Quiet, and the same bytes each time: x264 with its mbtree reads memory that nobody has written.
ENCODERS = {
    "libx265": {"x265-params": "log-level=none"},
    "libx264": {"x264-params": "mbtree=0"},
}


def pattern(index: int = 0, width: int = 64, height: int = 48) -> Pixels:
    """(height, width, 3): red, green, blue and white quarters, a grey bar that codes `index`.

    Top left red, top right green, bottom left blue, bottom right white; the bar runs down the
    middle, 16 grey levels by index.
    """
    image = np.zeros((height, width, 3), np.uint8)
    half_y, half_x = height // 2, width // 2
    image[:half_y, :half_x] = (255, 0, 0)
    image[:half_y, half_x:] = (0, 255, 0)
    image[half_y:, :half_x] = (0, 0, 255)
    image[half_y:, half_x:] = (255, 255, 255)
    bar = max(width // 8, 2)
    image[:, half_x - bar : half_x + bar] = 8 + 15 * (index % 16)
    return image


def noise(index: int, width: int = 64, height: int = 48) -> Pixels:
    """(height, width, 3): a smooth field that moves, plus grain: makes an encoder predict."""
    y, x = np.mgrid[0:height, 0:width]
    wave = np.stack(
        [
            np.sin((x + 3 * index) / 9.0),
            np.cos((y - 2 * index) / 7.0),
            np.sin((x + y + index) / 11.0),
        ],
        axis=-1,
    )
    grain = np.random.default_rng(index).integers(-8, 9, wave.shape)
    return np.clip(128 + 90 * wave + grain, 0, 255).astype(np.uint8)


def write_video(
    path: Path,
    frames: Iterable[Pixels | VideoFrame] | int = 10,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: int | Fraction = 25,
    stamps: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: float | None = None,
    hflip: bool = False,
    audio_seconds: float = 0.0,
    format: str | None = None,
) -> Path:
    """Encodes a video.

    Arguments:
        frames: RGB arrays (or frames made by hand); a number: so many `pattern`s.
        stamps: presentation times in ticks of `time_base`; default: evenly by `fps`.
        rotation, hflip: the display matrix, as PyAV's `set_display_rotation` takes them
            (degrees counter-clockwise).
        audio_seconds: a silent audio stream of this length beside the video.
    """
    if isinstance(frames, int):
        frames = [pattern(i) for i in range(frames)]
    frames = [
        f if isinstance(f, VideoFrame) else VideoFrame.from_ndarray(f, format="rgb24")
        for f in frames
    ]
    settings = {**ENCODERS.get(codec, {}), **(options or {})}
    if codec == "libx264" and "mbtree" not in settings["x264-params"]:
        settings["x264-params"] += ":mbtree=0"
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=settings)
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pix_fmt
        stream.codec_context.thread_count = 1
        stream.color_range = frames[0].color_range
        stream.colorspace = frames[0].colorspace
        if time_base is not None:
            stream.codec_context.time_base = time_base
            stream.time_base = time_base
        if rotation is not None or hflip:
            stream.set_display_rotation(rotation or 0.0, hflip=hflip)
        sound = container.add_stream("aac", rate=16000) if audio_seconds else None
        base = time_base or Fraction(1, 1) / Fraction(fps)
        for i, frame in enumerate(frames):
            frame.pts = i if stamps is None else stamps[i]
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _write_silence(container, sound, audio_seconds)
    return path


def write_audio(path: Path, seconds: float = 0.5, cover: bool = False) -> Path:
    """A file with sound and no video, though maybe with a picture on its cover."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            frame = VideoFrame.from_ndarray(pattern(), format="rgb24")
            frame.pts = 0
            container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        _write_silence(container, sound, seconds)
    return path


def _write_silence(container: av.container.OutputContainer, stream: object, seconds: float) -> None:
    for start in range(0, int(16000 * seconds), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, start, Fraction(1, 16000)
        container.mux(stream.encode(frame))  # type: ignore[attr-defined]
    container.mux(stream.encode(None))  # type: ignore[attr-defined]


def truncate(path: Path, keep: float) -> Path:
    """Cuts a file down to this part of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def edit_list(path: Path, edits: list[tuple[int, int]]) -> Path:
    """Replaces the edit list of an MP4 of one stream, its moov behind its mdat.

    Arguments:
        edits: the pieces that are presented, one after the other: their duration in ms, and the
            stamp in the stream's own ticks where each begins.
    """
    data = path.read_bytes()
    at = data.index(b"elst") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    rows = b"".join(struct.pack(">iiI", *edit, 0x10000) for edit in edits)
    box = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(edits)) + rows
    out = bytearray(data[:at] + box + data[at + size :])
    for name in (b"moov", b"trak", b"edts"):
        start = data.rindex(name, 0, at) - 4
        grown = int.from_bytes(data[start : start + 4], "big") + len(box) - size
        out[start : start + 4] = grown.to_bytes(4, "big")
    path.write_bytes(out)
    return path


def damage_packets(
    path: Path, packets: range, fill: bytes = b"\0", *, kept: float = 0.0, tail: int = 0
) -> Path:
    """Overwrites these packets of a video's stream with one byte.

    Args:
        path: of the video.
        packets: by number.
        fill: the byte.
        kept: share of each that stays as it is, from its beginning.
        tail: bytes at its end that do.
    """
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for at, size in (places[i] for i in packets):
        start, end = at + int(size * kept), at + size - tail
        data[start:end] = fill * (end - start)
    path.write_bytes(data)
    return path


def unprivileged(call: Callable[[], object]) -> str:
    """What a call returns or raises, as text, without root's power to read everything.

    It runs in a forked child as `nobody`. Skips the test where that cannot be done.
    """
    if not hasattr(os, "fork"):
        pytest.skip("no fork: privileges cannot be dropped here")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # what other tests left is not tidied up here: gRPC's would wait for threads without end
        gc.disable()
        try:
            if os.geteuid() == 0:
                os.seteuid(65534)
            said = str(call())
        except BaseException as error:
            said = f"raised {error!r}"
        os.write(write, said.encode()[:60000])
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@contextmanager
def public_folder() -> Iterator[Path]:
    """A new folder that every user may enter and read (pytest's own are the user's alone)."""
    folder = Path(tempfile.mkdtemp(prefix="facemake-test-"))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        for path in [folder, *folder.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(folder)


COUNTS = {
    "single_face.mp4": 72,
    "WolfgangLanger_Pexels.mp4": 472,
    "face_noface.mov": 169,
    "no_face.mp4": 95,  # of 98 packets: an edit list hides three
}
"""Frames of the real recordings."""


def sample(path: Path, start: float | None = None, end: float | None = None) -> Sample:
    """A line of the sample sheet."""
    return Sample("s", path, "s", start=start, end=end)


def all_frames(
    path: Path, start: float | None = None, end: float | None = None
) -> list[tuple[int, float | None, Pixels]]:
    """Index, time and pixels of each frame, one after the other."""
    with open_media(sample(path, start, end)) as media:
        return [(f.index, f.time, f.rgb) for f in media]
