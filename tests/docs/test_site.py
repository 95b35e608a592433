"""The documentation becomes pages that ask nothing of another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

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
