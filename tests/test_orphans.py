"""What earlier runs left in the results."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from facemake import orphans, plan
from makemedia import public_folder, unprivileged
from makeplan import config, made, make_clips


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_clips(tmp_path)
    return tmp_path


def test_what_is_left_of_a_removed_sample_is_set_aside(folder: Path):
    planned = made(config(embed="off"))
    results = folder / "results"
    for name in ("aus/clip00.parquet", "aus/gone.parquet", "embeddings/clip00.parquet"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    (results / "dataset").mkdir()
    (results / "dataset" / "training_data.h5").write_text("merged")
    (results / "dataset" / "people.parquet").write_text("of embeddings that are off now")
    pages = results / "report" / "samples"
    for name in ("clip00", "gone"):
        (pages / name).mkdir(parents=True)
    for _ in range(2):  # what was set aside before is no obstacle
        (results / "aus" / "gone.parquet").write_text("again")
        (pages / "gone").mkdir(exist_ok=True)
        orphans.set_aside(planned)
    left = {
        p.relative_to(results).as_posix() for p in results.rglob("*") if ".orphans" not in p.parts
    }
    assert left - {"aus", "embeddings", "dataset", "report", "report/samples"} == {
        "aus/clip00.parquet",
        "dataset/training_data.h5",
        "report/samples/clip00",
    }
    assert (results / ".orphans" / "aus" / "gone.parquet").read_text() == "again"
    assert (results / ".orphans" / "embeddings" / "clip00.parquet").exists()
    assert (results / ".orphans" / "dataset" / "people.parquet").exists()
    assert "people are not compared across splits: embed is off" in plan.describe(planned)
    (results / "dataset" / "people.parquet").write_text("wanted")
    orphans.set_aside(made(config()))
    assert (results / "dataset" / "people.parquet").exists()


def test_nothing_that_was_drawn_or_begun_of_a_removed_sample_stays(folder: Path):
    planned = made(config(shards=1))
    (shard,) = planned.shards
    kept = (
        f"overlay/{shard}/.snakemake_timestamp",
        f"overlay/{shard}/clip00.mp4",
        f"overlay/.{shard}.part/clip00.mp4",
        f"faces/.{shard}.h5.part",
        "dataset/.training_data.h5.part",
    )
    gone = (
        f"overlay/{shard}/gone.mp4",
        f"overlay/{shard}/gone too/000000.png",
        f"overlay/.{shard}.part/.gone.mp4.part",
        "overlay/.gone.part/gone.mp4",
        "faces/.gone.h5.part",
    )
    results = folder / "results"
    for name in (*kept, *gone):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    orphans.set_aside(planned)
    assert {n for n in (*kept, *gone) if (results / n).exists()} == set(kept)
    assert all((results / ".orphans" / name).read_text() == name for name in gone)


def test_nothing_names_a_sample_that_left(folder: Path):
    """Logs, and what a killed job had begun, noted or said of how far it was."""
    made(config())
    lineage = "0123456789abcdef"
    of_everyone = {
        "results": ("logs/report.log", "logs/fit/{}.log", "landmarks/.segments/{}.0.parquet"),
        ".facemake": (
            "failed/report.json",
            "failed/fit.{}.json",
            "progress/detect_segment.{}.0.json",
            f"parts/fit/{{}}.{lineage}/{{}}.fit.parquet",
            f"parts/detect_segment/{{}}.0.{lineage}/{{}}.x.parquet",
        ),
    }
    files = {
        Path(root, name.format(sample, sample))
        for root, names in of_everyone.items()
        for name in names
        for sample in ("clip00", "clip01", "clip02.x")
    }
    for path in (*files, Path("results/run.log")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("said")
    for name in ("clip00", "clip02"):
        (folder / "clips" / f"{name}.mp4").unlink()
    (folder / "clips" / "clip02.x.mp4").write_bytes(b"it has a dot")
    left = plan.make(config())
    left.segments["clip02.x"] = {"shard": "clip02.x", "cuts": [60.0]}
    assert plan.write(left)
    orphans.set_aside(left, somebody_left=True)
    there = {path for path in files if path.exists()}
    segment = {path for path in files if "clip01.0." in str(path)}  # clip01 has none any more
    assert there == {path for path in files if "clip00" not in str(path)} - segment
    assert not Path("results/run.log").exists()
    aside = {
        p.relative_to("results/.orphans").as_posix() for p in Path("results/.orphans").rglob("*")
    }
    assert {"logs/fit/clip00.log", "landmarks/.segments/clip00.0.parquet", "run.log"} <= aside


def test_what_runs_said_stays_while_nobody_leaves(folder: Path):
    assert not plan.write(plan.make(config(shards=2)))
    (folder / "clips" / "new.mp4").write_bytes(b"somebody comes")
    planned = plan.make(config(shards=3))
    assert not plan.write(planned)
    Path("results").mkdir()
    Path("results/run.log").write_text("said")
    orphans.set_aside(planned, somebody_left=False)
    assert Path("results/run.log").read_text() == "said"
    (folder / "clips" / "clip05.mp4").unlink()
    assert plan.write(plan.make(config(shards=3)))


def test_what_is_set_aside_may_lie_on_another_disk(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A stage's folder that is a link to one: a file cannot be renamed from there."""
    planned = made(config())
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "gone.parquet").write_text("of who left")
    (folder / "results").mkdir()
    (folder / "results" / "aus").symlink_to(folder / "elsewhere")
    for name in ("rename", "replace"):
        renamed = getattr(os, name)

        def on_one_disk(source: Any, target: Any, renamed: Any = renamed, **kw: Any) -> None:
            here = (folder / "elsewhere").resolve()
            if Path(os.path.realpath(Path(source).parent)) == here:
                raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
            renamed(source, target, **kw)

        monkeypatch.setattr(os, name, on_one_disk)
    orphans.set_aside(planned)
    assert not list((folder / "elsewhere").iterdir())
    kept = folder / "results" / ".orphans" / "aus" / "gone.parquet"
    assert kept.read_text() == "of who left"


def test_results_that_link_to_nothing_are_made_again(folder: Path):
    (folder / "results" / "aus").mkdir(parents=True)
    (folder / "store").write_text("x")
    (folder / "results" / "aus" / "dead.parquet").symlink_to(folder / "gone")
    (folder / "results" / "aus" / "alive.parquet").symlink_to(folder / "store")
    orphans.drop_dangling_links(folder / "results")
    assert [p.name for p in (folder / "results" / "aus").iterdir()] == ["alive.parquet"]


def test_results_of_somebody_else_are_refused_in_words():
    with public_folder() as top:
        (top / "results" / "probe").mkdir(parents=True)
        (top / "results").chmod(0)
        said = unprivileged(lambda: orphans.drop_dangling_links(top / "results"))
        (top / "results").chmod(0o700)
    assert "ConfigError" in said and "Permission denied: the results of earlier runs" in said
