"""facemake compare-detectors on real recordings."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from facemake.choosing.pictures import frames_of, named, recordings
from facemake.cli import main
from facemake.provenance import LIBRARY
from makemedia import public_folder, unprivileged


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_it_says_who_finds_what_and_shows_it(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    names = "mediapipe,mediapipe-short,scrfd-500m"
    arguments = [str(shared / "data"), str(tmp_path / "broken.jpg"), "--detectors", names]
    arguments += ["--models-dir", str(shared / "models"), "--frames", "4"]
    pytest.importorskip("onnxruntime")
    assert main(["compare-detectors", *arguments, "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "broken.jpg" in said.err
    figures = {row["detector"]: row for row in rows(tmp_path / "out" / "detectors.tsv")}
    assert list(figures) == names.split(",")
    # a folder of four pictures, four frames of each of four videos
    assert {row["pictures"] for row in figures.values()} == {"20"}
    agreed = figures["scrfd-500m"]
    assert int(agreed["agreed_faces"]) >= 8 and agreed["recall"] == "1.000"
    faces = rows(tmp_path / "out" / "faces.tsv")
    assert sum(row["picture"] == "multi_face.jpg" for row in faces) == 5
    assert not [row for row in faces if row["picture"].startswith(("no_face", "free-mountain"))]
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 600 and sheet.height > 1000
        colours = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert (86, 180, 233) in colours


def test_folders_are_looked_through_at_any_depth_and_what_is_broken_is_said(
    bundled: Path, tmp_path: Path
):
    deep = tmp_path / "anna" / "day 1"
    deep.mkdir(parents=True)
    (deep / "clip.mp4").symlink_to(bundled / "moving_portrait.mp4")
    (deep / "cut.mp4").write_bytes(b"no video")
    (deep / "notes.txt").write_text("no video")
    (deep / "up").symlink_to(tmp_path)
    (tmp_path / "pictures").symlink_to(bundled / "portraits")
    paths = recordings([tmp_path])
    assert paths == [deep / "clip.mp4", deep / "cut.mp4", tmp_path / "pictures"]
    said: list[str] = []
    assert not list(frames_of(deep / "cut.mp4", 1, said.append))
    assert said and said[0].startswith("cut.mp4: unreadable")


def test_what_computes_a_detector_is_said(
    bundled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Of those that know no GPU too, where one is asked for."""
    picture, out = str(bundled / "portraits" / "eileen_collins.png"), str(tmp_path / "out")
    command = ["compare-detectors", picture, "--output", out, "--device", "cuda"]
    assert main([*command, "--detectors", "mediapipe"]) == 0
    said = capsys.readouterr().out
    assert " cpu   the default: " in said and "there is no other here: compare at least" in said
    (figures,) = rows(tmp_path / "out" / "detectors.tsv")
    assert figures["device"] == "cpu"


def test_what_it_wrote_is_no_picture_the_next_time(
    bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    (tmp_path / "face.png").symlink_to(bundled / "portraits" / "eileen_collins.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["compare-detectors", ".", "--detectors", "mediapipe"]) == 0
        (figures,) = rows(tmp_path / "compare-detectors" / "detectors.tsv")
        assert figures["pictures"] == "1"
    assert main(["compare-detectors", ".", "--output", "../" + tmp_path.name]) == 2
    assert "the contact sheet would be a picture among them" in capsys.readouterr().err
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    command = ["compare-detectors", "broken.jpg", "--detectors", "mediapipe"]
    assert main([*command, "--output", "nothing"]) == 2
    assert not (tmp_path / "nothing").exists()
    (tmp_path / "taken").write_bytes(b"")
    assert main(["compare-detectors", "face.png", "--output", "taken"]) == 2
    assert "taken: File exists" in capsys.readouterr().err


def test_pictures_of_the_same_name_are_told_apart(bundled: Path, tmp_path: Path):
    """One name for two of them would put their faces together in the table."""
    clip = bundled / "moving_portrait.mp4"
    portrait = next(bundled.joinpath("portraits").glob("*.jpg"))
    for name in ("anna/day 1", "anna/day 2", "bob/day 1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "1.jpg").symlink_to(portrait)
    (tmp_path / "bob" / "day 1" / "2.jpg").symlink_to(portrait)
    (tmp_path / "bob" / "clip.mp4").symlink_to(clip)
    paths = [*recordings([tmp_path]), tmp_path / "bob" / "day 1" / "1.jpg"]  # said twice: one file
    names = named(paths)
    looked = [one.name for path in paths for one in frames_of(path, 2, print, names)]
    assert sorted(set(looked)) == [
        *("2.jpg", "anna/day 1/1.jpg", "bob/day 1/1.jpg"),
        *(name for name in looked if name.startswith("clip.mp4 #")),
        "day 2/1.jpg",
    ]
    assert len([name for name in looked if name.startswith("clip.mp4 #")]) == 2


def test_a_video_of_a_folder_that_may_not_be_read_is_said_and_not_left_out():
    with public_folder() as folder:
        (folder / "clip.mp4").write_bytes(b"")
        (folder / "clip.mp4").chmod(0)
        said = unprivileged(lambda: [path.name for path in recordings([folder])])
    assert said == "['clip.mp4']"


def test_a_detector_that_cannot_be_had_is_named_with_its_cure(
    bundled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    monkeypatch.delenv("FACEMAKE_MODELS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    command = ["compare-detectors", str(bundled / "moving_portrait.mp4"), "--frames", "2"]
    command += ["--output", str(tmp_path / "out")]
    assert main([*command, "--detectors", "mediapipe,scrfd"]) == 0
    assert "not here: scrfd: " in capsys.readouterr().out
    assert main([*command, "--detectors", "scrfd"]) == 2
    assert "no detector can be had: scrfd: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.mp4"], "nowhere.mp4 is not there"),
        (["."], "there is no picture and no video in ."),
        ([".", "--detectors", "mediapipes"], "there is no detector mediapipes; there are"),
        ([".", "--frames", "0"], "--frames must be a whole number, 1 or more, not 0"),
    ],
)
def test_mistakes_are_words(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["compare-detectors", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_libraries_do_not_talk_to_the_terminal(bundled: Path, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    paths = [str(bundled / "moving_portrait.mp4"), str(tmp_path / "broken.jpg")]
    options = ["--detectors", "mediapipe,yunet", "--frames", "2", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "facemake", "compare-detectors", *paths, *options],
        env={**os.environ, "PYTHONPATH": str(LIBRARY.parent), "FACEMAKE_MODELS": ""},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("broken.jpg") and "recall" in done.stdout
