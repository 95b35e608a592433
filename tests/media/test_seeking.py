"""Chosen frames and time ranges of videos: the same pixels and stamps as by reading all."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from facemake.media import VideoMedia, open_media, read_frames
from makemedia import (
    COUNTS,
    all_frames,
    edit_list,
    noise,
    sample,
    write_video,
)


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
