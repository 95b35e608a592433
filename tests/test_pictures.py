"""Pictures that stand alone: what each stage gives for one does not depend on the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake.backends.fit.builtin import load_builtin
from facemake.pictures import stand_alone
from makestudy import Study, make_study

pytestmark = pytest.mark.xdist_group("dataset")


def detect(image_folders: str) -> dict[str, object]:
    return {"stage": "detect", "settings": {"track": {"image_folders": image_folders}}}


@pytest.mark.parametrize(
    ("kind", "image_folders", "alone"),
    [
        ("video", "pictures", False),
        ("video", "sequence", False),
        ("image", "pictures", True),
        ("image", "sequence", True),
        ("images", "pictures", True),
        ("images", "sequence", False),
    ],
)
def test_only_folders_follow_the_config(kind: str, image_folders: str, alone: bool):
    recipe = detect(image_folders)
    own = {"recipe": recipe, "upstream": {}}
    later = {"recipe": {"stage": "fit", "settings": {}}, "upstream": {"detect": recipe}}
    assert stand_alone({"kind": kind}, own) is stand_alone({"kind": kind}, later) is alone


def people(bundled: Path) -> dict[str, Image.Image]:
    """Two pictures: one person alone, two people side by side."""
    one = Image.open(bundled / "portraits" / "eileen_collins.png").convert("RGB")
    other = Image.open(bundled / "portraits" / "grace_hopper.jpg").convert("RGB")
    other = other.resize((round(other.width * one.height / other.height), one.height))
    both = Image.new("RGB", (one.width + other.width, one.height))
    both.paste(one, (0, 0))
    both.paste(other, (one.width, 0))
    return {"one": one, "both": both}


FILES = ("both", "one", "nobody", "broken", "one", "one", "both")


@pytest.fixture(scope="module")
def folder(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "folder"
    path.mkdir()
    found = people(bundled)
    for i, name in enumerate(FILES):
        if name == "broken":
            (path / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        elif name == "nobody":
            Image.new("RGB", found["one"].size, "grey").save(path / f"{i}.png")
        else:
            found[name].save(path / f"{i}.png")
    return path


def studied(folder: Path, path: Path, **config: object) -> Study:
    study = make_study(folder, [{"sample": "s", "path": path}], **config)
    study.up_to_aus("s")
    return study


@pytest.fixture(scope="module")
def study(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return studied(tmp_path_factory.mktemp("study"), folder)


def table(study: Study, name: str) -> pd.DataFrame:
    return pd.read_parquet(study.table(name, "s"))


def test_a_picture_has_rows_for_its_own_faces_only(study: Study):
    found = table(study, "detections")
    assert list(zip(found.frame, found.track, found.status, strict=True)) == [
        (0, 0, "ok"),
        (0, 1, "ok"),
        (1, 0, "ok"),
        (2, 0, "no_face"),
        (3, 0, "decode_error"),
        (4, 0, "ok"),
        (5, 0, "ok"),
        (6, 0, "ok"),
        (6, 1, "ok"),
    ]
    for name in ("landmarks", "fit", "expressions", "aus"):
        assert table(study, name)[["frame", "track", "status"]].equals(
            found[["frame", "track", "status"]]
        )


def test_a_picture_measures_the_same_alone_and_in_a_folder(
    study: Study, folder: Path, tmp_path: Path
):
    for i, name in enumerate(FILES):
        if name in ("broken", *FILES[:i]):  # alone it is a sample that cannot be read
            continue
        single = studied(tmp_path / name, folder / f"{i}.png")
        for what in ("detections", "landmarks", "fit", "expressions", "aus"):
            here = table(study, what)
            here = here[here.frame == i].drop(columns="frame").reset_index(drop=True)
            there = table(single, what).drop(columns="frame")
            pd.testing.assert_frame_equal(here, there, check_exact=True, check_dtype=False)


def test_each_face_of_each_picture_is_chosen(study: Study, tmp_path: Path):
    path = tmp_path / "s.h5"
    study.dataset("s", path, max_per_track=1, min_quality=0)
    counts = pd.read_parquet(path.with_suffix(".parquet")).iloc[0]
    assert counts.rejected_surplus == 0 and counts.n_kept == counts.n_considered == 7


def test_each_face_of_each_picture_has_an_embedding(folder: Path, tmp_path: Path):
    study = studied(tmp_path / "study", folder, embed={"frames_per_track": 1})
    study.embed("s", tmp_path / "e.parquet")
    rows = pd.read_parquet(tmp_path / "e.parquet")
    keys = list(zip(rows.frame, rows.track, strict=True))
    assert keys == [(0, 0), (0, 1), (1, 0), (4, 0), (5, 0), (6, 0), (6, 1)]


def test_pictures_in_sequence_are_frames_of_a_recording(bundled: Path, tmp_path: Path):
    frames = tmp_path / "frames"
    frames.mkdir()
    picture = people(bundled)["one"]
    for i in range(4):
        moved = np.roll(np.asarray(picture), (0, 4 * i * (i == 3)), axis=(0, 1))
        Image.fromarray(moved).save(frames / f"{i}.png")
    # a jump of the whole picture between pictures that are the same is taken for a cut
    track = {"image_folders": "sequence", "cuts": False}
    study = studied(tmp_path / "study", frames, track=track)
    identity = table(study, "identity")
    assert identity.n_frames.tolist() == [4] and len(identity.identity[0]) == len(
        load_builtin().identity
    )
    scores = {}
    for most in (None, 2):
        path = tmp_path / f"{most}.h5"
        study.dataset("s", path, max_per_track=most, min_quality=0)
        counts = pd.read_parquet(path.with_suffix(".parquet")).iloc[0]
        scores[most] = counts.n_kept
    assert scores == {None: 4, 2: 2}
    import h5py

    with h5py.File(tmp_path / "None.h5") as file:
        quality = file["metadata/quality_scores"][:]
    # the face that jumped between two frames is worth less
    assert quality[3] < 0.98 * quality[:3].min()
