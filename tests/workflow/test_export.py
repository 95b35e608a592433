"""The target `export`: a job a shard, files for every sample, made again when they should be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from facemake.backends.threedi import Engine
from facemake.processors import dicts
from runworkflow import Run, run, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]

KINDS = ("rects", "landmarks", "pose", "pose_smooth", "landmarks_canonicalized")


def jobs(done: Run) -> dict[str, int]:
    assert done.code == 0, done.output
    return {n: int(k) for n, k in re.findall(r"^(\w+) +(\d+)$", done.output, re.MULTILINE)}


def test_export(bundled: Path, tmp_path: Path):
    people = bundled / "portraits"
    samples = [
        ("clip", bundled / "moving_portrait.mp4"),
        ("clip_pose", people / "eileen_collins.png"),
        ("hopper", people / "grace_hopper.jpg"),
    ]
    study(tmp_path, samples, shards=1)
    assert jobs(run(tmp_path, "export"))["export_3di"] == 1  # a pack of three
    folder = tmp_path / "results" / "export" / "3di"
    names = {path.name for path in folder.glob("*.3DI")}
    assert names == {f"{sample}_{kind}.3DI" for sample, _ in samples for kind in KINDS}

    smooth = pd.concat(pd.read_parquet(p) for p in (tmp_path / "results/smooth").glob("*.parquet"))
    for sample, _ in samples:
        rows = smooth[(smooth["sample"] == sample) & (smooth["track"] == 0)]
        pose = dicts.read_pose(folder / f"{sample}_pose_smooth.3DI", Engine.FULL)["data"]
        wanted = rows[["tx", "ty", "tz", "rx", "ry", "rz"]].to_numpy()
        assert pose.shape == wanted.shape
        assert abs(pose.to_numpy() - wanted).max() < 1e-4
    word = json.loads((folder / "clip_pose.3DI.json").read_text())
    assert word["backend"] == "facemake"
    assert "Nothing to be done" in run(tmp_path, "export").output

    study(tmp_path, samples, shards=1, fit={"smoothing": 0})
    assert jobs(run(tmp_path, "export"))["export_3di"] == 1
    assert not list(folder.glob("*smooth*")) and (folder / "clip_pose.3DI").is_file()
