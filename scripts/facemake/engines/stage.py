"""What is known of a stage before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from facemake.backends import Backend

Config = Mapping[str, Any]
Models = tuple[Mapping[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the workflow: one rule, one script, one module of `facemake.stages`.

    Attributes:
        stack: the environment of its code (envs/STACK.yaml) unless its backend names another.
        module: the module of `facemake.stages` that does it; "": that of its name.
        settings: the part of the config that its result depends on.
        backend: the chosen row of its registry, by the config.
        models: the model files that its own code uses, by the config, as a recipe names them.
        wanted: whether the config asks for it.
    """

    stack: str = "core"
    module: str = ""
    settings: Callable[[Config], dict[str, Any]] = lambda config: {}
    backend: Callable[[Config], tuple[str, Backend] | None] = lambda config: None
    models: Callable[[Config], Models] = lambda config: ()
    wanted: Callable[[Config], bool] = lambda config: True
