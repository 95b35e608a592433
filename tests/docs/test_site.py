"""The documentation becomes pages that ask nothing of another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

import browser
import facemake
from conftest import ROOT
from debian import script
from facemake import data, nn
from setups import found

pytestmark = pytest.mark.xdist_group("site")  # which is built once

FOUND = """
new Promise((done) => {
  const end = Date.now() + 20000;
  const look = () => {
    const found = [...document.querySelectorAll(".md-search-result h1, .md-search-result h2")];
    if (found.length || Date.now() > end) return done(found.map((one) => one.textContent));
    setTimeout(look, 50);
  };
  look();
})
"""
"""The titles that a search shows, when there are some; none after 20 s."""

LOADED = r'<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)="?((?:https?:)?//[^"\s>]+)'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it: what MkDocs warns of ends it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder


def test_every_source_is_a_page_that_loads_nothing_from_elsewhere(site: Path):
    pages = sorted(site.rglob("*.html"))
    sources = sorted((ROOT / "docs").rglob("*.md"))
    made = {path.relative_to(site).with_suffix("") for path in pages}
    assert {path.relative_to(ROOT / "docs").with_suffix("") for path in sources} == made - {
        Path("404")
    }
    for path in pages:
        assert re.findall(LOADED, path.read_text("utf-8")) == [], path


def test_no_list_falls_apart(site: Path):
    """What belongs to an item is indented by four; with less each item is a list, numbered 1."""
    for path in sorted(site.rglob("*.html")):
        for items in re.findall(r"<ol>(.*?)</ol>", path.read_text("utf-8"), re.S):
            assert items.count("<li>") > 1, (path, items[:200])


def test_the_interface_is_documented_and_what_is_private_is_not(site: Path):
    names = set()
    for path in (site / "api").glob("*.html"):
        names |= set(re.findall(r'<h[2-6] id="(facemake[\w.]*)"', path.read_text("utf-8")))
    assert not [name for name in names if "._" in name]
    shown = {name.rpartition(".")[2] for name in names}
    offered = {*facemake.__all__, *nn.__all__, *data.__all__} - {"__version__"}
    assert offered <= shown
    processor = "facemake.FaceProcessor3DI"
    assert {f"{processor}.{method}" for method in ("io", "run_all", "citation")} <= names


def test_the_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)", text))
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert linked <= there
    # the page of the interface lists its own
    assert there - linked == {p for p in there if p.startswith("docs/api/")} - {"docs/api/index.md"}


def test_what_the_readme_leads_to_is_there():
    """MkDocs looks at links between pages; these it does not see."""
    links = re.findall(
        r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", (ROOT / "README.md").read_text("utf-8")
    )
    assert len(links) > 30
    for path, anchor in links:
        assert (ROOT / path).exists(), path
        if anchor:
            heads = re.findall(r"^#+ (.*)$", (ROOT / path).read_text("utf-8"), re.M)
            assert anchor in {slugify(head, "-") for head in heads}, (path, anchor)


def test_search_answers_in_a_page_that_is_opened_as_a_file(site: Path, tmp_path: Path):
    setup = script(ROOT / "tests" / "report" / "setup.py").SETUP
    executable = browser.find() or found(setup, "Chromium", "browser")["program"]
    with browser.Browser(executable, tmp_path / "profile") as shown:
        tab = shown.open(site / "index.html")
        tab.run("document.querySelector('.md-search__input').focus()")
        for letter in "yaw":
            tab.press(letter)
        titles = tab.run(FOUND)
        assert "What each number means" in titles and "Axes and units" in titles
        assert [a for a in tab.fetched if not a.startswith(("file:", "data:", "blob:"))] == []
        assert tab.complaints == []
