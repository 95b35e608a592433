"""Stand-ins for the processors, as the tests of the server use them: they write made up tables.

What is to go wrong is the name of the landmark model, which is what goes over the wire.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FITTED = ("expression", "pose", "expression_smooth", "pose_smooth", "landmarks_canonicalized")


class StandinProcessor:
    """Writes which options and arguments it was given; counts how often it computed a file."""

    extension = ".3DI"

    def __init__(
        self, return_output: str, verbose: bool, runtime: str | None = None, **options: Any
    ):
        assert return_output == "file" and verbose is True
        self.runtime = runtime
        self.options = options
        self.wish = str(options.get("landmark_model", ""))

    def io(self, input_file: str, output_dir: str) -> None:
        assert Path(input_file).is_file() and Path.cwd() == Path(output_dir)
        self.input = Path(input_file)
        self.output = Path(output_dir)

    def _file(self, kind: str, **arguments: Any) -> str:
        path = self.output / f"{self.input.stem}_{kind}{self.extension}"
        if not path.exists():
            with (self.output / "computed.txt").open("a") as file:
                file.write(f"{kind}\n")
            said = {"options": self.options, "arguments": arguments, "runtime": self.runtime}
            path.write_text(json.dumps(said) + "\n")
            beside = {"backend": "3DI", "cmd": f"run {path}", "input": str(self.input)}
            beside |= {"output": str(self.output), "time": "2026-01-01 00:00:00"}
            path.with_name(f"{path.name}.json").write_text(json.dumps(beside))
        return str(path)

    def _misbehave(self) -> None:
        if self.wish.startswith("sleep-"):
            logging.getLogger("facemake.standin").info("standin: 30/120 frames, in %s", self.output)
            time.sleep(float(self.wish.removeprefix("sleep-")))
        elif self.wish == "wait":  # for `Served.let_go`
            logging.getLogger("facemake.standin").info("standin: 30/120 frames, in %s", self.output)
            while not (self.output.parent.parent / "go").exists():
                time.sleep(0.01)
        elif self.wish == "refuse":
            raise ValueError(
                f"{self.input} has no faces, see {self.output}/x.log\nsays /opt/3DI/fit"
            )
        elif self.wish == "bug":
            raise KeyError(f"{self.input}")
        elif self.wish == "crash":
            print(f"cuda error in {self.output}/frame 3", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        elif self.wish == "exit":
            os._exit(0)
        elif self.wish == "spawn":  # a program that does not want to end
            code = (
                "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
            )
            child = subprocess.Popen([sys.executable, "-c", code])
            (self.output / "child.txt").write_text(str(child.pid))
            time.sleep(60)
        elif self.wish == "fill":
            for i in range(10_000):
                (self.output / f"{i}.bin").write_bytes(bytes(1_000_000))
                time.sleep(0.01)

    def preprocess(self, undistort: bool = False) -> str | None:
        if not undistort:
            return None
        path = self.output / f"{self.input.stem}_preprocessed{self.input.suffix}"
        path.write_bytes(self.input.read_bytes())
        return None

    def detect_faces(self) -> str:
        self._misbehave()
        if self.wish == "escape":
            return "/etc/passwd"
        if self.wish == "link":
            link = self.output / "input_file_link.3DI"
            link.unlink(missing_ok=True)
            link.symlink_to("/etc/passwd")
            return str(link)
        return self._file("rects")

    def detect_landmarks(self) -> str:
        return self._file("landmarks")

    def fit(self, normalize: bool = False, k: int = 1) -> tuple[str, ...]:
        return tuple(self._file(kind, normalize=normalize, k=k) for kind in FITTED)

    def localized_expressions(self, normalize: bool = True) -> str:
        return self._file("expression_localized", normalize=normalize)

    def run_all(self, normalize: bool = True, k: int = 1) -> tuple[str, ...]:
        rects, landmarks = self.detect_faces(), self.detect_landmarks()
        return (rects, landmarks, *self.fit(normalize, k), self.localized_expressions())

    def secret(self) -> str:  # a method that is none on the wire
        return self._file("secret")


class StandinProcessorLite(StandinProcessor):
    """The same under 3DI-lite's name."""

    extension = ".3DIl"
