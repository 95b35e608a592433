"""Planning: hashes, packs, plan files."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from facemake import hashes, plan, segments
from facemake.errors import ConfigError, ModelError
from facemake.provenance import digest
from facemake.samples import (
    PlanRow,
    Sample,
    people_digest,
    plan_file,
    read_shard,
    samples_digest,
    shard_text,
)
from makemedia import public_folder, unprivileged, write_video


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    for i in range(40):
        (tmp_path / "clips" / f"clip{i:02d}.mp4").write_bytes(b"%d" % i)
    return tmp_path


def config(**more: object) -> dict:
    return {"input_dir": "clips", "cache_dir": "cache", **more}


def made(document: dict) -> plan.Plan:
    """Planned and written, as a run does."""
    planned = plan.make(document)
    plan.write(planned)
    return planned


def members(planned: plan.Plan) -> dict[str, set[str]]:
    return {shard: {s.sample for s in read_shard(plan_file(shard))} for shard in planned.shards}


def test_a_plan_file_gives_its_samples_back(tmp_path: Path):
    samples = [
        Sample("a", Path("/x/with\ttab and\nline.mp4"), "s", 0.1, None, "train", "ab"),
        Sample("b", Path("/x/ü.mp4"), "s", excluded=True, reason='said "no"'),
        Sample("c", Path(os.fsdecode(b"/x/\xff.mp4")), "s"),
    ]
    file = tmp_path / "p.tsv"
    file.write_bytes(shard_text(samples).encode("utf-8", "surrogateescape"))
    assert read_shard(file) == samples


NAMES = ("a", 'q"uo\\te', "Ünïcode näme", "tab\tand\nline", os.fsdecode(b"\xff"), "\x7f\x01/")


def test_digests_of_samples_are_those_of_their_lists():
    rows = [
        PlanRow(name, f"/x/{path}", name, start, end, split, sha, bool(reason), reason)
        for name, path in itertools.product(NAMES, NAMES)
        for start, end in ((None, None), (0.1, None), (None, 1e16), (1.0, 2.5))
        for split in (None, "train")
        for sha in (None, "ab")
        for reason in ("", 'said "no"')
    ]
    listed = [
        [r.sample, os.path.basename(r.path), r.sha256, r.start, r.end, r.excluded, r.reason]
        for r in rows
    ]
    assert samples_digest(rows) == digest(listed)
    assert samples_digest([]) == digest([])
    samples = [Sample(**{**r._asdict(), "path": Path(r.path)}) for r in rows]
    assert samples_digest(samples) == digest(
        [[one[0], s.path.name, *one[2:]] for s, one in zip(samples, listed, strict=True)]
    )
    assert people_digest(rows) == digest([[r.sample, r.subject, r.split] for r in rows])


def test_an_added_clip_touches_one_pack(folder: Path):
    before = members(made(config(shards=8)))
    (folder / "clips" / "new.mp4").write_bytes(b"new")
    after = members(made(config(shards=8)))
    changed = [shard for shard in after if after[shard] != before.get(shard)]
    assert len(changed) == 1
    assert after[changed[0]] - before[changed[0]] == {"new"}


def test_swapped_names_change_the_digest(folder: Path):
    before = made(config(shards=1)).media
    a, b = folder / "clips/clip00.mp4", folder / "clips/clip01.mp4"
    data = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(data)
    assert made(config(shards=1)).media != before


def test_who_and_which_split_do_not_touch_the_pictures_digest(folder: Path):
    sheet = folder / "s.tsv"
    sheet.write_text("sample\tpath\na\tclips/clip00.mp4\n")
    first = made({"samples": "s.tsv", "cache_dir": "cache"})
    sheet.write_text("sample\tpath\tsubject\tsplit\na\tclips/clip00.mp4\tanna\ttest\n")
    second = made({"samples": "s.tsv", "cache_dir": "cache"})
    assert first.media == second.media
    assert first.people != second.people


def test_a_file_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    real = hashes.file_sha256
    monkeypatch.setattr(hashes, "file_sha256", lambda p: (read.append(p.name), real(p))[1])
    made(config())
    assert len(read) == 40
    made(config(shards=4))
    assert len(read) == 40
    touched = folder / "clips/clip07.mp4"
    os.utime(touched, ns=(1, 1))
    made(config())
    assert read[40:] == ["clip07.mp4"]


def test_the_cache_folder_is_private(folder: Path):
    made(config())
    assert (folder / "cache").stat().st_mode & 0o777 == 0o700


def test_too_many_samples_for_a_job_each_are_refused_with_a_number(folder: Path):
    for i in range(600):
        (folder / "clips" / f"more{i}.mp4").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"640 samples.*set `shards:`.*8 gives"):
        made(config())


def test_plan_files_of_shards_that_are_gone_are_removed(folder: Path):
    made(config(shards=8))
    planned = made(config(shards=2))
    assert {p.stem for p in Path(".facemake/plan").glob("*.tsv")} == set(planned.shards)


def test_splits_that_will_be_empty_are_said_before_anything_runs(folder: Path):
    rows = [f"{n}\tclips/clip0{n}.mp4\t{n}\ttrain" for n in range(3)]
    (folder / "s.tsv").write_text("\n".join(["sample\tpath\tsubject\tsplit", *rows, ""]))
    said = plan.describe(made({"samples": "s.tsv", "cache_dir": None}))
    assert "nobody in its splits test and val (3 subjects in train)" in said
    said = plan.describe(made(config(dataset={"splits": {"train": 1.0}})))
    assert "nobody" not in said


def test_an_unchanged_plan_is_not_written_again(folder: Path):
    made(config(shards=2))
    before = {p: p.stat().st_mtime_ns for p in Path(".facemake").rglob("*.tsv")}
    made(config(shards=2))
    assert before == {p: p.stat().st_mtime_ns for p in Path(".facemake").rglob("*.tsv")}


def test_config_and_sheet_faults_are_told_together(folder: Path):
    (folder / "s.tsv").write_text("sample\tpath\na\tnowhere.mp4\n")
    with pytest.raises(ConfigError) as caught:
        made({"samples": "s.tsv", "outdirr": "x", "cache_dir": None})
    assert "outdirr is no key; did you mean outdir?" in str(caught.value)
    assert "s.tsv:2: there is no file" in str(caught.value)


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
        plan.set_orphans_aside(planned)
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
    plan.set_orphans_aside(made(config()))
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
    plan.set_orphans_aside(planned)
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
    plan.set_orphans_aside(left, somebody_left=True)
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
    plan.set_orphans_aside(planned, somebody_left=False)
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
    plan.set_orphans_aside(planned)
    assert not list((folder / "elsewhere").iterdir())
    kept = folder / "results" / ".orphans" / "aus" / "gone.parquet"
    assert kept.read_text() == "of who left"


def test_the_estimate_is_near_the_truth(bundled: Path, tmp_path: Path):
    from facemake.bundled import N_FRAMES
    from facemake.estimate import estimate

    clip = bundled / "moving_portrait.mp4"
    assert f"about {100 * N_FRAMES:,} frames" in estimate([clip] * 100)
    (tmp_path / "text.mp4").write_text("no video")
    assert estimate([tmp_path / "text.mp4"]) == ""


def test_a_small_run_costs_what_its_jobs_cost(tmp_path: Path):
    from facemake.estimate import estimate

    (tmp_path / "text.mp4").write_text("no video")
    assert estimate([tmp_path / "text.mp4"], 35, 2) == (
        "35 jobs, 24 seconds of CPU (at best 12 seconds on 2 cores)"  # 23.8 s were measured
    )
    assert estimate([], 1, None) == "1 job, 3 seconds of CPU"
    assert estimate([], 3600) == "3,600 jobs, 36 minutes of CPU"
    assert estimate([], 30_000, 16).endswith("5.0 hours of CPU (at best 19 minutes on 16 cores)")
    assert estimate([], 3_000_000).endswith("21 days of CPU")


def test_packs_are_named_where_jobs_cost_more_than_their_work(bundled: Path):
    from facemake.estimate import estimate

    clips = [bundled / "moving_portrait.mp4"] * 200  # 72 frames each
    hint = "with `shards: 8` in the config, packs of short recordings share about 88 jobs"
    assert hint in estimate(clips, 2210, 2, packed=False)
    assert "shards" not in estimate(clips, 2210, 2)
    assert "shards" not in estimate(clips, 220, 2, packed=False)  # 20 that were added
    assert "shards" not in estimate(clips[:20], 220, 2, packed=False)


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


def test_looking_at_a_plan_writes_nothing(folder: Path):
    plan.make(config(shards=2))
    assert not Path(".facemake").exists()


def test_a_relative_cache_folder_is_made_whole(folder: Path):
    assert plan.cache_folder(config()) == folder / "cache"


def test_folders_that_cannot_be_read_are_left_to_the_probe(folder: Path):
    (folder / "clips" / "pictures").mkdir()
    (folder / "clips" / "pictures" / "a.jpg").symlink_to("nowhere.jpg")
    (folder / "clips" / "locked").mkdir()

    def planned() -> dict[str, str | None]:
        rows = plan.make(config(shards=1, cache_dir=None)).packs["pack0of1"]
        return {row.sample: row.sha256 for row in rows}

    assert planned()["pictures"] is not None
    with public_folder() as public:
        (public / "clips").mkdir()
        (public / "clips" / "locked").mkdir(mode=0o000)
        (public / "clips" / "a.mp4").write_bytes(b"x")
        public.chmod(0o777)

        def unprivileged_plan() -> list[str]:
            os.chdir(public)
            return sorted(planned())

        assert unprivileged(unprivileged_plan) == "['a', 'locked']"


def test_an_excluded_sample_needs_no_file_and_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hashes, "file_sha256", lambda path: pytest.fail(f"{path} was read"))
    (folder / "s.tsv").write_text(
        "sample\tpath\texclude\na\tgone.mp4\tyes\nb\tclips/clip00.mp4\tyes\n"
    )
    planned = plan.make({"samples": "s.tsv", "cache_dir": "cache"})
    assert [rows[0].excluded for rows in planned.packs.values()] == [True, True]


def test_a_file_of_another_name_is_read_again(folder: Path):
    before = made(config(shards=1)).media
    (folder / "clips/clip00.mp4").rename(folder / "clips/clip00.mkv")
    assert made(config(shards=1)).media != before


def test_a_rebuilt_container_is_another_one(folder: Path):
    image = folder / "x.sif"
    image.write_bytes(b"one")
    first = made(config(containers={"core": "x.sif"})).containers["core"]
    image.write_bytes(b"other")
    assert made(config(containers={"core": "x.sif"})).containers["core"] != first
    named = made(config(containers={"core": "docker://a@sha256:0"})).containers["core"]
    assert named == "docker://a@sha256:0"


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_dir": 5},
        {"dataset": 5},
        {"track": {1: 2, "x": 3}},
        {"dataset": {"splits": 5}},
        {"embed": 7},
        {"containers": []},
        {"samples": ["a"]},
    ],
)
def test_any_wrong_type_is_refused_in_words(folder: Path, wrong: dict):
    with pytest.raises(ConfigError, match="the configuration is refused"):
        plan.make({"input_dir": "clips", **wrong})


def test_results_that_link_to_nothing_are_made_again(folder: Path):
    (folder / "results" / "aus").mkdir(parents=True)
    (folder / "store").write_text("x")
    (folder / "results" / "aus" / "dead.parquet").symlink_to(folder / "gone")
    (folder / "results" / "aus" / "alive.parquet").symlink_to(folder / "store")
    plan.drop_dangling_links(folder / "results")
    assert [p.name for p in (folder / "results" / "aus").iterdir()] == ["alive.parquet"]


def test_results_have_a_folder_of_their_own(folder: Path):
    with pytest.raises(ConfigError, match="give the results a folder of their own"):
        plan.make(config(outdir="."))


@pytest.mark.parametrize("where", ["/dev/null/x", "clips/clip00.mp4"])
def test_a_cache_folder_that_cannot_be_is_refused_in_words(folder: Path, where: str):
    with pytest.raises(ConfigError, match="set cache_dir to a folder"):
        plan.make(config(cache_dir=where))


def test_long_recordings_are_cut_and_short_ones_are_not_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    looked_at: list[str] = []

    def span(path: str) -> tuple[float, float]:
        looked_at.append(os.path.basename(path))
        return 10.0, 10.0 + 7200.0

    monkeypatch.setattr(segments, "header_span", span)
    least = 20 * 60 * segments.LEAST_BYTES_A_SECOND
    for name in ("long.mp4", "part.mp4", "broken.mp4"):
        with (folder / "clips" / name).open("wb") as handle:
            handle.write(name.encode())
            handle.truncate(least)
    sheet = "sample\tpath\tstart\tend\nlong\tlong.mp4\t\t\n"
    sheet += "part\tpart.mp4\t100\t2000\nclip\tclip00.mp4\t\t\n"
    (folder / "clips" / "sheet.tsv").write_text(sheet)
    document = {"samples": "clips/sheet.tsv", "cache_dir": "cache", "shards": 1}
    planned = made(document)
    assert looked_at == ["long.mp4", "part.mp4"]
    assert planned.segments == {
        "long": {"shard": "pack0of1", "cuts": [10.0 + 1200.0 * i for i in range(1, 6)]},
        "part": {"shard": "pack0of1", "cuts": [1050.0]},
    }
    assert planned.segments_of("pack0of1") == [
        *(f"long.{i}" for i in range(6)),
        *("part.0", "part.1"),
    ]
    assert planned.segment("part", 1) == segments.Segment("part", 1, 1050.0, None)
    assert "2 long recordings in 8 segments" in plan.describe(planned)
    assert plan.load().segments == planned.segments
    assert made(document).segments == planned.segments
    assert len(looked_at) == 2  # remembered by their content
    assert made({**document, "segment_minutes": None}).segments == {}
    assert made({**document, "segment_minutes": 100}).segments == {}


def test_a_header_tells_how_long_a_recording_is(tmp_path: Path):
    clip = write_video(tmp_path / "a.mkv", 50, fps=25)
    first, last = segments.header_span(str(clip))
    assert first == 0.0 and abs(last - 2.0) < 0.05
    (tmp_path / "no.mp4").write_text("no video")
    assert segments.header_span(str(tmp_path / "no.mp4")) == (0.0, 0.0)
    assert segments.header_span(str(tmp_path / "none.mp4")) == (0.0, 0.0)


def test_all_models_of_ones_own_that_are_missing_are_said_at_once(folder: Path):
    wanted = config(
        landmarks={"backend": "unified68"},
        aus={"backend": "network"},
        models_dir=str(folder),
    )
    with pytest.raises(ModelError) as refused:
        made(wanted)
    said = str(refused.value)
    assert said.count("landmark_pose is not on") == said.count("au_prediction is not on") == 1


def test_results_of_somebody_else_are_refused_in_words():
    with public_folder() as top:
        (top / "results" / "probe").mkdir(parents=True)
        (top / "results").chmod(0)
        said = unprivileged(lambda: plan.drop_dangling_links(top / "results"))
        (top / "results").chmod(0o700)
    assert "ConfigError" in said and "Permission denied: the results of earlier runs" in said
