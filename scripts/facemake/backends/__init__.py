"""Backends: one file each, one row each in the registry of their stage, imported when used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib import import_module
from types import ModuleType
from typing import Any

from facemake.errors import ModelError

_INSTALLS = {
    "onnx": "`make onnx`, or pip install 'facemake[onnx]'",
    "onnx-gpu": "pip install 'facemake[onnx-gpu]'",
    "retinaface": "pip install 'facemake[retinaface]'",
    "retinaface-gpu": "pip install 'facemake[retinaface,onnx-gpu]'",
    "facenet": "`make facenet`",
}
"""Stack -> what installs what the default environment lacks."""

_IN_RECIPE = frozenset(("models", "stack", "gpu_stack", "onnx_stacks", "clone"))
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

    @contextmanager
    def needed(self, device: str = "cpu") -> Iterator[None]:
        """While the backend is loaded and made.

        Raises:
            ModelError: a package that it needs is not installed; the message says what installs it.
        """
        try:
            yield
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "facemake":
                raise
            stack = self.gpu_stack if self.gpu_stack and device != "cpu" else self.stack
            cure = _INSTALLS.get(stack, "install facemake again, with all that it depends on")
            raise ModelError(
                f"{self.module.rpartition('.')[2]} needs the package {error.name}, which is not "
                f"installed: {cure}"
            ) from None
