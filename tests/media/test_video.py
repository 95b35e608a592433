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

from facemake.media import MediaError, VideoMedia, open_media, read_frames
from facemake.media.video import _raise_if_ours
from facemake.samples import Sample
from facemake.status import FrameStatus, SampleStatus
from makemedia import damage_packets, edit_list, noise, pattern, truncate, write_audio, write_video

COUNTS = {
    "single_face.mp4": 72,
    "WolfgangLanger_Pexels.mp4": 472,
    "face_noface.mov": 169,
    "no_face.mp4": 95,  # of 98 packets: an edit list hides three
}
QUARTERS = {(0.25, 0.2): (255, 0, 0), (0.25, 0.8): (0, 255, 0), (0.75, 0.2): (0, 0, 255)}


def sample(path: Path, start: float | None = None, end: float | None = None) -> Sample:
    return Sample("s", path, "s", start=start, end=end)


def all_frames(path: Path, start: float | None = None, end: float | None = None):
    with open_media(sample(path, start, end)) as media:
        return [(f.index, f.time, f.rgb) for f in media]


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


# -- time ranges


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize(
    ("start", "end"), [(0.4, 0.8), (0.41, None), (None, 0.5), (1.0, 1.0), (0.0, 9.0)]
)
def test_ranges(tmp_path: Path, name: str, start: float | None, end: float | None) -> None:
    path = write_video(
        tmp_path / name,
        [noise(i) for i in range(40)],
        options={"g": "6", "x264-params": "open-gop=1"},
    )
    whole = all_frames(path)
    low = -1.0 if start is None else start
    high = 99.0 if end is None else end
    expected = [(t, rgb) for _, t, rgb in whole if low <= t < high]
    part = all_frames(path, start, end)
    assert [f[0] for f in part] == list(range(len(expected)))
    assert [f[1] for f in part] == [t for t, _ in expected]
    assert all(np.array_equal(a[2], b[1]) for a, b in zip(part, expected, strict=True))


def test_a_range_far_inside_does_not_decode_what_is_before(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(i) for i in range(200)], options={"g": "10"})
    with VideoMedia(path, 6.0, 6.4) as media:
        assert len(list(media)) == 10
        assert media.tally.frames < 40


# -- chosen frames

STREAMS = {
    "h264 B-frames": ("a.mp4", "libx264", {"g": "12", "bf": "3"}),
    "h264 open GOP": ("a.mkv", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "hevc open GOP": ("a.mp4", "libx265", {"x265-params": "keyint=12:open-gop=1:log-level=none"}),
    "vp9": ("a.webm", "libvpx-vp9", {"g": "12"}),
    "mpeg4 B-frames": ("a.mp4", "mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4 avi": ("a.avi", "mpeg4", {"g": "12"}),
    "h264 ts": ("a.ts", "libx264", {"g": "12"}),
    "h264 intra refresh": ("a.mp4", "libx264", {"g": "20", "x264-params": "intra-refresh=1"}),
    "h264 fragmented": ("f.mp4", "libx264", {"g": "12"}),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_chosen_frames_equal_sequential_ones(tmp_path: Path, stream: str) -> None:
    name, codec, options = STREAMS[stream]
    muxer = {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in stream else {}
    path = write_video(
        tmp_path / name,
        [noise(i) for i in range(80)],
        codec=codec,
        options=options,
        container_options=muxer,
    )
    whole = all_frames(path)
    assert len(whole) == 80
    for step in (1, 7, 33):
        wanted = list(range(step - 1, 80, step))
        for times in (
            None,
            [whole[i][1] for i in wanted],
            [float(np.float32(whole[i][1])) for i in wanted],
        ):
            got = list(read_frames(sample(path), wanted, times))
            assert [f.index for f in got] == wanted
            for frame, i in zip(got, wanted, strict=True):
                assert frame.time == whole[i][1]
                assert np.array_equal(frame.rgb, whole[i][2]), (i, times is None)


@pytest.mark.parametrize("name", COUNTS)
def test_chosen_frames_of_real_recordings(shared: Path, name: str) -> None:
    path = shared / "data" / name
    wanted = [5, 60, COUNTS[name] - 1]
    with open_media(sample(path)) as media:
        whole = {f.index: (f.time, f.rgb) for f in media if f.index in wanted}
    got = list(read_frames(sample(path), wanted, [whole[i][0] for i in wanted]))
    assert [f.index for f in got] == wanted
    assert all(np.array_equal(f.rgb, whole[f.index][1]) for f in got)


@pytest.mark.parametrize("stream", ["h264 B-frames", "hevc open GOP", "vp9"])
def test_seeking_spares_decoding(tmp_path: Path, stream: str, monkeypatch) -> None:
    name, codec, options = STREAMS[stream]
    path = write_video(
        tmp_path / name, [noise(i) for i in range(120)], codec=codec, options=options
    )
    decoded = []
    monkeypatch.setattr(
        VideoMedia, "_from_beginning", lambda self: pytest.fail("went to the beginning")
    )
    original = VideoMedia._packets
    monkeypatch.setattr(
        VideoMedia, "_packets", lambda self: (decoded.append(1) or p for p in original(self))
    )
    got = list(read_frames(sample(path), [50, 110], [50 / 25, 110 / 25]))
    assert [f.index for f in got] == [50, 110]
    assert len(decoded) < 70


def test_doubtful_stamps_are_found_by_decoding_all(tmp_path: Path) -> None:
    # One stamp twice: a seek cannot tell which of the two frames is meant.
    path = write_video(
        tmp_path / "a.mkv",
        [noise(i) for i in range(30)],
        options={"g": "5", "bf": "0"},
        stamps=[*range(0, 480, 40), 440, *range(480, 1160, 40)],
        time_base=Fraction(1, 1000),
    )
    whole = all_frames(path)
    assert whole[11][1] == whole[12][1] == 0.44
    for index in (11, 12):
        (got,) = read_frames(sample(path), [index], [0.44])
        assert got.index == index and np.array_equal(got.rgb, whole[index][2])


def test_a_recording_that_was_exchanged_is_noticed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 30)
    with pytest.raises(ValueError, match="exchanged"):
        list(read_frames(sample(path), [10], [0.41]))
    with pytest.raises(ValueError, match="exchanged"):
        list(read_frames(sample(path), [10, 30]))
    with pytest.raises(ValueError, match="increasing"):
        list(read_frames(sample(path), [10, 10]))
    with pytest.raises(ValueError, match="times"):
        list(read_frames(sample(path), [10], [0.4, 0.44]))
    assert list(read_frames(sample(path), [])) == []


def test_each_frame_of_an_open_gop_can_begin_a_range(tmp_path: Path) -> None:
    # Those presented before a key frame but stored after it lean on what is before it.
    for stream in ("h264 open GOP", "hevc open GOP"):
        name, codec, options = STREAMS[stream]
        path = write_video(
            tmp_path / name, [noise(i) for i in range(40)], codec=codec, options=options
        )
        whole = all_frames(path)
        for _, time, rgb in whole:
            ((index, first, pixels),) = all_frames(path, time, time + 0.01)
            assert (index, first) == (0, time) and np.array_equal(pixels, rgb)


def test_edit_list_that_hides_the_beginning(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", [noise(i) for i in range(20)], stamps=range(-3, 17), options={"bf": "0"}
    )
    with VideoMedia(path) as media:
        frames = [(f.time, f.rgb) for f in media]
        assert media.tally.packets == len(frames) == 17
        assert media.missing() == ""
    assert frames[0][0] == 0.0
    (got,) = read_frames(sample(path), [10], [0.4])
    assert np.array_equal(got.rgb, frames[10][1])


def test_edit_list_that_joins_pieces(tmp_path: Path, monkeypatch) -> None:
    path = write_video(
        tmp_path / "a.mp4", [noise(i) for i in range(50)], options={"g": "8", "bf": "0"}
    )
    whole = all_frames(path)
    edit_list(path, [(400, 0), (600, 30 * 512)])
    shown = all_frames(path)
    assert [t for _, t, _ in shown] == pytest.approx(np.arange(25) / 25)
    for (_, _, rgb), index in zip(shown, [*range(10), *range(30, 45)], strict=True):
        assert np.array_equal(rgb, whole[index][2])
    decoded_all = []
    original = VideoMedia._from_beginning
    monkeypatch.setattr(
        VideoMedia, "_from_beginning", lambda self: decoded_all.append(1) or original(self)
    )
    got = list(read_frames(sample(path), [5, 20], [0.2, 0.8]))
    assert decoded_all, "seeks amid such a list are not relied on"
    assert all(np.array_equal(f.rgb, shown[f.index][2]) for f in got)


def test_chosen_frames_by_stamps_rounded_to_float32(tmp_path: Path) -> None:
    stamps = [3_000_000 + 33 * i for i in range(30)]
    path = write_video(tmp_path / "a.mkv", 30, stamps=stamps, time_base=Fraction(1, 1000))
    (got,) = read_frames(sample(path), [7], [float(np.float32(stamps[7] / 1000))])
    assert got.time == stamps[7] / 1000 != np.float32(got.time)


def test_chosen_frames_within_a_range(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(i) for i in range(50)], options={"g": "8"})
    whole = all_frames(path)
    for times in (None, [1.2]):
        (got,) = read_frames(sample(path, 0.8, 1.6), [10], times)
        assert got.index == 10 and got.time == 1.2 and np.array_equal(got.rgb, whole[30][2])


# -- bad data


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mp4", b"", "empty"),
        ("a.mp4", b"this is a letter, not a film\n" * 40, "not a video"),
        ("a.mp4", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "not a video"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=said) as caught:
        open_media(sample(path))
    assert caught.value.status is SampleStatus.UNREADABLE
    assert "a.mp4" in caught.value.reason and str(tmp_path) not in caught.value.reason


def test_a_title_that_is_not_unicode(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    data = path.read_bytes()
    assert b"VideoHandler" in data
    path.write_bytes(data.replace(b"VideoHandler", "Vidéo d’été".encode("cp1252").ljust(12)))
    assert len(all_frames(path)) == 3


def test_only_the_machine_runs_out_of_memory(monkeypatch) -> None:
    error = av.error.MemoryError(12, "Cannot allocate memory")
    _raise_if_ours(error)  # of damaged data: there is memory

    def full(size: int) -> bytearray:
        raise MemoryError

    monkeypatch.setattr("facemake.media.video.bytearray", full, raising=False)
    with pytest.raises(MemoryError):
        _raise_if_ours(error)


def test_no_table_of_contents(tmp_path: Path) -> None:
    path = truncate(write_video(tmp_path / "a.mp4", [noise(i) for i in range(30)]), 0.5)
    with pytest.raises(MediaError, match=r"moov.*cut short"):
        open_media(sample(path))


def test_a_playlist_is_no_video(tmp_path: Path) -> None:
    write_video(tmp_path / "b.mp4", 2)
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile 'b.mp4'\n")
    with pytest.raises(MediaError, match="list of other files"):
        open_media(sample(tmp_path / "a.mp4"))


@pytest.mark.parametrize("cover", [False, True])
def test_sound_alone(tmp_path: Path, cover: bool) -> None:
    with pytest.raises(MediaError, match="has no video, only") as caught:
        open_media(sample(write_audio(tmp_path / "a.mp4", cover=cover)))
    assert caught.value.status is SampleStatus.NO_VIDEO_STREAM


def test_packets_that_fail_are_left_out_and_counted(tmp_path: Path, capfd) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(i) for i in range(30)], codec="mpeg4")
    with VideoMedia(damage_packets(path, range(10, 13))) as media:
        frames = [(f.index, f.time) for f in media]
        assert media.tally.failed == 3 and media.tally.error
        assert media.missing() == ""
    assert len(frames) == 27 and frames[10][0] == 10 and frames[10][1] == pytest.approx(13 / 25)
    assert capfd.readouterr() == ("", "")


def test_frames_that_the_decoder_calls_damaged_have_no_pixels(tmp_path: Path, capfd) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(i, 160, 128) for i in range(20)], codec="mpeg4")
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    at, size = places[8]
    data = bytearray(path.read_bytes())
    data[at + size // 2 : at + size] = b"\xff" * (size - size // 2)
    path.write_bytes(data)
    with open_media(sample(path)) as media:
        frames = list(media)
    bad = [f for f in frames if f.status is FrameStatus.DECODE_ERROR]
    assert len(frames) == 20 and [f.index for f in bad] == [8]
    assert (bad[0].width, bad[0].height) == (160, 128)
    with pytest.raises(ValueError, match="frame 8 has no pixels"):
        _ = bad[0].rgb
    assert capfd.readouterr() == ("", "")


def test_torn_pictures_of_an_mjpeg_are_damaged(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.avi",
        [noise(i, 160, 128) for i in range(9)],
        codec="mjpeg",
        pix_fmt="yuvj420p",
    )
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    at, size = places[4]
    data[at + size // 2 : at + size - 16] = b"\xfe" * (size - size // 2 - 16)
    path.write_bytes(data)
    with open_media(sample(path)) as media:
        assert [f.index for f in media if f.status is FrameStatus.DECODE_ERROR] == [4]
        assert media.tally.frames == 9


def test_one_frame(tmp_path: Path) -> None:
    frames = all_frames(write_video(tmp_path / "a.mp4", 1))
    assert len(frames) == 1 and frames[0][:2] == (0, 0.0)


WHOLE = [
    ("a.mp4", "libx264", {"movflags": "faststart"}),
    ("a.mov", "mpeg4", {"movflags": "faststart"}),
    ("f.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
    ("a.mkv", "libx264", {}),
    ("a.webm", "libvpx-vp9", {}),
    ("a.avi", "mpeg4", {}),
    ("a.flv", "libx264", {}),
]


@pytest.mark.parametrize(("name", "codec", "muxer"), WHOLE)
@pytest.mark.parametrize("sound", [0.0, 4.0])
def test_whole_and_cut(tmp_path: Path, name: str, codec: str, muxer: dict, sound: float) -> None:
    if name == "a.webm":
        sound = 0.0  # WebM takes no AAC
    path = write_video(
        tmp_path / name,
        [noise(i) for i in range(50)],
        codec=codec,
        container_options=muxer,
        audio_seconds=sound,
    )
    with VideoMedia(path) as media:
        assert len(list(media)) == 50
        assert media.missing() == "", "sound longer than the picture is no sign of a cut"
    whole = path.read_bytes()
    for keep in (0.9, 0.7):
        path.write_bytes(whole[: int(len(whole) * keep)])
        with VideoMedia(path) as media:
            assert 0 < len(list(media)) <= 50
            assert media.missing()


def test_an_end_that_cannot_be_decoded_is_missing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(i) for i in range(60)], codec="libx265")
    with VideoMedia(damage_packets(path, range(40, 60))) as media:
        assert len(list(media)) == 40
        assert "can be decoded" in media.missing()


def test_a_cut_beyond_the_range_does_not_matter(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4",
        [noise(i) for i in range(50)],
        container_options={"movflags": "faststart"},
    )
    truncate(path, 0.8)
    with VideoMedia(path, 0.2, 0.8) as media:
        assert len(list(media)) == 15
        assert media.missing() == ""


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
