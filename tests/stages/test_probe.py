"""The probe stage: each sample's truth, and a status with a reason for each that is amiss."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facemake.samples import Sample
from facemake.stages.probe import ProbeRow, probe_sample
from facemake.status import SampleStatus
from makemedia import (
    damage_packets,
    noise,
    pattern,
    public_folder,
    truncate,
    unprivileged,
    write_audio,
    write_video,
)


def probed(path: Path, **more: object) -> ProbeRow:
    row = probe_sample(Sample("s", path, "s", sha256="ab", **more))  # type: ignore[arg-type]
    assert row.sample == "s" and row.sha256 == "ab"
    assert row.status is SampleStatus.OK or row.reason
    assert str(path.parent) not in row.reason, "a table holds no path"
    return row


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("single_face.mp4", ("h264", 640, 360, 72, 2.4, 30.0, False)),
        ("WolfgangLanger_Pexels.mp4", ("h264", 640, 360, 472, 19.685, 24000 / 1001, False)),
        ("face_noface.mov", ("hevc", 960, 540, 169, 98335 / 15360, 168 * 15360 / 97695, True)),
        ("no_face.mp4", ("h264", 960, 540, 95, 48476 / 12288, 24.0, False)),
    ],
)
def test_real_recordings(shared: Path, name: str, expected: tuple) -> None:
    row = probed(shared / "data" / name)
    assert (row.kind, row.status, row.reason, row.rotation) == ("video", "ok", "", 0)
    assert (row.codec, row.width, row.height, row.n_frames) == expected[:4]
    assert (row.duration, row.fps) == pytest.approx(expected[4:6])
    assert row.vfr is expected[6]
    assert row.sound_offset is not None and row.sound_duration is not None and row.duration
    begins = 2.425 if name == "face_noface.mov" else 0.0  # its sound was switched on later
    ends = row.sound_offset + row.sound_duration - row.duration
    assert (row.sound_offset, ends) == pytest.approx((begins, 0.0), abs=0.025)


@pytest.mark.parametrize("name", ["single_face.jpg", "Image_with_alpha.png"])
def test_real_pictures(shared: Path, name: str) -> None:
    row = probed(shared / "data" / name)
    assert (row.kind, row.n_frames, row.status, row.rotation) == ("image", 1, "ok", 0)
    assert row.codec == {"j": "jpeg", "p": "png"}[name[-3]]
    assert row.duration is row.fps is row.vfr is None


def test_rotated_clip(tmp_path: Path) -> None:
    row = probed(write_video(tmp_path / "a.mp4", 5, rotation=-90))
    assert (row.width, row.height, row.rotation) == (48, 64, 90)


@pytest.mark.parametrize(
    ("stamps", "base", "vfr"),
    [
        ([round(i * 1000 / 30) for i in range(40)], 1000, False),  # rounded to milliseconds
        ([round(i * 1000 / 240) for i in range(40)], 1000, False),
        ([i * 1001 for i in range(40)], 30000, False),
        ([i + (i > 20) for i in range(40)], 25, True),  # one frame dropped at a clock of frames
        ([i * 20 + (i % 3) for i in range(40)], 600, True),  # as phones do
        ([0, 512, 1152], 15360, True),
    ],
)
def test_variable_frame_rate(tmp_path: Path, stamps: list[int], base: int, vfr: bool) -> None:
    path = write_video(
        tmp_path / "a.mp4",
        len(stamps),
        stamps=stamps,
        time_base=Fraction(1, base),
        container_options={"video_track_timescale": str(base)},
    )
    row = probed(path)
    assert row.vfr is vfr
    assert row.n_frames == len(stamps)
    assert row.fps == pytest.approx((len(stamps) - 1) / (stamps[-1] - stamps[0]) * base)


def test_one_frame(tmp_path: Path) -> None:
    row = probed(write_video(tmp_path / "a.mp4", 1))
    assert (row.status, row.n_frames, row.fps, row.vfr) == ("ok", 1, None, None)
    assert row.duration == pytest.approx(0.04)


def test_a_range(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 50)
    row = probed(path, start=0.4, end=1.0)
    assert (row.n_frames, row.status, row.reason) == (15, "ok", "")
    assert (row.duration, row.fps) == pytest.approx((0.6, 25.0))
    row = probed(path, start=1.5, end=60.0)
    assert (row.n_frames, row.status) == (12, "ok") and "ends at 2.00 s" in row.reason
    row = probed(path, start=5.0, end=6.0)
    assert (row.n_frames, row.status) == (0, "unreadable")
    assert "ends at 2.00 s" in row.reason and "Correct start and end" in row.reason


def test_sound_longer_than_the_picture_is_whole(tmp_path: Path) -> None:
    row = probed(write_video(tmp_path / "a.mp4", 20, audio_seconds=4.0))
    assert (row.status, row.reason) == ("ok", "")
    assert row.duration == pytest.approx(0.8)
    # AAC comes in packets of 1024 samples, one of which goes before the first sound
    assert (row.sound_offset, row.sound_duration) == pytest.approx((0.0, 4.0), abs=0.13)
    row = probed(tmp_path / "a.mp4", start=0.2)
    assert (row.sound_offset, row.sound_duration) == (None, None)


# -- bad input


def test_empty_and_text(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    row = probed(path)
    assert (row.kind, row.status) == ("video", "unreadable") and "empty" in row.reason
    path.write_text("Dear colleague,\n" * 50)
    row = probed(path)
    assert (row.status, row.n_frames) == ("unreadable", None) and "not a video" in row.reason
    assert "a.mp4" in row.reason


def test_truncated(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4",
        [noise(i) for i in range(50)],
        container_options={"movflags": "faststart"},
    )
    row = probed(truncate(path, 0.7))
    assert row.status is SampleStatus.TRUNCATED and row.n_frames and 5 < row.n_frames < 45
    assert "of the 50 frames in its index" in row.reason and "a.mp4" in row.reason
    row = probed(truncate(write_video(tmp_path / "b.mp4", [noise(i) for i in range(50)]), 0.7))
    assert row.status is SampleStatus.UNREADABLE and "moov" in row.reason


def test_nothing_decodable(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 10, container_options={"movflags": "faststart"})
    data = path.read_bytes()
    at = data.index(b"mdat") + 4
    path.write_bytes(data[:at] + b"\0" * (len(data) - at))
    row = probed(path)
    assert (row.status, row.n_frames) == ("unreadable", 0)
    assert "not a single frame" in row.reason


def test_failed_packets_are_said(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(i) for i in range(60)], codec="mpeg4")
    row = probed(damage_packets(path, range(20, 24)))
    assert (row.status, row.n_frames) == ("ok", 56)
    assert "4 of 60 packets could not be decoded" in row.reason


def test_sound_alone(tmp_path: Path) -> None:
    row = probed(write_audio(tmp_path / "a.mp4"))
    assert row.status is SampleStatus.NO_VIDEO_STREAM and "only audio" in row.reason


def test_folders(tmp_path: Path) -> None:
    assert probed(tmp_path).status is SampleStatus.NO_IMAGES
    for i in range(3):
        Image.fromarray(noise(i)).save(tmp_path / f"{i}.jpg")
    row = probed(tmp_path)
    assert (row.kind, row.n_frames, row.width, row.height) == ("images", 3, 64, 48)
    assert (row.status, row.reason, row.codec) == ("ok", "", "jpeg")
    Image.fromarray(noise(0, 80, 60)).save(tmp_path / "3.png")
    row = probed(tmp_path)
    assert (row.n_frames, row.width, row.height, row.codec) == (4, None, None, "jpeg,png")
    truncate(tmp_path / "1.jpg", 0.6)
    row = probed(tmp_path)
    assert (row.status, row.n_frames) == ("ok", 4)
    assert "1 of 4 pictures" in row.reason and "1.jpg" in row.reason
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    row = probed(tmp_path)
    assert (row.status, row.n_frames) == ("unreadable", 0) and "none of the 4" in row.reason


def test_pictures(tmp_path: Path) -> None:
    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)).save(tmp_path / "a.png")
    Image.fromarray(pattern()[:, :, 0]).save(tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        row = probed(tmp_path / name)
        assert (row.status, row.width, row.height, row.codec) == ("ok", 64, 48, "png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pattern()).save(tmp_path / "c.jpg", exif=exif)
    row = probed(tmp_path / "c.jpg")
    assert (row.width, row.height, row.rotation) == (48, 64, 90)
    row = probed(truncate(tmp_path / "c.jpg", 0.5))
    assert row.status is SampleStatus.UNREADABLE and "cut short" in row.reason


def test_no_permission() -> None:
    with public_folder() as folder:
        film = write_video(folder / "film.mp4", 2)
        pictures = folder / "pictures"
        pictures.mkdir()
        for i in range(2):
            Image.fromarray(pattern(i)).save(pictures / f"{i}.png")
        closed = folder / "closed"
        closed.mkdir()

        def statuses() -> list[str]:
            rows = [probed(path) for path in (film, pictures / "0.png", pictures, closed)]
            return [str(row.status) for row in rows]

        film.chmod(0)
        closed.chmod(0)
        (pictures / "0.png").chmod(0)
        assert unprivileged(statuses) == "['no_permission', 'no_permission', 'ok', 'no_permission']"
        (pictures / "1.png").chmod(0)
        said = unprivileged(lambda: probed(pictures))
        assert "no_permission" in said and "1.png" in said


def test_excluded_is_not_even_opened(tmp_path: Path) -> None:
    row = probed(tmp_path / "gone.mp4", excluded=True, reason="withdrew consent")
    assert (row.status, row.reason, row.kind) == ("excluded", "withdrew consent", None)


def test_a_vanished_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe_sample(Sample("s", tmp_path / "gone.mp4", "s"))


def test_a_bug_still_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    monkeypatch.setattr("facemake.media.video.Orientation", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        probe_sample(Sample("s", path, "s"))


def test_pixels_are_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", 3)
    monkeypatch.setattr(
        "facemake.media.video.VideoMedia._rgb", lambda *_: pytest.fail("converted a frame")
    )
    assert probed(path).n_frames == 3


def test_pixels_that_are_not_square_are_mentioned(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 3, options={"x264-params": "sar=4/3"})
    row = probed(path)
    assert row.status is SampleStatus.OK and "not square (4/3)" in row.reason
