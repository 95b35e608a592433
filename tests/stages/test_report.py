"""Pages of the report: on made tables, and on real ones where the recordings are there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pytest

from facemake import h5, settings
from facemake.backends.aus import AU_COLUMNS
from facemake.calibration import Calibration
from facemake.errors import TableError
from facemake.geometry import Camera
from facemake.recipes import recipe
from facemake.report import charts, contact
from facemake.report.pages import page_file, sample_of
from facemake.report.series import FINE_BINS, timeline
from facemake.samples import Sample, shard_text
from facemake.stages.report_pages import Sources, page_folders, report_pages
from facemake.tables import SCHEMAS, TableReader, TableWriter
from makereport import (
    HOSTILE,
    LARGEST_PAGE,
    REPORT,
    Page,
    Shard,
    counts,
    index,
    metadata,
    picture,
    seconds,
    write_manifest,
)


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard(tmp_path / "shard")


def columns_of(path: str) -> list[float]:
    """The x of every point of a path of `charts.curve`."""
    return [float(x) for run in path.split("M")[1:] for x in re.split(r"[ L]", run)[::2]]


# ---------------------------------------------------------------- pages


def test_a_page_says_what_it_is_about(shard: Shard):
    shard.video("clip", seconds(50), gap=np.arange(50) >= 40)
    shard.pictures["clip"] = {5: picture(), 45: picture()}
    page = Page(shard.pages()["clip"])
    for words in ("clip", "who clip", "160 × 90 px", "AU12", "lip corner puller", "Pitch", "80 %"):
        assert words in page.text, words
    alts = [image["alt"] or "" for image in page.all("img")]
    assert [alt.split(": ")[1] for alt in alts] == ["1 face found", "no face found"]
    labelled = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(labelled) > 20
    assert all(a.get("aria-label") for a in labelled)


def test_a_page_loads_nothing_and_runs_no_script_but_ours(shard: Shard):
    shard.video("clip", seconds(20))
    shard.pictures["clip"] = {3: picture()}
    page = Page(shard.pages()["clip"])
    policy = next(a["content"] or "" for a in page.all("meta") if "http-equiv" in a)
    script = next(one for one in page.scripts if one.startswith('"use strict"'))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none';")
    assert f" 'sha256-{digest}'" in policy
    assert "'unsafe-inline'" not in policy.partition("style-src")[0]
    wanted = page.loads
    assert any(address.startswith("data:image/jpeg;base64,") for address in wanted)
    assert [a for a in wanted if not str(a).startswith(("data:", "('#hatch", "#"))] == []


def test_a_hostile_name_stays_text(shard: Shard):
    shard.video(HOSTILE, seconds(20))
    shard.broken("</script><script>alert(2)", "excluded", "</style><script>alert(3)</script>")
    shard.samples[-1] = replace(shard.samples[-1], sample="out", subject="<b>bold")
    shard.probe[-1]["sample"] = "out"
    pages = shard.pages()
    page = Page(pages[HOSTILE])
    assert HOSTILE in page.text
    assert len(page.all("script")) == 2
    assert not [a for _, a in page.elements if "onerror" in a]
    out = Page(pages["out"])
    assert "</style><script>alert(3)</script>" in out.text.lower()
    assert not out.all("script")
    assert not out.all("b")


def test_a_gap_is_a_gap(shard: Shard):
    n = 60
    gap = (np.arange(n) >= 20) & (np.arange(n) < 30)
    shard.video("clip", seconds(n), gap=gap, ry=np.linspace(-0.5, 0.5, n))
    page = Page(shard.pages()["clip"])
    lines = [a["d"] or "" for a in page.all("path", "line")]
    yaw = next(line for line in lines if len(columns_of(line)) == n - 10)
    assert yaw.count("M") == 2
    left, right = 20 / n * 1000, 30 / n * 1000
    assert not [x for x in columns_of(yaw) if left < x < right]
    hatched = next(a["d"] for a in page.all("path", "gap") if a["d"])
    assert hatched == charts.gaps(timeline(seconds(n)), ~gap)
    cursor = json.loads(next(s for s in page.scripts if s.lstrip().startswith("{")))
    assert cursor["values"]["ry"][19:31:11] == [
        pytest.approx(-10.2, abs=0.1),
        pytest.approx(0.5, abs=1),
    ]
    assert cursor["values"]["ry"][20:30] == [None] * 10


def test_the_smoothed_course_is_drawn_beside_the_raw_one(shard: Shard):
    n = 40
    raw = 0.1 * (-1.0) ** np.arange(n)
    shard.video("clip", seconds(n), ry=raw, gaze_angle_x=np.full(n, 0.2))
    whole = shard.write()
    path = shard.folder / "smooth.parquet"
    with TableWriter(path, SCHEMAS["smooth"], metadata("smooth")) as out:
        for frame in range(n):
            pose = dict.fromkeys(("tx", "ty", "tz", "rx", "ry", "rz"), 0.0)
            out.append(sample="clip", frame=frame, track=0, status="ok", **pose)
    page = Page(shard.pages(replace(whole, smooth=path))["clip"])
    assert "Faint line: each frame as it was fitted; strong line and numbers: smoothed" in page.text
    faint = [a["d"] or "" for a in page.all("path", "faint")]
    assert len(faint) == 6
    assert len({y for line in faint for y in re.findall(r" (\d\S*)", line)}) > 2
    cursor = json.loads(next(s for s in page.scripts if s.lstrip().startswith("{")))
    assert set(cursor["values"]["ry"]) == {0}
    assert cursor["values"]["gaze_angle_x"][0] == pytest.approx(11, abs=0.5)
    without = Page(shard.pages(whole)["clip"])
    assert not without.all("path", "faint")
    assert "Faint line" not in without.text


def test_an_action_unit_without_an_intensity_is_there_or_not(shard: Shard):
    n = 16
    shard.video("clip", seconds(n), gap=np.arange(n) >= 12)
    units = shard.rows["clip"]["aus"]
    units["AU12_r"] = [None] * n
    units["AU12_c"] = [1.0, 0.0] * 6 + [None] * 4
    cursor = json.loads(next(s for s in Page(shard.pages()["clip"]).scripts if s[0] == "{"))
    for key, wanted in (("there", [1] * 12 + [0] * 4), ("present", [1, 0] * 6 + [0] * 4)):
        packed = np.frombuffer(base64.b64decode(cursor[key]["AU12"]), np.uint8)
        assert np.unpackbits(packed, bitorder="little").tolist() == wanted, key


def test_stages_that_did_not_run_are_named(shard: Shard):
    shard.video("clip", seconds(20))
    whole = shard.write()
    page = Page(shard.pages(Sources(whole.probe, whole.detections))["clip"])
    for words in (
        "No fit table was given",
        "No table of action units was given",
        "No file of crops was given",
        "No training set was given",
    ):
        assert words in page.text, words
    assert "the detector’s score" in page.text
    bare = Page(shard.pages(Sources(whole.probe))["clip"])
    assert "no table of detections was given" in bare.text


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (
            "unreadable",
            "clip.mp4 is empty: copy it again",
            "The file cannot be read: clip.mp4 is empty: copy it again.",
        ),
        (
            "excluded",
            "consent was withdrawn",
            "Left out by the sample sheet or by dataset.exclude: consent was withdrawn.",
        ),
        ("no_images", "", "The folder holds no image."),
    ],
)
def test_a_sample_without_frames_says_why(shard: Shard, status: str, reason: str, said: str):
    shard.video("good", seconds(10))
    shard.broken("bad", status, reason)
    page = Page(shard.pages()["bad"])
    assert status in page.text
    assert said in page.text
    assert "Nothing to draw" in page.text
    assert not page.all("svg")


def test_no_face_at_all_is_said_once(shard: Shard):
    shard.video("empty", seconds(20), gap=np.ones(20, bool), status="no_face")
    page = Page(shard.pages()["empty"])
    assert "no_face" in page.text
    assert page.text.count("No face was found") == 2  # as the status, and in place of the curves
    assert not page.all("path", "line")


def test_a_long_video_makes_no_larger_a_page(shard: Shard):
    sizes = []
    rng = np.random.default_rng(0)
    for n in (2 * FINE_BINS, 6 * FINE_BINS):
        longer = Shard(shard.folder / str(n))
        noise = {name: rng.standard_normal(n) for name in ("rx", "ry", "rz", "tx", "ty")}
        longer.video("long", seconds(n), **noise)
        longer.rows["long"]["landmarks"]["points"] = [None] * n
        for name in AU_COLUMNS:
            longer.rows["long"]["aus"][name] = (5 * rng.random(n)).astype(np.float32)
        pages = longer.pages()
        sizes.append(len(pages["long"].encode()))
    assert max(sizes) < LARGEST_PAGE
    assert sizes[1] < 1.02 * sizes[0]


def test_a_page_is_the_same_each_time_and_replaces_the_old_one(shard: Shard):
    shard.video("clip", seconds(30))
    shard.pictures["clip"] = {3: picture()}
    sources = shard.write()
    first = shard.pages(sources)
    stale = shard.folder / "pages" / shard.name / "gone.html"
    stale.touch()
    assert shard.pages(sources) == first
    assert not stale.exists()
    assert not list((shard.folder / "pages").glob(".*"))


@pytest.mark.parametrize("stage", ["probe", "detections", "fit", "faces", "examples", "counts"])
def test_a_damaged_file_is_named_and_no_page_is_left(shard: Shard, tmp_path: Path, stage: str):
    shard.video("clip", seconds(10))
    shard.pictures["clip"] = {3: picture()}
    manifest = write_manifest(tmp_path / "counts.parquet", [counts("clip")])
    sources = replace(shard.write(), counts=manifest)
    path = getattr(sources, stage)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TableError, match=re.escape(str(path))):
        report_pages(shard.plan, sources, tmp_path / "pages", REPORT)
    assert not [one.name for one in tmp_path.iterdir() if "pages" in one.name]


def test_quality_is_counted_a_sample(shard: Shard):
    shard.video("a", seconds(10))
    shard.video("b", seconds(10))
    shard.scores = {"a": [0.99, 0.97, 0.61], "b": [1.0]}
    pages = shard.pages()
    assert "quality scores of 3 examples" in pages["a"]
    assert "quality scores of 1 example," in pages["b"]
    bars = Page(pages["a"]).all("path")
    tops = [a["d"] for a in bars if a["d"] and re.fullmatch(r"(M[\d.]+ 100V\S+?V100Z)+", a["d"])]
    # 25 bins of 0.04: two scores in the last, one in the bin of 0.60
    assert tops == ["M604 100V50h32V100ZM964 100V0h32V100Z"]


def test_further_tracks_have_a_timeline_of_their_own(shard: Shard):
    shard.video("clip", seconds(40))
    shard.second_track("clip", 10, 29)
    page = Page(shard.pages()["clip"])
    assert "frames 10–29" in page.text
    ribbons = [a["d"] for a in page.all("path", "st")]
    whole, part = "M0 0h1000v100h-1000Z", "M250 0h500v100h-500Z"
    assert ribbons == [whole, whole, part]  # the status of the main face, then a line a track
    # the curves are the main face's: one value a frame
    line = next(a["d"] or "" for a in page.all("path", "line"))
    assert len(columns_of(line)) == 40


def test_pictures_that_stand_alone_get_numbers(shard: Shard):
    shard.video("folder", np.full(3, np.nan), gap=np.array([False, True, False]), kind="images")
    page = Page(shard.pages()["folder"])
    assert "Picture 2, face 0" in page.text
    assert "Picture 1, face 0" not in page.text
    assert not page.all("path", "line")


def test_pictures_have_the_names_of_their_files(shard: Shard, tmp_path: Path):
    shard.source = tmp_path / "album"
    shard.source.mkdir()
    for name in ("b10.png", "b9.png", "c &lt;b&gt;.jpg"):
        (shard.source / name).touch()
    shard.video("few", np.full(3, np.nan), gap=np.array([False, True, False]), kind="images")
    shard.video("other", np.full(4, np.nan), kind="images")
    shard.pictures["few"] = {0: picture(), 2: picture()}
    pages = shard.pages()
    few = Page(pages["few"])
    assert "2, 0 c &lt;b&gt;.jpg" in few.text
    assert few.words.count("b9.png") == 2
    # a folder that is not what it was when it was measured names nothing
    assert "b9.png" not in pages["other"]


def test_pictures_in_sequence_are_joined(shard: Shard):
    shard.image_folders = "sequence"
    shard.video("folder", np.full(60, np.nan), kind="images")
    page = Page(shard.pages()["folder"])
    line = next(a["d"] for a in page.all("path", "line") if a["d"])
    assert line.count("M") == 1


def test_a_video_of_one_frame_has_no_pictures(shard: Shard):
    shard.video("clip", np.zeros(1))
    shard.pictures["clip"] = {0: picture()}
    page = Page(shard.pages()["clip"])
    assert "Frames 1 each has its row" in page.text
    assert page.all("img")[0]["alt"] == "Frame 0 of clip: 1 face found"


def test_many_pictures_are_dots_that_no_line_joins(shard: Shard):
    shard.video("folder", np.full(60, np.nan), kind="images")
    page = Page(shard.pages()["folder"])
    line = next(a["d"] for a in page.all("path", "line") if a["d"])
    assert re.fullmatch(r"(M[\d.]+ [\d.]+h0){60}", line)


# ---------------------------------------------------------------- contact sheet


@pytest.mark.parametrize(
    ("angle", "axis", "x", "y"),
    [("rx", "z", 0, 1), ("ry", "z", -1, 0), ("rz", "x", 1, 1)],
    ids=["pitch: nose down", "yaw: nose to the image's left", "roll: image-right eye lower"],
)
def test_head_axes_turn_as_the_head_does(shard: Shard, angle: str, axis: str, x: int, y: int):
    shard.video("clip", seconds(4), **{angle: np.full(4, 0.4)})
    shard.pictures["clip"] = {2: picture()}
    sources = shard.write()
    assert sources.faces
    camera = Camera.from_fov(160, 90, 30.0)
    with ExitStack() as stack:
        pictures = contact.small_frames(stack.enter_context(h5.opened(sources.faces)), "clip")
        paths = sources.frame_tables
        tables = {name: stack.enter_context(TableReader(paths[name])) for name in paths}
        (tile,) = contact.tiles("clip", pictures, tables, camera, (160, 90))
    (face,) = tile.faces
    lines = {a.name: a for a in face.axes}
    # the origin is straight ahead: in the middle of the picture
    assert (lines["x"].x1, lines["x"].y1) == (79.5, 44.5)
    turned = lines[axis]
    assert np.sign(np.round([turned.x2 - turned.x1, turned.y2 - turned.y1])).tolist() == [x, y]
    length = contact.AXIS_MM * camera.focal / 700
    straight = next(a for a in face.axes if a.name == ("x" if angle == "rx" else "y"))
    if angle != "rz":
        reach = np.hypot(straight.x2 - straight.x1, straight.y2 - straight.y1)
        assert reach == pytest.approx(length, abs=0.2)
    assert face.box == (40, 20, 30, 40)
    assert base64.b64decode(tile.picture.split(",")[1]) == picture()


CALIBRATION = Calibration(320, 180, (400.0, 400.0), (170.0, 80.0), (-0.2, 0.05, 0.0, 0.0))


def test_head_axes_are_drawn_by_the_calibration(shard: Shard):
    shard.camera = {"calibration": CALIBRATION.to_dict()}
    shard.video("clip", seconds(4), tx=np.full(4, 120.0), ty=np.full(4, -60.0))
    shard.pictures["clip"] = {2: picture()}
    page = Page(shard.pages()["clip"])
    assert "projected with the camera’s calibration, distortion included" in page.text
    assert "they rest on the camera’s calibration" in page.text
    lens = CALIBRATION.lens((160, 90), 0)
    origin = lens.distort(lens.camera.project([120.0, -60.0, 700.0]))
    drawn = [re.split(r"[ML ]", a["d"] or "")[1:3] for a in page.all("path", "ax")]
    assert len(drawn) == 6
    np.testing.assert_allclose(np.array(drawn, float), np.tile(origin, (6, 1)), atol=0.06)


def test_a_sample_that_the_calibration_does_not_fit_says_so(shard: Shard):
    shard.camera = {"calibration": replace(CALIBRATION, width=240).to_dict()}
    shard.video("clip", seconds(30))
    nothing = {name: [None] * 30 for name in ("rx", "ry", "rz", "tx", "ty", "tz", "error_px")}
    shard.rows["clip"]["fit"] |= {**nothing, "status": ["not_converged"] * 30}
    shard.pictures["clip"] = {2: picture()}
    page = Page(shard.pages()["clip"])
    said = "No face was fitted here, since the calibration cannot be used:"
    assert f"{said} its frames are stored as 160x90 and the calibration is of 240x180" in page.text
    assert "head axes" not in page.text
    assert not page.all("path", "ax")


def test_a_page_shows_the_overlay_that_lies_beside_the_report(tmp_path: Path):
    shard = Shard(tmp_path / "shard", "pack 1")
    names = {"clip": ".mp4", "one": ".jpg", "many": "", "odd #1": ".txt", "none": None}
    for name in names:
        shard.video(name, seconds(4))
    beside = tmp_path / "overlay" / "pack 1"
    beside.mkdir(parents=True)
    for name, suffix in names.items():
        if suffix is not None:
            (beside / f"{name}{suffix}").touch()
    folder = tmp_path / "report" / "samples" / "pack 1"
    report_pages(shard.plan, replace(shard.write(), overlay=beside), folder, REPORT)
    found = {}
    for name in names:
        page = Page((folder / f"{name}.html").read_text(encoding="utf-8"))
        shown = [a["src"] for a in (*page.all("video"), *page.all("img", "overlay"))]
        linked = {a["href"] for a in page.all("a") if "overlay" in (a.get("href") or "")}
        assert set(shown) <= linked and len(linked) <= 1
        found[name] = len(shown)
        for link in linked:
            assert (folder / unquote(link)).resolve() == beside / f"{name}{names[name]}"
        assert bool(linked) == (name != "none")
    assert found == {"clip": 1, "one": 1, "many": 0, "odd #1": 0, "none": 0}


# ---------------------------------------------------------------- real recordings


@pytest.mark.parametrize("name", ["multi_face.jpg", "face_noface.mov"])
def test_a_real_recording(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    from facemake.stages.detect import detect
    from facemake.stages.landmarks import landmarks
    from facemake.stages.probe import probe

    monkeypatch.chdir(tmp_path)
    config = settings.filled({})
    plan = tmp_path / "real.tsv"
    plan.write_text(shard_text([Sample("real", shared / "data" / name, "someone")]))
    sources = Sources(*(tmp_path / f for f in ("p.parquet", "d.parquet", "l.parquet", "f.h5")))
    assert sources.detections and sources.landmarks and sources.faces
    probe(plan, sources.probe, recipe("probe", config))
    detect(plan, sources.probe, sources.detections, recipe("detect", config))
    landmarks(
        plan,
        sources.probe,
        sources.detections,
        sources.landmarks,
        sources.faces,
        recipe("landmarks", config),
    )
    report_pages(plan, sources, tmp_path / "pages", REPORT)
    text = (tmp_path / "pages" / "real.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(text) < LARGEST_PAGE
    dots = page.all("path", "dots")
    assert dots
    assert all((a["d"] or "").count("h0") == 68 for a in dots)
    if name == "multi_face.jpg":
        assert len(page.all("rect", "box")) == 5
    else:
        assert len(page.all("img")) == contact_frames()
        assert "variable" in page.text
        assert "no face 97" in page.text


def contact_frames() -> int:
    from facemake.stages.landmarks import CONTACT_FRAMES

    return CONTACT_FRAMES


def test_a_page_can_be_opened_whatever_its_sample_is_called(tmp_path: Path):
    """Also in Snakemake's own report, which has it as data with its file name before a comma."""
    from snakemake.report.common import data_uri_from_file

    names = ["a, b", "c+d=e@f", "ü"]
    shard = Shard(tmp_path / "shard", "pack")
    for name in names:
        shard.video(name, seconds(4))
    folder = tmp_path / "report" / "samples" / "pack"
    report_pages(shard.plan, shard.write(), folder, REPORT)
    assert page_folders([folder]) == dict.fromkeys(names, "pack")
    overview = Page(index(tmp_path, [counts(name) for name in names], [folder]))
    links = {a["href"] or "" for a in overview.all("a")}
    for name in names:
        path = folder / page_file(name)
        assert name in Page(path.read_text(encoding="utf-8")).text and sample_of(path) == name
        assert f"samples/pack/{quote(path.name, safe='')}" in links
        head, _, data = data_uri_from_file(path).partition(",")
        assert head.endswith(";base64") and base64.b64decode(data) == path.read_bytes()
