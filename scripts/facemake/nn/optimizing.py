"""How weights move: the learning rate over the steps, which share of it, and their average."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from facemake.nn.options import Options

_LOWEST_RATE = 0.01
"""Of the highest learning rate: where the cosine ends, and what a plateau goes down to."""

_PLATEAU_EPOCHS = 5
"""Without a lower loss, after which the rate is halved."""

FEW_INPUTS = 256
"""Of a linear layer that takes the full learning rate."""


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
