"""Which files make a sample, and what they are."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from PIL import Image

from facemake.media import Kind, classify, content_files, natural_key
from facemake.media.suffixes import taken_for
from makemedia import pattern, public_folder, unprivileged, write_video


def test_natural_order() -> None:
    names = ["img10", "img2", "Img1", "img", "2", "10", "a1b10", "a1b9", "é2", "x02", "x2"]
    assert sorted(names, key=natural_key) == (
        ["2", "10", "a1b9", "a1b10", "img", "Img1", "img2", "img10", "x02", "x2", "é2"]
    )


def test_content_decides_over_the_name(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", 2)
    named_wrong = tmp_path / "film.jpg"
    named_wrong.write_bytes(film.read_bytes())
    Image.fromarray(pattern()).save(tmp_path / "a.png")
    (tmp_path / "picture.mp4").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "no_extension").write_bytes((tmp_path / "a.png").read_bytes())
    raw = write_video(tmp_path / "raw.mjpeg", 2, codec="mjpeg", pix_fmt="yuvj420p")
    kinds = {path.name: classify(path) for path in tmp_path.iterdir()}
    assert kinds == {
        "film.mp4": Kind.VIDEO,
        "film.jpg": Kind.VIDEO,
        "a.png": Kind.IMAGE,
        "picture.mp4": Kind.IMAGE,
        "empty.jpg": Kind.IMAGE,
        "empty.mp4": Kind.VIDEO,
        "no_extension": Kind.IMAGE,
        raw.name: Kind.VIDEO,
    }
    assert classify(tmp_path) is Kind.IMAGES


def test_files_of_a_folder_go_by_their_name_and_else_by_their_first_bytes(tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", 2).read_bytes()
    for name in ("export.dat", "no_extension", "sound.m4a", "notes.jpg"):
        (tmp_path / name).write_bytes(film)
    for name in ("notes.txt", "broken.MOV", "broken.JPG", "camera.h264"):
        (tmp_path / name).write_bytes(b"no film and no picture")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "folder").mkdir()
    video, picture = Kind.VIDEO, Kind.IMAGE
    assert {path.name: taken_for(path) for path in tmp_path.iterdir()} == {
        **dict.fromkeys(("film.mp4", "export.dat", "no_extension"), video),
        **dict.fromkeys(("broken.MOV", "camera.h264"), video),
        **dict.fromkeys(("notes.jpg", "broken.JPG"), picture),
        **dict.fromkeys(("sound.m4a", "notes.txt", "nowhere", "folder"), None),
    }


def test_content_files(tmp_path: Path) -> None:
    for name in ("b10.jpg", "b9.JPG", "a.txt", ".c.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in content_files(tmp_path)] == ["b9.JPG", "b10.jpg"]
    assert content_files(tmp_path / "a.txt") == [tmp_path / "a.txt"]


def test_what_is_gone_is_no_data_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        classify(tmp_path / "gone.mp4")


def test_no_permission() -> None:
    with public_folder() as folder:
        film = write_video(folder / "film.mp4", 2)
        film.chmod(0)
        closed = folder / "closed"
        closed.mkdir()
        closed.chmod(0)
        said = unprivileged(lambda: classify(film))
        assert "MediaError" in said and "film.mp4" in said and "chmod u+r" in said
        said = unprivileged(lambda: content_files(closed))
        assert "MediaError" in said and "closed" in said and "chmod u+rx" in said


def test_a_forked_child_tidies_up_nothing_that_other_tests_left():
    """What gRPC's channels would wait for are threads that are not in the child."""
    assert gc.isenabled() and unprivileged(gc.isenabled) == "False"
