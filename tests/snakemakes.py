"""Runs of Snakemake by processes forked from one that has imported it already.

The import takes a second of CPU, more than most of what the tests have it do. A fork has the words,
folder, environment and outputs that `python -m snakemake` would have been started with, and nothing
of facemake is imported before it.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


def run(
    words: Sequence[str], folder: Path, env: Mapping[str, str], seconds: float
) -> tuple[int, str]:
    """Run `snakemake` with these words; its exit code and what it said.

    Args:
        words: its arguments.
        folder: its working directory.
        env: all of its environment; PYTHONPATH counts.
        seconds: after which it is killed.

    Raises:
        TimeoutError: it was.
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as said:
        asked = {"words": list(words), "folder": str(folder), "env": dict(env), "said": said.name}
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        child = int(server.stdout.readline())
        over = threading.Event()

        def end() -> None:
            over.set()
            os.kill(child, signal.SIGKILL)

        timer = threading.Timer(seconds, end)
        timer.start()
        code = int(server.stdout.readline())
        timer.cancel()
        output = said.read()
    if over.is_set():
        raise TimeoutError(f"snakemake {' '.join(words)} took more than {seconds} s:\n{output}")
    return code, output


@cache
def _server() -> subprocess.Popen[str]:
    """Ends with this process, which holds the other end of its standard input."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SNAKEMAKE", "PYTHONPATH"))}
    return subprocess.Popen(
        [sys.executable, __file__],
        env=kept,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve() -> None:
    import snakemake.cli  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return _become(**json.loads(line))  # and the interpreter ends as it does
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(words: list[str], folder: str, env: dict[str, str], said: str) -> None:
    for number, place in enumerate((os.devnull, said, said)):
        handle = os.open(place, (os.O_WRONLY | os.O_APPEND) if number else os.O_RDONLY)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    paths = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [folder, *paths, *sys.path[1:]]  # the first one is that of this file
    sys.argv[1:] = words
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve()
