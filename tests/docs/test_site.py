"""The documentation becomes pages that ask nothing of another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

import facemake
from conftest import ROOT
from facemake import data, nn

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
