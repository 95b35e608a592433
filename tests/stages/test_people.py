from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facemake import tables
from facemake.errors import FacemakeError, TableError
from facemake.people.looks import ShardTables, tables_of
from facemake.people.splits import found_in, refuse_shared
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.shards import read_metadata
from facemake.stages.people import people
from makelooks import near, unit, write_looks
from makestudy import Study, make_study

pytestmark = pytest.mark.xdist_group("dataset")

SETTINGS = {"same_person": 0.9, "splits": {"train": 0.5, "test": 0.5}}
RECIPE = Recipe("people", None, SETTINGS, (), "code")
RNG = np.random.default_rng(8)
ANNA, BERTA, CARL = unit(RNG.normal(size=(3, 32)))


def of(vector: np.ndarray, track: int = 0, frames: int = 3, first: int = 0) -> list:
    return [(first + 10 * k, track, near(vector, 0.99, RNG), 0.8) for k in range(frames)]


def written(folder: Path, samples: dict[str, list], rows: list[Sample], **more) -> Path:
    plan = folder / "one.tsv"
    write_looks(folder / "results", samples, **more)
    plan.write_text(shard_text(sorted(rows, key=lambda row: row.sample)))
    output = folder / "people.parquet"
    people([plan], tables_of(folder / "results"), output, RECIPE)
    return output


def row(sample: str, subject: str, split: str | None = None) -> Sample:
    return Sample(sample, Path(sample), subject, split=split, sha256="0" * 64)


def test_a_sample_that_is_left_out_is_in_no_split(tmp_path: Path):
    samples = {"a": of(BERTA), "one": [*of(ANNA), *of(CARL, 1, first=5)], "two": of(ANNA)}
    rows = [row("one", "anna", "train"), row("two", "anja", "test"), row("a", "b", "test")]
    path = written(tmp_path, samples, rows, seen={"one": [(0, 0), (0, 1)]})
    assert found_in(path).lines()
    people(
        [tmp_path / "one.tsv"], tables_of(tmp_path / "results"), path, RECIPE, frozenset({"two"})
    )
    assert not found_in(path).lines()
    frame = pd.read_parquet(path)
    assert frame["sample"].tolist() == ["a", "one", "one"] and frame["person"].nunique() == 3
    people([tmp_path / "one.tsv"], tables_of(tmp_path / "results"), path, RECIPE, frozenset({"a"}))
    assert pd.read_parquet(path)["sample"].tolist() == ["one", "one", "two"]


def test_somebody_in_two_splits_is_found_said_and_refused(tmp_path: Path, caplog):
    samples = {
        "one": [*of(ANNA), *of(CARL, 1, first=5)],
        "two": of(ANNA),
        "three": [*of(BERTA), *of(CARL, 2, first=100)],
        "four": of(BERTA),
    }
    rows = [row("one", "anna", "train"), row("two", "anja", "test")]
    rows += [row("three", "berta", "train"), row("four", "b.", "train")]
    with caplog.at_level(logging.INFO, logger="facemake"):
        path = written(tmp_path, samples, rows, seen={"one": [(0, 0), (0, 1)]})
    frame = pd.read_parquet(path)
    assert list(frame.columns) == tables.SCHEMAS["people"].names
    assert frame["sample"].tolist() == ["four", "one", "one", "three", "three", "two"]
    assert frame.subject.tolist() == ["b.", "anna", "one#1", "berta", "three#2", "anja"]
    assert frame.person.tolist() == [0, 1, 2, 0, 2, 1]
    assert frame.faces.tolist() == [3] * 6 and frame.frame.isna().all()
    assert frame.similarity.between(0.98, 1).all()
    found = found_in(path)
    assert (found.faces, found.people) == (6, 3)
    assert [str(one) for one in found.in_splits] == ["anna (train: one), anja (test: two)"]
    assert [one.person for one in found.in_one_split] == [0, 2]
    assert found.document["people_in_two_splits"] == 1
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1 and "anna (train: one), anja (test: two)" in warned[0]
    assert "b. (train: four), berta (train: three)" in caplog.text
    with pytest.raises(FacemakeError, match=r"refused.*\n.*1 person.*\n.*anna.*\n.*same subject"):
        refuse_shared(path)


def test_nobody_in_two_splits_is_no_word(tmp_path: Path, caplog):
    samples = {"one": of(ANNA), "two": of(ANNA), "three": of(BERTA)}
    rows = [row("one", "anna", "train"), row("two", "anja", "train"), row("three", "b", "test")]
    path = written(tmp_path, samples, rows)
    assert found_in(path).lines() == []
    refuse_shared(path)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_one_subject_whose_samples_the_sheet_puts_in_two_splits(tmp_path: Path):
    path = written(
        tmp_path, {"one": of(ANNA), "two": of(ANNA)}, [row("one", "a", "x"), row("two", "a", "y")]
    )
    assert [str(one) for one in found_in(path).in_splits] == ["a (x: one), a (y: two)"]


def test_bytes_hang_on_no_shards_and_name_no_path(tmp_path: Path):
    samples = {name: of(v) for name, v in zip("abcd", (ANNA, BERTA, CARL, ANNA), strict=True)}
    rows = [row(name, name) for name in samples]
    first = pd.read_parquet(written(tmp_path / "x", samples, rows))
    data = (tmp_path / "x" / "people.parquet").read_bytes()
    written(tmp_path / "x", samples, rows)
    assert (tmp_path / "x" / "people.parquet").read_bytes() == data
    assert str(tmp_path).encode() not in data
    plans = []
    for shard, names in {"s": "ca", "t": "bd"}.items():
        write_looks(tmp_path / "y", {n: samples[n] for n in names}, shard=shard)
        plans.append(tmp_path / f"{shard}.tsv")
        plans[-1].write_text(shard_text(row(n, n) for n in sorted(names)))
    people(plans, tables_of(tmp_path / "y"), tmp_path / "y.parquet", RECIPE)
    assert pd.read_parquet(tmp_path / "y.parquet").equals(first)
    # who is who in the sheet is part of what it is
    changed = [row("a", "z"), *rows[1:]]
    written(tmp_path / "x", samples, changed)
    again = read_metadata(tmp_path / "x" / "people.parquet")["lineage"]
    assert again != json.loads(_document(data))["lineage"]


def _document(data: bytes) -> bytes:
    import io

    import pyarrow.parquet as pq

    return pq.ParquetFile(io.BytesIO(data)).schema_arrow.metadata[tables.METADATA_KEY]


def test_tables_of_another_run_are_refused_and_no_face_is_no_person(tmp_path: Path):
    with pytest.raises(TableError, match="the sample one, which the plan does not have"):
        written(tmp_path, {"one": of(ANNA)}, [row("two", "two")])
    assert not (tmp_path / "people.parquet").exists()
    path = written(tmp_path / "none", {"one": []}, [row("one", "one")])
    assert (found_in(path).faces, found_in(path).people, found_in(path).lines()) == (0, 0, [])
    path.write_bytes(b"nothing")
    with pytest.raises(TableError, match=r"people\.parquet cannot be read"):
        found_in(path)


def test_the_people_of_the_bundled_sample(portraits: Study, tmp_path: Path):
    """A clip and a picture of one woman, and a picture of another."""
    shard = portraits.plan.shards[0]
    portraits.embed(shard, tmp_path / f"{shard}.parquet")
    shards = [
        ShardTables(
            tmp_path / f"{shard}.parquet",
            portraits.table("probe", shard),
            portraits.table("detections", shard),
        )
    ]
    recipe = portraits.recipe("people")
    assert recipe.settings["same_person"] == 0.917
    people([portraits.plan_file(shard)], shards, tmp_path / "people.parquet", recipe)
    frame = pd.read_parquet(tmp_path / "people.parquet").set_index("sample")
    assert frame.person.to_dict() == {"clip": 0, "collins": 0, "hopper": 1}
    assert found_in(tmp_path / "people.parquet").lines() == []


def test_real_people(shared: Path, tmp_path: Path):
    """One person in a film, another film and a picture; five others in a picture."""
    files = {
        "film": ("single_face.mp4", "train", 0.5),
        "other_film": ("face_noface.mov", "train", 0.5),
        "picture": ("single_face.jpg", "test", ""),
        "group": ("multi_face.jpg", "test", ""),
    }
    sheet = [
        {"sample": n, "path": shared / "data" / f, "split": split, "end": end}
        for n, (f, split, end) in files.items()
    ]
    study = make_study(tmp_path / "study", sheet, shards=1)
    shard = study.plan.shards[0]
    study.up_to_aus(shard)
    study.embed(shard, study.table("embeddings", shard))
    output = tmp_path / "people.parquet"
    results = study.folder / "results"
    people([study.plan_file(shard)], tables_of(results), output, study.recipe("people"))
    frame = pd.read_parquet(output)
    persons = frame.groupby("sample").person.agg(list)
    assert persons["film"] == persons["other_film"] == persons["picture"]
    assert len(set(persons["group"])) == 5  # two of them are no more than 0.49 apart
    assert frame.person.nunique() == 6
    (one,) = found_in(output).in_splits
    assert {sample for _, _, sample in one.members} == {"film", "other_film", "picture"}
    assert one.splits == ["test", "train"]
