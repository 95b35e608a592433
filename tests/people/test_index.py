from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from facemake.errors import FacemakeError
from facemake.people import index as indexing
from facemake.people.index import APPROXIMATE, EXACT, build, open_index
from facemake.people.looks import read_looks, tables_of
from makelooks import near, unit, write_looks

RNG = np.random.default_rng(5)
PEOPLE = unit(RNG.normal(size=(40, 32)))
SAMPLES = {
    f"clip{k:02}": [(frame, 0, near(PEOPLE[k], 0.99, RNG), 0.8) for frame in (0, 30)]
    for k in range(40)
}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    write_looks(tmp_path / "results", SAMPLES)
    return tmp_path / "results"


def made(results: Path, folder: Path, kind: str | None = None) -> dict:
    who = {"clip03": ("carla", "train")}
    return build(read_looks(tables_of(results)), who, folder, kind, "a track")


def test_the_nearest_are_found_with_whose_they_are(results: Path, tmp_path: Path):
    document = made(results, tmp_path / "index")
    assert (document["search"], document["rows"], document["dim"]) == (EXACT, 40, 32)
    index = open_index(tmp_path / "index")
    query = near(PEOPLE[3], 0.95, RNG)
    found = index.search(query, 5)
    looks = read_looks(tables_of(results))
    alike = looks.vectors @ query
    assert [row["row"] for row in found] == np.argsort(-alike)[:5].tolist()
    np.testing.assert_allclose([row["similarity"] for row in found], np.sort(alike)[::-1][:5], 1e-5)
    first = found[0]
    assert (first["sample"], first["subject"], first["split"]) == ("clip03", "carla", "train")
    assert (first["track"], first["faces"]) == (0, 2)
    assert found[1]["subject"] is None
    assert len(index.search(query, 1000)) == 40
    with pytest.raises(FacemakeError, match="a vector of 16 numbers"):
        index.search(query[:16], 5)
    assert index.maker.embedder == "dlib"


def test_only_its_user_may_read_it(results: Path, tmp_path: Path):
    made(results, tmp_path / "index")
    assert stat.S_IMODE((tmp_path / "index").stat().st_mode) == 0o700
    files = list((tmp_path / "index").iterdir())
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize("kind", [EXACT, APPROXIMATE])
def test_the_same_faces_are_the_same_bytes(kind: str, results: Path, tmp_path: Path):
    made(results, tmp_path / "a", kind)
    made(results, tmp_path / "b", kind)
    contents = [
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("a", "b")
    ]
    assert contents[0] == contents[1]


def test_a_large_set_is_searched_approximately_and_says_so(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(indexing, "EXACT_UP_TO", 39 * 32)
    document = made(results, tmp_path / "index")
    assert document["search"] == APPROXIMATE
    assert document["why"] == "40 vectors of 32 are more than 39"
    assert "cells" in document["method"]
    found = open_index(tmp_path / "index").search(PEOPLE[7], 1)
    assert found[0]["sample"] == "clip07"
    assert made(results, tmp_path / "index", EXACT)["why"] == "asked for"
    # what the older one left is gone
    assert len(list((tmp_path / "index").iterdir())) == 3


def test_other_files_of_its_folder_stay(results: Path, tmp_path: Path):
    folder = tmp_path / "mine"
    folder.mkdir()
    others = [folder / name for name in ("vectors-of-mine.csv", "rows-2024.parquet")]
    for path in others:
        path.write_text("mine")
    made(results, folder)
    write_looks(results, {**SAMPLES, "clip39": SAMPLES["clip00"]})
    made(results, folder)
    assert all(path.read_text() == "mine" for path in others)
    assert len(list(folder.iterdir())) == 5


def test_tables_that_changed_are_told(results: Path, tmp_path: Path):
    made(results, tmp_path / "index")
    index = open_index(tmp_path / "index")
    assert index.changed(tables_of(results)) == []
    write_looks(results, {"new": SAMPLES["clip00"]}, shard="two")
    assert index.changed(tables_of(results)) == ["two"]
    write_looks(results, {**SAMPLES, "clip39": SAMPLES["clip00"]})
    assert index.changed(tables_of(results)) == ["one", "two"]


def test_no_other_file_is_ever_read_as_an_index(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "index"
    with pytest.raises(
        FacemakeError, match=r"no index in .*make it by `facemake identities index`"
    ):
        open_index(folder)
    made(results, folder)
    (vectors,) = folder.glob("vectors-*")
    (rows,) = folder.glob("rows-*")
    read = []
    monkeypatch.setattr(indexing.faiss, "read_index", lambda path: read.append(path))

    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FacemakeError, match=r"vectors-.*is not the file .*make it again"):
        open_index(folder)
    vectors.unlink()
    with pytest.raises(FacemakeError, match=r"vectors-.*is not the file"):
        open_index(folder)
    vectors.write_bytes(whole)
    vectors.chmod(0o666)
    with pytest.raises(FacemakeError, match="others may write to it"):
        open_index(folder)
    vectors.chmod(0o600)
    document = json.loads((folder / "index.json").read_text())
    for change in (
        {"files": {**document["files"], "vectors": "../../" + "a" * 58}},
        {"files": {}},
        {"made": {}},
        {"tables": None},
    ):
        (folder / "index.json").write_text(json.dumps({**document, **change}))
        with pytest.raises(FacemakeError, match=r"damaged|do not fit|is not the file"):
            open_index(folder) if change != {"tables": None} else _opened(folder, monkeypatch)
    for name in ("rows", "dim", "search", "method"):
        less = {key: value for key, value in document.items() if key != name}
        (folder / "index.json").write_text(json.dumps(less))
        with pytest.raises(FacemakeError, match=r"damaged|do not fit"):
            _opened(folder, monkeypatch)
    (folder / "index.json").write_text("{")
    with pytest.raises(FacemakeError, match=r"index\.json is damaged"):
        open_index(folder)
    assert set(read) <= {str(vectors)}
    assert rows.exists()


def _opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Whole:
        ntotal, d = 40, 32

    monkeypatch.setattr(indexing.faiss, "read_index", lambda path: Whole())
    open_index(folder)


def test_parts_of_two_indexes_are_refused(results: Path, tmp_path: Path):
    made(results, tmp_path / "index")
    document = json.loads((tmp_path / "index" / "index.json").read_text())
    for change in ({"rows": 39}, {"dim": 16}):
        (tmp_path / "index" / "index.json").write_text(json.dumps({**document, **change}))
        with pytest.raises(FacemakeError, match="do not fit each other"):
            open_index(tmp_path / "index")


def test_without_a_face_there_is_no_index(tmp_path: Path):
    write_looks(tmp_path / "results", {"a": []})
    with pytest.raises(FacemakeError, match="no face has an embedding"):
        made(tmp_path / "results", tmp_path / "index")
    assert not (tmp_path / "index").exists()
