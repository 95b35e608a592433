"""A forked run of Snakemake is what a started one is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import snakemakes

SEEN = """
import json, os, sys
seen = [sys.path, sys.argv, os.getcwd(), sorted(os.environ.items()), sys.stdin.read(), os.isatty(1)]
print("SEEN", json.dumps(seen), file=sys.stderr)
assert "end" not in config
if "sleep" in config:
    import time
    time.sleep(60)

rule all:
    run:
        raise ValueError
"""


def test_it_has_the_words_the_place_and_the_environment_of_one(tmp_path: Path):
    (tmp_path / "Snakefile").write_text(SEEN)
    (tmp_path / "here").mkdir()
    env = {name: os.environ[name] for name in ("PATH", "HOME")}
    env |= {"LC_ALL": "C.UTF-8", "PYTHONPATH": "/some:/where", "EMPTY": ""}
    words = ["-s", "../Snakefile", "--cores", "1", "-n"]
    started = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=tmp_path / "here",
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    code, said = snakemakes.run(words, tmp_path / "here", env, 60)
    assert code == 0 and "SEEN" in said

    def seen(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith("SEEN")]

    assert seen(said) == seen(started.stdout)
    assert len(said.splitlines()) == len(started.stdout.splitlines())


def test_it_ends_as_one_does(tmp_path: Path):
    (tmp_path / "Snakefile").write_text(SEEN)
    env = {**os.environ, "HOME": str(tmp_path)}
    code, said = snakemakes.run(["--cores", "1", "--config", "end=1"], tmp_path, env, 60)
    assert code == 1 and "AssertionError" in said
    with pytest.raises(TimeoutError, match="took more than"):
        snakemakes.run(["--cores", "1", "--config", "sleep=1"], tmp_path, env, 0.5)
