"""Names of crops: no two inputs share a file."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from facemake.errors import FacemakeError
from facemake.extraction.inputs import Input, listed, named
from facemake.extraction.journal import NAME
from facemake.extraction.looking import Extractor
from makemedia import public_folder, unprivileged


def crops(*names: str, faces: int = 3) -> dict[str, list[str]]:
    inputs = [Input(Path("/data") / name, name, name.endswith(".mp4")) for name in sorted(names)]
    return {
        one.name: [one.crop("jpg", face, 12) for face in range(faces)]
        for one in named(inputs, "jpg")
    }


def test_a_crop_has_the_path_of_its_picture():
    assert crops("train/x.png", "test/x.png") == {
        "train/x.png": ["train/x.jpg", "train/x_1.jpg", "train/x_2.jpg"],
        "test/x.png": ["test/x.jpg", "test/x_1.jpg", "test/x_2.jpg"],
    }
    assert crops("a/clip.mp4")["a/clip.mp4"][:2] == ["a/clip/000012.jpg", "a/clip/000012_1.jpg"]


def test_two_suffixes_of_one_name():
    assert crops("x.jpg", "x.png", faces=1) == {"x.jpg": ["x.jpg"], "x.png": ["x.png.jpg"]}


def test_a_number_that_is_another_pictures_name_is_skipped():
    found = crops("x.jpg", "x_1.jpg", "x_3.jpg")
    assert found["x.jpg"] == ["x.jpg", "x_2.jpg", "x_4.jpg"]
    assert found["x_1.jpg"] == ["x_1.jpg", "x_1_1.jpg", "x_1_2.jpg"]


# what people's folders hold, and what could only be made to collide
NAMES = (
    *("x.jpg", "x.png", "X.JPG", "x_1.jpg", "x_1.png", "x_2.jpg", "x_1_1.jpg", "x.png.jpg"),
    *("x.jpg.mp4", "x.mp4", "x/000012.jpg", "x/000012_1.png", "x_1.jpg/y.jpg", "x_1.mp4"),
    *(
        "e\u0301.jpg",
        "\u00e9.jpg",
        "faces.parquet.mp4",
        "x.jpg.jpg",
        "x.png-2.jpg",
        "stra\u00dfe.jpg",
    ),
    *("strasse.jpg", "x_01.jpg", "x_0.jpg"),
)


def no_two_are_one(names: tuple[str, ...]) -> None:
    import unicodedata

    found = crops(*names, faces=6)
    every = [crop for one in found.values() for crop in one]
    keys = [unicodedata.normalize("NFC", crop).casefold() for crop in every]
    assert len(set(keys)) == len(every), found
    folders = {str(up) for key in keys for up in Path(key).parents}
    assert not folders & set(keys), "a crop is where another one's folder is"
    assert not {"faces.parquet", "faces.csv"} & set(keys) | {"faces.parquet"} & folders


def test_no_two_inputs_share_a_file():
    no_two_are_one(NAMES)
    for pair in itertools.combinations(NAMES, 2):
        no_two_are_one(pair)
    rng = np.random.default_rng(3)
    for _ in range(300):
        no_two_are_one(tuple(rng.choice(NAMES, 8, replace=False)))


def test_names_do_not_hang_on_the_order(tmp_path: Path):
    for name in ("a/x.jpg", "a/x.png", "b/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    paths = [tmp_path / "b" / "y.jpg", tmp_path / "a" / "x.png", tmp_path / "a" / "x.jpg"]
    out = tmp_path / "out"
    assert listed(paths, out, "jpg") == listed(reversed(paths), out, "jpg")


def test_folders_paths_given_twice_and_hidden_files(tmp_path: Path):
    data = tmp_path / "data"
    for name in ("train/x.jpg", "train/.y.jpg", "train/notes.txt", ".cache/z.jpg", "x10.png"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"")
    (data / "x2.png").write_bytes(b"")
    found = listed([data, data / "train" / "x.jpg", str(data / "x2.png")], tmp_path / "out", "jpg")
    assert [one.name for one in found.inputs] == ["train/x.jpg", "x2.png", "x10.png"]
    assert found.root == data and found.repeated == 2
    # one folder alone is the common folder itself, whatever is in it
    assert listed([data / "train"], tmp_path / "out", "jpg").inputs[0].name == "x.jpg"


def test_crops_of_another_extraction_are_no_inputs_unless_they_are_named(tmp_path: Path):
    data, crops = tmp_path / "data", tmp_path / "data" / "faces"
    (crops / "train").mkdir(parents=True)
    for path in (data / "x.jpg", crops / "x.jpg", crops / "train" / "y.jpg", crops / NAME):
        path.write_bytes(b"")
    found = listed([data], tmp_path / "out", "jpg")
    assert [one.name for one in found.inputs] == ["x.jpg"] and found.crops == (crops,)
    named = listed([data, crops], tmp_path / "out", "jpg")
    assert [one.name for one in named.inputs] == ["faces/train/y.jpg", "faces/x.jpg", "x.jpg"]


def test_what_is_named_as_a_video_counts_though_it_is_broken_and_what_is_passed_over_is_noted(
    tmp_path: Path,
):
    for name in ("cut.mp4", "cut.MOV", "notes.txt", "x.jpg", ".DS_Store"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "voice.m4a").write_bytes(b"\0\0\0\x18ftypM4A ")
    found = listed([tmp_path], tmp_path / "out", "jpg")
    assert [one.name for one in found.inputs] == ["cut.MOV", "cut.mp4", "x.jpg"]
    assert [path.name for path in found.others] == ["notes.txt", "voice.m4a"]


def test_a_link_is_an_input_where_it_stands(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.jpg").write_bytes(b"")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "y.jpg").symlink_to(tmp_path / "real" / "x.jpg")
    (tmp_path / "links" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    found = listed([tmp_path / "links"], tmp_path / "out", "jpg")
    assert [one.name for one in found.inputs] == ["gone.jpg", "y.jpg"]


def test_a_linked_folder_is_looked_through_once(tmp_path: Path):
    data, store, out = (tmp_path / name for name in ("data", "store", "out"))
    for path in (store / "a.jpg", store / "deep" / "b.jpg", data / "real" / "c.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (data / ".hidden").mkdir()
    (data / ".hidden" / "d.jpg").write_bytes(b"")
    out.mkdir()
    (out / "crop.jpg").write_bytes(b"")
    for name, to in (
        ("images", store),
        ("again", data / "real"),  # which is found by itself
        ("loop", data),
        ("real/up", tmp_path),  # all that the folder itself lies in
        ("kept", data / ".hidden"),
        ("crops", out),
    ):
        (data / name).symlink_to(to)
    (store / "back").symlink_to(data / "real")
    found = listed([data], out, "jpg")
    assert [one.name for one in found.inputs] == [
        *("images/a.jpg", "images/deep/b.jpg", "kept/d.jpg", "real/c.jpg")
    ]
    assert found.repeated == 0
    (tmp_path / "link").symlink_to(store)  # one that is named
    assert [one.name for one in listed([tmp_path / "link"], out, "jpg").inputs] == [
        *("a.jpg", "back/c.jpg", "deep/b.jpg")
    ]


def test_what_cannot_be_asked_for_is_refused(tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(FacemakeError, match=r"there is no .*a\.jpg, .*b\.jpg"):
        listed([tmp_path / "a.jpg", tmp_path / "b.jpg"], out, "jpg")
    with pytest.raises(FacemakeError, match="no path is given"):
        listed([], out, "jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FacemakeError, match=r"no picture or video in .*empty"):
        listed([tmp_path / "empty"], out, "jpg")
    picture = tmp_path / "x.jpg"
    picture.write_bytes(b"")
    with pytest.raises(FacemakeError, match="lies in the output folder"):
        listed([picture], tmp_path, "jpg")


def test_the_output_folder_may_lie_among_the_inputs(tmp_path: Path):
    (tmp_path / "x.jpg").write_bytes(b"")
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "x.jpg").write_bytes(b"")
    found = listed([tmp_path], tmp_path / "crops", "jpg")
    assert [one.name for one in found.inputs] == ["x.jpg"]


def test_a_link_into_a_closed_folder_is_a_row_without_permission():
    with public_folder() as folder:
        (folder / "closed").mkdir()
        (folder / "closed" / "x.jpg").write_bytes(b"")
        (folder / "links").mkdir()
        (folder / "links" / "y.jpg").symlink_to(folder / "closed" / "x.jpg")
        (folder / "closed").chmod(0)

        def said() -> list[tuple[str, str]]:
            detector = SimpleNamespace(batch_size=1)
            extract = Extractor(detector, None, folder / "out", "jpg", 95, 1)
            inputs = [
                one
                for given in (folder / "links", folder / "links" / "y.jpg")
                for one in listed([given], folder / "out", "jpg").inputs
            ]
            return [
                (row["status"], row["reason"][:16])
                for g in extract(enumerate(inputs))
                for row in g.rows
            ]

        assert unprivileged(said) == str([("no_permission", "no permission to")] * 2)


def test_names_that_are_no_text(tmp_path: Path):
    name = os.fsdecode(b"\xff.jpg")
    (tmp_path / name).write_bytes(b"")
    (found,) = listed([tmp_path], tmp_path / "out", "jpg").inputs
    assert found.crop("jpg", 0) == name
