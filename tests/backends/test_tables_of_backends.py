"""The documentation's tables of backends are those of the registries."""

from __future__ import annotations

import re

from conftest import ROOT
from facemake import settings
from facemake.backends.aus import AU_ESTIMATORS
from facemake.backends.detect import DETECTORS
from facemake.backends.embed import EMBEDDERS
from facemake.backends.landmarks import LANDMARKERS


def table(page: str, head: str) -> dict[str, list[str]]:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    rows = text[text.index(f"| `{head}` |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {re.sub("`", "", name): rest for name, *rest in cells}


def test_every_detector_has_its_line():
    rows = table("backends", "detect.backend")
    assert list(rows) == list(DETECTORS)
    for name, (use, _, points, devices, *_) in rows.items():
        row = DETECTORS[name]
        assert (use, points) == (row.use, row.points)
        assert devices == ("CPU, GPU" if "cuda" in row.devices else "CPU")


def test_every_embedder_has_its_line():
    rows = table("embeddings", "embed.backend")
    assert list(rows) == list(EMBEDDERS)
    for name, (use, _, dim, devices, same_person, _) in rows.items():
        row = EMBEDDERS[name]
        assert (use, int(dim)) == (row.use, row.dim)
        assert devices == ("CPU, GPU" if "cuda" in row.devices else "CPU")
        assert (float(same_person) if same_person else None) == row.same_person


def test_the_config_takes_every_embedder():
    allowed = settings.schema()["properties"]["embed"]["properties"]["backend"]["enum"]
    assert allowed == [*EMBEDDERS, "off"]


def test_every_au_estimator_has_its_line():
    assert {name: cells[0] for name, cells in table("results", "aus.backend").items()} == {
        name: row.use for name, row in AU_ESTIMATORS.items()
    }
    allowed = settings.schema()["properties"]["aus"]["properties"]["backend"]["enum"]
    assert allowed == list(AU_ESTIMATORS)


def test_every_landmark_network_has_its_line():
    rows = table("backends", "landmarks.backend")
    assert {name: cells[0] for name, cells in rows.items()} == {
        name: row.use for name, row in LANDMARKERS.items() if not row.given
    }
