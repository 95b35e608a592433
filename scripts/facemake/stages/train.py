"""The networks that the training set is for: trained as a job of the workflow."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from facemake import h5
from facemake.nn.options import AUPredictionOptions, LandmarkPoseOptions, Options
from facemake.nn.tasks import TASKS
from facemake.provenance import Recipe
from facemake.samples import WORK

logger = logging.getLogger(__name__)

NETWORKS: dict[str, tuple[str, type[Options]]] = {
    "train_landmark_pose": ("landmark_pose", LandmarkPoseOptions),
    "train_aus": ("au_prediction", AUPredictionOptions),
}
"""Stage -> its network, and its options."""

_MOST_WORKERS = 4


def train(data: Path, output: Path, recipe: Recipe, threads: int = 1, work: Path = WORK) -> None:
    """Train a network, or go on where a job of the same recipe and data was ended.

    The training's own folder is in `.facemake/parts`, since what is under a declared output is
    removed when a job fails: each epoch leaves `checkpoint_last.pt` there. It moves to `output`
    when it is done.

    Args:
        data: the merged training set.
        output: the folder to be, with checkpoints, history, curves, ONNX and the card.
        recipe: of the stage `train_landmark_pose` or `train_aus`; its settings are the options.
        threads: of the job: processes that load examples are fewer.
        work: the run's own folder.

    Raises:
        FacemakeError: the data, the device or an option is not what it must be.
    """
    network, kind = NETWORKS[recipe.stage]
    lineage = recipe.lineage([h5.read_metadata(data)["lineage"]], "")
    folder = work / "parts" / recipe.stage / lineage[:16]
    _drop_others(folder)
    last = folder / "checkpoint_last.pt"
    options = kind(
        data=data,
        output=folder,
        num_workers=max(0, min(_MOST_WORKERS, threads - 1)),
        resume=last if last.exists() else None,
        **recipe.settings,
    )
    from facemake.evaluation.card import write_card
    from facemake.nn.training import Training

    training = Training(TASKS[network](), options)
    training.run()
    write_card(folder, data, network, training.device)
    _move(folder, output)


def _drop_others(folder: Path) -> None:
    """Remove what trainings of another recipe or of other data left unfinished."""
    if folder.parent.is_dir():
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)


def _move(folder: Path, output: Path) -> None:
    """Put a finished folder in its place, whole, also on another file system."""
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{output.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.move(os.fspath(folder), os.fspath(beside))
    for name in (".lock", "checkpoint_last.pt"):
        (beside / name).unlink(missing_ok=True)
    shutil.rmtree(output, ignore_errors=True)
    beside.rename(output)
