"""Where 3DI or 3DI-lite is on this machine, and what identifies it.

Looked for in this order: a runtime that is named (a folder, a `.sif`, a sandbox folder, a Docker
image), `BITBOX_DOCKER` (an image), then `BITBOX_3DI` or `BITBOX_3DI_LITE` (a folder).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from facemake.backends.threedi import FACTS, Engine, Options
from facemake.errors import InstallError

RUNTIME_VARIABLE = "FACEMAKE_3DI_RUNTIME"
"""Where the workflow's config puts `threedi.runtime` for its jobs."""

_REGISTER = "It needs the Basel Face Model 2009: register at https://faces.dmi.unibas.ch/bfm/, put "
BFM: Mapping[Engine, str] = MappingProxyType(
    {
        Engine.FULL: f"{_REGISTER}01_MorphableModel.mat into models/raw of the install and run "
        "prepare_BFM.py in models",
        Engine.LITE: f"{_REGISTER}01_MorphableModel.mat into data/raw of the install, run "
        "prepare_BFM.py there, and have the face model's folder in models/MMs too",
    }
)
"""What to do where the face model is missing."""


FAILURES_VARIABLE = "FACEMAKE_3DI_FAILURES"
"""Where it puts `threedi.failures`."""


LIMIT_VARIABLE = "FACEMAKE_3DI_SECONDS"
"""Where it puts `threedi.time_limit`."""


def time_limit() -> float | None:
    """Seconds that one program may take for a sample; None: as long as it wants."""
    seconds = os.environ.get(LIMIT_VARIABLE)
    return float(seconds) if seconds else None


def failures_are_marked() -> bool:
    """Whether a sample that a program fails on is marked, so that the others go on."""
    return os.environ.get(FAILURES_VARIABLE) == "mark"


class Form(StrEnum):
    """What an install is run by."""

    FOLDER = "folder"
    SINGULARITY = "singularity"
    DOCKER = "docker"


@dataclass(frozen=True)
class Install:
    """An engine's programs on this machine.

    Attributes:
        engine: which.
        form: how they are run.
        location: the folder, the image file or sandbox, or the Docker image's name.
        root: the install folder as its programs see it.
    """

    engine: Engine
    form: Form
    location: str
    root: str

    @property
    def folder(self) -> Path | None:
        """The install folder where this process can look into it: no image file, no Docker."""
        if self.form is Form.FOLDER:
            return Path(self.location)
        if self.form is Form.SINGULARITY and Path(self.location).is_dir():
            return Path(self.location) / self.root.lstrip("/")
        return None

    def __str__(self) -> str:
        """In words."""
        what = {Form.FOLDER: "the folder", Form.SINGULARITY: "the image", Form.DOCKER: "Docker's"}
        return f"{FACTS[self.engine].name} in {what[self.form]} {self.location}"


def use_settings(named: str | None, failures: str, hours: float | None) -> None:
    """Tell this process, and those that it starts, where the install is and what failures are.

    The environment says it and no parameter of a rule: none of it decides what a success gives, and
    whoever changes it computes nothing again. What the install is stands in every recipe by its
    SHA-256.

    Args:
        named: the runtime as the config has it; None changes nothing.
        failures: `stop`: a program that fails on a sample ends the job; `mark`: the sample is
            marked and the others go on.
        hours: that one program may take for a sample; None: as long as it wants.
    """
    os.environ[FAILURES_VARIABLE] = failures
    os.environ[LIMIT_VARIABLE] = "" if hours is None else repr(float(hours) * 3600)
    if named:
        path = Path(named).expanduser()
        os.environ[RUNTIME_VARIABLE] = str(path.absolute()) if path.exists() else named


def find_install(
    engine: Engine, runtime: str | Path | None = None, environ: Mapping[str, str] | None = None
) -> Install:
    """The engine's install.

    Args:
        engine: which.
        runtime: a folder, a `.sif`, a sandbox folder or a Docker image's name; None: as the
            environment says.
        environ: the environment; None: this process's.

    Raises:
        InstallError: there is none, or it lacks its main program.
    """
    env = os.environ if environ is None else environ
    facts = FACTS[engine]
    named = str(runtime) if runtime else env.get(RUNTIME_VARIABLE, "")
    if named:
        return _from_name(engine, named, "the runtime")
    if env.get("BITBOX_DOCKER"):
        return _from_name(engine, env["BITBOX_DOCKER"], "BITBOX_DOCKER", only_images=True)
    if env.get(facts.variable):
        return _from_folder(engine, Path(env[facts.variable]), facts.variable)
    raise InstallError(
        f"{facts.name} is not found: name its runtime (threedi.runtime in the config, runtime= in "
        f"Python; a folder, a .sif, a sandbox or a Docker image), or set BITBOX_DOCKER to an image "
        f"or {facts.variable} to the install folder"
    )


_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?"  # a registry
    rf"{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@[a-z0-9]+:[0-9a-f]{{32,}})?"
)
"""The name of a Docker image, with tag or digest, as the engine reads it."""


def _from_name(engine: Engine, name: str, origin: str, only_images: bool = False) -> Install:
    path = Path(os.path.expanduser(name))  # noqa: PTH111  Path's own raises for an unknown user
    root = FACTS[engine].folder
    if path.suffix == ".sif":
        if not path.is_file():
            raise InstallError(f"{origin} is {name}, and there is no such image file")
        return Install(engine, Form.SINGULARITY, str(path.absolute()), root)
    if path.is_dir():
        if path.name.rstrip("/").endswith("sandbox") or (path / ".singularity.d").is_dir():
            sandbox = Install(engine, Form.SINGULARITY, str(path.absolute()), root)
            _must_hold(sandbox, sandbox.folder, origin)
            return sandbox
        if not only_images:
            return _from_folder(engine, path, origin)
    if not _IMAGE.fullmatch(name) or path.is_file():
        raise InstallError(
            f"{origin} is {name}, which is neither an install folder, nor a .sif file, nor a "
            "sandbox folder; a Docker image is given by its name, such as bitbox:latest"
        )
    return Install(engine, Form.DOCKER, name, root)


def _from_folder(engine: Engine, path: Path, origin: str) -> Install:
    absolute = Path(os.path.expanduser(path)).absolute()  # noqa: PTH111
    install = Install(engine, Form.FOLDER, str(absolute), str(absolute))
    _must_hold(install, absolute, origin)
    return install


def _must_hold(install: Install, folder: Path | None, origin: str) -> None:
    executable = FACTS[install.engine].executable
    if folder is not None and not (folder / executable).is_file():
        raise InstallError(
            f"{origin} is {install.location}: there is no {executable} in {folder}, so it is no "
            f"install of {FACTS[install.engine].name}"
        )


_CONFIG = re.compile(r"(.+)\.(cfg\d)\.(.+)\.txt")
"""Landmark configuration: face model, number, landmark model (`Options.config_file`)."""


def check_install(install: Install, options: Options) -> None:
    """Refuse a folder install that lacks what its programs will want: configuration, face model.

    What is in an image is seen when its first program runs.

    What the localized basis is kept in differs between installs: its program refuses a wrong name.

    Raises:
        InstallError: with all that is missing and the cures, a line each.
    """
    folder = install.folder
    if folder is None:
        return
    missing = [*_unconfigured(folder, options), *_without_model(install, folder, options)]
    if missing:
        raise InstallError("\n".join(missing))


def _unconfigured(folder: Path, options: Options) -> Iterator[str]:
    """The names that have no landmark configuration, a line each, with those that have."""
    if (folder / options.config_file).is_file():
        return
    there = [_CONFIG.fullmatch(path.name) for path in (folder / "configs").glob("*.txt")]
    number = Path(options.config_file).name.removeprefix(options.morphable_model).split(".")[1]
    pairs = {(found[1], found[3]) for found in there if found and found[2] == number}
    wanted = {"morphable_model": options.morphable_model, "landmark_model": options.landmark_model}
    unknown = 0
    for column, (key, name) in enumerate(wanted.items()):
        known = sorted({pair[column] for pair in pairs})
        if name not in known:
            unknown += 1
            yield (
                f"threedi.{key} is {name}, and {folder} has no landmark configuration of that name "
                f"(no {options.config_file}); it has {', '.join(known) or 'none at all'}"
            )
    if not unknown:
        yield (
            f"{folder} has no {options.config_file}: there is no such landmark configuration for "
            f"the model {options.morphable_model} (threedi.landmark_model, threedi.morphable_model)"
        )


def _without_model(install: Install, folder: Path, options: Options) -> Iterator[str]:
    if (folder / "models" / "MMs" / options.morphable_model).is_dir():
        return
    full = install.engine is Engine.FULL
    raw = folder / ("models" if full else "data") / "raw" / "01_MorphableModel.mat"
    cure = BFM[install.engine]
    if raw.is_file():
        cure = f"{raw} is there: run prepare_BFM.py in {folder / 'models' if full else folder}"
    name = FACTS[install.engine].name
    yield f"{name} in {folder} has no face model {options.morphable_model} (models/MMs). {cure}"
