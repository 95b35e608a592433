"""The process of one job: make a processor, call its method, put its files into an archive.

`python -m facemake.server.worker JOB_FOLDER SERVER_PID`. It believes `spec.json`, which the server
wrote, and leaves `outcome.json`: the error in words, or that the archive is whole.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil

from facemake.errors import FacemakeError, InstallError
from facemake.runtime.atomic import write_text
from facemake.runtime.job import THREAD_VARIABLES
from facemake.server import words
from facemake.server.wire import BASE, METHODS, SUFFIXES
from facemake.zips import write_zip

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 10.0
_ENGINES = {
    "FaceProcessor3DI": ("3DI", "--runtime-3di"),
    "FaceProcessor3DIlite": ("3DI-lite", "--runtime-3dilite"),
}
"""Class on the wire -> the engine's name, and the option of `facemake serve` that names it."""
_PLACES = ("cmd", "input", "output")  # in a sidecar: they say where


class Processor(Protocol):
    """What the worker uses of a processor; `run_all` and the like are called by name."""

    def io(self, input_file: str, output_dir: str) -> None:
        """Say what to work on."""


def main(folder: Path, server: int) -> int:
    """Do the job of a folder.

    Args:
        folder: the job's.
        server: process id of the server, which the job ends with.

    Returns:
        The exit code: 0 or 1, with an outcome.
    """
    os.umask(0o077)
    _end_with(server)
    signal.signal(signal.SIGTERM, _ended)
    spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (spec["most_bytes"], spec["most_bytes"]))
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    outcome: dict[str, Any]
    try:
        files = run(spec)
        videos = any(path.suffix in SUFFIXES for path in files.values())
        write_zip(folder / "result.zip", files, stored=videos)
        outcome = {"provenance": {name: _sidecar(path) for name, path in files.items()}}
    except (FacemakeError, ValueError, OSError) as error:
        logging.getLogger(__name__).exception("the job failed")
        notes = getattr(error, "__notes__", ())
        outcome = {"error": words.without_paths("\n".join([str(error), *notes]), spec["private"])}
        outcome["error"] = outcome["error"] or type(error).__name__
    except Exception as error:
        logging.getLogger(__name__).exception("this is a bug of facemake, or of the machine")
        outcome = {"error": f"a fault of the server ({type(error).__name__}); its log has more"}
    write_text(folder / "outcome.json", json.dumps(outcome))
    return 1 if "error" in outcome else 0


def run(spec: dict[str, Any]) -> dict[str, Path]:
    """Call the method, and those before it that have not run.

    Returns:
        Name in the archive -> file.

    Raises:
        FacemakeError: the engine failed, or gave what is not in its folder.
    """
    module, _, name = spec["factory"].partition(":")
    factory = getattr(importlib.import_module(module), name)
    options = {key: value for key, value in spec["options"].items() if value is not None}
    if spec["runtime"] is not None:
        options["runtime"] = spec["runtime"]
    try:
        processor: Processor = factory(return_output="file", verbose=True, **options)
    except InstallError as error:
        # what it says is for who runs the server: it is in the log there
        engine, option = _ENGINES[spec["processor_class"]]
        raise FacemakeError(
            f"the server has no {engine} that can be used: whoever runs it names the install, by "
            f"`facemake serve {option} RUNTIME` (a folder, a .sif, a sandbox or a Docker image)"
        ) from error
    processor.io(spec["input"], spec["output"])
    steps = [*spec["earlier"], spec["method"]]
    returned: object = None
    for i, step in enumerate(steps):
        if step not in METHODS:
            raise FacemakeError(f"{step} is no method")
        logging.getLogger("facemake").info("%s (%d of %d)", step, i + 1, len(steps))
        arguments = spec["arguments"] if step == spec["method"] else {}
        if step == "preprocess" and not arguments:
            arguments = {"undistort": True}  # what it is asked for over the wire
        returned = getattr(processor, step)(**arguments)
    output = Path(spec["output"]).resolve()
    files = {}
    for path in map(Path, _flat(returned)):
        place = path.resolve()
        if place.parent != output or path.is_symlink() or not place.is_file():
            raise FacemakeError(f"{spec['method']} gave {path.name}, which is no file of its own")
        if not path.name.startswith(BASE):
            raise FacemakeError(f"{spec['method']} gave {path.name}, not a file of {BASE}")
        files[path.name] = place
    if spec["method"] == "preprocess":
        files |= {path.name: path for path in output.glob(f"{BASE}_preprocessed.*")}
        files = {name: path for name, path in files.items() if not name.endswith(".json")}
    return files


def _flat(returned: object) -> Iterator[str | Path]:
    if isinstance(returned, str | Path):
        yield returned
    elif isinstance(returned, tuple | list):
        for part in returned:
            yield from _flat(part)
    elif returned is not None:
        raise FacemakeError("the engine gave no files")


def _sidecar(path: Path) -> dict[str, Any]:
    """What the file beside a result says of how it was made, without places of this machine."""
    try:
        document = json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict):
        return {}
    if isinstance(document.get("camera"), str):
        document.pop("camera")  # the path of the session's own file
    return {key: value for key, value in document.items() if key not in _PLACES}


def _ended(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # engines stop what they started on their way out


def _end_with(server: int) -> None:
    """End with the server, and everything that was started here too."""

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getpgid(0), signal.SIGTERM)
        time.sleep(_SECONDS_TO_END)
        for child in psutil.Process().children(recursive=True):  # some lead groups of their own
            with contextlib.suppress(psutil.Error):
                child.kill()
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, name="end-with-server", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
