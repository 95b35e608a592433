"""The workflow, run for real on the bundled sample.

README.md, docs/your-own-data.md and docs/report.md.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import psutil
import pytest

from facemake.bundled import N_FRAMES, PORTRAITS
from facemake.cli import main
from facemake.schemes import IBUG68, MEDIAPIPE478, convert
from runworkflow import Run, bundled_samples, bytes_of, command, environment, run, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("run")]

FRAME_TABLES = ("detections", "landmarks", "fit", "expressions", "aus")


def test_every_frame_has_its_row_in_every_table(finished: Run):
    expected = {"moving portrait": list(range(N_FRAMES)), "portraits": [0, 1]}
    assert len(PORTRAITS) == 2
    for table in FRAME_TABLES:
        frame = pd.read_parquet(finished.results / table)
        main = frame[frame.track == 0]
        got = {name: rows.frame.tolist() for name, rows in main.groupby("sample")}
        assert got == expected, table
        assert not frame.duplicated(["sample", "frame", "track"]).any()
        assert (main.status == "ok").all(), table


def test_the_motion_of_the_clip_is_measured(finished: Run, bundled: Path):
    truth = pd.read_csv(bundled / "moving_portrait.truth.tsv", sep="\t")
    rows = pd.read_parquet(finished.results / "landmarks")
    rows = rows[(rows["sample"] == "moving portrait") & (rows.track == 0)]
    points = np.stack(rows.points.to_list()).reshape(-1, 478, 2)
    points = convert(points, MEDIAPIPE478, IBUG68).astype(float)
    eyes = points[:, 42:48].mean(axis=1) - points[:, 36:42].mean(axis=1)
    roll = np.degrees(np.arctan2(eyes[:, 1], eyes[:, 0]))
    # the portrait itself is a little tilted: the motion is what is known
    roll_error = (roll - truth.roll) - (roll - truth.roll).mean()
    assert math.sqrt((roll_error**2).mean()) < 0.5
    size = np.log(np.sqrt(points.var(axis=1).sum(axis=1)) / truth.scale)
    assert math.sqrt(((size - size.mean()) ** 2).mean()) < 0.02

    fit = pd.read_parquet(finished.results / "fit")
    fit = fit[(fit["sample"] == "moving portrait") & (fit.track == 0)]
    roll_error = np.degrees(fit.rz.to_numpy(float)) - truth.roll
    roll_error -= roll_error.mean()
    assert math.sqrt((roll_error**2).mean()) < 0.5
    size = np.log(1 / (fit.tz.to_numpy(float) * truth.scale))
    assert math.sqrt(((size - size.mean()) ** 2).mean()) < 0.02


def test_the_training_set_has_the_promised_layout(finished: Run):
    with h5py.File(finished.results / "dataset" / "training_data.h5") as file:
        n = file.attrs["num_samples"]
        assert n > 0
        shapes = {
            "images": (n, 112, 112, 3),
            "hog_features": (n, 4464),
            "landmarks": (n, 68, 2),
            "global_params": (n, 6),
            "local_params": (n, 34),
            "au_intensities": (n, 17),
            "bboxes": (n, 4),
        }
        assert {name: file[name].shape for name in shapes} == shapes
        assert file["images"].chunks == (1, 112, 112, 3)
        inside = file["landmarks"][:]
        assert ((inside > 0) & (inside < 112)).mean() > 0.99
    manifest = pd.read_parquet(finished.results / "dataset" / "manifest.parquet")
    assert manifest["sample"].tolist() == ["moving portrait", "portraits"]
    assert (manifest.status == "ok").all()


def test_embeddings_have_norm_one_and_tell_the_two_people_apart(finished: Run):
    rows = pd.read_parquet(finished.results / "embeddings")
    vectors = np.stack(rows.embedding.to_list()).astype(float)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    same = vectors[rows["sample"] == "moving portrait"]
    astronaut, hopper = vectors[rows["sample"] == "portraits"]
    assert (same @ astronaut).min() > (same @ hopper).max()


def test_the_report_opens_without_a_network(finished: Run):
    index = (finished.results / "report" / "index.html").read_text(encoding="utf-8")
    assert "moving portrait" in index
    for attribute in ('src="http', "src='http", 'href="http', "url(http"):
        assert attribute not in index


def test_snakemake_makes_its_own_report_of_it(finished: Run, tmp_path: Path):
    page = tmp_path / "report.html"
    made = run(finished.folder, "--report", str(page))
    assert made.code == 0, made.output
    text = page.read_text(encoding="utf-8")
    categories, results = (
        json.JSONDecoder().raw_decode(text, text.index(f"var {name} = {{") + len(f"var {name} = "))[
            0
        ]
        for name in ("categories", "results")
    )
    assert set(categories) == {"Overview", "Samples"}
    assert {Path(name).name: about["labels"] for name, about in results.items()} == {
        "index.html": {"page": "all samples"},
        "manifest.json": {"page": "training set"},
        "moving portrait.html": {"sample": "moving portrait"},
        "portraits.html": {"sample": "portraits"},
    }
    captions = " ".join(about["caption"] for about in results.values())
    assert "A sample of shard portraits: contact sheet" in captions
    assert "Share them as you would share the recordings" in text


def test_one_core_gives_the_same_bytes(finished: Run, bundled: Path, tmp_path: Path):
    study(tmp_path, bundled_samples(bundled))
    done = run(tmp_path, cores=1)
    assert done.code == 0, done.output
    assert bytes_of(done.results) == bytes_of(finished.results)


def test_another_folder_computes_nothing_again(finished: Run, bundled: Path, tmp_path: Path):
    study(tmp_path, bundled_samples(bundled))
    config = (finished.folder / "config" / "config.yaml").read_text()
    (tmp_path / "config" / "config.yaml").write_text(config)
    done = run(tmp_path, "training_set")
    assert done.code == 0, done.output
    assert bytes_of(done.results) == bytes_of(finished.results)
    # a stage that runs says something in its log; Snakemake touches the log of one that does not
    logs = list((tmp_path / "results").glob("logs/**/*.log"))
    assert [p.name for p in logs if p.stat().st_size] == ["verdict.log"], done.output


def test_what_is_done_is_not_done_again(finished: Run):
    again = run(finished.folder)
    assert "Nothing to be done" in again.output


def test_a_killed_shard_goes_on_inside_to_the_same_bytes(bundled: Path, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        # two samples in one shard, the short one first
        samples = [("a", bundled / "portraits"), ("b", bundled / "moving_portrait.mp4")]
        study(folder, samples, shards=1)
    finished = run(whole)
    assert finished.code == 0, finished.output
    with (killed / "output.txt").open("wb") as output:
        started = subprocess.Popen(
            command(killed), env=environment(killed), cwd=killed, stdout=output, stderr=output
        )
    parts = killed / ".facemake" / "parts" / "landmarks"

    def done() -> list[Path]:
        return [p for p in parts.glob("*/*.landmarks.parquet") if not p.name.startswith(".")]

    deadline = time.monotonic() + 240
    while not done():
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.01)
    children = psutil.Process(started.pid).children(recursive=True)
    for child in children:
        child.suspend()  # in the second sample, and until a job's next look at its parent is due
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    time.sleep(1.5)
    for child in children:
        child.resume()
    _, alive = psutil.wait_procs(children, timeout=120)
    assert not alive, "jobs outlived the run"
    assert list((killed / ".snakemake" / "locks").iterdir()), "the dead run left no lock"
    (first,) = done()  # one of the two samples, and the shard is not whole
    assert not list((killed / "results" / "landmarks").glob("[!.]*"))
    made = first.stat().st_mtime_ns, first.stat().st_ino

    locked = run(killed)
    assert locked.code != 0 and "lock" in locked.output.lower()
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == made
    resumed = subprocess.run(
        [sys.executable, "-m", "facemake", "run", "--cores", "2"],
        env=environment(killed),
        cwd=killed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert resumed.returncode == 0, resumed.stdout
    assert bytes_of(killed / "results") == bytes_of(whole / "results")
    # what was done before was not done again: the log counts the frames of its own process
    for folder, frames in ((whole, N_FRAMES + len(PORTRAITS)), (killed, N_FRAMES)):
        (log,) = (folder / "results" / "logs" / "landmarks").glob("*.log")
        assert f": 2 samples, {frames} frames in" in log.read_text()


def test_what_a_paper_has_to_cite_is_a_line_a_model(
    finished: Run, capsys: pytest.CaptureFixture[str]
):
    assert main(["provenance", "--models", str(finished.results / "aus/portraits.parquet")]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("facemesh_attention (landmarks): Apache-2.0")
    assert lines[place + 1].startswith("  Grishchenko et al., Attention Mesh")
    assert "facemake_face_model_1 (expressions, fit, smooth): MIT" in lines
    assert len(lines) == 2 * len(set(lines[::2]))
    assert main(["provenance", "--models", str(finished.results / "probe/portraits.parquet")]) == 0
    assert capsys.readouterr().out == "no models\n"


def test_provenance_names_every_model_with_its_licence(finished: Run):
    done = subprocess.run(
        [sys.executable, "-m", "facemake", "provenance", "dataset/training_data.h5"],
        cwd=finished.results,
        capture_output=True,
        text=True,
        check=True,
    )
    for word in ("blazeface_full_range", "facemesh_attention", "Apache-2.0", "arXiv:"):
        assert word in done.stdout
    for word in (str(finished.folder), os.uname().nodename):
        assert word not in done.stdout
