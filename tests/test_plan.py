"""Planning: hashes, packs, plan files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facemake import hashes, plan
from facemake.errors import ConfigError
from facemake.samples import Sample, plan_file, read_shard, shard_text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for i in range(40):
        (tmp_path / "clips" / f"clip{i:02d}.mp4").write_bytes(b"%d" % i)
    return tmp_path


def config(**more: object) -> dict:
    return {"input_dir": "clips", "cache_dir": "cache", **more}


def members(made: plan.Plan) -> dict[str, set[str]]:
    return {shard: {s.sample for s in read_shard(plan_file(shard))} for shard in made.shards}


def test_a_plan_file_gives_its_samples_back(tmp_path: Path):
    samples = [
        Sample("a", Path("/x/with\ttab and\nline.mp4"), "s", 0.1, None, "train", "ab"),
        Sample("b", Path("/x/ü.mp4"), "s", excluded=True, reason='said "no"'),
        Sample("c", Path(os.fsdecode(b"/x/\xff.mp4")), "s"),
    ]
    file = tmp_path / "p.tsv"
    file.write_bytes(shard_text(samples).encode("utf-8", "surrogateescape"))
    assert read_shard(file) == samples


def test_an_added_clip_touches_one_pack(folder: Path):
    before = members(plan.make(config(shards=8)))
    (folder / "clips" / "new.mp4").write_bytes(b"new")
    after = members(plan.make(config(shards=8)))
    changed = [shard for shard in after if after[shard] != before.get(shard)]
    assert len(changed) == 1
    assert after[changed[0]] - before[changed[0]] == {"new"}


def test_swapped_names_change_the_digest(folder: Path):
    before = plan.make(config(shards=1)).media
    a, b = folder / "clips/clip00.mp4", folder / "clips/clip01.mp4"
    data = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(data)
    assert plan.make(config(shards=1)).media != before


def test_who_and_which_split_do_not_touch_the_pictures_digest(folder: Path):
    sheet = folder / "s.tsv"
    sheet.write_text("sample\tpath\na\tclips/clip00.mp4\n")
    first = plan.make({"samples": "s.tsv", "cache_dir": "cache"})
    sheet.write_text("sample\tpath\tsubject\tsplit\na\tclips/clip00.mp4\tanna\ttest\n")
    second = plan.make({"samples": "s.tsv", "cache_dir": "cache"})
    assert first.media == second.media
    assert first.people != second.people


def test_a_file_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    real = hashes.file_sha256
    monkeypatch.setattr(hashes, "file_sha256", lambda p: (read.append(p.name), real(p))[1])
    plan.make(config())
    assert len(read) == 40
    plan.make(config(shards=4))
    assert len(read) == 40
    touched = folder / "clips/clip07.mp4"
    os.utime(touched, ns=(1, 1))
    plan.make(config())
    assert read[40:] == ["clip07.mp4"]


def test_the_cache_folder_is_private(folder: Path):
    plan.make(config())
    assert (folder / "cache").stat().st_mode & 0o777 == 0o700


def test_too_many_samples_for_a_job_each_are_refused_with_a_number(folder: Path):
    for i in range(600):
        (folder / "clips" / f"more{i}.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"640 samples.*set `shards:`.*8 gives"):
        plan.make(config())


def test_plan_files_of_shards_that_are_gone_are_removed(folder: Path):
    plan.make(config(shards=8))
    made = plan.make(config(shards=2))
    assert {p.stem for p in Path(".facemake/plan").glob("*.tsv")} == set(made.shards)


def test_an_unchanged_plan_is_not_written_again(folder: Path):
    plan.make(config(shards=2))
    before = {p: p.stat().st_mtime_ns for p in Path(".facemake").rglob("*.tsv")}
    plan.make(config(shards=2))
    assert before == {p: p.stat().st_mtime_ns for p in Path(".facemake").rglob("*.tsv")}


def test_config_and_sheet_faults_are_told_together(folder: Path):
    (folder / "s.tsv").write_text("sample\tpath\na\tnowhere.mp4\n")
    with pytest.raises(ConfigError) as caught:
        plan.make({"samples": "s.tsv", "outdirr": "x", "cache_dir": None})
    assert "outdirr is no key; did you mean outdir?" in str(caught.value)
    assert "s.tsv:2: there is no file" in str(caught.value)
