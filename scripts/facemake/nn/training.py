"""The training of either network: steps, validation, checkpoints, and what is left at the end.

Weights are trained by AdamW; those to predict with are their moving average over the steps, which
is what validation looks at and what a checkpoint's `model_state_dict` is. A training that was
interrupted and goes on from `checkpoint_last.pt` gives what it would have given: on a CPU with the
same number of threads, bit for bit.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facemake.backends import torch_model
from facemake.errors import FacemakeError, PassingError
from facemake.nn import checkpoints
from facemake.nn.batches import Order, make_loader, usable_workers
from facemake.nn.history import CURVES, HISTORY, draw_curves, write_history
from facemake.nn.loader import TrainingDataset, augmentation_for, summary
from facemake.nn.optimizing import MovingAverage, Schedule, parameter_groups
from facemake.nn.options import Options, check
from facemake.nn.progress import EpochProgress
from facemake.nn.resuming import Resumable
from facemake.nn.tasks import Outputs, Task
from facemake.provenance import file_sha256
from facemake.runtime.locks import ShardLock

logger = logging.getLogger(__name__)


_BYTES_TO_MENTION = 2 << 30

_HALF = {"cuda": torch.float16}
"""Kind of device -> what a network computes in where precision is mixed; others know none."""


class Training(Resumable):
    """One training of one network.

    Args:
        task: which network.
        options: of it; those of `options.resume` must be these.

    Raises:
        FacemakeError: data, options, device or checkpoint are not what they must be.
    """

    def __init__(self, task: Task, options: Options) -> None:
        check(options)
        self.task, self.options = task, options
        self.device = options.device or torch_model.best_device()
        torch_model.require(self.device)
        self._kind = torch.device(self.device).type
        self._half = _HALF.get(self._kind) if options.mixed_precision else None
        self._datasets()
        self.data = self._describe_data()
        _seed(options.seed)
        self.model = task.make(options)
        means, spreads = self._moments()
        if options.resume is None:
            self.model.start_from(means)
        self.criterion = task.loss(options)
        self._leave_out(spreads)
        self.model.to(self.device, memory_format=torch.channels_last)
        self.criterion.to(self.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model), lr=options.lr, weight_decay=options.weight_decay
        )
        self.order = Order(self.train_set.rows, options.batch_size, options.seed)
        self.schedule = Schedule(self.optimizer, options, len(self.order))
        self.average = MovingAverage(self.model, options.ema_decay)
        self.scaler = torch.amp.GradScaler(
            self._kind if self._half else "cuda", enabled=self._half is not None
        )
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
            self.train_set.augmentation = augmentation_for(
                self.train_set, options.seed, self.task.augmentation
            )

    def _moments(self) -> tuple[Outputs, Outputs]:
        """Mean and standard deviation of the labels to train with.

        Raises:
            FacemakeError: there is none, or none to validate with.
        """
        means, spreads = self.train_set.moments()
        path, (first, *_) = self.options.data, self.task.labels
        for which, found, so in (
            ("train", means, "there is nothing to learn"),
            ("validate", self.val_set.moments()[0], "no epoch could be told from another"),
        ):
            if not torch.isfinite(found[first]).any():
                raise FacemakeError(
                    f"{path} has no {first} that are numbers among the examples to {which} with: "
                    f"{so}"
                )
        for name, mean in means.items():
            there = torch.isfinite(mean)
            if there.all():
                continue
            which = "they"
            if self.task.au_names is not None:
                which = ", ".join(np.array(self.task.au_names)[~there.numpy()])
            logger.warning(
                "%s has examples to train with, and no %s of some kind (%s): what the network "
                "will say of it means nothing",
                *(path, name, which),
            )
        return means, spreads

    def _leave_out(self, spreads: Outputs) -> None:
        if self.task.leave_out is None or self.task.au_names is None:
            return
        if still := self.task.leave_out(self.criterion, spreads):
            logger.info(
                "%s hardly move in %s: their correlation is no part of the loss",
                *(", ".join(self.task.au_names[i] for i in still), self.options.data),
            )

    def _describe_data(self) -> dict[str, Any]:
        path = self.options.data
        if path.stat().st_size > _BYTES_TO_MENTION:
            logger.info("%s: hashing %.1f GB", path, path.stat().st_size / 1e9)
        return {"file": path.name, "sha256": file_sha256(path), **summary(self.train_set)}

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

    def _epochs(self, fresh: bool, board: Any) -> None:
        options = self.options
        workers, pin = usable_workers(options.num_workers), self._kind == "cuda"
        train = make_loader(self.train_set, self.order, workers, pin)
        rows = Order(self.val_set.rows, options.batch_size, None)
        val = make_loader(self.val_set, rows, min(workers, 1), pin)
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
        with torch.autocast(self._kind, self._half, enabled=self._half is not None):
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
        state = self._state()
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

    def _finish(self) -> None:
        output, network = self.options.output, self.task.network
        checkpoints.write(output / checkpoints.FINAL, self._state())
        self._write_history()
        if self.train_history and self.val_history:  # a checkpoint of pyfaceau's may have none
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
            # only who installed coremltools expects such a file
            known = importlib.util.find_spec("coremltools") is not None
            logger.log(logging.WARNING if known else logging.INFO, "no CoreML: %s", error)

    @contextlib.contextmanager
    def _board(self) -> Iterator[Any]:
        """Where TensorBoard reads from; None where it is not asked for, or not there."""
        if not self.options.tensorboard:
            yield None
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            logger.warning(
                "no curves for TensorBoard: it cannot be imported (%s); pip install "
                "'facemake[tensorboard]'. %s and %s have them",
                *(error, HISTORY, CURVES),
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


def _seed(seed: int) -> None:
    torch.manual_seed(seed)  # of the GPUs, too


@contextlib.contextmanager
def _steady() -> Iterator[None]:
    """CuDNN takes the same ways each time, and does not choose them by the clock."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
