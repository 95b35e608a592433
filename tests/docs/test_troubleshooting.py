"""docs/troubleshooting.md quotes messages that the code has."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import snakemake

from conftest import ROOT
from documentation import text

HEADS = ("message", "reason")
"""Of the tables whose first column quotes; `…` there stands for anything."""


def quoted() -> list[str]:
    tables = re.findall(
        rf"^\| (?:{'|'.join(HEADS)}) \|.*\n\|[-|]+\n((?:\|.*\n)+)", text("troubleshooting"), re.M
    )
    return [row.split(" | ")[0].strip("| `") for rows in tables for row in rows.splitlines()]


@cache
def source() -> str:
    """The library, what it is started by, and Snakemake, literals put together that Python does."""
    files = [
        *sorted((ROOT / "scripts" / "facemake").rglob("*.py")),
        ROOT / "Makefile",
        Path(snakemake.__file__).with_name("exceptions.py"),
    ]
    parts = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\s*\n?\s*f?"', "", parts)


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_one_of_the_codes(message: str):
    parts = [re.escape(part) for part in message.split("…") if part]
    assert any(len(part.strip()) > 5 for part in parts)
    assert re.search(".{1,200}?".join(parts), source()), message


def test_there_are_some_and_one_that_is_not_there_is_not_found():
    """So that the test above can fail."""
    assert len(quoted()) > 20
    assert not re.search(re.escape("the model … is not on this planet"), source())
