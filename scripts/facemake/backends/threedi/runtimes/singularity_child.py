"""Runs one command in an image through spython: the process that `singularity` starts.

`python -m facemake.backends.threedi.runtimes.singularity_child PLAN`, where PLAN is JSON with
`image`, `command`, `options` and `nv`. It leads a session of its own; at SIGTERM it ends all of it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any


class _Popen(subprocess.Popen[Any]):
    """Lets spython read what a program says that is not UTF-8, and see how its lines end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.stdout, io.TextIOWrapper):
            self.stdout.reconfigure(errors="replace", newline="")


def _end_all(number: int, frame: FrameType | None) -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> int:
    """Run the plan; returns the command's exit code."""
    signal.signal(signal.SIGTERM, _end_all)
    plan = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        if not shutil.which("singularity"):
            # spython calls it by the old name only
            (Path(folder) / "singularity").symlink_to(str(shutil.which("apptainer")))
            os.environ["PATH"] = os.pathsep.join([folder, os.environ["PATH"]])
        from spython.main import Client

        subprocess.Popen = _Popen  # type: ignore[misc]
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")
        lines = Client.execute(
            plan["image"],
            plan["command"],
            options=plan["options"],
            nv=plan["nv"],
            stream=True,
            stream_type="both",
            quiet=True,
        )
        try:
            for line in lines:
                sys.stdout.write(line)
                sys.stdout.flush()
        except subprocess.CalledProcessError as error:
            return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
