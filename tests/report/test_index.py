"""The index of the report: counts, links, models, and what it weighs."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

from facemake import settings
from facemake.models import registry
from facemake.provenance import Recipe
from facemake.recipes import recipe
from facemake.stages.report_pages import report_pages
from makereport import HOSTILE, LARGEST_PAGE, REPORT, Page, Shard, counts, index, seconds


def test_the_index_counts_and_links(tmp_path: Path):
    shard = Shard(tmp_path / "shard", "pack 1")
    shard.video("clip", seconds(20))
    shard.video(HOSTILE, seconds(20))
    folder = tmp_path / "report" / "samples" / "pack 1"
    sources = shard.write()
    report_pages(shard.plan, sources, folder, REPORT)
    rows = [
        counts(HOSTILE, n_frames=20, n_face=20, n_considered=20, n_kept=20),
        counts("bad", status="unreadable", reason="<script>alert(1)</script>"),
        counts("clip", n_frames=20, n_face=10, n_considered=20, n_kept=13, rejected_pose=7),
    ]
    text = index(tmp_path, rows, [folder])
    page = Page(text)
    assert "2 of 3 samples gave measurements and 1 could not be read." in page.text
    assert "The main face was seen in 75 % of 40 frames; 33 examples went" in page.text
    assert "pitch, yaw or roll beyond 45 degrees" in page.text
    assert len(page.all("script")) == 3
    assert not [a for _, a in page.elements if "onerror" in a]
    links = {a["href"] or "" for a in page.all("a") if (a["href"] or "").startswith("samples/")}
    assert len(links) == 2
    for link in links:
        assert (tmp_path / "report" / unquote(link)).is_file()
    data = json.loads(next(s for s in page.scripts if s.lstrip().startswith("{")))
    assert [row[:2] for row in data["rows"]] == [[r["sample"], r["status"]] for r in rows]
    assert [row[10] for row in data["rows"]] == [0, -1, 0]
    assert [
        a for a in page.loads if not str(a).startswith("data:") and "#hatch" not in str(a)
    ] == []


def test_the_index_names_what_made_it(tmp_path: Path):
    config = settings.filled({})
    made = {stage: recipe(stage, config).to_dict() for stage in ("detect", "landmarks", "fit")}
    page = Page(index(tmp_path, [counts("clip")], [], **made))
    for name in ("blazeface_full_range", "facemesh_attention"):
        assert registry()[name].sha256[:12] in page.text
        assert registry()[name].citation in page.text
    assert "field of view 30°" in page.text
    assert "Apache-2.0" in page.text
    assert "proxy" in page.text
    assert "No identity vectors were read" in page.text
    made["embed"] = recipe("embed", config).to_dict()
    assert "Embeddings are biometric data" in index(tmp_path, [counts("clip")], [], **made)


def test_a_model_that_is_not_ours_gets_no_citation_of_ours(tmp_path: Path):
    model = {"name": "facemesh_attention", "sha256": "f" * 64, "licence": "its own"}
    made = Recipe("landmarks", "mediapipe478", {}, (model,), "c0de").to_dict()
    page = Page(index(tmp_path, [counts("clip")], [], landmarks=made))
    assert "f" * 12 in page.text
    assert registry()["facemesh_attention"].citation not in page.text


def test_a_model_that_the_user_built_is_cited(tmp_path: Path):
    built = {
        "name": "ict-facekit",
        "sha256": "e" * 64,
        "licence": "MIT",
        "citation": "Li et al., Learning Formation of Physically-Based Face Attributes (2020)",
        "pdm": "34 modes",
    }
    made = Recipe("fit", None, {}, (built,), "c0de").to_dict()
    page = Page(index(tmp_path, [counts("clip")], [], fit=made))
    assert built["citation"] in page.text
    assert "linear face model, built by the user" in page.text
    assert "not in this version’s registry" not in page.text


def test_ten_thousand_samples_make_a_small_index(tmp_path: Path):
    rows = [counts(f"sample {i:05d}", n_frames=i, n_face=i // 2) for i in range(10_000)]
    text = index(tmp_path, rows, [])
    assert len(text) < LARGEST_PAGE
    page = Page(text)
    assert len(page.all("tr")) < 200
    data = json.loads(next(s for s in page.scripts if s.lstrip().startswith("{")))
    assert [row[0] for row in data["rows"]] == [row["sample"] for row in rows]
