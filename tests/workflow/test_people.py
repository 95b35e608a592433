"""One person in two splits of the training set, within the whole workflow."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from runworkflow import run, study

pytestmark = pytest.mark.workflow


def test_one_person_in_two_splits_is_said_or_refused(bundled: Path, tmp_path: Path):
    people = bundled / "portraits"
    with Image.open(people / "eileen_collins.png") as picture:
        picture.convert("RGB").rotate(6, Image.Resampling.BICUBIC).save(tmp_path / "again.png")
    samples = [("a", people / "eileen_collins.png"), ("b", tmp_path / "again.png")]
    samples += [("people", people / "grace_hopper.jpg")]

    def sheet(folder: Path, **dataset: object) -> Path:
        study(folder, samples, shards=1, dataset=dataset)
        lines = ["sample\tpath\tsplit"]
        splits = ("train", "test", "train")
        lines += [f"{n}\t{p}\t{s}" for (n, p), s in zip(samples, splits, strict=True)]
        (folder / "config" / "samples.tsv").write_text("\n".join(lines) + "\n")
        return folder

    folder = sheet(tmp_path / "study")
    done = run(folder, "training_set")
    assert done.code == 0, done.output
    assert "1 person seems to be in two splits" in done.output.split("3 samples:")[1]
    assert "a (train), b (test)" in done.output
    assert "a (train), b (test)" in (done.results / "logs" / "people.log").read_text()
    said = json.loads((done.results / "dataset" / "manifest.json").read_text())["people"]
    assert said["in_two_splits"] == [{"person": 0, "subjects": ["a", "b"]}]
    frame = pd.read_parquet(done.results / "dataset" / "people.parquet")
    assert frame.person.tolist() == [0, 0, 1]

    refused = run(sheet(folder, people="refuse"), "training_set")
    assert refused.code != 0
    assert "the training set is refused (dataset.people)" in refused.output
    assert "a (train), b (test)" in refused.output and "same subject" in refused.output
    assert not (done.results / "dataset" / "training_data.h5").exists()
    # what it rests on stays, and nothing before it runs again
    assert (done.results / "dataset" / "people.parquet").exists()
    assert "embed faces" not in refused.output
