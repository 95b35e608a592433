"""The index's view of all samples: sums, people, time, the picture of the stages."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facemake.provenance import Recipe
from facemake.report import overall, pipeline, summaries, usage
from facemake.report.counts import Counts
from facemake.report.overall import Overall, quantile
from facemake.stages.report_pages import report_pages
from facemake.tables import METADATA_KEY, SCHEMAS
from makereport import REPORT, Page, Shard, counts, index, metadata, picture, seconds


def two_samples(folder: Path) -> Path:
    """The folder of pages of a shard with a clip half without a face, and one that is turned."""
    shard = Shard(folder / "shard")
    shard.video("half", seconds(40), gap=np.arange(40) >= 20, status="no_face")
    shard.video("turned", seconds(60), ry=np.full(60, 0.5), gaze_angle_x=np.full(60, 0.1))
    shard.rows["turned"]["aus"]["AU12_r"] = np.full(60, 3.1, np.float32)
    shard.scores = {"turned": [0.9, 0.91, 0.3]}
    shard.pictures["turned"] = {5: picture()}
    pages = folder / "report" / "samples" / "pack"
    report_pages(shard.plan, shard.write(), pages, REPORT)
    return pages


def test_sums_are_those_of_the_tables(tmp_path: Path):
    together = Overall()
    for one in summaries.read([two_samples(tmp_path), tmp_path / "nowhere"]):
        together.add(one)
    assert together.frames == 100
    smile = next(unit for unit in together.action_units() if unit.name == "AU12")
    assert smile.most == ("turned", pytest.approx(3.1))
    assert together.statuses == {"ok": 80, "no_face": 20}
    assert together.well == {"half": 20, "turned": 60}
    assert [(m.name, m.measured, m.without) for m in together.missing()] == [
        ("face found", 80, 20),
        ("landmarks", 80, 20),
        ("head pose", 80, 20),
        ("gaze", 60, 40),
        ("action units", 80, 20),
    ]
    pitch, yaw, roll, sideways = together.pose()  # of the vertical gaze there is no value
    assert (pitch.bars.total, roll.bars.total) == (80, 80)
    assert sideways.bars.total == 60
    # 20 frames at 0 degrees, 60 at 28.6: in bars of 5 degrees, and percentiles to one
    assert [(i, n) for i, n in enumerate(yaw.bars.counts) if n] == [(18, 20), (23, 60)]
    assert yaw.mean == pytest.approx(0.75 * np.degrees(0.5))
    assert 28 <= (yaw.middle or 0) <= 29
    assert 0 <= (yaw.low or -1) <= 1
    assert (yaw.decimals, together.quality()[2].decimals, smile.decimals) == (0, 1, 2)
    assert smile.mean == pytest.approx((20 * 1 + 60 * 3.1) / 80, abs=1e-4)
    assert smile.present == 1
    assert together.quality()[-1].bars.counts == tuple({18: 2, 6: 1}.get(i, 0) for i in range(20))


def test_the_index_shows_them(tmp_path: Path):
    pages = two_samples(tmp_path)
    rows = [
        counts("half", n_frames=40, n_face=20, n_kept=5, n_considered=5, subject="a"),
        counts("turned", n_frames=60, n_face=60, n_kept=3, n_considered=3, subject="b"),
        counts("lost", subject="c"),
    ]
    page = Page(index(tmp_path, rows, [pages]))
    assert "measured 80 80 %" in page.text
    assert "66.7" not in page.text
    assert "gaze 60 % 40 without" in page.text
    assert "One subject holds at least half of the 8 examples, of 3 in all; 1 has none" in page.text
    assert "No two samples are the same file" in page.text
    assert "turned 3.10" in page.text
    labels = [a["aria-label"] or "" for a in page.all("svg")]
    assert any(
        label.startswith("Yaw (right: nose to the image’s left) in 80 values") for label in labels
    )


def test_a_copy_is_listed_with_how_alike_it_is(tmp_path: Path):
    shard = Shard(tmp_path / "shard")
    scene = np.kron(np.random.default_rng(0).integers(30, 220, (6, 8)), np.ones((8, 8)))
    for name, quality in (("one", 95), ("other", 60)):
        shard.video(name, np.full(1, np.nan), kind="image")
        shard.probe[-1]["sha256"] = name
        out = io.BytesIO()
        Image.fromarray(scene.astype(np.uint8)).save(out, "JPEG", quality=quality)
        shard.pictures[name] = {0: out.getvalue()}
    pages = tmp_path / "report" / "samples" / "pack"
    report_pages(shard.plan, shard.write(), pages, REPORT)
    rows = [counts("one", split="train"), counts("other", split="test")]
    text = Page(index(tmp_path, rows, [pages])).text
    assert re.search(r"one , other other file, same pictures (0\.99\d|1\.000) test, train", text)
    assert "in 2 splits" in text


def test_a_share_of_a_histogram_is_where_it_lies():
    counts_of = np.array([0, 4, 0, 0, 4, 0])
    assert quantile(0, 6, counts_of, 0.5) == 2
    assert quantile(0, 6, counts_of, 0.25) == 1.5
    assert quantile(0, 6, counts_of, 0.75) == 4.5
    assert quantile(0, 6, counts_of * 0, 0.5) is None


def test_a_split_of_the_training_set_that_is_empty_is_said(tmp_path: Path):
    made = Recipe("dataset", None, {"splits": {"train": 0.9, "test": 0.1}}, (), "c0de").to_dict()
    rows = [counts("a", n_kept=3), counts("b", n_kept=2), counts("c", split="test")]
    page = Page(index(tmp_path, rows, [], dataset=made))
    assert "The training set has nobody in its split test (2 subjects in train)" in page.text
    assert page.all("p", "alarm")
    rows[2]["n_kept"] = 1
    assert "nobody in its" not in index(tmp_path, rows, [], dataset=made)


def test_the_balance_counts_subjects():
    rows = [
        *(Counts(f"a{i}", "ok", "", subject="a", kept=10) for i in range(3)),
        *(Counts(f"s{i}", "ok", "", subject=f"s{i:02}", kept=2) for i in range(15)),
        Counts("n", "no_face", "", subject="nobody"),
    ]
    found = overall.balance(rows)
    assert (found.subjects, found.half, found.without) == (17, 1, 1)
    assert found.largest[:2] == [("a", 30), ("s00", 2)]
    assert len(found.largest) == overall.SHOWN
    assert found.others == 60 - sum(n for _, n in found.largest)
    assert overall.balance([Counts("x", "ok", "", subject="x")]).half == 0


def people_table(
    path: Path, rows: list[tuple[str, int, str, str, int]], frame: int | None = None
) -> Path:
    document = metadata("people", {"same_person": 0.9})
    columns = {
        name: [row[i] for row in rows]
        for i, name in enumerate(("sample", "track", "subject", "split", "person"))
    }
    n = len(rows)
    more = {"frame": [frame] * n, "similarity": [0.95] * n, "faces": [3] * n, "quality": [0.9] * n}
    schema = SCHEMAS["people"].with_metadata({METADATA_KEY: json.dumps(document)})
    pq.write_table(pa.table({**columns, **more}, schema=schema), path)
    return path


def test_people_in_two_splits_stand_first(tmp_path: Path):
    table = people_table(
        tmp_path / "people.parquet",
        [
            ("a", 0, "anna", "train", 0),
            ("b", 0, "anna", "train", 0),
            ("c", 0, "<b>carl", "train", 1),
            ("d", 1, "d#1", "test", 1),
        ],
    )
    rows = [counts(name) for name in "abcd"]
    page = Page(index(tmp_path, rows, [], people=table))
    assert (
        "4 tracks and pictures look like 2 people, joined from a mean similarity of 0.9"
        in page.text
    )
    assert "1 person seems to be in two splits" in page.text
    assert "1 test, train &lt;b&gt;carl, d#1".replace("&lt;", "<").replace("&gt;", ">") in page.text
    assert not page.all("b", "carl")
    assert "c #0 , d #1" in page.text or "c #0, d #1" in page.text
    pictures = people_table(tmp_path / "two.parquet", [("a", 1, "a#1", "train", 0)], frame=2)
    assert "a #1 in picture 2" in Page(index(tmp_path, rows, [], people=pictures)).text
    none = people_table(tmp_path / "nobody.parquet", [])
    assert "nobody to compare" in index(tmp_path, rows, [], people=none)
    assert "People were not compared" in index(tmp_path, rows, [])


def test_nothing_that_others_wrote_becomes_part_of_the_page(tmp_path: Path):
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    model = {"name": bad, "sha256": "f" * 64, "licence": bad, "citation": bad}
    made = Recipe("fit", bad, {"model": bad, bad: 1}, (model,), "c0de", version=bad).to_dict()
    rows = [counts("a", reason=bad, subject=bad, split=bad, n_kept=1, n_considered=1)]
    table = people_table(tmp_path / "people.parquet", [("a", 0, bad, bad, 0)])
    page = Page(index(tmp_path, rows, [], people=table, fit=made))
    assert len(page.all("script")) == 3
    assert not page.all("img")
    assert page.text.count(bad) >= 9
    assert not any(bad in script for script in page.scripts)


LINE = "2030-01-01 00:00:00,000 INFO {} s, {} s of CPU, at most {} MB\n"


def test_time_is_read_from_the_last_line_of_each_log(tmp_path: Path):
    for name, text in {
        "fit/a.log": "x\n" * 9000 + LINE.format(2.5, 2.0, 100),
        "fit/b.log": LINE.format(9.0, 1.0, 50) + LINE.format(4.0, 3.0, 300),
        "fit/gone.log": LINE.format(99.0, 99.0, 999),
        "fit/failed.log": LINE.format(1.0, 1.0, 1) + "ERROR out of memory\n",
        "fit/cached.log": "",
        "detect_segment/long.0.log": LINE.format(7.0, 6.5, 80),
        "manifest.log": LINE.format(0.3, 0.2, 60),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    known = {"a", "b", "failed", "cached", "long"}
    stages = ["probe", "detect_segment", "fit", "manifest"]
    found = {one.stage: one for one in usage.usage(tmp_path, stages, known)}
    assert found["fit"] == usage.Use("fit", 2, 6.5, 5.0, 4.0, 300, "b")
    assert found["detect_segment"].jobs == 1
    assert found["manifest"].slowest == ""
    assert "probe" not in found
    page = Page(index(tmp_path, [counts("a"), counts("b")], [], logs=tmp_path))
    assert "Fit 2" in page.text and "300 MB" in page.text
    assert "No log of a job is there" in index(tmp_path, [counts("a")], [], logs=tmp_path / "fit")


def test_the_stages_are_boxes_joined_by_arrows():
    stages = ["probe", "detect", "landmarks", "fit", "expressions", "aus", "embed", "dataset"]
    titles = {stage: stage.title() for stage in stages}
    along = pipeline.drawing(stages, titles, {"detect": "mediapipe"}, {"fit": "3 s"})
    assert [box.lines for box in along.boxes if box.stage in ("detect", "fit")] == [
        ("Detect", "mediapipe"),
        ("Fit", "3 s"),
    ]
    # a chain of seven, and what leaves it at the fit
    assert len(along.arrows) == 7
    places = {box.stage: (box.x, box.y) for box in along.boxes}
    assert places["embed"][0] == places["expressions"][0]
    assert places["embed"][1] > places["expressions"][1] == places["probe"][1]
    assert along.width > along.height
    down = pipeline.drawing(stages, titles, {}, {}, down=True)
    assert down.width < down.height
    for one in (along, down):
        assert all(box.x + box.width <= one.width for box in one.boxes)
        assert all(box.y + box.height <= one.height for box in one.boxes)
    assert pipeline.drawing([], {}, {}, {}).boxes == ()
    assert len(pipeline.drawing(["embed", "people"], {}, {}, {}).arrows) == 1


def test_the_programs_of_3di_are_one_box():
    stages = ["probe", "threedi_video", "threedi_track", "detect"]
    one = pipeline.drawing(stages, {}, {}, {})
    assert [box.stage for box in one.boxes] == ["probe", "threedi_video", "detect"]
    assert len(one.arrows) == 2


def test_a_picture_of_a_stage_leads_to_what_is_said_of_it(tmp_path: Path):
    made = {name: {**metadata(name)["recipe"]} for name in ("probe", "detect", "fit")}
    page = Page(index(tmp_path, [counts("a")], [], **made))
    ids = {a.get("id") for _, a in page.elements}
    boxes = {a["href"] for a in page.all("a") if (a.get("href") or "").startswith("#stage-")}
    assert boxes == {"#stage-probe", "#stage-detect", "#stage-fit"}
    assert {box[1:] for box in boxes if box} <= ids


def test_summaries_survive_their_file(tmp_path: Path):
    values = {"rx": (9, 1.0)}
    spreads = {"rx": summaries.trimmed(np.array([0, 0, 4, 0, 5, 0]))}
    assert spreads["rx"] == [2, 4, 0, 5]
    one = summaries.Summary(
        "a", "video", "f", 2.0, None, 1.5, 9, {"ok": 9}, values=values, spreads=spreads
    )
    summaries.write(tmp_path, [one, replace(one, sample="b")])
    back = list(summaries.read([tmp_path]))
    assert [row.sample for row in back] == ["a", "b"]
    assert replace(back[0], values=values) == one
    assert back[0].look.length == 2.0
