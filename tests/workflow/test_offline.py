"""A run on a machine without a network: nothing is asked of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runworkflow import bytes_of, command, environment, study

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("offline")]

# In every Python of the run: whoever asks for a name or an address is written down, and refused.
WATCH = """
import os, sys

def hook(event, args):
    if event == "socket.getaddrinfo":
        asked = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        asked = args[1][0]
    else:
        return
    name = asked.decode() if isinstance(asked, bytes) else asked
    if name not in (None, "", "localhost", "127.0.0.1", "::1"):
        with open(os.environ["FACEMAKE_TEST_ASKED"], "a") as handle:
            handle.write(f"{event} {name} {sys.argv}\\n")
        raise OSError("there is no network")

sys.addaudithook(hook)
"""


def without_network() -> list[str]:
    """Starts a command in a network of its own, with no device up; nothing where that is denied."""
    for options in (["--net"], ["--map-root-user", "--net"]):
        try:
            subprocess.run(["unshare", *options, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return ["unshare", *options]
    return []


def run(folder: Path, words: list[str]) -> tuple[int, str, str]:
    """Exit code, output, and who asked for the network."""
    (folder / "watch").mkdir(exist_ok=True)
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    env = environment(folder)
    env["PYTHONPATH"] = f"{folder / 'watch'}{os.pathsep}{env['PYTHONPATH']}"
    env["FACEMAKE_TEST_ASKED"] = str(folder / "asked")
    done = subprocess.run(
        [*without_network(), *words],
        env=env,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    asked = folder / "asked"
    return done.returncode, done.stdout, asked.read_text() if asked.exists() else ""


def test_the_watch_sees_who_asks(tmp_path: Path):
    code = "import urllib.request as u; u.urlopen('http://example.org/')"
    ended, _, asked = run(tmp_path, [sys.executable, "-c", code])
    assert ended and "example.org" in asked


def test_no_job_asks_for_the_network(bundled: Path, tmp_path: Path):
    samples = [("portraits", bundled / "portraits")]
    study(tmp_path, samples, cache_dir=str(tmp_path / "cache"))
    fetch = [sys.executable, "-m", "facemake", "fetch"]
    assert run(tmp_path, fetch) == (0, "", ""), "the default models come with packages"
    ended, said, asked = run(tmp_path, command(tmp_path))
    assert ended == 0, said
    assert asked == ""
    assert len(bytes_of(tmp_path / "results")) > 10
