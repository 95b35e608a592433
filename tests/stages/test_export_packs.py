"""Packs of exported files: whose each file is, what is unpacked, set aside, and goes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from facemake.archives import Archive
from facemake.exports import PACKED, drop_broken, listed, set_aside
from facemake.provenance import Recipe
from facemake.stages import export_openface as openface
from facemake.stages.export_tables import ParquetWriter
from facemake.stages.exporting import Tables, export_shard, format_of, owner, place, unpack
from makestudy import Study, inside

SAMPLES = ("clip", "collins", "hopper", "blank", "nonsense")


@pytest.mark.parametrize(
    ("member", "sample", "lies"),
    [
        ("a.b.csv", "a.b", "a.b.csv"),
        ("a.csv.json", "a", "a.csv.json"),
        ("a.json~fit.csv.json", "a.json", "fit/a.json.csv.json"),
        ("a~aus.parquet", "a", "aus/a.parquet"),
    ],
)
def test_whose_a_member_is_and_where_it_lies(member: str, sample: str, lies: str):
    assert owner(member) == sample and place(member) == lies


def test_a_pack_is_the_same_bytes_and_its_files_are_listed(portraits: Study, tmp_path: Path):
    shard, plan = portraits.plan.shards[0], portraits.plan_file(portraits.plan.shards[0])
    paths = {name: portraits.table(name, shard) for name in ("probe", *PACKED["openface"])}
    recipe = Recipe(stage="export_openface", backend=None, settings={}, models=(), code="0")
    packs = [tmp_path / "export/openface/.packs/s.zip", tmp_path / "again.zip"]
    with inside(portraits.folder):
        for pack in packs:
            export_shard(plan, paths, pack, recipe, format_of("openface"))
    assert packs[0].read_bytes() == packs[1].read_bytes()
    receipt = tmp_path / "export/openface/.shards/s.json"
    unpack(plan, packs[0], receipt)
    files = listed(receipt)
    assert files is not None and files.keys() == set(SAMPLES)
    assert files["clip"].keys() == {"clip.csv", "clip.csv.json"}
    with Archive(packs[0]) as archive:
        for name in files["blank"]:
            assert (tmp_path / "export/openface" / name).read_bytes() == archive.read(name)


WORD = '{"made_by": "facemake 0", "sample": "%s"}'


def test_files_of_samples_that_went_are_set_aside(tmp_path: Path):
    folder = tmp_path / "export" / "csv"
    for name in ("fit/a.csv", "fit/b.csv", "mine.txt", "fit/mine.csv"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for sample in "ab":
        (folder / f"fit/{sample}.csv.json").write_text(WORD % sample)
    (folder / ".shards").mkdir()
    files = {"a": {"fit/a.csv": "0"}, "b": {"fit/b.csv": "0"}}
    (folder / ".shards/s.json").write_text(json.dumps({"files": files}))
    (folder / ".packs").mkdir()
    (folder / ".packs/gone.zip").symlink_to(tmp_path / "nowhere")
    for name in ("old", "s", "t"):
        (folder / f".packs/{name}.zip").touch()
    (folder / ".shards/t.json").write_text(json.dumps({"files": {"c": {}}}))
    assert drop_broken(tmp_path) == [folder / ".packs/gone.zip"]
    aside = tmp_path / ".orphans/export/csv/fit"
    found = set_aside(tmp_path, {"s", "t"}, {"a": "a", "c": "c"})
    assert found == [aside / "b.csv", aside / "b.csv.json"]
    left = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert left == {
        *("fit/a.csv", "fit/a.csv.json", "fit/mine.csv", "mine.txt"),
        *(".shards/t.json", ".packs/t.zip"),
    }


def test_files_that_no_list_names_are_set_aside(portraits: Study, tmp_path: Path):
    """A job that was killed while it unpacked has left no list, and somebody deleted a file."""
    folders = [tmp_path / "export" / form for form in ("openface", "parquet/aus", "3di")]
    for folder in folders:
        folder.mkdir(parents=True)
    shard = portraits.plan.shards[0]
    names = ("probe", *PACKED["openface"])
    with Tables.open({name: portraits.table(name, shard) for name in names}) as tables:
        openface.OpenFaceWriter(tables).write("hopper", folders[0])
        ParquetWriter(tables, {"tables": ["aus"]}).write("hopper", tmp_path)
    (tmp_path / "hopper~aus.parquet").rename(folders[1] / "hopper.parquet")
    (folders[1] / "mine.parquet").touch()
    for word, name in (('{"backend": "facemake"}', "hopper"), ('{"backend": "3DI"}', "mine")):
        (folders[2] / f"{name}_pose.3DI").touch()
        (folders[2] / f"{name}_pose.3DI.json").write_text(word)
    (folders[0] / ".hopper.part").mkdir()
    (folders[0] / ".hopper.part" / "hopper.csv").touch()
    for name in ("parquet/aus/.hopper.parquet.part", "3di/.hopper_pose.3DI.part"):
        (tmp_path / "export" / name).touch()
    assert set_aside(tmp_path, {"s"}, {"hopper": "hopper"}) == []
    moved = set_aside(tmp_path, {"s"}, {"clip": "one"})
    assert {p.relative_to(tmp_path / ".orphans/export").as_posix() for p in moved} == {
        *("openface/hopper.csv", "openface/hopper.csv.json", "parquet/aus/hopper.parquet"),
        *("3di/hopper_pose.3DI", "3di/hopper_pose.3DI.json", "openface/.hopper.part"),
        *("parquet/aus/.hopper.parquet.part", "3di/.hopper_pose.3DI.part"),
    }
    left = {p.name for folder in folders for p in folder.iterdir()}
    assert left == {"mine.parquet", "mine_pose.3DI", "mine_pose.3DI.json"}


def test_exports_on_another_disk_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "export" / "csv" / "fit"
    folder.mkdir(parents=True)
    (folder / "b.csv").write_text("x")
    (folder / "b.csv.json").write_text(WORD % "b")

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    moved = set_aside(tmp_path, set(), {})
    assert [path.name for path in moved] == ["b.csv", "b.csv.json"]
    assert moved[0].read_text() == "x" and not list(folder.iterdir())


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_that_is_not_exported_any_more_goes(form: str, portraits: Study, tmp_path: Path):
    shard, plan = portraits.plan.shards[0], portraits.plan_file(portraits.plan.shards[0])
    folder = tmp_path / "export" / form
    pack, receipt = folder / ".packs/s.zip", folder / ".shards/s.json"
    for names in (["aus", "expressions"], ["aus"]):
        recipe = Recipe(f"export_{form}", None, {"tables": names}, (), code=names[-1])
        paths = {name: portraits.table(name, shard) for name in ("probe", *names)}
        with inside(portraits.folder):
            export_shard(plan, paths, pack, recipe, format_of(form))
        unpack(plan, pack, receipt)
        (folder / "expressions").mkdir(exist_ok=True)
        (folder / "expressions" / f"mine.{form}").touch()
        (folder / "expressions" / f"clip.{form}.txt").touch()
    left = {path.name for path in (folder / "expressions").iterdir()}
    assert left == {f"mine.{form}", f"clip.{form}.txt"}
    assert len(list((folder / "aus").glob(f"*.{form}"))) == len(SAMPLES)
