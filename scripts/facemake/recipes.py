"""What a stage does under a config: its recipe, its environment, whether it is wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from facemake.backends import Backend
from facemake.engines import stages
from facemake.engines.stage import Config
from facemake.fingerprints import code_fingerprint
from facemake.models import model
from facemake.provenance import LIBRARY, Recipe, digest
from facemake.runtime.libraries import public_version

if TYPE_CHECKING:
    from facemake.hashes import HashMemo

ENVIRONMENTS = LIBRARY.parent.parent / "envs"

_COMMON = ("av", "h5py", "numpy", "pillow", "pyarrow")
LIBRARIES: dict[str, tuple[str, ...]] = {
    "core": (*_COMMON, "opencv-contrib-python-headless", "pyfhog"),
    "mediapipe": (*_COMMON, "lapx", "mediapipe", "opencv-contrib-python-headless"),
    "onnx-gpu": (*_COMMON, "lapx", "onnxruntime-gpu", "opencv-contrib-python-headless"),
    "opencv": (*_COMMON, "lapx", "opencv-contrib-python-headless"),
    "dlib": (*_COMMON, "dlib-bin", "lapx", "opencv-contrib-python-headless"),
    "onnx": (*_COMMON, "lapx", "onnxruntime", "opencv-contrib-python-headless"),
    "facenet": (*_COMMON, "facenet-pytorch", "lapx", "opencv-contrib-python-headless", "torch"),
    "retinaface": (
        *_COMMON,
        *("lapx", "onnxruntime", "opencv-contrib-python-headless", "retina-face"),
    ),
    "retinaface-gpu": (
        *_COMMON,
        *("lapx", "onnxruntime-gpu", "opencv-contrib-python-headless", "retina-face"),
    ),
    "train": ("h5py", "numpy", "onnxruntime", "opencv-contrib-python-headless", "pyarrow", "torch"),
    "threedi": (*_COMMON, "opencv-contrib-python-headless"),
}
"""Stack -> the libraries that its results can hang on: another version is another recipe."""


def recipe(stage: str, config: Config, memo: HashMemo | None = None) -> Recipe:
    """What a stage does under a config.

    Args:
        stage: its name.
        config: filled with its defaults.
        memo: remembers what was read of the library's code.
    """
    row = stages(config)[stage]
    chosen = row.backend(config)
    name, backend = chosen if chosen else (None, None)
    registered = backend.models if backend else ()
    return Recipe(
        stage=stage,
        backend=name,
        settings=row.settings(config),
        models=(*row.models(config), *(model(m).provenance for m in registered)),
        libraries=libraries(stack(stage, config)),
        code=code_of(f"facemake.stages.{row.module or stage}", [backend] if backend else [], memo),
    )


def code_of(module: str, backends: Sequence[Backend], memo: HashMemo | None = None) -> str:
    """SHA-256 of the code of a module and of backends that it loads, with their own rows.

    The other rows of their registries make no difference.

    Args:
        module: its full name.
        backends: the rows.
        memo: remembers what was read of the library's code.
    """
    modules = (module, *(row.module for row in backends))
    return digest([code_fingerprint(*modules, memo=memo), [row.deciding for row in backends]])


def libraries(stack: str) -> dict[str, str]:
    """The libraries that results of an environment can hang on, with their versions."""
    return {name: _version(name) for name in LIBRARIES[stack]}


@cache
def _version(name: str) -> str:
    """The version of an installed distribution, else the one that the environments pin.

    Where stages run in environments of their own, the main process may not have their libraries;
    those environments have what the files of envs/ pin.
    """
    try:
        return public_version(version(name))
    except PackageNotFoundError:
        for path in sorted((*ENVIRONMENTS.glob("*.yaml"), *ENVIRONMENTS.glob("*.sh"))):
            pin = re.search(
                rf" {re.escape(name)}(?:\[.*\])?==?([\w.]+)", path.read_text(encoding="utf-8")
            )
            if pin:
                return pin[1]
        raise


def stack(stage: str, config: Config) -> str:
    """The environment that `stage` needs under `config`."""
    row = stages(config)[stage]
    chosen = row.backend(config)
    return chosen[1].stack if chosen else row.stack


def enabled(stage: str, config: Config) -> bool:
    """Whether `config` asks for `stage`."""
    rows = stages(config)
    return stage in rows and rows[stage].wanted(config)


def registered_models(config: Config) -> list[str]:
    """The registered models that the stages of `config` load."""
    names: dict[str, None] = {}
    for stage, row in stages(config).items():
        chosen = row.backend(config)
        if enabled(stage, config) and chosen:
            names.update(dict.fromkeys(chosen[1].models))
    return list(names)
