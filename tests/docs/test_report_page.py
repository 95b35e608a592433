"""docs/report.md lists the sections of the report's index, all of them and in their order."""

from __future__ import annotations

import re

from conftest import ROOT
from documentation import text


def test_every_section_is_there():
    template = ROOT / "scripts" / "facemake" / "report" / "index.html"
    sections = re.findall(r'<h2 id="\w+">(.*?)</h2>', template.read_text("utf-8"))
    listed = re.findall(r"^\| (?!section|-)([^|]+?) \|", text("report"), re.MULTILINE)
    assert listed == sections
