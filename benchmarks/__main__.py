"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import (
    accuracy,
    added,
    batches,
    clips,
    cluster,
    crossings,
    detectors,
    embedders,
    embedserver,
    hiding,
    identities,
    learning,
    memory,
    overlay,
    planning,
    predictors,
    quality,
    report,
    speed,
    tiles,
    training,
    writing,
)
from benchmarks.measure import ROOT

BENCH = (
    *("speed", "clips", "memory", "planning", "added", "detectors", "batches", "embedders"),
    *("embedserver", "writing", "training", "predictors", "overlay"),
)
BY_NAME = (
    *("cluster", "accuracy", "crossings", "identities", "hiding", "learning", "quality", "report"),
    "tiles",
)
NEED_CLIP = {"speed", "clips", "memory", "cluster", "detectors", "embedserver", "overlay"}

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument(
    "what",
    nargs="*",
    default=list(BENCH),
    help=f"{', '.join(BENCH)} (default: all of these); {', '.join(BY_NAME)}",
)
parser.add_argument(
    "--clip",
    type=Path,
    default=ROOT / "resources" / "bundled" / "moving_portrait.mp4",
    help="the video to measure on (default: the bundled clip)",
)
parser.add_argument("--runs", type=int, default=5, help="alternating runs (default: 5)")
parser.add_argument(
    "--copies", type=int, default=40, help="copies of the clip in a shard (default: 40)"
)
parser.add_argument(
    "--clips", type=int, default=400, help="clips of two seconds, in 8 shards (default: 400)"
)
parser.add_argument(
    "--times", type=int, default=30, help="how many times as long the long clip is (default: 30)"
)
parser.add_argument(
    "--samples", type=int, default=300_000, help="samples to plan (default: 300000)"
)
parser.add_argument("--shards", type=int, default=512, help="shards to plan (default: 512)")
parser.add_argument(
    "--ict", type=Path, help="accuracy: ICT-FaceKit's folder, or a file built from it"
)
parser.add_argument(
    "--device",
    choices=("cpu", "cuda"),
    default="cpu",
    help="embedders, batches: where to compute (default: cpu)",
)
parser.add_argument(
    "--vectors",
    type=int,
    default=100_000,
    help="identities: tracks in the dataset (default: 100000)",
)
parser.add_argument(
    "--examples",
    type=int,
    default=8_000,
    help="writing: examples in a training set (default: 8000)",
)
parser.add_argument(
    "--width-mult",
    type=float,
    default=1.0,
    help="training, learning: factor on the networks' channels (default: 1)",
)
parser.add_argument("--data", type=Path, help="learning: a training set (HDF5)")
parser.add_argument(
    "--hold-out",
    choices=("blocks", "frames"),
    default="blocks",
    help="learning: what is held out (default: blocks)",
)
parser.add_argument(
    "--network",
    choices=("landmark_pose", "au_prediction", "both"),
    default="both",
    help="learning: which network (default: both)",
)
parser.add_argument(
    "--epochs", type=int, default=100, help="learning: epochs of each training (default: 100)"
)
parser.add_argument(
    "--people", type=int, default=40, help="accuracy: synthetic people (default: 40)"
)
parser.add_argument("--study", type=Path, help="hiding, quality: the folder of a finished run")
parser.add_argument(
    "--pictures",
    type=Path,
    nargs="+",
    help="tiles: pictures whose faces make up a crowd; crossings: no two faces of one person",
)
parser.add_argument(
    "--detectors",
    nargs="+",
    default=[],
    help="tiles, crossings: which detectors (default: all fast ones; "
    f"{', '.join(crossings.BY_DEFAULT)})",
)
parser.add_argument(
    "--meetings",
    type=int,
    default=8,
    help="crossings: meetings of each kind (default: 8: minutes of one core for a detector)",
)
parser.add_argument(
    "--keep", type=Path, help="crossings: a folder for the videos of meetings that went wrong"
)
options = parser.parse_args()
if unknown := set(options.what) - {*BENCH, *BY_NAME}:
    parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
if not options.clip.is_file() and set(options.what) & NEED_CLIP:
    parser.error(
        f"{options.clip} is not there: name a video with --clip, or "
        "`make resources/bundled/moving_portrait.mp4`"
    )
if "accuracy" in options.what:
    if options.ict is None:
        parser.error("accuracy draws its people from ICT-FaceKit: name it with --ict")
    accuracy.run(options.ict, options.people)
if "learning" in options.what and (options.data is None or not options.data.is_file()):
    parser.error("learning needs a training set: --data results/dataset/training_data.h5")

if {"hiding", "quality"} & set(options.what) and options.study is None:
    parser.error("hiding and quality look at a finished run: name its folder with --study")
if "hiding" in options.what:
    hiding.run(options.study)
if "quality" in options.what:
    quality.run(options.study)

if {"tiles", "crossings"} & set(options.what) and not options.pictures:
    parser.error("tiles and crossings are composed of faces: name pictures of some with --pictures")
if "tiles" in options.what:
    tiles.run(options.pictures, options.detectors)
if "detectors" in options.what:
    detectors.run(options.clip, options.runs)
if "batches" in options.what:
    batches.run(options.runs, options.device)
if "embedserver" in options.what:
    embedserver.run(options.clip, options.runs)

with tempfile.TemporaryDirectory(prefix="facemake-bench-") as name:
    folder = Path(name)
    if "embedders" in options.what:
        embedders.run(folder, options.runs, options.device)
    if "predictors" in options.what:
        predictors.run(folder, options.runs)
    if "writing" in options.what:
        writing.run(folder, options.examples, options.runs)
    if "training" in options.what:
        training.run(folder, options.runs, options.width_mult)
    if "learning" in options.what:
        learning.run(
            *(folder, options.data, options.hold_out, options.network),
            *(options.width_mult, options.epochs),
        )
    if "speed" in options.what:
        speed.run(folder, options.clip, options.runs, options.copies)
    if "clips" in options.what:
        clips.run(folder, options.clip, options.clips, 8, options.runs)
    if "overlay" in options.what:
        overlay.run(folder, options.clip, options.runs)
    if "memory" in options.what:
        memory.run(folder, options.clip, options.times)
    if "added" in options.what:
        added.run(folder, min(options.samples, 10_000))
    if "crossings" in options.what:
        crossings.run(
            *(folder, options.pictures, options.detectors, options.meetings, options.keep)
        )
    if "identities" in options.what:
        identities.run(folder, options.vectors)
    if "report" in options.what:
        report.run(folder, min(options.samples, 10_000), options.runs)
    if "cluster" in options.what:
        cluster.run(folder, options.clip)
    if "planning" in options.what:
        planning.run(folder, options.samples, options.shards)
