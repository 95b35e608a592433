"""facemake evaluate: how far trained networks agree with labels."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facemake.errors import ConfigError

_NETWORKS = ("landmark_pose", "au_prediction")


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="compare trained networks with labels of examples they were not trained on",
        description="Run trained networks on the test split of a training set (if it has none: on "
        "the validation examples) and report how well they agree with its labels, which are this "
        "pipeline's own, and with human labels if given. --out writes everything as tables, JSON "
        "and pictures.",
        epilog="example: facemake evaluate results/dataset/training_data.h5 --models "
        "results/models --labels coded.tsv --out evaluation",
    )
    parser.add_argument("data", type=Path, metavar="H5", help="the training set")
    parser.add_argument(
        "--models",
        type=Path,
        metavar="DIR",
        help="the folder that contains landmark_pose/, au_prediction/ or both",
    )
    for name in _NETWORKS:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=Path,
            metavar="PATH",
            help="this network's training folder, or a checkpoint",
        )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="TSV",
        help="human labels: columns sample, frame (from 0), and AU12 or AU12_r, ... (0-5)",
    )
    parser.add_argument(
        "--split",
        choices=("test", "val", "train"),
        help="which examples (default: test, or val if there is no test split)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write tables, JSON, pictures"
    )
    parser.add_argument(
        "--device", default="cpu", metavar="NAME", help="cpu, cuda or mps (default: cpu)"
    )
    parser.add_argument("--json", action="store_true", help="print the full JSON document")
    parser.set_defaults(function=_evaluate)


def _evaluate(options: argparse.Namespace, rest: list[str]) -> int:
    models = {name: getattr(options, name) for name in _NETWORKS}
    if options.models is not None:
        there = {n: options.models / n for n in _NETWORKS if (options.models / n).is_dir()}
        if not there:
            raise ConfigError(
                f"{options.models} has neither landmark_pose/ nor au_prediction/: `snakemake "
                "train` makes them in results/models"
            )
        models = {name: models[name] or there.get(name) for name in _NETWORKS}
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    from facemake.evaluation.run import evaluate, json_text

    found = evaluate(
        options.data,
        **models,
        output=options.out,
        labels=options.labels,
        split=options.split,
        device=options.device,
    )
    print(json_text(found) if options.json else _words(found), end="")
    return 0


def _words(found: Mapping[str, Any]) -> str:
    """The document in a few lines."""
    lines = []
    for name, about in found["networks"].items():
        seen = "; it was trained with people who are here, too" if about["seen_in_training"] else ""
        lines.append(
            f"{name}: {about['examples']} examples of split {about['split']} (subjects: "
            f"{about['subjects']}, videos: {about['videos']}{seen})"
        )
    lines += ["", "against this pipeline's own labels:"]
    for row in found["targets"]:
        met = {True: "met", False: "not met", None: "not defined here"}[row["met"]]
        value = "-" if row["met"] is None else f"{row['found']:.3f}"
        lines.append(f"  {row['target']:<22} {value:>7}   target {row['wanted']}: {met}")
    for row in found["pose"]:
        if row["parameter"] == "head turn":
            lines.append(f"  {'head pose off by (°)':<22} {row['mae']:>7.2f}")
    for title, key in (
        ("action units", ("network", "pipeline")),
        ("action units against your labels", ("network", "labels")),
        ("this pipeline against your labels", ("pipeline", "labels")),
    ):
        rows = [r for r in found["action_units"] if (r["of"], r["against"]) == key and r["n"]]
        if rows:
            head = ("n", "r", "CCC", "ICC", "MAE", "F1>=2")
            lines += ["", f"{title:<36}" + "".join(f"{one:>8}" for one in head)]
        for row in rows:
            values = (row[k] for k in ("correlation", "ccc", "icc", "mae", "f1"))
            cells = "".join(f"{value:>8.2f}" if value == value else f"{'-':>8}" for value in values)
            lines.append(f"  {row['au']:<34}{row['n']:>8}{cells}")
    return "\n".join(lines) + "\n"
