from __future__ import annotations

from collections import Counter
from pathlib import Path

from facemake.dataset.splits import lacking, split_of, subject_of
from facemake.samples import Sample

SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def sample(name: str, subject: str | None = None, split: str | None = None) -> Sample:
    return Sample(sample=name, path=Path(name), subject=subject or name, split=split)


def test_a_subject_is_in_one_split_whatever_its_samples_are_called():
    for person in range(300):
        splits = {split_of(sample(f"clip{n}", f"person{person}"), SHARES) for n in range(5)}
        assert len(splits) == 1


def test_the_sheet_wins():
    assert {split_of(sample(f"s{n}", split="val"), SHARES) for n in range(50)} == {"val"}


def test_shares_are_met_over_many_subjects():
    found = Counter(split_of(sample(f"s{n}"), SHARES) for n in range(5000))
    for name, share in SHARES.items():
        assert abs(found[name] / 5000 - share) < 0.02


def test_the_order_of_the_shares_makes_no_difference():
    backwards = dict(reversed(SHARES.items()))
    assert all(
        split_of(sample(f"s{n}"), SHARES) == split_of(sample(f"s{n}"), backwards)
        for n in range(200)
    )


def test_a_split_without_a_share_gets_nobody():
    shares = {"aside": 0.0, "train": 1.0, "zero": 0.0}
    assert {split_of(sample(f"s{n}"), shares) for n in range(200)} == {"train"}


def test_pinned():
    # a data set that is made again next year must have the same splits
    found = [split_of(sample(f"subject{n}"), SHARES) for n in range(12)]
    assert found == [
        "train",
        "train",
        "train",
        "val",
        "train",
        "test",
        "train",
        "train",
        "train",
        "train",
        "val",
        "train",
    ]


def test_other_tracks_are_other_people():
    one = sample("clip", "anna")
    assert subject_of(one, 0) == "anna"
    assert subject_of(one, 2) == "clip#2"


def test_splits_that_stay_empty_are_said_with_the_cure():
    few = [("train", "anna"), ("train", "anna"), ("train", "berta")]
    assert lacking(few, SHARES).startswith(
        "the training set has nobody in its splits test and val (2 subjects in train): who is where"
    )
    text = lacking([*few, ("val", "carla")], SHARES)
    assert "in its split test (2 subjects in train and 1 subject in val): " in text
    assert "`split` of the sample sheet" in text and "dataset.splits" in text
    assert lacking([*few, ("val", "carla"), ("test", "dora")], SHARES) == ""
    assert lacking(few, {"train": 1.0, "val": 0.0}) == ""
    # two people cannot fill three splits, three can
    assert lacking(few, SHARES, avoidable=True) == ""
    assert "split test" in lacking([*few, ("val", "carla")], SHARES, avoidable=True)
    assert lacking([], SHARES) == ""  # there is no example at all: that is said elsewhere
