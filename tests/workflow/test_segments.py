"""Long recordings in segments, as jobs of the workflow."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from runworkflow import bytes_of, run, study

pytestmark = pytest.mark.workflow


def test_segments_are_jobs_and_change_no_byte(bundled: Path, tmp_path: Path):
    clip = bundled / "moving_portrait.mp4"  # three seconds
    samples = [("long", clip), ("twin", clip), ("picture", bundled / "portraits")]
    cached = {"shards": 1, "cache_dir": str(tmp_path / "cache")}
    whole = run(
        study(tmp_path / "whole", samples, segment_minutes=None, shards=1), "--until", "landmarks"
    )
    assert whole.code == 0, whole.output
    cut = run(
        study(tmp_path / "cut", samples, segment_minutes=0.025, **cached), "--until", "landmarks"
    )
    assert cut.code == 0, cut.output
    assert "2 long recordings in 4 segments" in cut.output
    assert bytes_of(cut.results) == bytes_of(whole.results)
    logs = sorted(path.name for path in cut.results.glob("logs/*_segment/*"))
    assert logs == sorted([f"{name}.{i}.log" for name in ("long", "twin") for i in (0, 1)] * 2)
    assert "gone over in one pass" not in cut.output
    assert not list(cut.results.glob("*/.segments/*"))  # they go when they are put together
    frames = pd.read_parquet(cut.results / "landmarks").groupby("sample").size()
    assert frames["long"] == frames["twin"] == 75

    shutil.rmtree(cut.results)
    again = run(cut.folder, "--until", "landmarks")
    assert again.code == 0, again.output
    assert bytes_of(again.results) == bytes_of(whole.results)
    assert not re.search(r"frames in \d", again.output)  # what a stage says when it has worked
