"""facemake identities, on tables of real faces and of made-up ones."""

from __future__ import annotations

import csv
import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facemake.backends.embed import EMBEDDERS
from facemake.cli import main
from facemake.models import model
from facemake.provenance import Recipe
from facemake.recognition.recognizer import Recognizer
from facemake.shards import metadata, read_metadata
from facemake.tables import SCHEMAS, TableWriter
from makelooks import EMBED, near, unit, write_looks

NAMES = {"hopper": "grace_hopper.jpg", "collins": "eileen_collins.png"}
REAL = replace(
    EMBED,
    models=tuple(model(name).provenance for name in EMBEDDERS["dlib"].models),
    settings={**EMBED.settings, "chip": EMBEDDERS["dlib"].chip},
)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGB")))


@pytest.fixture(scope="module")
def real(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with a clip of each of two people, and their index."""
    results = tmp_path_factory.mktemp("real") / "results"
    samples = {}
    with Recognizer.of_backends("mediapipe", "dlib") as recognizer:
        for name, file in NAMES.items():
            rgb = picture(bundled / "portraits" / file)
            dark = (rgb * 0.8).astype(np.uint8)
            (face,) = recognizer.find([rgb])[0]
            vectors = [recognizer.embed(p, [face.face])[0] for p in (rgb, dark)]
            samples[name] = [(30 * k, 0, vector, 0.9) for k, vector in enumerate(vectors)]
    write_looks(results, samples, recipe=REAL)
    assert main(["identities", "index", "--results", str(results)]) == 0
    return results


def search(results: Path, *arguments: object) -> int:
    return main(["identities", "search", "--results", str(results), *map(str, arguments)])


def test_a_person_is_found_by_a_picture(real: Path, bundled: Path, tmp_path: Path, capfd):
    with Image.open(bundled / "portraits" / NAMES["hopper"]) as image:
        image.convert("L").rotate(8, expand=True).save(tmp_path / "other.png")
    out = tmp_path / "found.csv"
    assert search(real, tmp_path / "other.png", "--json", "--out", out) == 0
    said = capfd.readouterr()
    assert said.err == ""
    document = json.loads(said.out)
    assert document["threshold"] == 0.917 and document["search"] == "exact"
    first, second = document["found"]
    assert (first["sample"], first["same"], first["rank"]) == ("hopper", "yes", 1)
    assert (second["sample"], second["same"]) == ("collins", "no")
    assert first["similarity"] > 0.917 > second["similarity"]
    with out.open() as handle:
        assert [row["sample"] for row in csv.DictReader(handle)] == ["hopper", "collins"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600

    assert search(real, tmp_path / "other.png", "--threshold", "0.9999", "--top", "1") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1].split()[2:4] == ["no", "hopper"]
    assert lines[2] == "same: from 0.9999 on"
    assert len(lines) == 3


def test_several_pictures_are_one_question(real: Path, bundled: Path, tmp_path: Path, capfd):
    path = bundled / "portraits" / NAMES["collins"]
    with Image.open(path) as image:
        image.convert("RGB").resize((300, 300)).save(tmp_path / "small.jpg")
    out = tmp_path / "found.parquet"
    assert search(real, path, tmp_path / "small.jpg", "--out", out) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[2:4] == ["yes", "collins"]
    assert pd.read_parquet(out)["sample"].tolist() == ["collins", "hopper"]


def test_of_several_faces_one_is_to_be_named(real: Path, bundled: Path, tmp_path: Path, capfd):
    pictures = [Image.fromarray(picture(bundled / "portraits" / f)) for f in NAMES.values()]
    both = Image.new("RGB", (1000, 512))
    for k, one in enumerate(pictures):
        both.paste(one.resize((500, round(500 * one.height / one.width))), (500 * k, 0))
    both.save(tmp_path / "both.png")
    assert search(real, tmp_path / "both.png") == 2
    said = capfd.readouterr().err
    assert "both.png shows 2 faces; say which one it is" in said
    assert "--face 0:" in said and "--face 1:" in said
    found = set()
    for number in (0, 1):
        assert search(real, tmp_path / "both.png", "--face", number, "--json") == 0
        document = json.loads(capfd.readouterr().out)
        left = document["pictures"][0]["bbox"][0] < 500
        found.add((left, document["found"][0]["sample"]))
    assert found == {(True, "hopper"), (False, "collins")}
    assert search(real, tmp_path / "both.png", "--face", 2) == 2
    assert "has no face 2" in capfd.readouterr().err
    path = bundled / "portraits" / NAMES["hopper"]
    assert search(real, path, "--face", 0) == 2
    assert "--face 0 is one too many" in capfd.readouterr().err


def test_pictures_that_show_nobody_are_refused(real: Path, tmp_path: Path, capfd):
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(tmp_path / "wall.png")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "album").mkdir()
    for name, what in {
        "wall.png": "no face is found in",
        "text.jpg": "no picture that can be read",
        "gone.jpg": "is not there",
        "album": "is a folder: name the pictures in it",
    }.items():
        assert search(real, tmp_path / name) == 2
        said = capfd.readouterr().err
        assert what in said and name in said and "Traceback" not in said
    assert search(real, tmp_path / "wall.png", "--detector", "eagle") == 2
    assert "no detector eagle; there are mediapipe" in capfd.readouterr().err
    assert search(real, tmp_path / "wall.png", "--out", tmp_path / "x.txt") == 2
    assert "end in .csv or .parquet" in capfd.readouterr().err


def test_an_index_of_another_embedder_or_of_other_tables(
    real: Path, bundled: Path, tmp_path: Path, capfd
):
    path = bundled / "portraits" / NAMES["hopper"]
    rng = np.random.default_rng(0)
    rows = [(0, 0, unit(rng.normal(size=128)), 0.5)]

    def results(name: str, recipe) -> Path:
        write_looks(tmp_path / name, {"a": rows}, recipe=recipe)
        assert main(["identities", "index", "--results", str(tmp_path / name)]) == 0
        capfd.readouterr()
        return tmp_path / name

    # a model of the dataset's name, which is not the dataset's
    assert search(results("model", EMBED), path) == 2
    assert "has the SHA-256" in capfd.readouterr().err
    assert search(results("unknown", replace(REAL, backend="nobodys")), path) == 2
    assert "no embedder nobodys" in capfd.readouterr().err

    other = results("other", REAL)
    write_looks(other, {"b": rows}, shard="two", recipe=REAL)
    assert search(other, path) == 0
    said = capfd.readouterr()
    assert "is not of these results any more (tables that changed, came or went: two)" in said.err
    assert "a  " in said.out

    (damaged,) = (other / "identities").glob("vectors-*")
    damaged.write_bytes(b"x")
    assert search(other, path) == 2
    assert "make it again by `facemake identities index`" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--top", "ten"], "argument --top: 'ten' is no number from 1 on"),
        (["--top", "0"], "argument --top: '0' is no number from 1 on"),
        (["--threshold", "high"], "argument --threshold: 'high' is no cosine: above -1, at most 1"),
        (["--threshold", "nan"], "argument --threshold: 'nan' is no cosine: above -1, at most 1"),
        (["--threshold", "1.5"], "argument --threshold: '1.5' is no cosine: above -1, at most 1"),
    ],
)
def test_a_number_that_is_none_is_said_to_be_so(words: list[str], said: str, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["identities", "search", "anna.jpg", *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_embeddings_nothing_goes(tmp_path: Path, capfd):
    (tmp_path / "results").mkdir()
    for action in ("index", "cluster", "verify"):
        assert main(["identities", action, "--results", str(tmp_path / "results")]) == 2
        assert "embed: off" in capfd.readouterr().err
        assert main(["identities", action, "--results", str(tmp_path / "gone")]) == 2
        assert "there is no folder" in capfd.readouterr().err
        assert main(["identities", action, "--results", str(tmp_path / "none")]) == 2
    assert search(tmp_path / "results", tmp_path / "a.jpg") == 2
    assert "there is no index" in capfd.readouterr().err
    write_looks(tmp_path / "nobody", {"a": []})
    for action in ("index", "cluster", "verify"):
        assert main(["identities", action, "--results", str(tmp_path / "nobody")]) == 2
        assert "no face" in capfd.readouterr().err


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """Twelve people in five clips each, and one clip in which two of them are seen together."""
    rng = np.random.default_rng(2)
    centres = unit(rng.normal(size=(12, 64)))
    samples = {
        f"{k:02}_{n}": [(f, 0, near(centres[k], 0.98, rng), 0.7) for f in (0, 30)]
        for k in range(12)
        for n in range(5)
    }
    twins = [(f, track, near(centres[0], 0.98, rng), 0.7) for f, track in ((0, 0), (30, 1))]
    seen = {"twins": [(0, 0), (1, 0), (1, 1), (30, 1)]}
    write_looks(tmp_path / "results", {**samples, "twins": twins}, seen=seen)
    return tmp_path / "results"


def test_tracks_are_grouped_into_people(made_up: Path, tmp_path: Path, capfd):
    arguments = ["identities", "cluster", "--results", str(made_up)]
    assert main(arguments) == 0
    said = capfd.readouterr().out
    assert "62 tracks and faces of single pictures are 13 people, 1 of them seen once" in said
    path = made_up / "identities" / "people.parquet"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    frame = pd.read_parquet(path)
    assert list(frame.columns[:5]) == ["sample", "track", "frame", "person", "similarity"]
    clips = frame[frame["sample"] != "twins"]
    assert clips.groupby(clips["sample"].str[:2]).person.nunique().tolist() == [1] * 12
    assert clips.person.nunique() == 12
    assert frame[frame["sample"] == "twins"].person.nunique() == 2
    assert main([*arguments, "--threshold", "0.99999", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["people"] > 13
    assert main([*arguments, "--out", str(tmp_path / "p.csv")]) == 0
    assert (tmp_path / "p.csv").read_text().startswith("sample,track,frame,person,similarity")


def test_error_rates_of_labels(made_up: Path, tmp_path: Path, capfd):
    labels = tmp_path / "people.tsv"
    rows = [f"{k:02}_{n}\tperson {k}" for k in range(12) for n in range(5)]
    labels.write_text("\n".join(["sample\tperson", *rows]) + "\n")
    arguments = ["identities", "verify", "--results", str(made_up), "--labels", str(labels)]
    out = tmp_path / "verification"
    assert main([*arguments, "--out", str(out), "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["faces"], said["people"], said["not_labelled"]) == (60, 12, 2)
    assert (said["pairs_of_one_person"], said["pairs_of_two_people"]) == (120, 1650)
    points = {point["what"]: point for point in said["points"]}
    assert points["EER"]["far"] == points["EER"]["frr"] == 0
    assert points["FAR 0.01"]["tar"] == 1 and points["FAR 0.01"]["far"] <= 0.01
    assert points["FAR 0.0001"]["threshold"] is None
    assert points["dlib's own"]["threshold"] == 0.917
    assert main([*arguments, "--out", str(out)]) == 0
    assert "needs 100,000 pairs of two people, and there are 1,650" in capfd.readouterr().out
    curve = pd.read_csv(out / "roc.csv")
    assert list(curve.columns) == ["threshold", "far", "frr", "tar"]
    assert len(pd.read_csv(out / "thresholds.csv")) == 6
    with Image.open(out / "roc.png") as image:
        assert image.format == "PNG" and image.width > 600
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}

    assert main(["identities", "verify", "--results", str(made_up)]) == 2
    assert "fill its column `subject`" in capfd.readouterr().err
    labels.write_text("sample\tperson\n00_0\ta\n00_1\ta\nnowhere\tb\n")
    assert main(arguments) == 2
    assert "'nowhere'" in capfd.readouterr().err
    labels.write_text("sample\tperson\n00_0\ta\n00_1\ta\n")
    assert main(arguments) == 2
    assert "label at least two people" in capfd.readouterr().err


def test_results_that_cannot_be_written_to_are_told(made_up: Path, tmp_path: Path, capfd):
    (made_up / "identities").write_text("in the way")
    labels = tmp_path / "people.tsv"
    labels.write_text("sample\tperson\n00_0\ta\n00_1\ta\n01_0\tb\n")
    for action in (["cluster"], ["verify", "--labels", str(labels)]):
        assert main(["identities", *action, "--results", str(made_up)]) == 2
        said = capfd.readouterr().err
        assert "identities cannot be made (File exists)" in said and "--out" in said


def test_an_embedder_without_a_published_similarity_asks_for_one(tmp_path: Path, capfd):
    own = ({"name": "mine.onnx", "sha256": "cd" * 32, "licence": "the user's own file"},)
    rng = np.random.default_rng(0)
    samples = {n: [(0, 0, unit(rng.normal(size=16)), 0.5)] for n in "ab"}
    recipe = replace(EMBED, backend="onnx", models=own)
    write_looks(tmp_path / "results", samples, recipe=recipe)
    arguments = ["identities", "cluster", "--results", str(tmp_path / "results")]
    assert main(arguments) == 2
    assert "nobody published for mine.onnx: say it by --threshold" in capfd.readouterr().err
    assert main([*arguments, "--threshold", "0.5"]) == 0
    assert "2 people, 2 of them seen once" in capfd.readouterr().out


def of_people(results: Path, same: float, embeddings: Path) -> None:
    """The table of people of a run whose config has this `dataset.same_person`."""
    recipe = Recipe("people", None, {"same_person": same, "splits": {}}, (), "code")
    about = metadata(recipe, "lineage", [read_metadata(embeddings)])
    (results / "dataset").mkdir(exist_ok=True)
    TableWriter(results / "dataset" / "people.parquet", SCHEMAS["people"], about).close()


def test_the_similarity_of_the_run_is_taken(made_up: Path, real: Path, tmp_path: Path, capfd):
    arguments = ["identities", "cluster", "--results", str(made_up)]
    of_people(made_up, 0.99999, made_up / "embeddings" / "one.parquet")
    assert main(arguments) == 0
    said = capfd.readouterr().out
    assert (
        "same: from 0.99999 on, the run's dataset.same_person" in said and "13 people" not in said
    )
    assert main([*arguments, "--threshold", "0.917"]) == 0
    assert "13 people" in capfd.readouterr().out
    of_people(made_up, 0.99999, real / "embeddings" / "one.parquet")  # of another network
    assert main(arguments) == 0
    assert "same: from 0.917 on, published for dlib" in capfd.readouterr().out


def test_a_search_takes_the_similarity_of_the_run(real: Path, bundled: Path, tmp_path: Path, capfd):
    results = tmp_path / "results"
    shutil.copytree(real, results)
    of_people(results, 0.5, results / "embeddings" / "one.parquet")
    assert search(results, bundled / "portraits" / NAMES["hopper"], "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert document["threshold"] == 0.5
    assert {row["same"] for row in document["found"]} == {"yes"}
