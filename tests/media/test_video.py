"""Videos as frames: every pixel and stamp as the stream has it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from av.video.frame import VideoFrame

from facemake.media import MediaError, VideoMedia, open_media
from facemake.samples import Sample
from facemake.status import FrameStatus, SampleStatus
from makemedia import (
    COUNTS,
    all_frames,
    pattern,
    sample,
    write_video,
)

QUARTERS = {(0.25, 0.2): (255, 0, 0), (0.25, 0.8): (0, 255, 0), (0.75, 0.2): (0, 0, 255)}


@pytest.mark.parametrize("name", COUNTS)
def test_presented_frames_of_real_recordings(shared: Path, name: str) -> None:
    with open_media(sample(shared / "data" / name)) as media:
        frames = [(f.index, f.time, f.status) for f in media]
    assert len(frames) == COUNTS[name]
    assert [f[0] for f in frames] == list(range(len(frames)))
    times = [f[1] for f in frames]
    assert times[0] == 0.0 and all(b > a for a, b in itertools.pairwise(times))
    assert {f[2] for f in frames} == {FrameStatus.OK}


def test_uneven_stamps_of_a_real_recording_are_kept(shared: Path) -> None:
    with open_media(sample(shared / "data" / "face_noface.mov")) as media:
        ticks = [round(f.time * 15360) for f in media if f.time is not None]
    steps = np.diff(ticks)
    assert set(steps) == {210, 461, 512, 640} and (steps == 640).sum() == 94


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mkv", "libx264", "yuv420p10le"),
        ("a.mov", "libx265", "yuv420p"),
        ("a.mp4", "libx265", "yuv420p10le"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.webm", "libsvtav1", "yuv420p10le"),
        ("a.mp4", "mpeg4", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.mkv", "ffv1", "yuv444p"),
    ],
)
def test_codecs(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    path = write_video(tmp_path / name, 9, codec=codec, pix_fmt=pix_fmt)
    frames = all_frames(path)
    assert len(frames) == 9
    assert np.diff([f[1] for f in frames]) == pytest.approx(0.04, abs=1e-6)
    for index, _, rgb in frames:
        assert rgb.shape == (48, 64, 3) and rgb.dtype == np.uint8
        for (y, x), colour in QUARTERS.items():
            assert rgb[int(48 * y), int(64 * x)] == pytest.approx(colour, abs=25)
        assert rgb[10:38, 30:34].mean() == pytest.approx(8 + 15 * index, abs=8)


@pytest.mark.parametrize(("codec", "name"), [("libvpx-vp9", "a.webm"), ("mjpeg", "a.avi")])
@pytest.mark.parametrize("size", [(65, 49), (33, 17), (101, 50)])
def test_odd_sizes(tmp_path: Path, codec: str, name: str, size: tuple[int, int]) -> None:
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    slope = np.stack([60 + x, 60 + y, 160 - x / 2 - y / 2], -1).astype(np.uint8)
    options = {"mjpeg": {"qmin": "1", "qmax": "1"}, "libvpx-vp9": {"lossless": "1"}}[codec]
    pix_fmt = {"mjpeg": "yuvj420p", "libvpx-vp9": "yuv420p"}[codec]
    path = write_video(tmp_path / name, [slope], codec=codec, pix_fmt=pix_fmt, options=options)
    ((_, _, rgb),) = all_frames(path)
    assert rgb.shape == (height, width, 3)
    error = np.abs(rgb.astype(int) - slope)
    assert error.max() <= 10 and error[-1].mean() < 4 and error[:, -1].mean() < 4


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_uneven_stamps_are_kept_exactly(tmp_path: Path, name: str) -> None:
    stamps = [0, 33, 67, 300, 301, 350, 1000, 1034]
    path = write_video(tmp_path / name, 8, stamps=stamps, time_base=Fraction(1, 1000))
    assert [f[1] for f in all_frames(path)] == [s / 1000 for s in stamps]


def test_avi_frames_run_forward_in_time_with_b_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 12, options={"bf": "3"})
    frames = all_frames(path)
    assert [f[1] for f in frames] == pytest.approx(np.arange(12) / 25)
    bars = [f[2][10:38, 30:34].mean() for f in frames]
    assert all(b > a + 8 for a, b in itertools.pairwise(bars))


def test_a_bare_stream_has_no_stamps_and_no_ranges(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.h264", 5)
    assert [f[1] for f in all_frames(path)] == [None] * 5
    with pytest.raises(MediaError, match="without time stamps"):
        open_media(sample(path, start=0.1))


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_display_matrix_is_undone(tmp_path: Path, degrees: int, hflip: bool) -> None:
    stored = pattern(3)
    path = write_video(
        tmp_path / "a.mp4", [stored], rotation=degrees, hflip=hflip, options={"crf": "1"}
    )
    # set_display_rotation turns counter-clockwise, as np.rot90 does, and mirrors then.
    upright = np.rot90(stored, degrees // 90)[:, :: -1 if hflip else 1]
    with open_media(sample(path)) as media:
        (frame,) = list(media)
        assert (frame.height, frame.width) == upright.shape[:2] == frame.rgb.shape[:2]
        for y, x in ((6, 6), (6, -7), (-7, 6), (-7, -7)):
            assert frame.rgb[y, x] == pytest.approx(upright[y, x], abs=25)
        assert frame.orientation.degrees == (degrees if hflip else -degrees) % 360
        assert frame.rgb.flags.c_contiguous


# -- colours, against arithmetic of our own

MATRICES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 9: (0.2627, 0.0593), 2: (0.299, 0.114)}


def exact_rgb(planes: list[np.ndarray], matrix: int, full: bool, bits: int) -> np.ndarray:
    """BT.601/709/2020 in floating point: (H, W, 3), 0 to 255, chroma already at full size."""
    kr, kb = MATRICES[matrix]
    one = 2 ** (bits - 8)
    y, u, v = (p.astype(float) for p in planes)
    if full:
        y, u, v = (y / (2**bits - 1), *((c - 128 * one) / (2**bits - 1) for c in (u, v)))
    else:
        y, u, v = ((y - 16 * one) / (219 * one), *((c - 128 * one) / (224 * one) for c in (u, v)))
    r, b = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], -1) * 255, 0, 255)


def yuv_frame(pix_fmt: str, matrix: int, full: bool | None, bits: int) -> VideoFrame:
    """Patches of 16x16 pixels, each of one luma and chroma, so that no interpolation matters."""
    one = 2 ** (bits - 8)
    dtype = np.uint8 if bits == 8 else np.uint16
    rows, columns = 6, 8
    y = np.linspace(40, 210, rows * columns).reshape(rows, columns) * one
    u = np.tile(np.linspace(100, 156, columns), (rows, 1)) * one
    v = np.tile(np.linspace(150, 104, rows)[:, None], (1, columns)) * one
    big = [np.kron(p.round(), np.ones((s, s))).astype(dtype) for p, s in ((y, 16), (u, 8), (v, 8))]
    packed = np.concatenate([p.ravel() for p in big]).reshape(-1, columns * 16)
    frame = VideoFrame.from_ndarray(packed, format=pix_fmt)
    frame.colorspace = matrix
    frame.color_range = {None: 0, False: 1, True: 2}[full]
    return frame


@pytest.mark.parametrize("matrix", [1, 5, 9, 2])
@pytest.mark.parametrize("full", [False, True, None])
@pytest.mark.parametrize("bits", [8, 10])
def test_colours(tmp_path: Path, matrix: int, full: bool | None, bits: int) -> None:
    pix_fmt = "yuv420p" if bits == 8 else "yuv420p10le"
    made = yuv_frame(pix_fmt, matrix, full, bits)
    path = write_video(tmp_path / "a.mkv", [made], pix_fmt=pix_fmt, options={"qp": "0"})
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
        assert stored.colorspace == matrix and bool(stored.color_range == 2) is bool(full)
        y, u, v = (
            np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)[
                :, : plane.width
            ]
            for plane in stored.planes
        )
    u, v = (np.kron(c, np.ones((2, 2))) for c in (u, v))
    exact = exact_rgb([y, u, v], matrix, bool(full), bits)
    ((_, _, rgb),) = all_frames(path)
    middle = (slice(8, None, 16), slice(8, None, 16))  # of each patch
    assert np.abs(rgb[middle] - exact[middle]).max() <= (4 if bits == 8 else 2)
    other = exact_rgb([y, u, v], 5 if matrix in (1, 9) else 1, bool(full), bits)
    assert np.abs(rgb[middle] - other[middle]).max() > 6, "another matrix would pass as well"


def test_a_matrix_that_would_give_false_colours_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", [yuv_frame("yuv420p", 8, False, 8)])
    with pytest.raises(MediaError, match="colour coding") as caught:
        open_media(sample(path))
    assert caught.value.status is SampleStatus.UNREADABLE


def test_rgb_streams_hand_out_a_copy(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mov", [pattern(1), pattern(1)], codec="qtrle", pix_fmt="rgb24")
    with open_media(sample(path)) as media:
        for frame in media:
            assert np.array_equal(frame.rgb, pattern(1))
            frame.rgb[:] = 0  # the second frame is coded as "no change"


# -- laziness and memory


def test_pixels_are_converted_only_when_asked_for(tmp_path: Path, monkeypatch) -> None:
    calls = []
    convert = VideoMedia._rgb
    monkeypatch.setattr(VideoMedia, "_rgb", lambda *a: calls.append(1) or convert(*a))
    path = write_video(tmp_path / "a.mp4", 10)
    with open_media(sample(path)) as media:
        for frame in media:
            assert (frame.width, frame.height) == (64, 48)
            if frame.index == 7:
                assert frame.rgb is frame.rgb
    assert len(calls) == 1


MEMORY = """
import sys, pathlib, psutil
from facemake.media import VideoMedia
for frame in VideoMedia(pathlib.Path(sys.argv[1])):
    assert frame.rgb.any() or frame.index
    if frame.index in (50, 399):
        print(psutil.Process().memory_info().rss)
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    still = np.full((360, 640, 3), 99, np.uint8)
    path = write_video(
        tmp_path / "a.mp4", [still] * 400, options={"preset": "ultrafast", "g": "50"}
    )
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    early, late = map(int, done.stdout.split())
    assert late - early < 10e6, "a frame is 0.7 MB, 349 of them 240 MB"


def test_decoding_takes_one_thread(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 10)
    before = psutil.Process().num_threads()
    with open_media(sample(path)) as media:
        for frame in media:
            assert frame.rgb.any()
            assert psutil.Process().num_threads() <= before


def test_a_medium_can_be_read_twice(tmp_path: Path) -> None:
    with open_media(sample(write_video(tmp_path / "a.mp4", 6))) as media:
        first = [(f.index, f.time, f.rgb.tobytes()) for f in media]
        for frame in media:
            if frame.index == 2:
                break
        assert [(f.index, f.time, f.rgb.tobytes()) for f in media] == first
    assert len(first) == 6


@pytest.mark.parametrize("rotation", [None, 90])
def test_pixels_of_an_odd_width_are_one_whole_array(tmp_path: Path, rotation: float | None):
    # padded rows, as the converter makes them, are refused by dlib
    picture = np.zeros((47, 63, 3), np.uint8)
    picture[:, :31] = 200
    path = write_video(
        tmp_path / "odd.mp4", [picture] * 2, codec="mpeg4", pix_fmt="yuv420p", rotation=rotation
    )
    with open_media(Sample("s", path, "s")) as media:
        for frame in media:
            assert frame.rgb.shape == ((63, 47, 3) if rotation else (47, 63, 3))
            assert frame.rgb.flags.c_contiguous


def test_one_frame(tmp_path: Path) -> None:
    frames = all_frames(write_video(tmp_path / "a.mp4", 1))
    assert len(frames) == 1 and frames[0][:2] == (0, 0.0)
