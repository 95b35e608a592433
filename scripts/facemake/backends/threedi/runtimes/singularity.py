"""An install in a Singularity image or sandbox, run by spython.

spython runs in a process of its own (`singularity_child`), which this one can end whole: spython
itself knows no time limit.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

from facemake.backends.threedi.install import Install
from facemake.backends.threedi.runtimes import (
    OUTPUT,
    Call,
    Ended,
    RunError,
    has_nvidia,
    visible_devices,
)
from facemake.backends.threedi.runtimes.identity import file_identity, folder_identity
from facemake.backends.threedi.runtimes.process import run_child
from facemake.provenance import LIBRARY

# Each option has a variable: what a user has set for other images (mounts, overlays, variables)
# would have programs see other files than those that an image's identity is of.
_ITS_OWN = re.compile("APPTAINER|SINGULARITY")
_KEPT = frozenset(
    f"{prefix}_{name}"
    for prefix in ("APPTAINER", "SINGULARITY")
    for name in ("CACHEDIR", "LOCALCACHEDIR", "TMPDIR", "CONFIGDIR")
)
CHILD = "facemake.backends.threedi.runtimes.singularity_child"


class SingularityRuntime:
    """Runs programs of a read-only image."""

    def __init__(self, install: Install) -> None:
        if find_spec("spython") is None:
            raise RunError(
                f"{install.location} is run by spython, which is not installed: in "
                "facemake's own folder, pip install -e '.[3di]'"
            )
        if not (shutil.which("singularity") or shutil.which("apptainer")):
            raise RunError(
                f"{install.location} is run by Singularity or Apptainer, and neither is on PATH: "
                "install it, or load its module"
            )
        self._install = install

    def run(self, call: Call) -> Ended:
        """See `Runtime`."""
        root = self._install.root
        seen = call.inputs()
        command = [f"{root}/{call.executable}"]
        command += [call.inside(a, root) for a in call.arguments]
        mounts = [_mount(path.resolve(), where, True) for path, where in seen.items()]
        mounts.append(_mount(call.output.resolve(), OUTPUT, False))
        options = ["--containall", "--no-home", "--net", "--network", "none", "--pwd", root]
        for mount in mounts:
            options += ["--mount", mount]
        plan = {
            "image": self._install.location,
            "command": command,
            "options": options,
            "nv": has_nvidia(),
        }
        ended = run_child(
            # -P: no module is looked for in its working directory, where others may write
            [sys.executable, "-P", "-m", CHILD, json.dumps(plan)],
            name=call.executable,
            folder=call.output,
            environment=self._environment(),
            limit=call.limit,
            end_signal=signal.SIGTERM,  # the child ends all that it started
        )
        nv = ["--nv"] if plan["nv"] else []
        ended.command = ["singularity", "exec", *nv, *options, self._install.location, *command]
        return ended

    def _environment(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not _ITS_OWN.match(k) or k in _KEPT}
        paths = [str(LIBRARY.parent), *env.get("PYTHONPATH", "").split(os.pathsep)]
        # a relative one is of our working directory, not of the child's
        found = [os.path.abspath(path) for path in paths if path]  # noqa: PTH100
        env["PYTHONPATH"] = os.pathsep.join(found)
        inside = {"MPLCONFIGDIR": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"}  # noqa: S108
        inside["PYTHONUNBUFFERED"] = "1"
        devices = visible_devices()
        if devices is not None:
            inside["CUDA_VISIBLE_DEVICES"] = devices
        for name, value in inside.items():
            env[f"APPTAINERENV_{name}"] = env[f"SINGULARITYENV_{name}"] = value
        return env

    def identity(self) -> str:
        """See `Runtime`: SHA-256 of the image file, or over the install in a sandbox."""
        folder = self._install.folder
        if folder is not None:
            return folder_identity(folder, self._install.engine)
        return file_identity(Path(self._install.location))


def _mount(source: Path, target: str, read_only: bool) -> str:
    """A bind mount as `--mount` wants it: a row of CSV, so that any path can be said."""
    fields = ["type=bind", f"source={source}", f"destination={target}"]
    text = io.StringIO()
    # it quotes what is in its own end of a line, too
    csv.writer(text, lineterminator="\r\n").writerow([*fields, "ro"] if read_only else fields)
    return text.getvalue().removesuffix("\r\n")


def create(install: Install) -> SingularityRuntime:
    """What the registry calls."""
    return SingularityRuntime(install)
