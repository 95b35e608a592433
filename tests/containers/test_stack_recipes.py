"""The recipes of facemake's own images, read: nothing unpinned, and the same in both."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT

FOLDER = ROOT / "containers"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
DEFINITION = (FOLDER / "facemake.def").read_text()
STEPS = sorted((FOLDER / "steps").glob("*.sh"))


def stacks() -> set[str]:
    """Of the config."""
    schema = yaml.safe_load((ROOT / "config" / "config.schema.yaml").read_text())
    return set(schema["properties"]["containers"]["properties"])


def test_the_base_has_to_be_named():
    assert re.findall(r"^(?:ARG BASE|FROM) ?.*", DOCKERFILE, re.M) == ["ARG BASE", "FROM ${BASE}"]
    assert re.findall(r"^From: (.*)", DEFINITION, re.M) == ["{{ BASE }}"]
    assert "BASE=" not in DEFINITION
    for text in (DOCKERFILE, DEFINITION, (FOLDER / "README.md").read_text()):
        assert not re.search(r"(FROM|From:) *\w+:", text)


def test_only_a_digest_or_a_folder_is_taken(tmp_path: Path):
    build = [sys.executable, str(FOLDER / "build_images.py"), "--only-base"]
    for base in (
        "python:3.11-slim",
        "python:3.11@sha256:abc",
        "docker://python",
        str(FOLDER / "x"),
    ):
        words = ["--base", base, "--wheels", str(tmp_path)]
        done = subprocess.run([*build, *words], capture_output=True, text=True)
        assert done.returncode == 2, base
        assert "neither an image by digest nor a folder" in done.stderr
    for base in (f"python@sha256:{'0' * 64}", f"reg.example:5000/a/python@sha256:{'0' * 64}"):
        words = ["--base", base, "--wheels", str(tmp_path)]
        done = subprocess.run([*build, *words], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{base}\n")


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.name)
def test_steps_are_shell_that_stops_at_the_first_error(path: Path):
    subprocess.run(["sh", "-n", path], check=True)
    assert "\nset -eu\n" in path.read_text()
    assert path.stat().st_mode & 0o111


def test_all_comes_from_the_lock_by_its_hashes():
    text = (FOLDER / "steps" / "install.sh").read_text()
    (command,) = re.findall(r"^    install (?:.*\\\n)*.*$", text, re.M)
    for option in ("--no-deps", "--require-hashes", "--no-build-isolation"):
        assert option in command
    for recipe in (DOCKERFILE, DEFINITION, *(path.read_text() for path in STEPS)):
        assert not re.search(r"\b(curl|wget|git clone|apt-get|ADD)\b", recipe)
    # what is installed in the build is a step of its own, so that code alone does not do it again
    steps = [path.name for path in STEPS if f"steps/{path.name}" in DOCKERFILE]
    assert steps == [path.name for path in STEPS if f"steps/{path.name} " in DEFINITION]


def installed(stack: str) -> list[str]:
    """The locks that `steps/install.sh` chooses for a stack."""
    text = (FOLDER / "steps" / "install.sh").read_text()
    choice = text[text.index("case $stack in") : text.index("esac") + len("esac")]
    script = f'stack={stack}\n{choice}\necho "$locks"'
    done = subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_every_stack_has_a_lock_and_an_image():
    sys.path.insert(0, str(FOLDER))
    import build_images

    assert set(build_images.STACKS) == stacks()
    assert set(build_images.DEFAULT) | set(build_images.GPU.values()) <= stacks()
    for stack in (*build_images.STACKS, *build_images.GPU, *build_images.WHOLE):
        for name in build_images.locks(stack):
            lock = (ROOT / "requirements" / f"{name}.txt").read_text()
            packages = re.findall(r"^[a-z0-9].*$(?:\n +.*)*", lock, re.M)
            assert packages and all("==" in p and "--hash=sha256:" in p for p in packages), name
        assert installed(stack) == [f"{name}.txt" for name in build_images.locks(stack)[2:]]


def test_an_unknown_stack_is_refused(tmp_path: Path):
    done = subprocess.run(
        [str(FOLDER / "steps" / "install.sh"), "nothing"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "no such stack: nothing" in done.stderr


def test_facemake_is_in_no_stack():
    """In an image it would hide the workflow's own (`facemake.runtime.libraries`)."""
    for path in STEPS:
        assert "install -e" not in path.read_text() and "install ." not in path.read_text()
    assert "PYTHONPATH" not in DOCKERFILE and "PYTHONPATH" not in DEFINITION


def test_what_the_image_of_the_workflow_has_is_there():
    text = (FOLDER / "steps" / "workflow.sh").read_text()
    (entries,) = re.findall(r"^for entry in (.*); do$", text, re.M)
    sys.path.insert(0, str(FOLDER))
    import build_images

    assert tuple(entries.split()) == build_images.SOURCES
    assert all((ROOT / entry).exists() for entry in build_images.SOURCES)
