"""How the page of a sample is called.

Snakemake's own report puts a page into itself as a data URI with the file's name in its header, and
a comma ends that header. No sample has a percent sign in its name.
"""

from __future__ import annotations

from pathlib import Path


def page_file(sample: str) -> str:
    """The file name of a sample's page."""
    return f"{sample.replace(',', '%2C')}.html"


def sample_of(page: Path) -> str:
    """The sample that a page is of."""
    return page.stem.replace("%2C", ",")
