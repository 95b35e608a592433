"""Backends: one file each, one row each in the registry of their stage, imported when used."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from types import ModuleType
from typing import Any

_IN_RECIPE = frozenset(("models", "stack", "gpu_stack"))
_NO_RESULT = frozenset(("use", "scores", "points", "devices", "own_model"))


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A row of a stage's registry.

    Attributes:
        module: the module that has the backend's `create` function.
        models: names in config/models.yaml.
        stack: the environment that it needs (envs/STACK.yaml).
        gpu_stack: the one that it needs on a GPU, where that is another.
        use: when to use it, in a line.
        devices: what it can compute on, the config's words for it.
        own_model: whether a model file of the user's may take the place of the first of `models`.
        onnx_stacks: the environments, on a CPU and on a GPU, for a file of the user's that is an
            ONNX network (its name ends in .onnx), of a backend that else needs another one.
    """

    module: str
    models: tuple[str, ...]
    stack: str
    use: str
    devices: tuple[str, ...] = ("cpu",)
    own_model: bool = False
    gpu_stack: str = ""
    onnx_stacks: tuple[str, str] | None = None

    @property
    def deciding(self) -> dict[str, Any]:
        """What of the row a result can hang on besides the models, device and libraries."""
        names = (field.name for field in fields(self))
        return {name: getattr(self, name) for name in names if name not in _IN_RECIPE | _NO_RESULT}

    def load(self) -> ModuleType:
        """Import the backend's module (and with it its libraries)."""
        return import_module(self.module)
