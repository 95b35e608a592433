"""The worked example of docs/extending.md, followed to the letter in a copy of the library."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from conftest import ROOT
from documentation import blocks


def test_the_example_becomes_a_detector(bundled: Path, tmp_path: Path):
    file, row, model = (b.code for b in blocks(ROOT / "docs" / "extending.md"))
    for folder in ("scripts/facemake", "config"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    detect = tmp_path / "scripts" / "facemake" / "backends" / "detect"
    (detect / "alt2.py").write_text(file, encoding="utf-8")
    registry = (detect / "__init__.py").read_text("utf-8")
    assert registry.rstrip().endswith("}")
    (detect / "__init__.py").write_text(registry.rstrip()[:-1] + row + "}\n", encoding="utf-8")
    with (tmp_path / "config" / "models.yaml").open("a", encoding="utf-8") as models:
        models.write("\n" + model)
    schema = tmp_path / "config" / "config.schema.yaml"
    text = schema.read_text("utf-8")
    assert text.count("dlib, dlib-cnn]") == 1
    schema.write_text(text.replace("dlib, dlib-cnn]", "dlib, dlib-cnn, alt2]"), encoding="utf-8")

    command = [sys.executable, "-m", "facemake", "extract", str(bundled / "portraits")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "crops"), "--backend", "alt2", "--workers", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "scripts"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "crops" / "faces.parquet")
    assert list(table.input) == ["eileen_collins.png", "grace_hopper.jpg"]
    assert set(table.status) <= {"ok", "no_eyes"}  # a face each, with or without eyes
    assert set(table.model) == {"haarcascade_frontalface_alt2"}
    assert list(table.score) == [0.5, 0.5]
