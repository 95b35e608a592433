from __future__ import annotations

import json
import platform
import socket
from pathlib import Path

import pandas as pd
import pytest

from facemake import tables
from facemake.dataset.splits import split_of
from facemake.errors import FacemakeError, TableError
from facemake.provenance import Recipe
from facemake.samples import Sample, shard_text
from facemake.stages.manifest import manifest, verdict
from facemake.status import SampleStatus
from facemake.summary import of_run
from facemake.tables import REJECTIONS, TableWriter

DATASET = Recipe("dataset", None, {"splits": {"train": 0.5, "val": 0.5}}, (), "code")
RECIPE = Recipe("manifest", None, {}, (), "code")


def write(folder: Path, shard: str, rows: dict[str, str], **subjects: str) -> tuple[Path, Path]:
    """A shard's plan and counts: sample -> status."""
    plan, counts = folder / f"{shard}.tsv", folder / f"{shard}.parquet"
    samples = [Sample(name, Path(name), subjects.get(name, name)) for name in rows]
    plan.write_text(shard_text(samples))
    made = {"recipe": DATASET.to_dict(), "lineage": shard, "upstream": {}}
    with TableWriter(counts, tables.SCHEMAS["counts"], made) as writer:
        for n, (name, status) in enumerate(rows.items()):
            fine = status in ("ok", "truncated")
            numbers = ("n_frames", "n_face", "n_tracks", "n_fitted", "n_considered", "n_kept")
            writer.append(
                sample=name,
                kind="video",
                **dict.fromkeys(numbers, n + 1 if fine else 0),
                **{f"rejected_{reason}": 0 for reason in REJECTIONS},
                status=status,
                reason="" if status == "ok" else f"why {name} is {status}",
            )
    return plan, counts


def build(folder: Path, *shards: tuple[Path, Path]) -> Path:
    output = folder / "manifest.parquet"
    manifest([plan for plan, _ in shards], [counts for _, counts in shards], output, RECIPE)
    return output


def test_a_row_a_sample_by_name(tmp_path):
    one = write(tmp_path, "one", {"m": "ok", "z": "unreadable"}, m="anna")
    two = write(tmp_path, "two", {"a": "no_face", "q": "ok"}, q="anna")
    path = build(tmp_path, one, two)
    frame = pd.read_parquet(path)
    assert frame["sample"].tolist() == ["a", "m", "q", "z"]
    assert frame.status.tolist() == ["no_face", "ok", "ok", "unreadable"]
    assert frame.subject.tolist() == ["a", "anna", "anna", "z"]
    assert frame.n_kept.tolist() == [0, 1, 2, 0]
    assert frame.reason.tolist()[0] == "why a is no_face"
    assert frame.split[1] == frame.split[2]
    assert list(frame.columns) == tables.SCHEMAS["manifest"].names
    assert set(frame.status) <= {str(status) for status in SampleStatus}


def test_the_order_of_the_shards_makes_no_difference_to_the_rows(tmp_path):
    one = write(tmp_path, "one", {"m": "ok"})
    two = write(tmp_path, "two", {"a": "ok"})
    first = pd.read_parquet(build(tmp_path, one, two))
    assert first.equals(pd.read_parquet(build(tmp_path, two, one)))


def test_the_manifest_names_no_machine(tmp_path):
    path = build(tmp_path, write(tmp_path, "one", {"m": "ok"}))
    data = path.read_bytes()
    for secret in (socket.gethostname(), str(tmp_path), platform.release()):
        assert secret.encode() not in data
    build(tmp_path, write(tmp_path, "one", {"m": "ok"}))
    assert path.read_bytes() == data


def test_counts_of_another_plan_are_refused(tmp_path):
    plan, _ = write(tmp_path, "one", {"m": "ok"})
    _, counts = write(tmp_path, "two", {"n": "ok"})
    with pytest.raises(TableError, match=r"two\.parquet"):
        build(tmp_path, (plan, counts))
    assert not (tmp_path / "manifest.parquet").exists()


def test_the_sidecar_names_processor_and_versions(tmp_path):
    path = build(tmp_path, write(tmp_path, "one", {"a": "no_face", "m": "ok", "n": "ok"}))
    verdict(path, tmp_path / "manifest.json", 0.0)
    said = json.loads((tmp_path / "manifest.json").read_text())
    assert said["libraries"]["numpy"] and said["libraries"]["pyfhog"]
    assert said["architecture"] == platform.machine()
    assert said["statuses"] == {"no_face": 1, "ok": 2}
    assert said["samples"] == 3 and said["examples"] == 5


def test_too_many_failures_fail_the_run_by_name_and_keep_the_manifest(tmp_path):
    rows = {"a": "unreadable", "b": "ok", "c": "excluded", "d": "no_face", "e": "no_images"}
    path = build(tmp_path, write(tmp_path, "one", {**rows, "f": "truncated"}))
    sidecar = tmp_path / "manifest.json"
    verdict(path, sidecar, 2 / 6)
    sidecar.unlink()
    with pytest.raises(FacemakeError) as error:
        verdict(path, sidecar, 0.3)
    text = str(error.value)
    assert "2 of 6 samples" in text and "max_failed_fraction (0.3)" in text
    assert "a: unreadable, why a is unreadable" in text and "e: no_images" in text
    assert "c: " not in text and "d: " not in text and "f: " not in text
    assert path.exists() and not sidecar.exists()


def test_many_failures_are_not_all_listed(tmp_path):
    path = build(tmp_path, write(tmp_path, "one", {f"s{n:03d}": "unreadable" for n in range(50)}))
    with pytest.raises(FacemakeError, match="and 30 more"):
        verdict(path, tmp_path / "manifest.json", 0.5)


def test_a_run_says_which_splits_of_its_training_set_are_empty(tmp_path, caplog):
    """By the examples: a subject without one fills no split."""
    caplog.set_level("INFO", "facemake")
    table = tmp_path / "results" / "dataset" / "manifest.parquet"
    table.parent.mkdir(parents=True)
    shares = DATASET.settings["splits"]
    by_split: dict[str, list[str]] = {}
    for name in (f"p{n}" for n in range(9)):
        by_split.setdefault(split_of(Sample("", Path(), name), shares), []).append(name)
    (one, two, *_), (other, *_) = by_split.values()
    parts = write(tmp_path, "one", {"a": "ok", "b": "ok", "c": "no_face"}, a=one, b=two, c=other)
    manifest([parts[0]], [parts[1]], table, RECIPE)
    said = of_run(tmp_path / "results", ["one"], True)
    (line,) = [one for one in said.splitlines() if "nobody" in one]
    assert "(2 subjects in " in line and "dataset.splits" in line and line in caplog.text
    parts = write(tmp_path, "one", {"a": "ok", "c": "ok"}, a=one, c=other)
    manifest([parts[0]], [parts[1]], table, RECIPE)
    assert "nobody" not in of_run(tmp_path / "results", ["one"], True)
