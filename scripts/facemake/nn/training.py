"""The training of either network: steps, validation, checkpoints, and what is left at the end.

Weights are trained by AdamW; those to predict with are their moving average over the steps, which
is what validation looks at and what a checkpoint's `model_state_dict` is. A training that was
interrupted and goes on from `checkpoint_last.pt` gives what it would have given: on a CPU with the
same number of threads, bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facemake.backends import torch_model
from facemake.errors import ConfigError, FacemakeError, PassingError
from facemake.nn import checkpoints
from facemake.nn.history import CURVES, HISTORY, draw_curves, write_history
from facemake.nn.loader import (
    Order,
    TrainingDataset,
    augmentation_for,
    make_loader,
    summary,
    usable_workers,
)
from facemake.nn.options import Options, check, flag
from facemake.nn.progress import EpochProgress
from facemake.provenance import file_sha256
from facemake.runtime.locks import ShardLock
from facemake.version import __version__

logger = logging.getLogger(__name__)

Outputs = dict[str, torch.Tensor]
Arrays = dict[str, NDArray[np.float32]]

_LOWEST_RATE = 0.01
"""Of the highest learning rate: where the cosine ends, and what a plateau goes down to."""

_PLATEAU_EPOCHS = 5
"""Without a lower loss, after which the rate is halved."""

FEW_INPUTS = 256
"""Of a linear layer that takes the full learning rate."""

_WHEN_IT_ENDS = ("epochs", "patience")
"""Options that may be others when a training goes on; what that means for `epochs` is said."""

_BYTES_TO_MENTION = 2 << 30


@dataclass(frozen=True)
class Task:
    """One of the networks, and what it is trained for.

    Attributes:
        network: its name, of files and in checkpoints.
        labels: of the training set.
        make: from options.
        loss: from options; a module that takes outputs and labels and gives losses by name.
        outputs: what the network gives, by the labels' names.
        losses: name of a loss -> its key in the history.
        metrics: of all predictions and labels of an epoch.
        words: metrics as a line says them: key, words with its place.
        to_onnx: model and path.
        to_coreml: model and path.
        au_names: of the history; None: none.
    """

    network: str
    labels: tuple[str, ...]
    make: Callable[[Any], torch.nn.Module]
    loss: Callable[[Any], torch.nn.Module]
    outputs: Callable[[Any], Outputs]
    losses: Mapping[str, str]
    metrics: Callable[[Arrays, Arrays], dict[str, float]]
    words: Sequence[tuple[str, str]]
    to_onnx: Callable[[torch.nn.Module, Path], Path]
    to_coreml: Callable[[torch.nn.Module, Path], Path]
    au_names: Sequence[str] | None = None


class Schedule:
    """The learning rate: it rises at first, and then falls by a cosine or where nothing improves.

    Args:
        optimizer: whose rate is set.
        options: of the training.
        steps: an epoch.
    """

    def __init__(self, optimizer: Any, options: Options, steps: int) -> None:
        self._optimizer = optimizer
        self._kind = options.schedule
        self._highest = options.lr
        self._steps = max(1, options.epochs * steps)
        # at most a third of a short training
        self._rising = min(round(options.warmup_epochs * steps), self._steps // 3)
        self.step = 0
        self._factor, self._best, self._waited = 1.0, math.inf, 0

    def before_step(self) -> float:
        """Set and return the rate of the next step."""
        rate = self._highest * self._factor
        if self.step < self._rising:
            rate *= (self.step + 1) / self._rising
        elif self._kind == "cosine":
            done = (self.step - self._rising) / max(1, self._steps - self._rising)
            wave = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
            rate *= _LOWEST_RATE + (1 - _LOWEST_RATE) * wave
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.step += 1
        return rate

    def after_epoch(self, loss: float) -> None:
        """Take the validation's loss into account."""
        if self._kind != "plateau":
            return
        if loss < self._best:
            self._best, self._waited = loss, 0
            return
        self._waited += 1
        if self._waited >= _PLATEAU_EPOCHS:
            self._factor, self._waited = max(_LOWEST_RATE, self._factor / 2), 0

    def state_dict(self) -> dict[str, float]:
        """What `load_state_dict` takes."""
        return {
            "step": self.step,
            "factor": self._factor,
            "best": self._best,
            "waited": self._waited,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from there."""
        self.step, self._waited = int(state["step"]), int(state["waited"])
        self._factor, self._best = float(state["factor"]), float(state["best"])


def parameter_groups(network: torch.nn.Module) -> list[dict[str, Any]]:
    """Parameters by the share of the learning rate that they take.

    A step of Adam moves each weight by about the rate, whatever its gradient is. A layer's output
    so moves by rate * inputs * their mean, and what a backbone gives is positive: 1280 features at
    the full rate would push the units of a head to where they are always off within a few steps,
    and it would learn the mean label alone. So a linear layer takes at most FEW_INPUTS / inputs
    (after Yang et al. 2021, Tensor Programs V: Adam's rate goes by 1 / inputs). Convolutions have
    a normalisation behind them, which takes such steps back.
    """
    groups: dict[float, list[torch.nn.Parameter]] = {1.0: []}
    for part in network.modules():
        own = list(part.parameters(recurse=False))
        share = 1.0
        if isinstance(part, torch.nn.Linear):
            share = min(1.0, FEW_INPUTS / part.in_features)
        groups.setdefault(share, []).extend(own)
    return [{"params": each, "share": share} for share, each in groups.items() if each]


class MovingAverage:
    """The weights to predict with.

    Of n steps so far the decay is at most (1 + n) / (10 + n), so that the first weights, which are
    random, are soon forgotten. Statistics of batches are averaged as weights are.

    Args:
        network: that is trained.
        decay: of a step; 0 keeps the trained weights.
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self.steps = 0
        trained = network.state_dict()
        self.weights = {name: value.clone() for name, value in trained.items()}
        pairs = [(self.weights[name], value) for name, value in trained.items()]
        self._mine = [mine for mine, value in pairs if value.is_floating_point()]
        self._theirs = [value for _, value in pairs if value.is_floating_point()]
        # how many batches there were
        self._counts = [pair for pair in pairs if not pair[1].is_floating_point()]

    def update(self) -> None:
        """Take the weights of a step."""
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps)) if self._decay else 0.0
        self.steps += 1
        with torch.no_grad():
            torch._foreach_lerp_(self._mine, self._theirs, 1 - decay)
            for mine, value in self._counts:
                mine.copy_(value)

    def load(self, weights: Mapping[str, torch.Tensor], steps: int) -> None:
        """Go on from there."""
        self.steps = steps
        for name, value in self.weights.items():
            value.copy_(weights[name])


class Training:
    """One training of one network.

    Args:
        task: which network.
        options: of it; those of `options.resume` must be these.
        given: the options that were asked for by name, where a checkpoint says otherwise.

    Raises:
        FacemakeError: data, options, device or checkpoint are not what they must be.
    """

    def __init__(self, task: Task, options: Options, given: set[str] | None = None) -> None:
        check(options)
        self.task, self.options = task, options
        self.device = options.device or torch_model.best_device()
        torch_model.require(self.device)
        self._cuda = torch.device(self.device).type == "cuda"
        self.given = set() if given is None else given
        self._datasets()
        self.data = self._describe_data()
        _seed(options.seed)
        self.model = task.make(options)
        if options.resume is None:
            self.model.start_from(self._means())
        self.criterion = task.loss(options)
        self.model.to(self.device, memory_format=torch.channels_last)
        self.criterion.to(self.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model), lr=options.lr, weight_decay=options.weight_decay
        )
        self.order = Order(self.train_set.rows, options.batch_size, options.seed)
        self.schedule = Schedule(self.optimizer, options, len(self.order))
        self.average = MovingAverage(self.model, options.ema_decay)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self._cuda and options.mixed_precision)
        self.epoch = 0
        self.best_val_loss = math.inf
        self.train_history: list[dict[str, float]] = []
        self.val_history: list[dict[str, float]] = []
        if options.resume is not None:
            self._resume(options.resume)

    def _datasets(self) -> None:
        options = self.options
        self.train_set = TrainingDataset(
            options.data,
            "train",
            labels=self.task.labels,
            val_split=options.val_split,
            seed=options.seed,
        )
        self.val_set = self.train_set.only("val")
        division = self.train_set.division
        say = logger.warning if division.loud else logger.info
        say(
            "%s: %d examples to train with, %d to validate with, %d neither, divided by %s",
            *(options.data.name, len(division.train), len(division.val)),
            self.train_set.total - len(division.train) - len(division.val),
            division.by,
        )
        if division.loud:
            logger.warning(
                "validation may see who training saw: what it says is how well these people%s "
                "are learned, and nothing of anybody else",
                "" if division.by.startswith("video") else " in this recording",
            )
        if options.augment:
            self.train_set.augmentation = augmentation_for(self.train_set, options.seed)

    def _means(self) -> Outputs:
        """The mean label of the examples to train with, which there must be."""
        means = self.train_set.means()
        path, (first, *_) = self.options.data, self.task.labels
        for name, mean in means.items():
            there = torch.isfinite(mean)
            if there.all():
                continue
            if name == first and not there.any():
                raise FacemakeError(
                    f"{path} has no {name} that are numbers among the examples to train with: "
                    "there is nothing to learn"
                )
            which = "they"
            if self.task.au_names is not None:
                which = ", ".join(np.array(self.task.au_names)[~there.numpy()])
            logger.warning(
                "%s has examples to train with, and no %s of some kind (%s): what the network "
                "will say of it means nothing",
                *(path, name, which),
            )
        return means

    def _describe_data(self) -> dict[str, Any]:
        path = self.options.data
        if path.stat().st_size > _BYTES_TO_MENTION:
            logger.info("%s: hashing %.1f GB", path, path.stat().st_size / 1e9)
        return {"file": path.name, "sha256": file_sha256(path), **summary(self.train_set)}

    # what a run does

    def run(self) -> None:
        """Train until the last epoch, or until nothing improves; then write what is to be used.

        Raises:
            FacemakeError: the loss is no number any more, memory or workers gave out.
            KeyboardInterrupt: the last whole epoch is in `checkpoint_last.pt`.
        """
        output = self.options.output
        output.mkdir(parents=True, exist_ok=True)
        with (
            ShardLock(output / ".lock", f"the training in {output}", Path(".facemake")),
            self._memory_in_words(),
            self._board() as board,
            _steady(),
        ):
            fresh = self.epoch == 0
            if not fresh:
                self._find_best()
            if fresh and (output / checkpoints.LAST).exists():
                logger.warning(
                    "%s has an earlier training, which is now replaced (--resume %s would have "
                    "gone on with it)",
                    *(output, output / checkpoints.LAST),
                )
            self._epochs(fresh, board)
            self._finish()

    def _find_best(self) -> None:
        """Have the best checkpoint until now in the output folder, before time is spent.

        Raises:
            FacemakeError: it is nowhere.
        """
        resume, best = self.options.resume, self.options.output / checkpoints.BEST
        assert resume is not None
        if best.exists():
            return
        beside = resume.with_name(checkpoints.BEST)
        if beside.exists():
            checkpoints.write(best, checkpoints.read(beside, self.task.network))
        elif self._waited() == 0:
            checkpoints.write(best, self.state())
        else:
            raise FacemakeError(
                f"{resume} is of a training whose best epoch was an earlier one, and there is no "
                f"{best} or {beside}: put it beside, or give its folder as --output"
            )

    def _epochs(self, fresh: bool, board: Any) -> None:
        options = self.options
        workers = usable_workers(options.num_workers)
        train = make_loader(self.train_set, self.order, workers, self._cuda)
        rows = Order(self.val_set.rows, options.batch_size, None)
        val = make_loader(self.val_set, rows, min(workers, 1), self._cuda)
        progress = EpochProgress(self.task.network, options.epochs, len(self.train_set))
        while self.epoch < options.epochs and self._waited() < options.patience:
            progress.begin(self.epoch)
            self.order.epoch = self.epoch
            self.train_history.append(self._train(train, progress))
            progress.validating()
            self.val_history.append(self._validate(val))
            self._end_epoch(fresh, board, progress)
            fresh = False
        if self._waited() >= options.patience:
            logger.info(
                "stopped after epoch %d: no lower loss for %d epochs", self.epoch, options.patience
            )

    def _train(self, loader: Any, progress: EpochProgress) -> dict[str, float]:
        self.model.train()
        sums: list[torch.Tensor] = []
        counts: list[int] = []
        rate = 0.0
        for batch in _whole(loader):
            rate, losses = self.step(batch)
            sums.append(torch.stack([losses[name].detach().float() for name in self._names]))
            counts.append(len(batch["image"]))
            progress.step(counts[-1], lambda: float(sums[-1][0]))
        weights = np.array(counts, np.float64)[:, None]
        means = (torch.stack(sums).cpu().double().numpy() * weights).sum(axis=0) / weights.sum()
        epoch = dict(zip(self._keys, means.tolist(), strict=True))
        self._refuse_no_number("training", epoch["loss"])
        return {**epoch, "lr": rate}

    def _refuse_no_number(self, which: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise FacemakeError(
                f"the loss of {which} in epoch {self.epoch + 1} is no number: try a lower --lr "
                f"than {self.options.lr:g}; `facemake dataset validate {self.options.data}` looks "
                "at the labels"
            )

    def step(self, batch: Mapping[str, torch.Tensor]) -> tuple[float, Outputs]:
        """One step of the optimizer on a batch of a loader; the model must be in training.

        Returns:
            The learning rate, and the losses by their names.
        """
        rate = self.schedule.before_step()
        with torch.autocast("cuda", torch.float16, enabled=self.scaler.is_enabled()):
            found = self.model(self._pictures(batch))
        losses = self._losses(self.task.outputs(found), batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(losses["total"]).backward()
        if self.options.clip_norm:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update()
        return rate, losses

    @property
    def _names(self) -> list[str]:
        return ["total", *self.task.losses]

    @property
    def _keys(self) -> list[str]:
        return ["loss", *self.task.losses.values()]

    def _pictures(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        pixels = batch["image"].to(self.device, non_blocking=True)
        # the view of (n, 112, 112, 3) is in the order of memory that convolutions are fast in
        return pixels.permute(0, 3, 1, 2).float() / 255

    def _losses(self, found: Outputs, batch: Mapping[str, torch.Tensor]) -> Outputs:
        wanted = {n: batch[n].to(self.device, non_blocking=True) for n in self.task.labels}
        losses: Outputs = self._criterion({n: v.float() for n, v in found.items()}, wanted)
        return losses

    def _criterion(self, found: Outputs, wanted: Outputs) -> Outputs:
        if len(self.task.labels) == 1:
            (label,) = self.task.labels
            losses: Outputs = self.criterion(found[label], wanted[label])
        else:
            losses = self.criterion(found, wanted)
        return losses

    def _validate(self, loader: Any) -> dict[str, float]:
        """Losses and metrics of all validation examples together, by the averaged weights."""
        found: dict[str, list[torch.Tensor]] = {name: [] for name in self.task.labels}
        wanted: dict[str, list[torch.Tensor]] = {name: [] for name in self.task.labels}
        with torch.inference_mode(), self._averaged():
            for batch in _whole(loader):
                outputs = self.task.outputs(self.model(self._pictures(batch)))
                for name in self.task.labels:
                    found[name].append(outputs[name].float().cpu())
                    wanted[name].append(batch[name])
        predicted = {name: torch.cat(parts) for name, parts in found.items()}
        labels = {name: torch.cat(parts) for name, parts in wanted.items()}
        self.criterion.to("cpu")
        losses = self._criterion(predicted, labels)
        self.criterion.to(self.device)
        epoch = {
            key: float(losses[name]) for name, key in zip(self._names, self._keys, strict=True)
        }
        self._refuse_no_number("validation", epoch["loss"])
        metrics = self.task.metrics(
            {name: value.numpy() for name, value in predicted.items()},
            {name: value.numpy() for name, value in labels.items()},
        )
        return {**epoch, **metrics}

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model predicts by the averaged weights while the block lasts."""
        trained = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.weights)
        self.model.eval()
        try:
            yield
        finally:
            self.model.load_state_dict(trained)

    def _end_epoch(self, fresh: bool, board: Any, progress: EpochProgress) -> None:
        options, output = self.options, self.options.output
        val = self.val_history[-1]
        self.schedule.after_epoch(val["loss"])
        self.epoch += 1
        better = val["loss"] < self.best_val_loss
        if better:
            self.best_val_loss = val["loss"]
        state = self.state()
        # the last one is written last: what is redone after a kill between them is the same
        if better:
            checkpoints.write(output / checkpoints.BEST, state)
        if self.epoch % options.save_every == 0:
            checkpoints.write(output / checkpoints.epoch_file(self.epoch), state)
        checkpoints.write(output / checkpoints.LAST, state)
        if fresh:
            self._forget_earlier()
        self._write_history()
        if board is not None:
            for which, epoch in (("train", self.train_history[-1]), ("val", val)):
                for key, value in epoch.items():
                    board.add_scalar(f"{key}/{which}", value, self.epoch)
        words = ", ".join(what.format(val[key]) for key, what in self.task.words if key in val)
        progress.end(self.train_history[-1]["loss"], val["loss"], words, better)

    def _forget_earlier(self) -> None:
        """Remove what an earlier training in this folder wrote and this one has not yet."""
        output, network = self.options.output, self.task.network
        stale = [output / checkpoints.FINAL, output / f"{network}.onnx", output / CURVES]
        due = self.epoch % self.options.save_every == 0
        mine = checkpoints.epoch_file(self.epoch) if due else None
        stale += [path for path in output.glob("checkpoint_epoch_*.pt") if path.name != mine]
        for path in stale:
            path.unlink(missing_ok=True)
        package = output / f"{network}.mlpackage"
        if package.is_dir():
            import shutil

            shutil.rmtree(package)

    def _write_history(self) -> None:
        write_history(
            self.options.output / HISTORY,
            self.train_history,
            self.val_history,
            self.best_val_loss,
            self.task.au_names,
        )

    def _waited(self) -> int:
        """Epochs since the one with the lowest loss."""
        losses = [epoch["loss"] for epoch in self.val_history]
        numbers = [loss for loss in losses if math.isfinite(loss)]
        return len(losses) - 1 - losses.index(min(numbers)) if numbers else len(losses)

    def _finish(self) -> None:
        output, network = self.options.output, self.task.network
        checkpoints.write(output / checkpoints.FINAL, self.state())
        self._write_history()
        draw_curves(output / CURVES, self.train_history, self.val_history)
        best = output / checkpoints.BEST
        model = self.task.make(self.options)
        checkpoints.give_weights(model, best, checkpoints.read(best, network))
        made = self.task.to_onnx(model, output / f"{network}.onnx")
        logger.info("written: %s", made)
        try:
            made = self.task.to_coreml(model, output / f"{network}.mlpackage")
            logger.info("written: %s (converted here; it runs, and is compared, on macOS)", made)
        except FacemakeError as error:
            logger.warning("no CoreML: %s", error)

    # checkpoints

    def state(self) -> dict[str, Any]:
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
            "metrics": self.val_history[-1],
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
        if config["epochs"] != mine["epochs"]:
            logger.warning(
                "%s was to end after %d epochs and now ends after %d: the learning rate falls by "
                "the new number from here on, which no uninterrupted training does",
                *(path, config["epochs"], mine["epochs"]),
            )
        lines = [
            f"{flag(name)} is {value}, and was {config.get(name, 'not there')}"
            for name, value in mine.items()
            if name not in _WHEN_IT_ENDS and config.get(name) != value
        ]
        if found["data"]["sha256"] != self.data["sha256"]:
            lines.append(
                f"{self.options.data} has SHA-256 {self.data['sha256'][:12]}…, and the training "
                f"set was {found['data']['file']} with {found['data']['sha256'][:12]}…"
            )
        if lines:
            raise ConfigError(
                f"{path} cannot be resumed with something else: train anew, or leave away what "
                "is different\n" + "\n".join(f"  {line}" for line in lines)
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

    # around it

    @contextlib.contextmanager
    def _board(self) -> Iterator[Any]:
        """Where TensorBoard reads from; None where it is not asked for, or not there."""
        if not self.options.tensorboard:
            yield None
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.warning(
                "no curves for TensorBoard: it is not installed (pip install tensorboard); "
                "%s and %s have them",
                *(HISTORY, CURVES),
            )
            yield None
            return
        writer = SummaryWriter(str(self.options.output / "tensorboard"), purge_step=self.epoch + 1)
        try:
            yield writer
        finally:
            writer.close()

    @contextlib.contextmanager
    def _memory_in_words(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            said = str(error).strip().split("\n")[0][:300]
            if (
                isinstance(error, MemoryError | torch.OutOfMemoryError)
                or "out of memory" in said
                or "can't allocate memory" in said
            ):
                raise PassingError(
                    f"the memory of {self.device} does not suffice for batches of "
                    f"{self.options.batch_size}: give a smaller --batch-size (or --width-mult). "
                    f"PyTorch says: {said}"
                ) from None
            if "DataLoader worker" in str(error):
                raise PassingError(
                    "a process that loads examples was ended from outside, mostly for memory or "
                    "for a small /dev/shm (in a container: --shm-size): give fewer --num-workers "
                    f"(0: none). PyTorch says: {said}"
                ) from None
            raise


def _whole(loader: Any) -> Iterator[dict[str, torch.Tensor]]:
    """The batches of a loader.

    Raises:
        FacemakeError: what a worker met.
    """
    for batch in loader:
        if isinstance(batch, str):
            raise FacemakeError(batch)
        yield batch


def _on_cpu(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies in the usual order of memory, which is what others read."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }


def _seed(seed: int) -> None:
    torch.manual_seed(seed)  # of the GPUs, too


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


@contextlib.contextmanager
def _steady() -> Iterator[None]:
    """CuDNN takes the same ways each time, and does not choose them by the clock."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


def with_checkpoint(
    kind: type[Options], network: str, values: dict[str, Any], given: set[str]
) -> Options:
    """The options of a command line, where it resumes filled up from the checkpoint.

    Raises:
        ModelError: the checkpoint is none.
    """
    from facemake.nn.options import resumed

    if values.get("resume") is not None:
        if values["resume"].is_dir():
            values["resume"] /= checkpoints.LAST
        config = checkpoints.read(values["resume"], network).get("config", {})
        values = resumed(values, given, config)
    names = {one.name for one in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})
