"""Planning: hashes, packs, plan files."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

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
from makeplan import config, made, make_clips


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_clips(tmp_path)
    return tmp_path


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


def test_folders_that_cannot_be_read_are_left_to_the_probe(folder: Path):
    (folder / "clips" / "pictures").mkdir()
    (folder / "clips" / "pictures" / "a.jpg").symlink_to("nowhere.jpg")
    (folder / "clips" / "locked").mkdir()

    def planned() -> dict[str, str | None]:
        rows = plan.make(config(shards=1, cache_dir=None)).packs["pack0of1"]
        return {row.sample: row.sha256 for row in rows}

    assert planned()["pictures"] == digest([("a.jpg", None)])
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


def test_results_have_a_folder_of_their_own(folder: Path):
    with pytest.raises(ConfigError, match="give the results a folder of their own"):
        plan.make(config(outdir="."))


@pytest.mark.parametrize("where", ["/dev/null/x", "clips/clip00.mp4"])
def test_a_cache_folder_that_cannot_be_is_refused_in_words(folder: Path, where: str):
    with pytest.raises(ConfigError, match="set cache_dir to a folder"):
        plan.make(config(cache_dir=where))


@pytest.mark.parametrize(
    ("labels", "said"), [("clips", "Is a directory"), ("none.csv", "No such file or directory")]
)
def test_what_a_recipe_cannot_read_is_no_fault_of_the_cache(folder: Path, labels: str, said: str):
    with pytest.raises(ConfigError) as error:
        plan.make(config(evaluate={"labels": labels}))
    assert str(error.value) == f"{labels} cannot be read: {said}"


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
