"""Going on with a training: what its checkpoint holds, and what must be as it was.

A training that goes on from `checkpoint_last.pt` gives what it would have given without the
interruption: on a CPU with the same number of threads, bit for bit.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from facemake.errors import ConfigError, FacemakeError
from facemake.nn import checkpoints
from facemake.nn.batches import Order
from facemake.nn.optimizing import MovingAverage, Schedule
from facemake.nn.options import Options, resumed, said
from facemake.nn.tasks import Task
from facemake.version import __version__

logger = logging.getLogger(__name__)

_WHEN_IT_ENDS = ("epochs", "patience")
"""Options that may be others when a training goes on; what that means for `epochs` is said."""


def with_checkpoint(
    kind: type[Options], network: str, values: dict[str, Any], given: set[str]
) -> Options:
    """The options of a command line, where it resumes filled up from the checkpoint.

    Raises:
        ModelError: the checkpoint is none.
    """
    if values.get("resume") is not None:
        if values["resume"].is_dir():
            values["resume"] /= checkpoints.LAST
        config = checkpoints.read(values["resume"], network).get("config", {})
        values = resumed(values, given, config)
    names = {one.name for one in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})


class Resumable:
    """What of a training is in its checkpoints, and how one goes on from them.

    Attributes:
        task: which network.
        options: of the training.
        device: it computes on.
        data: what the checkpoints say of the training set.
        epoch: how many are done.
        best_val_loss: the lowest one until now.
        train_history, val_history: a dict an epoch.
    """

    task: Task
    options: Options
    device: str
    data: dict[str, Any]
    model: Any
    optimizer: torch.optim.Optimizer
    order: Order
    schedule: Schedule
    average: MovingAverage
    scaler: torch.amp.GradScaler
    epoch: int
    best_val_loss: float
    train_history: list[dict[str, float]]
    val_history: list[dict[str, float]]

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds of this training as it is now."""
        return {
            "model_state_dict": _on_cpu(self.average.weights),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": self.schedule.state_dict(),
            "epoch": self.epoch - 1,
            "best_val_loss": self.best_val_loss,
            "train_history": self.train_history,
            "val_history": self.val_history,
            "config": {"network": self.task.network, **self.options.config},
            "metrics": self.val_history[-1] if self.val_history else {},
            "data": self.data,
            "facemake_version": __version__,
            "training": {
                "weights": _on_cpu(self.model.state_dict()),
                "average_steps": self.average.steps,
                "scaler": self.scaler.state_dict(),
                "random": _random_state(self.device),
                "device": torch.device(self.device).type,
                "threads": torch.get_num_threads(),
            },
        }

    def _resume(self, path: Path) -> None:
        """Make a new training the one of a checkpoint, after its last epoch.

        Raises:
            FacemakeError: it is none to go on from, or is of other options or data.
        """
        found = checkpoints.read(path, self.task.network)
        if "epoch" not in found:
            raise FacemakeError(f"{path} has weights alone: nothing to go on from")
        if "training" in found:
            self._refuse_another(path, found)
            checkpoints.give_weights(
                self.model, path, {**found, "model_state_dict": found["training"]["weights"]}
            )
            self.average.load(found["model_state_dict"], found["training"]["average_steps"])
            self.optimizer.load_state_dict(found["optimizer_state_dict"])
            self.schedule.load_state_dict(found["scheduler_state_dict"])
            if found["training"]["scaler"]:
                self.scaler.load_state_dict(found["training"]["scaler"])
            _set_random_state(found["training"]["random"], self.device)
        else:
            self._take_over(path, found)
        self.epoch = int(found["epoch"]) + 1
        self.best_val_loss = float(found.get("best_val_loss", math.inf))
        self.train_history = [dict(epoch) for epoch in found.get("train_history", ())]
        self.val_history = [dict(epoch) for epoch in found.get("val_history", ())]
        logger.info("%s: going on after epoch %d of %d", path, self.epoch, self.options.epochs)

    def _refuse_another(self, path: Path, found: Mapping[str, Any]) -> None:
        """Refuse to go on with other options or data; say what may make a small difference."""
        config, mine = found["config"], self.options.config
        data, sha256 = self.options.data, self.data["sha256"]
        lines = [
            f"{said(name, value)}, and was {said(name, config.get(name), short=True)}"
            for name, value in mine.items()
            if name not in _WHEN_IT_ENDS and config.get(name) != value
        ]
        if found["data"]["sha256"] != sha256:
            lines.append(
                f"{data} has SHA-256 {sha256[:12]}…, and the training set was "
                f"{found['data']['file']} with {found['data']['sha256'][:12]}…"
            )
        if lines:
            raise ConfigError(
                f"{path} cannot be resumed with something else: train anew, or leave away what "
                "is different\n" + "\n".join(f"  {line}" for line in lines)
            )
        if config["epochs"] != mine["epochs"]:
            logger.warning(
                "%s was to end after %d epochs and now ends after %d: the learning rate falls by "
                "the new number from here on, which no uninterrupted training does",
                *(path, config["epochs"], mine["epochs"]),
            )
        was = found["training"]
        if was["device"] != torch.device(self.device).type:
            logger.warning(
                "%s was on %s, this is %s: losses will differ in their last digits",
                *(path, was["device"], self.device),
            )
        elif was["threads"] != torch.get_num_threads() and was["device"] == "cpu":
            logger.warning(
                "%s was with %d threads, this is with %d: losses will differ in their last digits",
                *(path, was["threads"], torch.get_num_threads()),
            )

    def _take_over(self, path: Path, found: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of pyfaceau: its weights, and its optimizer where it fits."""
        checkpoints.give_weights(self.model, path, found)
        steps = (int(found["epoch"]) + 1) * len(self.order)
        self.average.load(found["model_state_dict"], steps)
        self.schedule.step = steps
        try:
            self.optimizer.load_state_dict(found["optimizer_state_dict"])
        except (KeyError, ValueError) as error:
            logger.warning("%s: its optimizer is not taken over (%s)", path, error)
        logger.warning(
            "%s was not written by facemake: its weights and history are taken over; the learning "
            "rate and random numbers are this training's own",
            path,
        )

    def _find_best(self) -> None:
        """Have the best checkpoint until now in the output folder, before time is spent.

        Raises:
            FacemakeError: it is nowhere.
        """
        path, best = self.options.resume, self.options.output / checkpoints.BEST
        assert path is not None
        beside = path.with_name(checkpoints.BEST)
        for file in dict.fromkeys((best, beside)):
            if file.exists():
                found = checkpoints.read(file)
                if self._is_best(found):
                    if file != best:
                        checkpoints.write(best, found)
                    return
        if self._waited() == 0:
            checkpoints.write(best, self._state())
            return
        raise FacemakeError(
            f"{path} is of a training whose best epoch was an earlier one, and it is neither in "
            f"{best} nor in {beside}: give --resume the folder's {checkpoints.LAST}, or put the "
            f"{checkpoints.BEST} of that time beside {path.name}"
        )

    def _is_best(self, found: Mapping[str, Any]) -> bool:
        """Whether a checkpoint is of this training's best epoch.

        Or of the next one, which is then done again: a training that is killed may have written its
        best checkpoint and not yet the last one.
        """
        history, mine = [*found.get("val_history", ())], self.val_history
        epoch = int(found.get("epoch", -1))
        if "training" in found and found["data"]["sha256"] != self.data["sha256"]:
            return False
        losses = [float(one["loss"]) for one in history]
        wanted = [float(one["loss"]) for one in mine]
        if epoch < len(mine):
            return losses == wanted[: len(losses)] and epoch == len(mine) - 1 - self._waited()
        return epoch == len(mine) < self.options.epochs and losses[: len(mine)] == wanted

    def _waited(self) -> int:
        """Epochs since the one with the lowest loss."""
        losses = [epoch["loss"] for epoch in self.val_history]
        numbers = [loss for loss in losses if math.isfinite(loss)]
        return len(losses) - 1 - losses.index(min(numbers)) if numbers else len(losses)


def _on_cpu(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies in the usual order of memory, which is what others read."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }


def _random_state(device: str) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    kind = torch.device(device).type
    if kind == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif kind == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def _set_random_state(state: Mapping[str, torch.Tensor], device: str) -> None:
    torch.set_rng_state(state["cpu"])
    kind = torch.device(device).type
    if kind == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif kind == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])
