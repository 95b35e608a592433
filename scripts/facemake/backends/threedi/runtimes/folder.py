"""An install in a folder of this machine: its programs are started as they are."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from facemake.backends.threedi.install import Install
from facemake.backends.threedi.runtimes import Argument, Call, Ended, Input, Output, Own
from facemake.backends.threedi.runtimes.identity import folder_identity
from facemake.backends.threedi.runtimes.process import run_child

# What makes another Python out of the one that facemake runs in: 3DI's scripts want their own, and
# the modules that lie beside them.
_OURS = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV"),
)


class FolderRuntime:
    """Runs programs of an install folder, with that folder as their working directory."""

    def __init__(self, install: Install) -> None:
        self._install = install
        self._root = Path(install.location)

    def run(self, call: Call) -> Ended:
        """See `Runtime`."""
        command = [str(self._root / call.executable)]
        command += [self._argument(a, call) for a in call.arguments]
        return run_child(
            command,
            name=call.executable,
            folder=self._root,
            environment=self._environment(),
            limit=call.limit,
        )

    def _argument(self, argument: Argument, call: Call) -> str:
        if isinstance(argument, Input):
            return str(argument.path.absolute())
        if isinstance(argument, Output):
            return str(call.output.absolute() / argument.name)
        if isinstance(argument, Own):
            return str(self._root / argument.path)
        return argument

    def _environment(self) -> dict[str, str]:
        """The environment without our own Python; the install's `env` first, where it has one.

        Programs in Python say what they say at once, not when they end: one that is ended by its
        time limit has then said something.
        """
        env = {k: v for k, v in os.environ.items() if k not in _OURS}
        path = [p for p in env.get("PATH", os.defpath).split(os.pathsep) if p]
        if sys.prefix != sys.base_prefix:
            own = Path(sys.prefix) / "bin"
            path = [p for p in path if Path(p) != own]
        theirs = self._root / "env" / "bin"
        if theirs.is_dir():
            path.insert(0, str(theirs))
        return {**env, "PATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}

    def identity(self) -> str:
        """See `Runtime`: SHA-256 over the install's programs and models, and its `env` if any.

        Another Python, which the install finds in PATH, is not the install's: it differs between
        the machine that plans a run and the environments and nodes that jobs run in.
        """
        return folder_identity(self._root, self._install.engine)


def create(install: Install) -> FolderRuntime:
    """What the registry calls."""
    return FolderRuntime(install)
