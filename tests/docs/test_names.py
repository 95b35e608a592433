"""What the pages name in a sentence or a table is there: keys of the config, benchmarks, files."""

from __future__ import annotations

import re
from collections.abc import Iterator

import jsonschema
import pytest
import yaml

from conftest import ROOT
from documentation import pages
from facemake import settings

KEYS = settings.schema()["properties"]
UNKNOWN = re.compile(r"\b[A-Z]+\b|\.\.\.|…|\balt2\b")
"""Stands for a word of the reader's: NAME, N; alt2 is made by who follows docs/extending.md."""


def said(pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Page and match of each piece between backticks that is as the pattern has it, as a whole."""
    for page in pages():
        text = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S)
        for code in re.findall(r"`([^`]+)`", text):
            if match := re.fullmatch(pattern, " ".join(code.split())):
                yield page.name, match


def test_a_key_of_a_section_is_one():
    found = 0
    for page, match in said(r"([a-z_]+)\.([a-z_]+)(: .*)?"):
        section, key = match[1], match[2]
        if section in KEYS and "properties" in KEYS[section]:
            assert key in KEYS[section]["properties"], (page, match[0])
            found += 1
    assert found > 40


def test_a_line_of_config_is_one():
    found = 0
    for page, match in said(r"([a-z_]+): .*"):
        if match[1] not in KEYS or UNKNOWN.search(match[0]):
            continue
        config = yaml.safe_load(match[0])
        assert config.keys() <= KEYS.keys(), (page, match[0])
        jsonschema.validate(settings.filled(config), settings.schema())
        found += 1
    assert found > 20


def test_a_benchmark_is_one():
    from benchmarks import __path__ as folders

    names = {path.stem for folder in folders for path in (ROOT / folder).glob("*.py")}
    found = {(page, match[1]) for page, match in said(r"python -m benchmarks (\w+).*")}
    assert len(found) > 10
    assert [one for one in sorted(found) if one[1] not in names] == []


@pytest.mark.parametrize(
    "folder",
    ["scripts", "docs", "containers", "envs", "requirements", "profiles", "rules", "config"],
)
def test_a_file_is_there(folder: str):
    for page, match in said(rf"({folder}/[\w./-]+)"):
        made = (ROOT / match[1]).stem == "alt2"  # by who follows docs/extending.md
        assert made or (ROOT / match[1]).exists(), (page, match[1])
