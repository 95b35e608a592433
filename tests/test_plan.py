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


def test_what_is_left_of_a_removed_sample_is_set_aside(folder: Path):
    made = plan.make(config(embed="off"))
    results = folder / "results"
    for name in ("aus/clip00.parquet", "aus/gone.parquet", "embeddings/clip00.parquet"):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    (results / "dataset").mkdir()
    (results / "dataset" / "training_data.h5").write_text("merged")
    pages = results / "report" / "samples"
    for name in ("clip00", "gone"):
        (pages / name).mkdir(parents=True)
    for _ in range(2):  # what was set aside before is no obstacle
        (results / "aus" / "gone.parquet").write_text("again")
        (pages / "gone").mkdir(exist_ok=True)
        plan.set_orphans_aside(made)
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


def test_the_estimate_is_near_the_truth(bundled: Path, tmp_path: Path):
    from facemake.bundled import N_FRAMES
    from facemake.estimate import estimate

    clip = bundled / "moving_portrait.mp4"
    samples = [Sample(f"s{i}", clip, "x") for i in range(100)]
    assert f"about {100 * N_FRAMES:,} frames" in estimate(samples)
    (tmp_path / "text.mp4").write_text("no video")
    assert estimate([Sample("t", tmp_path / "text.mp4", "x")]) == ""


def test_another_version_of_a_library_is_another_recipe(monkeypatch: pytest.MonkeyPatch):
    from facemake import recipes, settings

    full = settings.filled({})
    before = recipes.recipe("detect", full)
    assert before.libraries["mediapipe"] == "0.10.21"
    monkeypatch.setattr(recipes, "_version", lambda name: "9.9")
    assert recipes.recipe("detect", full).lineage([], "") != before.lineage([], "")


def test_libraries_that_are_not_installed_here_have_the_pin_of_their_environment(
    monkeypatch: pytest.MonkeyPatch,
):
    from facemake import recipes

    def absent(name: str) -> str:
        raise recipes.PackageNotFoundError(name)

    recipes._version.cache_clear()
    monkeypatch.setattr(recipes, "version", absent)
    try:
        got = {name: recipes._version(name) for rows in recipes.LIBRARIES.values() for name in rows}
    finally:
        recipes._version.cache_clear()
    assert got["mediapipe"] == "0.10.21" and got["dlib-bin"] == "20.0.1.post1"
