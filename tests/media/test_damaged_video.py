"""Videos that are none, or damaged, or cut short: a status and a reason each."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from facemake.media import MediaError, VideoMedia, open_media
from facemake.media.libav import raise_if_ours
from facemake.status import FrameStatus, SampleStatus
from makemedia import (
    all_frames,
    damage_packets,
    noise,
    sample,
    truncate,
    write_audio,
    write_video,
)


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
    raise_if_ours(error)  # of damaged data: there is memory

    def full(size: int) -> bytearray:
        raise MemoryError

    monkeypatch.setattr("facemake.media.libav.bytearray", full, raising=False)
    with pytest.raises(MemoryError):
        raise_if_ours(error)


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
    damage_packets(path, range(8, 9), b"\xff", kept=0.5)
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
    damage_packets(path, range(4, 5), b"\xfe", kept=0.5, tail=16)
    with open_media(sample(path)) as media:
        assert [f.index for f in media if f.status is FrameStatus.DECODE_ERROR] == [4]
        assert media.tally.frames == 9


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
