"""The evaluation of trained networks: tables, a JSON document and pictures in one folder."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from facemake.errors import ConfigError, FacemakeError
from facemake.evaluation import plots, scores
from facemake.evaluation.agreement import FORMULAS, Values
from facemake.evaluation.labels import Labels, read_labels
from facemake.evaluation.predicting import Predictions, Trained
from facemake.evaluation.scores import Row
from facemake.provenance import file_sha256
from facemake.runtime.atomic import replacing, write_text
from facemake.tables import METADATA_KEY, parquet_options
from facemake.version import __version__

logger = logging.getLogger(__name__)

DOCUMENT = "evaluation.json"
TABLES = ("action_units", "landmark_groups", "landmark_points", "pose", "videos")
"""Keys of the document that are tables, too: Parquet and CSV of that name."""

_MEANS = ("correlation", "ccc", "icc", "mae", "mae_of_mean", "f1")


def evaluate(
    data: str | Path,
    landmark_pose: str | Path | None = None,
    au_prediction: str | Path | None = None,
    *,
    output: str | Path | None = None,
    labels: str | Path | None = None,
    split: str | None = None,
    device: str = "cpu",
    metadata: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Compare networks with the labels of examples that they were not trained with.

    Args:
        data: the training set.
        landmark_pose: folder of a training of that network, or a checkpoint.
        au_prediction: the same.
        output: folder for tables (Parquet, CSV), `evaluation.json` and pictures (PNG); None: none.
        labels: intensities that people coded (`facemake.evaluation.labels`); None: none.
        split: `test`, `val` or `train`; None: `test`, where there is none `val`.
        device: of PyTorch.
        metadata: what made it, for the tables (`facemake.shards.metadata`).

    Returns:
        What `evaluation.json` holds; there a number that is not defined is null, here NaN.

    Raises:
        FacemakeError: data, networks, labels or device are not what they must be.
    """
    wanted = {"landmark_pose": landmark_pose, "au_prediction": au_prediction}
    if not any(wanted.values()):
        raise ConfigError("there is nothing to evaluate: name a trained network")
    if labels is not None and not au_prediction:
        raise ConfigError(
            f"the labels {labels} are of action units: name a trained au_prediction, too"
        )
    coded = None if labels is None else read_labels(Path(labels))
    if coded is not None and coded.from_one:
        logger.warning(
            "labels %s: the first frame of every sample is 1; here frames count from 0, so where "
            "yours count from 1, as DISFA's do, subtract 1",
            labels,
        )
    document: dict[str, Any] = {
        "facemake_version": __version__,
        "data": {"file": Path(data).name, "sha256": None},
        "networks": {},
        **{name: [] for name in TABLES},
    }
    predictions: list[Predictions] = []
    for network, model in wanted.items():
        if model is None:
            continue
        trained = Trained(Path(model), Path(data), network, device, document["data"]["sha256"])
        document["data"]["sha256"] = trained.sha256
        if split is not None and split not in trained.splits():
            raise ConfigError(
                f"{data} has no examples of split {split} for {trained.path}: there are "
                f"{', '.join(trained.splits())}"
            )
        one = trained.predict(split or trained.held_out())
        predictions.append(one)
        document["networks"][network] = _about(trained, one)
        means = trained.mean_labels() if len(trained.dataset.division.train) else {}
        if network == "landmark_pose":
            _score_landmarks(document, one, means)
        else:
            _score_action_units(document, one, means, coded)
    document["videos"] = scores.videos(predictions)
    document["means"] = {
        against: scores.mean_row(rows, _MEANS)
        for against in ("pipeline", "labels")
        if (rows := _rows_of(document["action_units"], "network", against))
    }
    document["targets"] = targets(document)
    document["formulas"] = {
        name: {"formula": formula, "source": source} for name, (formula, source) in FORMULAS.items()
    }
    if output is not None:
        write(Path(output), document, predictions, coded, metadata)
    return document


def targets(document: Mapping[str, Any]) -> list[Row]:
    """What pyfaceau wants of its networks, and what was found: agreement with the pipeline."""
    found: list[Row] = []
    everything = next((r for r in document["landmark_groups"] if r["group"] == "all"), None)
    if everything is not None:
        found += [
            _target("landmark correlation", "> 0.95", everything["correlation"]),
            _target("landmark MAE (px)", "< 2", everything["mae"]),
        ]
    rows = _rows_of(document["action_units"], "network", "pipeline")
    if rows:
        mean = scores.mean_row(rows, ("correlation", "mae"))
        found += [
            _target("AU correlation", "> 0.90", mean["correlation"]),
            _target("AU MAE (0-5)", "< 0.5", mean["mae"]),
        ]
    return found


def _target(name: str, wanted: str, value: float) -> Row:
    sign, limit = wanted.split()
    met = value > float(limit) if sign == ">" else value < float(limit)
    return {
        "target": name,
        "wanted": wanted,
        "found": value,
        "met": None if math.isnan(value) else met,
    }


def _rows_of(rows: Sequence[Row], who: str, against: str) -> list[Row]:
    return [row for row in rows if row["of"] == who and row["against"] == against]


def _about(trained: Trained, one: Predictions) -> Row:
    found = trained.checkpoint
    return {
        "checkpoint": trained.path.name,
        "sha256": file_sha256(trained.path),
        "parameters": trained.parameters,
        "epoch": found.get("epoch"),
        "split": one.split,
        "examples": len(one.rows),
        "videos": len(set(one.examples.videos.tolist())),
        "subjects": len(set(one.examples.subjects.tolist())),
        "divided_by": trained.dataset.division.by,
        # of another training set nothing is known: `trained_on_this_set` says so
        "seen_in_training": trained.trained_on_it
        and (trained.dataset.division.loud or bool(trained.trained_with(one.split))),
        "trained_on_this_set": trained.trained_on_it,
        "landmarks_in_crop": trained.dataset.in_crop,
    }


def _score_landmarks(
    document: dict[str, Any], one: Predictions, means: Mapping[str, Values]
) -> None:
    x, y = one.found["landmarks"], one.wanted["landmarks"]
    groups, points = scores.landmarks(x, y, means.get("landmarks"))
    document["landmark_groups"], document["landmark_points"] = groups, points
    document["pose"] = scores.pose(one.found, one.wanted)


def _score_action_units(
    document: dict[str, Any], one: Predictions, means: Mapping[str, Values], coded: Labels | None
) -> None:
    x, y = one.found["au_intensities"], one.wanted["au_intensities"]
    mean = means.get("au_intensities")
    document["action_units"] = scores.action_units(x, y, "network", "pipeline", mean)
    if coded is None:
        return
    theirs = _coded(one, coded)
    there = int(np.isfinite(theirs).any(axis=1).sum())
    if not there:
        videos = sorted(set(one.examples.videos.tolist()))[:5]
        raise FacemakeError(
            f"the labels are of none of the {len(one.rows)} examples of split {one.split} "
            f"(samples {', '.join(videos)}{', ...' if len(videos) == 5 else ''}): `sample` is the "
            "name in the sheet, `frame` counts from 0; --split and the sheet's column `split` say "
            "which samples are held out"
        )
    logger.info(
        "labels: %d rows, of which %d are examples of split %s", len(coded.rows), there, one.split
    )
    document["labels"] = {"rows": len(coded.rows), "examples": there, "columns": coded.columns}
    document["action_units"] += scores.action_units(x, theirs, "network", "labels")
    # what the network learned from, against the same people's labels: how good it could have become
    document["action_units"] += scores.action_units(y, theirs, "pipeline", "labels")


def _coded(one: Predictions, coded: Labels) -> Values:
    """(n, 17) labels of the main face's examples."""
    out = coded.of(one.examples.videos.tolist(), one.examples.frames.tolist())
    out[one.examples.tracks != 0] = np.nan
    return out


def write(
    output: Path,
    document: Mapping[str, Any],
    predictions: Sequence[Predictions],
    coded: Labels | None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write tables, pictures, and last the document.

    Args:
        output: the folder.
        document: what was found.
        predictions: of the networks.
        coded: labels of the user's.
        metadata: what made it; None: the document's own word.

    Raises:
        OSError: it cannot be written.
    """
    output.mkdir(parents=True, exist_ok=True)
    made = metadata or {"facemake_version": __version__, "data": document["data"]}
    (output / DOCUMENT).unlink(missing_ok=True)  # an old one is of the old tables
    for name in TABLES:
        for path in (output / f"{name}.parquet", output / f"{name}.csv"):
            path.unlink(missing_ok=True)
        if document[name]:
            _write_table(output / name, document[name], made)
    for name in plots.PICTURES:
        (output / name).unlink(missing_ok=True)
    for one in predictions:
        if one.network == "landmark_pose":
            plots.landmark_errors(output / "landmark_errors.png", document["landmark_points"])
            continue
        x, y = one.found["au_intensities"], one.wanted["au_intensities"]
        sets = [("", y, "pipeline", "this pipeline")]
        if coded is not None:
            sets.append(("_labels", _coded(one, coded), "labels", "your labels"))
        for suffix, theirs, against, who in sets:
            rows = _rows_of(document["action_units"], "network", against)
            plots.scatter(output / f"au_scatter{suffix}.png", x, theirs, rows, who)
            plots.bland_altman(output / f"au_bland_altman{suffix}.png", x, theirs, rows, who)
    write_text(output / DOCUMENT, json_text(document))


def json_text(document: Any) -> str:
    """JSON for people to read, with null in place of what is no number."""
    return json.dumps(_finite(document), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _write_table(stem: Path, rows: Sequence[Row], metadata: Mapping[str, Any]) -> None:
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    columns = list(rows[0])
    schema = pa.schema([pa.field(name, kinds[type(rows[0][name])]) for name in columns])
    document = json.dumps(metadata, sort_keys=True, ensure_ascii=False)
    table = pa.Table.from_pylist(
        [_finite(row) for row in rows],
        schema=schema.with_metadata({METADATA_KEY: document.encode()}),
    )
    with replacing(stem.with_suffix(".parquet")) as beside:
        pq.write_table(table, beside, **parquet_options(schema))
    with (
        replacing(stem.with_suffix(".csv")) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_finite(row) for row in rows)
