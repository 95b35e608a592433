from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from facemake.errors import FacemakeError
from facemake.people.looks import read_looks, tables_of
from facemake.people.sheet import labels_of_file, labels_of_subjects
from facemake.people.verification import Pairs, at_far, curve, equal_error, pairs_of
from makelooks import near, unit, write_looks


def people(count: int, each: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    centres = unit(rng.normal(size=(count, 8)))
    names = [f"p{k}" for k in range(count) for _ in range(each)]
    return np.stack([near(centres[int(n[1:])], 0.9, rng) for n in names]), names


def test_each_pair_counts_once():
    vectors, names = people(4, 3)
    labels = [*names[:-1], None]
    pairs = pairs_of(vectors, labels)
    same, other = [], []
    for a in range(11):
        for b in range(a):
            (same if labels[a] == labels[b] else other).append(vectors[a] @ vectors[b])
    np.testing.assert_allclose(pairs.same, np.sort(same), atol=1e-6)
    np.testing.assert_allclose(pairs.other, np.sort(other), atol=1e-6)
    assert (pairs.faces, pairs.people, pairs.drawn) == (11, 4, False)


def test_pairs_that_are_drawn_stand_for_all_and_are_always_the_same():
    vectors, labels = people(60, 12)
    everything = pairs_of(vectors, labels)
    drawn = pairs_of(vectors, labels, most=3000)
    assert drawn.drawn and len(drawn.same) == len(drawn.other) == 3000
    for one, other in ((drawn.same, everything.same), (drawn.other, everything.other)):
        shares = (0.1, 0.5, 0.9)
        np.testing.assert_allclose(np.quantile(one, shares), np.quantile(other, shares), atol=0.03)
        assert np.isin(np.round(one, 4), np.round(other, 4)).all()
    again = pairs_of(vectors, labels, most=3000)
    np.testing.assert_array_equal(again.other, drawn.other)


def test_rates_are_those_of_counting():
    rng = np.random.default_rng(1)
    same = np.sort(rng.normal(0.8, 0.1, 500)).astype(np.float32)
    other = np.sort(rng.normal(0.4, 0.1, 20_000)).astype(np.float32)
    pairs = Pairs(same, other, False, 0, 0)
    for threshold in (0.3, 0.55, float(other[-1]), 2.0):
        far, frr = pairs.rates(threshold)
        assert far == (other >= np.float32(threshold)).mean()
        assert frr == (same < np.float32(threshold)).mean()
    for target in (1e-1, 1e-2, 1e-3):
        point = at_far(pairs, target)
        assert point.far <= target < point.far + 2 / len(other)
        # a lower threshold would let one more pass
        lower = pairs.rates(np.nextafter(np.float32(point.threshold), np.float32(0)))
        assert lower[0] > target
    few = at_far(pairs, 1e-4)
    assert few.threshold is None and "100,000 pairs of two people, and there are 20,000" in few.why
    point = equal_error(pairs)
    # two normal curves of one width, 0.4 apart, cross at two of their deviations
    assert point.far == pytest.approx(0.0228, abs=0.01)
    assert abs(point.far - point.frr) <= 0.002
    rows = curve(pairs)
    assert rows[0]["far"] == 1 and rows[0]["tar"] == 1
    assert rows[-1]["far"] == 0 and rows[-1]["frr"] == 1
    far = [row["far"] for row in rows]
    assert far == sorted(far, reverse=True)
    assert min(value for value in far if value) <= 2 / len(other)


def test_people_apart_have_no_error_anywhere_between():
    pairs = Pairs(np.float32([0.8, 0.9]), np.float32([0.1, 0.4]), False, 4, 2)
    point = equal_error(pairs)
    assert (point.threshold, point.far, point.frr) == (pytest.approx(0.6), 0, 0)


@pytest.mark.parametrize(
    "labels, what",
    [
        (["a", "a", None], "labelled faces? of 1 person, and no two of them are of two people"),
        (["a", "b", "c"], "labelled faces of 3 people, and no two are of one person"),
        ([None, None, None], "0 labelled faces"),
    ],
)
def test_labels_that_make_no_pairs_are_refused(labels, what: str):
    with pytest.raises(FacemakeError, match=what):
        pairs_of(people(3, 1)[0], labels)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    vectors, _ = people(6, 1)
    samples = {
        "one": [(0, 0, vectors[0], 0.5), (1, 1, vectors[1], 0.5)],
        "two": [(0, 0, vectors[2], 0.5)],
        "album": [(0, 0, vectors[3], 0.5), (1, 0, vectors[4], 0.5), (1, 1, vectors[5], 0.5)],
    }
    write_looks(tmp_path, samples, pictures=["album"])
    return tmp_path


def test_labels_of_a_file_name_tracks_and_pictures(results: Path, tmp_path: Path):
    shards = tables_of(results)
    looks = read_looks(shards)
    assert [looks.name(k) for k in range(len(looks))] == [
        *("album track 0 frame 0", "album track 0 frame 1", "album track 1 frame 1"),
        *("one track 0", "one track 1", "two track 0"),
    ]
    file = tmp_path / "people.tsv"
    file.write_text("sample\tperson\none\tanna\nalbum\tberta\n")
    assert labels_of_file(looks, file, shards) == ["berta", "berta", None, "anna", None, None]
    file.write_text(
        "sample\ttrack\tframe\tperson\n"
        "one\t1\t\tanna\n"
        "album\t\t\tberta\n"
        "album\t0\t1\tcarla\n"
        "album\t1\t1\tanna\n"
    )
    assert labels_of_file(looks, file, shards) == ["berta", "carla", "anna", None, "anna", None]


@pytest.mark.parametrize(
    "text, what",
    [
        ("sample\tperson\none\tanna\ngone\tx\n", r"line 3: 'gone'; name them as the sample sheet"),
        ("sample\tname\none\tanna\n", "'name' is no column"),
        ("sample\none\n", "has no column person"),
        ("sample\tperson\none\t\n", ":2: sample or person is empty"),
        ("sample\tperson\none\tNA\n", ":2: person is NA; delete the line"),
        ("sample\ttrack\tperson\none\tx\tanna\n", ":2: track is 'x'"),
        ("sample\tperson\none\tanna\none\tberta\n", ":3: one is berta here and anna above"),
        ("", "has no column sample"),
    ],
)
def test_labels_that_are_wrong_are_refused(text: str, what: str, results: Path, tmp_path: Path):
    shards = tables_of(results)
    file = tmp_path / "people.tsv"
    file.write_text(text)
    with pytest.raises(FacemakeError, match=what):
        labels_of_file(read_looks(shards), file, shards)
    with pytest.raises(FacemakeError, match=r"no file of labels .*gone\.tsv"):
        labels_of_file(read_looks(shards), tmp_path / "gone.tsv", shards)


def test_labels_of_the_sheet_are_subjects_that_it_says(results: Path):
    looks = read_looks(tables_of(results))
    who = {"one": ("anna", "train"), "two": ("two", "test"), "album": ("berta", "val")}
    assert labels_of_subjects(looks, who) == ["berta", "berta", None, "anna", None, None]
    with pytest.raises(FacemakeError, match="fill its column `subject`"):
        labels_of_subjects(looks, {"two": ("two", "test")})
