"""What recordings and cameras FaceProcessor3DI takes, whatever they are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import makemedia
from facemake import FaceProcessor3DI, FaceProcessor3DIlite
from facemake.errors import FacemakeError
from facemake.provenance import file_sha256
from processing import ALL_STEPS, FRAMES, as_bitbox, processor

pytestmark = pytest.mark.usefixtures("installs")


def test_recordings_that_cannot_be_used(tmp_path: Path):
    p = FaceProcessor3DI(verbose=False)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "file").write_text("")
    (tmp_path / "none").mkdir()
    for path, said in (("nowhere.mp4", "is not there"), ("text.mp4", "cannot be used")):
        with pytest.raises(ValueError, match=said) as error:
            p.io(tmp_path / path, tmp_path / "out")
            p.detect_faces()
        assert isinstance(error.value, FacemakeError) and path in str(error.value)
    with pytest.raises(ValueError, match="cannot be used"):
        p.io(tmp_path / "none", tmp_path / "out")
        p.detect_faces()
    clip = makemedia.write_video(tmp_path / "clip.mp4", 3)
    with pytest.raises(ValueError, match="cannot be made"):
        p.io(clip, tmp_path / "file" / "out")
    long = clip.rename(tmp_path / f"{'é' * 110}.mp4")
    with pytest.raises(ValueError, match="too long a name"):
        p.io(long, tmp_path / "out")


NAMES = [
    "with blanks.mp4",
    "-dash.mp4",
    "quo'te\"s.mp4",
    "a;b&c|d.mp4",
    "$HOME `id` $(id).mp4",
    "é日本.mp4",
    "two.dots.mp4",
    "percent%d{x}.MP4",
    "new\nline.mp4",
    "*?[a].mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_videos(clip: Path, tmp_path: Path, name: str):
    folder = tmp_path / "in $x 'y'"
    folder.mkdir()
    path = Path(shutil.copy(clip, folder / name))
    lite = processor(path, tmp_path / "out put;", FaceProcessor3DIlite, return_output="file")
    files = lite.run_all()
    stem = name.rpartition(".")[0]
    assert [Path(f).name for f in files[:2]] == [f"{stem}_rects.3DIl", f"{stem}_landmarks.3DIl"]
    assert all(Path(f).parent == tmp_path / "out put;" for f in files)
    assert sorted(p.name for p in folder.iterdir()) == [name]


def test_relative_paths(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(clip, "data/clip.mp4")
    p = FaceProcessor3DI(verbose=False, return_output="file")
    p.io("data/clip.mp4", output_dir="output/")
    monkeypatch.chdir("/")
    assert p.detect_faces() == str(tmp_path / "output" / "clip_rects.3DI")


def test_pictures_are_offered_as_a_video(tmp_path: Path):
    from PIL import Image

    folder = tmp_path / "pictures.of"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(makemedia.pattern(i)).save(folder / f"{i}.png")
    tables = processor(folder, tmp_path / "out").run_all(normalize=False)
    assert [t["frame count"] for t in tables] == [4] * 6
    rects = np.loadtxt(tmp_path / "out" / "pictures.of_rects.3DI")
    assert len(rects) == 5  # the last picture is there twice in what 3DI sees
    single = processor(folder / "2.png", tmp_path / "out").run_all(normalize=False)
    assert [t["frame count"] for t in single] == [1] * 6


@pytest.mark.parametrize("at", ["while it is written", "before it is noted"])
def test_an_interrupt_leaves_no_video_of_another_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
):
    from PIL import Image

    from facemake.backends.threedi import offer
    from facemake.processors import base

    for number, who in enumerate(("anna", "bert")):
        (tmp_path / who / "pictures").mkdir(parents=True)
        for i in range(3):
            picture = makemedia.pattern(i + 7 * number)
            Image.fromarray(picture).save(tmp_path / who / "pictures" / f"{i}.png")

    def of(who: str) -> Any:
        return processor(tmp_path / who / "pictures", tmp_path / "out")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    annas = of("anna")
    annas.detect_faces()
    seen = annas._prepared.read_bytes()
    with monkeypatch.context() as patch:
        if at == "while it is written":
            patch.setattr(offer, "_encode", interrupt)
        else:
            patch.setattr(base, "write_text", interrupt)
        berts = of("bert")
        with pytest.raises(KeyboardInterrupt):
            berts.detect_faces()
    assert berts._prepared.is_file() == (at == "before it is noted")
    (tmp_path / "out" / "pictures_rects.3DI").unlink()
    again = of("anna")
    again.detect_faces()
    assert again._prepared.read_bytes() == seen
    # one that was told of its video before another recording's took the place
    of("bert").detect_faces()
    again.detect_faces()
    assert again._prepared.read_bytes() == seen
    assert len(list(again._private.glob("*prepared*"))) == 1


def test_a_turned_video_is_seen_upright(tmp_path: Path):
    clip = makemedia.write_video(tmp_path / "clip.mp4", 6, rotation=90)
    tables = processor(clip, tmp_path / "out").run_all(normalize=False)
    assert tables[0]["frame count"] == 6
    x = tables[1]["data"].to_numpy()[:, ::2]
    assert x.max() < 48  # the upright width


def test_a_calibrated_camera(clip: Path, tmp_path: Path, runs: list[str], installs: Any):
    camera = tmp_path / "camera file.txt"
    matrix = "!!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
    matrix += "   data: [ 100, 0, 32, 0, 100, 24, 0, 0, 1 ]"
    camera.write_text(f"%YAML:1.0\n---\ncameraMatrix_postUndistort: {matrix}\n")
    p = processor(clip, tmp_path / "out", camera_model=str(camera))
    assert runs == ["undistort"]  # io does that
    undistorted = tmp_path / "out" / "clip_preprocessed.mp4"
    assert undistorted.is_file()
    word = json.loads(undistorted.with_name(f"{undistorted.name}.json").read_text())
    assert word["camera"] == str(camera) and word["input_hash"] == file_sha256(clip)
    tables = p.run_all(normalize=False)
    assert tables[2]["frame count"] == FRAMES - 1
    assert str(undistorted) in json.loads((tmp_path / "out/clip_rects.3DI.json").read_text())["cmd"]

    runs.clear()
    moved = camera.rename(tmp_path / "moved.txt")  # the same content
    processor(clip, tmp_path / "out", camera_model=moved).run_all(normalize=False)
    assert runs == []
    as_bitbox(tmp_path / "out", clip, camera=str(moved))
    processor(clip, tmp_path / "out", camera_model=moved).run_all(normalize=False)
    assert runs == []

    shutil.rmtree(tmp_path / "out")
    for width in ("31", "30"):  # other content under the same name
        moved.write_text(moved.read_text().replace("32", width).replace("31", width))
        runs.clear()
        processor(clip, tmp_path / "out", camera_model=moved).run_all(normalize=False)
        assert runs == ["undistort", *ALL_STEPS]


def test_what_a_camera_may_be(clip: Path, tmp_path: Path):
    for value in (0, 180, -5, True, float("nan")):
        with pytest.raises(ValueError, match="camera_model"):
            FaceProcessor3DI(camera_model=value)
    with pytest.raises(ValueError, match="no such calibration file"):
        FaceProcessor3DI(camera_model="nowhere.txt")
    p = processor(clip, tmp_path)
    p.preprocess()
    p.preprocess(undistort=False)
    with pytest.raises(ValueError, match="camera_model is 30 degrees"):
        p.preprocess(undistort=True)
