"""How a program of an install is started: as it is, in a Singularity image, in a Docker image.

Whatever runs it: arguments are a list, the recording is read-only, only the output folder can be
written to, an image has no network, it runs as this user, on the GPUs that the scheduler gave
(`CUDA_VISIBLE_DEVICES`), for at most so long, and what it says is in the log.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from facemake.backends.threedi.install import Form, Install
from facemake.errors import FacemakeError, PassingError

logger = logging.getLogger(__name__)

INPUT = "/app/input"
OUTPUT = "/app/output"
"""Where an image sees the recording and the output folder."""


class RunError(FacemakeError):
    """A program failed: the message has its exit code and the end of what it said."""


class PassingRunError(RunError, PassingError):
    """A program was ended from outside, or memory was short: it may go well the next time."""


class SampleError(RunError):
    """A program could not do this recording, as far as can be told: another one it might."""


class TimeLimitError(SampleError):
    """A program ran longer than it may and was ended."""


@dataclass(frozen=True)
class Input:
    """A file that a program reads, whatever folder it is in."""

    path: Path


@dataclass(frozen=True)
class Output:
    """A file in the output folder, which a program reads or writes."""

    name: str


@dataclass(frozen=True)
class Own:
    """A file of the install, relative to it."""

    path: str


Argument = Input | Output | Own | str


@dataclass(frozen=True)
class Call:
    """One run of one program.

    Attributes:
        executable: relative to the install folder.
        arguments: in order.
        output: the output folder.
        limit: seconds that it may take; None: as long as it wants.
    """

    executable: str
    arguments: Sequence[Argument]
    output: Path
    limit: float | None = None

    def inputs(self) -> dict[Path, str]:
        """The files that it is given from outside of the output folder -> where an image has them.

        The first is the recording; further ones have folders of their own, so that two files of one
        name do not meet.
        """
        paths = dict.fromkeys(a.path for a in self.arguments if isinstance(a, Input))
        return {path: f"{INPUT}{number or ''}/{path.name}" for number, path in enumerate(paths)}

    def inside(self, argument: Argument, root: str) -> str:
        """An argument as a program in an image wants it; `root` is the install there."""
        if isinstance(argument, Input):
            return self.inputs()[argument.path]
        if isinstance(argument, Output):
            return f"{OUTPUT}/{argument.name}"
        if isinstance(argument, Own):
            return f"{root}/{argument.path}"
        return argument


@dataclass
class Ended:
    """How a program ended.

    Attributes:
        command: as it was started, for people to read.
        code: its exit code.
        said: the last lines that it said.
    """

    command: list[str]
    code: int
    said: list[str] = field(default_factory=list)


class Runtime(Protocol):
    """What each way to run an install offers."""

    def run(self, call: Call) -> Ended:
        """Run a program to its end.

        Raises:
            TimeLimitError: it was ended because of its limit.
            RunError: it cannot be started at all.
        """
        ...

    def identity(self) -> str:
        """What names the install's content: SHA-256 of its files, of its image, or Docker's id.

        Raises:
            RunError: it cannot be looked at (no such image, the engine does not run).
        """
        ...


_MODULES: Mapping[Form, str] = {
    Form.FOLDER: "folder",
    Form.SINGULARITY: "singularity",
    Form.DOCKER: "docker",
}


def runtime(install: Install) -> Runtime:
    """What runs the programs of an install.

    Raises:
        RunError: a package for it is not installed; the message names the extra.
    """
    module = import_module(f"{__name__}.{_MODULES[install.form]}")
    made: Runtime = module.create(install)
    return made


def visible_devices() -> str | None:
    """The GPUs that the scheduler gave to this job; None where it gave none in particular."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def has_nvidia() -> bool:
    """Whether this machine has an NVIDIA GPU with its driver."""
    return Path("/dev/nvidiactl").exists()
