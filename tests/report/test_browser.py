"""The report in a real browser: what people do with it, and how long it lets them wait."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import browser
from browser import Browser, Tab
from debian import script
from facemake.evaluation.agreement import FORMULAS
from facemake.report import render
from facemake.stages.report_pages import report_pages
from makemedia import write_video
from makereport import REPORT, Shard, counts, index, picture, seconds
from setups import found

pytestmark = pytest.mark.xdist_group("browser")

# until the page has come to rest
STILL = """
new Promise((done) => {
  let last = -1;
  const look = () => {
    if (scrollY === last) return done();
    last = scrollY;
    setTimeout(look, 60);
  };
  look();
})
"""
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser; skipped where there is none."""
    setup = script(Path(__file__).with_name("setup.py")).SETUP
    executable = browser.find() or found(setup, "Chromium", "browser")["program"]
    with Browser(executable, tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def report_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a clip with a gap and two faces, and of 400 samples of which nothing else is."""
    folder = tmp_path_factory.mktemp("run")
    shard = Shard(folder / "shard")
    n = 200
    gap = (np.arange(n) >= 100) & (np.arange(n) < 110)
    shard.video("clip", seconds(n), gap=gap, ry=np.linspace(-0.5, 0.5, n))
    shard.second_track("clip", 50, 149)
    shard.pictures["clip"] = {frame: picture() for frame in (25, 75, 125, 175)}
    shard.video("pictures", np.full(60, np.nan), kind="images")
    shard.pictures["pictures"] = {5: picture(), 40: picture()}
    shard.video("longer", seconds(6001), gap=np.arange(6001) == 3001)
    turns = np.zeros(1500)
    turns[700] = 0.4
    shard.video("long", seconds(1500), gap=np.arange(1500) == 720, ry=turns)
    pages = folder / "report" / "samples" / "pack"
    beside = folder / "overlay" / "pack"
    beside.mkdir(parents=True)
    write_video(beside / "clip.mp4", 3)
    (beside / "pictures.jpg").write_bytes(picture())
    report_pages(shard.plan, replace(shard.write(), overlay=beside), pages, REPORT)
    rows = [counts("clip", n_frames=n, n_face=n - 10, n_kept=90, n_considered=90)]
    rows += [counts(f"s{i}", n_frames=i, n_face=i // 2, n_kept=i % 7) for i in range(399)]
    rows.append(counts("bad", status="unreadable", reason=HOSTILE, subject=HOSTILE))
    index(folder, rows, [pages])
    (folder / "report" / "networks.html").write_text(networks(), encoding="utf-8")
    return folder / "report"


def networks() -> str:
    """The page of the networks, of made up numbers."""
    about = {"examples": 1234, "split": "test", "subjects": 3, "videos": 7, "sha256": "f" * 64}
    measures = ("label_mean", "label_sd", "correlation", "ccc", "icc", "mae", "mae_of_mean")
    agreed = dict.fromkeys((*measures, "f1", "bias", "p95", "nme", "distance"), 0.5)
    within = dict.fromkeys(("correlation_within", "ccc_within", "icc_within"), 0.5)
    video = dict.fromkeys(
        ("landmark_distance", "nme", "head_turn", "au_mae", "au_correlation"), 0.5
    )
    return render.page(
        "networks.html",
        version="0",
        networks={"au_prediction": {**about, "seen_in_training": True, "divided_by": "video"}},
        targets=[
            {
                "target": "ICC(3,1), mean of all units",
                "wanted": "0.8 or more",
                "found": 0.5,
                "met": False,
            }
        ],
        labels=None,
        aus=[
            (
                "The network against this pipeline’s labels",
                [{"au": "AU12", "n": 9, "present": 3, **agreed}],
            )
        ],
        groups=[{"group": "mouth", "n": 9, "distance_of_mean": 2.0, **agreed, **within}],
        pose=[{"parameter": "rx", "unit": "rad", **agreed}],
        videos=[{"video": "clip", "subject": "who clip", "n": 9, **video}],
        pictures=[
            ("A picture", f"data:image/jpeg;base64,{b64encode(picture(1500, 900)).decode()}")
        ],
        formulas=FORMULAS,
        data={"file": "training_data.h5", "sha256": "f" * 64},
    )


def is_alone(tab: Tab) -> None:
    """Nothing was asked of a network, and the browser has nothing to complain of."""
    assert tab.complaints == []
    assert [a for a in tab.fetched if not a.startswith(("file:", "data:"))] == []


def names(tab: Tab, section: str = "table-samples") -> list[str]:
    found: list[str] = tab.run(
        f"[...document.querySelectorAll('#{section} table.data tbody th')]"
        ".map((th) => th.textContent)"
    )
    return found


def text(tab: Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({selector!r}).textContent"))


def view(tab: Tab) -> tuple[float, float]:
    """What of their thousand units all curves show: from where on, and how much."""
    views = tab.run(
        "[...new Set([...document.querySelectorAll('#course .plot svg')]"
        ".map((one) => one.getAttribute('viewBox')))]"
    )
    assert len(views) == 1
    left, _, width, _ = map(float, views[0].split())
    return left, width


def find(tab: Tab, words: str) -> None:
    tab.run(
        f"{{ const input = document.querySelector('#table-samples [name=words]');"
        f"input.value = {words!r}; input.dispatchEvent(new Event('input', {{bubbles: true}})); }}"
    )


def test_the_table_sorts_searches_and_turns_pages(shown: Browser, report_folder: Path):
    tab = shown.open(report_folder / "index.html")
    assert names(tab)[:2] == ["clip", "s0"]
    assert len(names(tab)) == 100
    press = "[...document.querySelectorAll('#table-samples thead button')]"
    tab.run(f"{press}[0].click()")
    # numbers in names sort as numbers
    assert names(tab)[:4] == ["bad", "clip", "s0", "s1"]
    assert names(tab).index("s9") + 1 == names(tab).index("s10")
    tab.run(f"{press}[4].click(), {press}[4].click()")
    assert names(tab)[:2] == ["s398", "s397"]
    tab.run("document.querySelector('#table-samples .pager button:last-child').click()")
    assert names(tab)[0] == "s298"
    find(tab, "S39 who")
    assert names(tab) == [*(f"s{i}" for i in range(398, 389, -1)), "s39"]
    assert text(tab, "#table-samples output") == "10 of 401 samples"
    find(tab, "onerror")
    assert names(tab) == ["bad"]
    assert HOSTILE in text(tab, "#table-samples .reason")
    find(tab, "nobody of that name")
    assert "No sample fits" in text(tab, "#table-samples tbody")
    # the subjects are those of the samples
    assert len(names(tab, "table-subjects")) == 100
    assert names(tab, "table-subjects")[0] == "who clip"
    is_alone(tab)


def test_a_keyboard_is_enough(shown: Browser, report_folder: Path):
    tab = shown.open(report_folder / "index.html")
    tab.run("document.querySelector('#table-samples thead button').focus()")
    tab.press("Enter")
    assert names(tab)[0] == "bad"
    tab.press("Enter")
    assert names(tab)[0] == "s398"
    page = shown.open(report_folder / "samples" / "pack" / "clip.html")
    page.run("document.getElementById('cursor').focus()")
    page.press("ArrowRight")
    page.press("ArrowRight")
    assert text(page, "#cursor-says") == "0.08 s, frame 2"
    page.press("+")
    assert view(page)[1] < 1000
    page.press("End")
    # the view goes along with the cursor
    assert text(page, "#cursor-says") == "7.96 s, frame 199"
    assert sum(view(page)) == pytest.approx(1000)
    page.press("Escape")
    assert text(page, "#cursor-says") == "move over a curve"
    assert view(page) == (0, 1000)


def box(tab: Tab, selector: str) -> tuple[float, float, float, float]:
    found = tab.run(
        f"(() => {{ const one = document.querySelector('{selector}');"
        "one.scrollIntoView({block: 'center'}); const r = one.getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]; })()"
    )
    x, y, width, height = found
    return x, y, width, height


def test_a_curve_says_its_frame_and_shows_the_nearest_picture(shown: Browser, report_folder: Path):
    tab = shown.open(report_folder / "samples" / "pack" / "clip.html")
    x, y, width, height = box(tab, ".g-pose .strip:nth-of-type(2) .plot")
    tab.mouse("mouseMoved", x + width * 60.5 / 200, y + height / 2)
    assert text(tab, "#cursor-says") == "2.40 s, frame 60"
    assert text(tab, "[data-key=ry]") == f"−{np.degrees(0.5 - 60 / 199):.1f}°"
    assert text(tab, "#near-says") == "nearest: 75"
    shows = (
        "document.querySelector('#near img').src === document.querySelector('[data-frame=\"75\"]')"
        ".closest('figure').querySelector('img').src"
    )
    assert tab.run(shows)
    assert tab.run("document.querySelectorAll('figure.here').length") == 1
    tab.mouse("mouseMoved", x + width * 105.5 / 200, y + height / 2)
    assert text(tab, "[data-key=ry]") == "no value"
    # dragging zooms to what was dragged over
    tab.mouse("mouseMoved", x + width * 0.25, y + height / 2)
    tab.mouse("mousePressed", x + width * 0.25, y + height / 2)
    tab.mouse("mouseMoved", x + width * 0.5, y + height / 2)
    tab.mouse("mouseReleased", x + width * 0.5, y + height / 2)
    left, wide = view(tab)
    assert (left, wide) == (pytest.approx(250, abs=2), pytest.approx(250, abs=2))
    tab.mouse("mouseMoved", x + width * 0.5, y + height / 2)
    assert text(tab, "#cursor-says") == "3.00 s, frame 75"
    ticks = tab.run("[...document.querySelectorAll('#ticks span')].map(s => s.textContent)")
    assert ticks[0] == "2.0 s" and len(ticks) >= 4
    tab.run("document.getElementById('zoom-all').click()")
    assert text(tab, "#ticks span") == "0 s"
    # a picture of the contact sheet leads to its place on the curves, and a place to its picture
    tab.run("document.querySelector('[data-frame=\"125\"]').click()")
    assert text(tab, "#cursor-says") == "5.00 s, frame 125"
    assert tab.run("document.getElementById('near-link').hash") == "#small-125"
    assert tab.run("document.querySelectorAll('#small-125').length") == 1
    is_alone(tab)


def test_a_click_holds_the_cursor_and_a_second_one_lets_go(shown: Browser, report_folder: Path):
    tab = shown.open(report_folder / "samples" / "pack" / "clip.html")
    x, y, width, height = box(tab, ".g-pose .plot")

    def move(frame: float) -> str:
        tab.mouse("mouseMoved", x + width * (frame + 0.5) / 200, y + height / 2)
        return text(tab, "#cursor-says")

    def click() -> None:
        at = {"x": x + width * 40.5 / 200, "y": y + height / 2}
        tab.mouse("mousePressed", **at)
        tab.mouse("mouseReleased", **at)

    assert move(40) == "1.60 s, frame 40"
    click()
    assert move(60) == "1.60 s, frame 40"
    move(40)
    click()
    assert move(60) == "2.40 s, frame 60"
    move(40)
    click()
    tab.run("document.getElementById('let-go').click()")
    assert text(tab, "#cursor-says") == "move over a curve"
    assert "mean" in text(tab, "[data-key=ry]")


def test_fingers_scroll_zoom_and_take_the_cursor_along(shown: Browser, report_folder: Path):
    tab = shown.open(report_folder / "samples" / "pack" / "long.html", 390, 800, touch=True)
    x, y, width, height = box(tab, ".g-pose .strip:nth-of-type(2) .plot")
    middle = y + height / 2

    def at(share: float, by: float = 0.0) -> tuple[float, float]:
        return x + width * share, middle + by

    # a page that is scrolled leaves the curves as they are
    scrolled = tab.run("scrollY")
    tab.fingers(*((at(0.5, -by),) for by in range(0, 160, 16)))
    tab.run(STILL)
    assert tab.run("scrollY") > scrolled
    assert text(tab, "#cursor-says") == "move over a curve"
    x, y, width, height = box(tab, ".g-pose .strip:nth-of-type(2) .plot")
    middle = y + height / 2
    tab.fingers((at(0.5003),))
    assert text(tab, "#cursor-says") == "0:30.00, frame 750"
    tab.fingers(*((at(0.2003 + by / 100),) for by in range(0, 61, 5)))
    assert text(tab, "#cursor-says") == "0:48.00, frame 1200"
    assert view(tab) == (0, 1000)
    # two fingers hold what is under them: from 0.4 and 0.6 to 0.2 and 0.8
    tab.fingers(*((at(0.4 - by / 50), at(0.6 + by / 50)) for by in range(11)))
    left, wide = view(tab)
    assert wide == pytest.approx(1000 / 3, rel=0.02)
    assert left + 0.5 * wide == pytest.approx(500, abs=5)
    # and beside each other to the left: the later part comes
    tab.fingers(*((at(0.5 - by / 50), at(0.8 - by / 50)) for by in range(11)))
    assert view(tab) == (pytest.approx(left + 0.2 * wide, abs=8), pytest.approx(wide, rel=0.02))
    tab.fingers(*((at(0.1 + by / 50), at(0.9 - by / 50)) for by in range(16)))
    assert view(tab)[1] > 2 * wide
    is_alone(tab)


def test_an_address_may_name_a_frame(shown: Browser, report_folder: Path):
    tab = shown.open(report_folder / "samples" / "pack" / "long.html", part="#frame-1201")
    assert text(tab, "#cursor-says") == "0:48.04, frame 1201"
    assert tab.run("document.getElementById('course').getBoundingClientRect().top") < 100
    # where a place on the axis is that of several frames, all of them are named
    longer = report_folder / "samples" / "pack" / "longer.html"
    several = shown.open(longer, part="#frame-3001")
    assert text(several, "#cursor-says") == "2:00.02, frames 3001–3002"
    assert text(several, "[data-key=status]") == "measured mostly"
    assert text(several, "[data-key=ry]") == "0.0°"


def test_a_long_recording_is_drawn_frame_by_frame_when_one_looks_closely(
    shown: Browser, report_folder: Path
):
    tab = shown.open(report_folder / "samples" / "pack" / "long.html")
    strip = "document.querySelectorAll('.g-pose .strip')[1]"
    path = f"{strip}.querySelector('.line').getAttribute('d')"
    whole = tab.run(path)
    tab.run("document.getElementById('cursor').focus()")
    tab.run(
        "{ const c = document.getElementById('cursor'); c.value = 700;"
        "c.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    assert text(tab, "#cursor-says") == "0:28.00, frame 700"
    assert text(tab, "[data-key=ry]") == f"{np.degrees(0.4):.1f}°"
    for _ in range(4):
        tab.press("+")
    left, width = view(tab)
    assert width == pytest.approx(1000 / 16)
    runs = tab.run(path).split("M")[1:]
    points = [[tuple(map(float, one.split())) for one in _pairs(run)] for run in runs]
    # a point a frame, the peak in one of them, a gap of one frame
    inside = [x for run in points for x, _ in run if left <= x <= left + width]
    assert len(inside) == pytest.approx(1500 / 16, abs=2)
    ((top, _),) = [point for run in points for point in run if point[1] < points[0][0][1] - 1]
    assert top == pytest.approx(1000 * 700.5 / 1500, abs=0.1)
    assert len(points) == 2
    gap = tab.run(f"{strip}.querySelector('.gap').getAttribute('d')")
    assert float(gap[1:].split()[0]) == pytest.approx(1000 * 720 / 1500, abs=0.1)
    tab.press("0")
    assert tab.run(path) == whole
    is_alone(tab)


def test_pictures_that_stand_alone_are_not_shown_for_each_other(
    shown: Browser, report_folder: Path
):
    tab = shown.open(report_folder / "samples" / "pack" / "pictures.html")
    tab.run("document.querySelector('[data-frame=\"5\"]').click()")
    assert text(tab, "#cursor-says") == "picture 5"
    assert text(tab, "#near-says") == "nearest: 5"
    assert tab.run("document.querySelector('#near img').clientWidth") > 40
    tab.run("document.getElementById('cursor').focus()")
    tab.press("ArrowRight")
    assert text(tab, "#cursor-says") == "picture 6"
    assert text(tab, "#near-says") == "not on the contact sheet"
    assert tab.run("document.querySelector('#near img').clientWidth") == 0
    assert tab.run("document.querySelectorAll('figure.here').length") == 0
    is_alone(tab)


def test_an_overlay_beside_the_report_is_shown(shown: Browser, report_folder: Path):
    tab = shown.open(report_folder / "samples" / "pack" / "clip.html")
    size = """new Promise((done) => {
      const video = document.querySelector('video');
      video.onloadedmetadata = () => done([video.videoWidth, video.videoHeight]);
      video.onerror = () => done(video.error.message);
      video.preload = 'metadata';
      video.load();
    })"""
    assert tab.run(size) == [64, 48]
    still = shown.open(report_folder / "samples" / "pack" / "pictures.html")
    size = """(async () => {
      const image = document.querySelector('img.overlay');
      image.loading = 'eager';
      await image.decode();
      return image.naturalWidth;
    })()"""
    assert still.run(size) == 80
    is_alone(tab)
    is_alone(still)


def _pairs(run: str) -> list[str]:
    numbers = run.split()
    return [" ".join(numbers[i : i + 2]) for i in range(0, len(numbers), 2)]


@pytest.mark.parametrize("name", ["index.html", "networks.html", "samples/pack/clip.html"])
def test_it_is_read_on_a_phone_and_in_the_dark(shown: Browser, report_folder: Path, name: str):
    light = shown.open(report_folder / name, 390, 800)
    assert light.run("document.documentElement.scrollWidth") == 390
    dark = shown.open(report_folder / name, dark=True)
    colours = (
        "(({backgroundColor, color}) => backgroundColor + color)(getComputedStyle(document.body))"
    )
    assert light.run(colours) != dark.run(colours)
    assert dark.run("document.documentElement.scrollWidth") == 1280
    # whoever does not see it hears what each thing is
    heard = [one for one in light.call("Accessibility.getFullAXTree")["nodes"] if "role" in one]
    named = {
        "button",
        "checkbox",
        "combobox",
        "image",
        "link",
        "region",
        "search",
        "slider",
        "Video",
    }
    there = [one for one in heard if one["role"]["value"] in named and not one["ignored"]]
    assert len(there) > 5
    assert [one for one in there if not one["name"]["value"]] == []
    is_alone(light)
    is_alone(dark)
