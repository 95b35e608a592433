"""Options of a training, on the command line and in Python; no heavy library is needed here."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facemake.errors import ConfigError

SCHEDULES = ("cosine", "plateau")

LEAST_WIDTH = 1 / 16
"""Of a network whose narrowest stage has 16 channels (`facemake.nn.backbones`)."""


def _option(default: Any, what: str, *, decides: bool, metavar: str | None = None) -> Any:
    return field(default=default, metadata={"what": what, "decides": decides, "metavar": metavar})


@dataclass(frozen=True)
class Options:
    """What both networks' trainings have in common; `python -m ... --help` says what each is."""

    data: Path
    output: Path
    epochs: int = _option(100, "passes over the examples", decides=True)
    batch_size: int = _option(32, "most examples per step", decides=True)
    lr: float = _option(1e-3, "the highest learning rate", decides=True)
    weight_decay: float = _option(1e-4, "weight decay of AdamW", decides=True)
    width_mult: float = _option(1.0, "factor on the backbone's channels", decides=True)
    val_split: float = _option(
        0.1, "share to validate with, if the data have no splits", decides=True
    )
    patience: int = _option(30, "stop after this many epochs without a lower loss", decides=True)
    save_every: int = _option(10, "epochs between checkpoint_epoch_*.pt", decides=False)
    seed: int = _option(42, "seed of weights, order, dropout and augmentation", decides=True)
    num_workers: int = _option(4, "processes that load data, at most one per core", decides=False)
    device: str | None = _option(
        None, "cpu, cuda, cuda:1 or mps (default: the best available)", decides=False
    )
    mixed_precision: bool = _option(
        True, "compute in single precision on an NVIDIA GPU too", decides=True
    )
    augment: bool = _option(True, "use the examples unchanged", decides=True)
    schedule: str = _option(
        "cosine", "schedule of the learning rate: cosine, or plateau (halved)", decides=True
    )
    warmup_epochs: float = _option(3.0, "epochs in which the learning rate rises", decides=True)
    ema_decay: float = _option(
        0.999, "decay of the moving average of weights; 0: no average", decides=True
    )
    clip_norm: float = _option(1.0, "longest gradient; 0: no limit", decides=True)
    tensorboard: bool = _option(False, "also write curves for TensorBoard", decides=False)
    resume: Path | None = None

    @property
    def config(self) -> dict[str, Any]:
        """What decides the outcome, for a checkpoint."""
        return {name: getattr(self, name) for name in self.deciding()}

    @classmethod
    def deciding(cls) -> list[str]:
        """Names of the options that decide the outcome."""
        return [one.name for one in _options(cls, deciding=True)]


@dataclass(frozen=True)
class LandmarkPoseOptions(Options):
    """Of `UnifiedLandmarkPoseNet`."""

    # landmarks are in px: gradients are of about 100 at first, and of about 25 soon
    clip_norm: float = _option(50.0, "longest gradient; 0: no limit", decides=True)
    lm_weight: float = _option(1.0, "weight of the loss of landmarks", decides=True)
    gp_weight: float = _option(0.1, "weight of the loss of global parameters", decides=True)
    lp_weight: float = _option(0.01, "weight of the loss of local parameters", decides=True)


@dataclass(frozen=True)
class AUPredictionOptions(Options):
    """Of `AUPredictionNet`."""

    l1_weight: float = _option(1.0, "weight of the smooth absolute error", decides=True)
    ccc_weight: float = _option(0.5, "weight of 1 - concordance correlation", decides=True)
    dropout: float = _option(0.3, "share of features dropped", decides=True)


def _options(kind: type[Options], *, deciding: bool = False) -> list[dataclasses.Field[Any]]:
    found = [one for one in dataclasses.fields(kind) if "what" in one.metadata]
    return [one for one in found if one.metadata["decides"]] if deciding else found


_POSITIVE = ("epochs", "batch_size", "lr", "width_mult", "patience", "save_every")
_NOT_NEGATIVE = ("weight_decay", "num_workers", "warmup_epochs", "clip_norm", "seed")
_SHARES = ("ema_decay", "dropout")


def check(options: Options) -> None:
    """Refuse values that mean nothing.

    Raises:
        ConfigError: with all of them.
    """
    wrong = []
    for one in _options(type(options)):
        value = getattr(options, one.name)
        if one.name in _POSITIVE and not value > 0:
            wrong.append(f"{flag(one.name)} is {value}: it must be above 0")
        if (one.name in _NOT_NEGATIVE or one.name.endswith("_weight")) and not value >= 0:
            wrong.append(f"{flag(one.name)} is {value}: it must not be negative")
        if one.name in _SHARES and not 0 <= value < 1:
            wrong.append(f"{flag(one.name)} is {value}: it must be in [0, 1)")
    if 0 < options.width_mult < LEAST_WIDTH:
        wrong.append(
            f"--width-mult is {options.width_mult}: below {LEAST_WIDTH} the narrowest stage of the "
            "network has no channel"
        )
    if options.output.exists() and not options.output.is_dir():
        wrong.append(f"--output is {options.output}, which is a file: it must be a folder")
    if not 0 < options.val_split < 1:
        wrong.append(f"--val-split is {options.val_split}: it must be above 0 and below 1")
    if options.schedule not in SCHEDULES:
        wrong.append(f"--schedule is {options.schedule}: one of {', '.join(SCHEDULES)}")
    if wrong:
        raise ConfigError("\n".join(wrong))


def flag(name: str) -> str:
    """How an option is called on the command line, where it takes a value."""
    return "--" + name.replace("_", "-")


def switch(name: str, default: bool) -> str:
    """How one is called that takes none, and says what is not so by default."""
    if name == "augment":
        return "--no-augmentation"
    return f"--no-{name.replace('_', '-')}" if default else flag(name)


def said(name: str, value: Any, *, short: bool = False) -> str:
    """A value in words: `--lr is 0.01`, `--no-augmentation is given`; short: without the name."""
    kinds: list[type[Options]] = [Options, *Options.__subclasses__()]
    default = next(one.default for kind in kinds for one in _options(kind) if one.name == name)
    if not isinstance(default, bool):
        words = "not there" if value is None else str(value)
        return words if short else f"{flag(name)} is {words}"
    words = "not there" if value is None else "given" if value != default else "not given"
    return words if short else f"{switch(name, default)} is {words}"


def parse(
    kind: type[Options],
    program: str,
    description: str,
    output: str,
    arguments: Sequence[str] | None,
) -> tuple[dict[str, Any], set[str]]:
    """The options of a command line.

    Args:
        kind: which options there are.
        program: how it was called.
        description: what it does.
        output: the default folder.
        arguments: None: those of this process.

    Returns:
        Values by name, defaults included, and the names of those that were given.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog="After each epoch there is a checkpoint_last.pt in the output folder; --resume with "
        "it continues as if nothing had happened. Options that are not given are then the "
        f"checkpoint's. Example: {program} --data results/dataset/training_data.h5 --epochs 50",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="H5", help="the training set")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help=f"where to write (default: {output})"
    )
    for one in _options(kind):
        _add(parser, one)
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="PT",
        help="continue from this checkpoint, or from a folder's last one",
    )
    given = vars(parser.parse_args(arguments))
    defaults = {one.name: one.default for one in _options(kind)}
    return {"output": Path(output), **defaults, **given}, set(given)


def _add(parser: argparse.ArgumentParser, one: dataclasses.Field[Any]) -> None:
    default, what = one.default, one.metadata["what"]
    if isinstance(default, bool):
        parser.add_argument(
            switch(one.name, default),
            dest=one.name,
            action="store_const",
            const=not default,
            help=what,
        )
        return
    kind: Callable[[str], Any] = str if default is None else type(default)
    number = isinstance(default, int | float)
    shown = (
        ""
        if default is None
        else f" (default: {default:g})"
        if number
        else f" (default: {default})"
    )
    parser.add_argument(
        flag(one.name),
        type=kind,
        metavar={int: "N", float: "X", str: "NAME"}[kind],  # type: ignore[index]
        choices=SCHEDULES if one.name == "schedule" else None,
        help=what + shown,
    )


def resumed(
    values: Mapping[str, Any], given: set[str], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Options for going on: those that were not given are the checkpoint's."""
    return {
        name: config[name] if name in config and name not in given else value
        for name, value in values.items()
    }
