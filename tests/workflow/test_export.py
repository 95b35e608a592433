"""The target `export` (docs/exports.md): a job a shard, files for every sample.

They are made again when they should be.
"""

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
    formats = {"formats": ["openface", "3di", "csv", "bids"], "tables": ["aus"]}
    study(tmp_path, samples, shards=1, export=formats)
    done = jobs(run(tmp_path, "export"))  # a pack of three
    for name in ("export_3di", "export_openface", "export_openface_files", "export_csv_files"):
        assert done[name] == 1
    exported = tmp_path / "results" / "export"
    for sample, _ in samples:
        aus = pd.read_csv(exported / "csv" / "aus" / f"{sample}.csv")
        other = pd.read_csv(exported / "openface" / f"{sample}.csv")
        assert other["AU12_r"].equals(aus["AU12_r"]) and other["success"].all()
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
    assert len(list((exported / "bids").glob("sub-*/beh/*_acq-aus_beh.tsv"))) == len(samples)

    # a file that somebody deleted is written again, out of its pack
    (exported / "openface" / "hopper.csv").unlink()
    done = jobs(run(tmp_path, "export"))
    assert done == {"export": 1, "export_openface_files": 1, "total": 2}
    assert (exported / "openface" / "hopper.csv").is_file()

    study(tmp_path, samples, shards=1, export=formats, fit={"smoothing": 0})
    assert jobs(run(tmp_path, "export"))["export_3di"] == 1
    assert not list(folder.glob("*smooth*")) and (folder / "clip_pose.3DI").is_file()
