"""What an engine is given to look at: our frames, as OpenCV sees them, each pixel in its place."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

import makemedia
from facemake import archives
from facemake.archives import Archive
from facemake.backends.threedi.offer import Offer, as_opencv_sees, offer
from facemake.media import open_media
from facemake.samples import Sample
from facemake.stages.probe import probe_sample
from facemake.status import FrameStatus

N = 8


def sample_of(path: Path, **more: Any) -> Sample:
    return Sample("x", path, "x", sha256="0" * 64, **more)


def offered(sample: Sample, folder: Path) -> tuple[Offer, Path, dict[str, Any]]:
    probe = asdict(probe_sample(sample))
    video = folder / "offered.mp4"
    return offer(sample, probe, video), video, probe


def our_frames(sample: Sample) -> list[np.ndarray | None]:
    with open_media(sample) as media:
        return [f.rgb if f.status is FrameStatus.OK else None for f in media]


def opencvs_frames(path: Path) -> list[np.ndarray]:
    capture, found = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = capture.read()
        if not there:
            return found
        found.append(frame[:, :, ::-1])


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of luma, dB: chroma has half the resolution in the video."""
    y, x = (cv2.cvtColor(np.ascontiguousarray(v), cv2.COLOR_RGB2GRAY).astype(float) for v in (a, b))
    error = ((y - x) ** 2).mean()
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def check_prepared(sample: Sample, folder: Path, why: str, padding: int = 0) -> Offer:
    """The video made of a sample has its frames, in their places, and no others."""
    made, video, probe = offered(sample, folder)
    assert made.prepared and why in made.why
    ours, theirs = our_frames(sample), opencvs_frames(video)
    assert len(ours) == probe["n_frames"] == made.n_frames - padding and made.padding == padding
    seen = as_opencv_sees(video)
    assert (seen.frames, seen.promised) == (made.n_frames, made.n_frames)
    assert (seen.width, seen.height) == (made.width, made.height)
    assert made.width % 2 == made.height % 2 == 0
    assert len(theirs) == made.n_frames
    for mine, frame in zip(ours + ours[-1:] * padding, theirs, strict=True):
        assert frame.shape == (made.height, made.width, 3)
        if mine is None:
            assert frame.max() <= 2
            continue
        height, width = mine.shape[:2]
        assert psnr(mine, frame[:height, :width]) > 36
        assert frame[height + 2 :].max(initial=0) < 30 and frame[:, width + 2 :].max(initial=0) < 30
    assert not list(folder.glob(".*"))
    return made


def check_as_it_is(sample: Sample, folder: Path) -> Offer:
    (folder / "offered.mp4").unlink(missing_ok=True)
    made, video, probe = offered(sample, folder)
    assert made == Offer(False, probe["n_frames"], 0, probe["width"], probe["height"])
    assert not video.exists()
    for mine, frame in zip(our_frames(sample), opencvs_frames(sample.path), strict=True):
        assert mine is not None and psnr(mine, frame) > 36
    return made


def frames(n: int = N, width: int = 96, height: int = 64) -> list[np.ndarray]:
    return [makemedia.noise(i, width, height) for i in range(n)]


# --- recordings ----------------------------------------------------------------------------------


def test_an_ordinary_recording_is_given_as_it_is(tmp_path: Path) -> None:
    path = makemedia.write_video(tmp_path / "-a b;$c%02d: d.mp4", frames())
    made = check_as_it_is(sample_of(path), tmp_path)
    assert (made.n_frames, made.width, made.height, made.why) == (N, 96, 64, "")


def test_sound_and_b_frames_are_no_matter(tmp_path: Path) -> None:
    path = makemedia.write_video(
        tmp_path / "x.mp4", frames(), options={"bf": "3"}, audio_seconds=0.4
    )
    check_as_it_is(sample_of(path), tmp_path)


def test_stamps_at_random_are_no_matter(tmp_path: Path) -> None:
    """MP4 counts its frames; 3DI knows no time."""
    path = makemedia.write_video(
        tmp_path / "vfr.mp4",
        frames(),
        stamps=[0, 3, 4, 90, 91, 200, 201, 203],
        time_base=Fraction(1, 90),
    )
    check_as_it_is(sample_of(path), tmp_path)


def test_a_recording_that_promises_another_number_of_frames(tmp_path: Path) -> None:
    """Matroska does not count: OpenCV multiplies duration and rate, and 3DI believes that."""
    path = makemedia.write_video(
        tmp_path / "vfr.mkv",
        frames(),
        stamps=[0, 40, 80, 120, 160, 200, 240, 2000],
        time_base=Fraction(1, 1000),
    )
    seen = as_opencv_sees(path)
    assert seen.frames == N != seen.promised
    check_prepared(sample_of(path), tmp_path, f"it promises {seen.promised} frames and has {N}")
    even = makemedia.write_video(tmp_path / "cfr.mkv", frames())
    check_as_it_is(sample_of(even), tmp_path)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_phone_video(tmp_path: Path, degrees: int) -> None:
    path = makemedia.write_video(tmp_path / "x.mp4", frames(), rotation=degrees)
    made = check_prepared(sample_of(path), tmp_path, "stored turned by")
    assert (made.width, made.height) == ((96, 64) if degrees == 180 else (64, 96))


def test_a_mirrored_recording(tmp_path: Path) -> None:
    """OpenCV turns what is stored turned; it mirrors nothing."""
    path = makemedia.write_video(tmp_path / "x.mp4", frames(), hflip=True)
    check_prepared(sample_of(path), tmp_path, "its pixels are stored mirrored")


def test_an_edit_list_that_hides_frames(tmp_path: Path) -> None:
    path = makemedia.write_video(tmp_path / "x.mp4", frames(12), options={"bf": "0"})
    with av.open(str(path)) as container:
        ticks = int(1 / container.streams.video[0].time_base / 25)
    makemedia.edit_list(path, [(200, 4 * ticks)])
    probe = asdict(probe_sample(sample_of(path)))
    assert probe["n_frames"] < 12
    made, _, _ = offered(sample_of(path), tmp_path)
    if made.prepared:
        check_prepared(sample_of(path), tmp_path, "frames")
    else:
        check_as_it_is(sample_of(path), tmp_path)


def two_streams(path: Path, first: list[np.ndarray], second: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        made = []
        for _ in range(2):
            stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            made.append(stream)
        for pair in zip(first, second, strict=True):
            for stream, picture in zip(made, pair, strict=True):
                container.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        for stream in made:
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_several_streams_of_pictures(tmp_path: Path, ending: str) -> None:
    """Which of them OpenCV takes need not be the one that we look at."""
    first = [np.full((64, 96, 3), 60, np.uint8)] * N
    path = two_streams(tmp_path / f"x.{ending}", first, frames())
    check_prepared(sample_of(path), tmp_path, "it has 2 streams of pictures")


def test_a_part_of_a_recording(tmp_path: Path) -> None:
    path = makemedia.write_video(tmp_path / "x.mp4", frames(20))
    made = check_prepared(sample_of(path, start=0.2, end=0.6), tmp_path, "a part of the recording")
    assert made.n_frames == 10
    made = check_prepared(sample_of(path, start=0.6), tmp_path, "a part of the recording")
    assert made.n_frames == 5


def test_a_part_of_one_frame_has_it_twice(tmp_path: Path) -> None:
    path = makemedia.write_video(tmp_path / "x.mp4", frames(20))
    sample = sample_of(path, start=0.2, end=0.21)
    made = check_prepared(sample, tmp_path, "a part of the recording", padding=1)
    assert made.n_frames == 2


def test_a_recording_of_one_frame_has_it_twice(tmp_path: Path) -> None:
    """From the fit on the last frame may be missing, and there would be nothing."""
    path = makemedia.write_video(tmp_path / "x.mp4", frames(1))
    made = check_prepared(sample_of(path), tmp_path, "leaves out the last frame", padding=1)
    assert made.n_frames == 2
    two = makemedia.write_video(tmp_path / "two.mp4", frames(2))
    check_as_it_is(sample_of(two), tmp_path)


def test_damaged_frames_are_black(tmp_path: Path) -> None:
    path = makemedia.write_video(
        tmp_path / "x.avi", frames(N, 160, 128), codec="mjpeg", pix_fmt="yuvj420p"
    )
    makemedia.damage_packets(path, range(4, 5), b"\xfe", kept=0.5, tail=16)
    sample = sample_of(path, start=0.04)
    assert [frame is None for frame in our_frames(sample)].index(True) == 3
    made = check_prepared(sample, tmp_path, "a part of the recording")
    assert made.n_frames == N - 1


def test_packets_that_cannot_be_decoded(tmp_path: Path) -> None:
    """Left out of our frames; OpenCV ends before them."""
    path = makemedia.write_video(tmp_path / "x.mp4", frames(30), codec="mpeg4")
    makemedia.damage_packets(path, range(10, 13))
    made = check_prepared(sample_of(path), tmp_path, "OpenCV sees 10 frames")
    assert made.n_frames == 27


def test_a_recording_that_is_cut_off(tmp_path: Path) -> None:
    path = makemedia.write_video(tmp_path / "x.mkv", frames(40))
    sample = sample_of(makemedia.truncate(path, 0.6))
    made = check_prepared(sample, tmp_path, "")
    assert 0 < made.n_frames < 40


def test_odd_sides(tmp_path: Path) -> None:
    path = makemedia.write_video(
        tmp_path / "x.mkv", frames(width=65, height=47), pix_fmt="yuv444p", options={"crf": "4"}
    )
    check_as_it_is(sample_of(path), tmp_path)
    made = check_prepared(sample_of(path, start=0.1), tmp_path, "a part")
    assert (made.width, made.height) == (66, 48)


@pytest.mark.parametrize("fps", [0.00001, 0.5, 23.976023976, 29.97002997, 59.94, 240.0, 1e6, None])
def test_rates_of_all_kinds(tmp_path: Path, fps: float | None) -> None:
    path = makemedia.write_video(tmp_path / "x.mp4", frames(3))
    sample = sample_of(path, start=0.0)
    probe = {**asdict(probe_sample(sample)), "fps": fps}
    video = tmp_path / "offered.mp4"
    assert offer(sample, probe, video).n_frames == 3
    assert len(opencvs_frames(video)) == 3
    rate = cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FPS)
    assert abs(rate / min(max(fps or 30, 0.001), 1000) - 1) < 1e-3


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    path = makemedia.write_video(tmp_path / "x.mp4", frames(30, 130, 70), rotation=90)
    sample = sample_of(path)
    found = set()
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        _, video, _ = offered(sample, tmp_path / str(number))
        found.add(video.read_bytes())
        np.random.default_rng(number).integers(0, 255, 10**7).astype(np.uint8)  # used memory
    assert len(found) == 1
    (content,) = found
    assert b"Lavf" not in content and b"Lavc" not in content


# --- pictures ------------------------------------------------------------------------------------


def picture(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    Image.fromarray(pixels, mode=mode).save(path)
    return path


def test_one_picture_is_there_twice(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png", frames(1, 65, 47)[0])
    made = check_prepared(sample_of(path), tmp_path, "these are pictures", padding=1)
    assert (made.n_frames, made.width, made.height) == (2, 66, 48)


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, pixels in enumerate(frames(3)):
        picture(folder / f"{i}.png", pixels)
    made = check_prepared(sample_of(folder), tmp_path, "these are pictures", padding=1)
    assert made.n_frames == 4
    assert cv2.VideoCapture(str(tmp_path / "offered.mp4")).get(cv2.CAP_PROP_FPS) == 30


def test_pictures_of_several_sizes_begin_in_one_corner(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, (width, height) in enumerate([(60, 80), (101, 51), (40, 40)]):
        picture(folder / f"{i}.png", makemedia.noise(i, width, height))
    made = check_prepared(sample_of(folder), tmp_path, "pictures", padding=1)
    assert (made.width, made.height) == (102, 80)


def test_pictures_that_are_damaged_turned_or_see_through(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    pixels = makemedia.noise(1, 80, 60)
    picture(folder / "0.png", pixels)
    (folder / "1.png").write_bytes((folder / "0.png").read_bytes()[:200])
    alpha = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    picture(folder / "2.png", np.dstack([pixels, alpha]))
    picture(folder / "3.png", pixels[:, :, 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(makemedia.noise(2, 60, 80)).save(folder / "4.jpg", exif=exif, quality=95)
    sample = sample_of(folder)
    assert [frame is None for frame in our_frames(sample)] == [False, True, False, False, False]
    check_prepared(sample, tmp_path, "pictures", padding=1)


# --- the word of it ------------------------------------------------------------------------------


def test_what_was_offered_is_read_again(tmp_path: Path) -> None:
    path = makemedia.write_video(tmp_path / "x.mp4", frames(3), rotation=90)
    made, video, _ = offered(sample_of(path), tmp_path)
    archives.write(tmp_path / "a.zip", {"x.json": made.to_json(), "x.mp4": video}, {}, stored=True)
    with Archive(tmp_path / "a.zip") as archive:
        assert Offer.read(archive, "x") == made
        assert archive.read("x.mp4") == video.read_bytes()
    assert json.loads(made.to_json())["why"] == "its pixels are stored turned by 270 degrees"


def test_what_cannot_be_opened_has_no_frames(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"no video")
    assert as_opencv_sees(tmp_path / "x.mp4").frames == 0
    assert as_opencv_sees(tmp_path / "none.mp4").frames == 0
