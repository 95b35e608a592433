"""Real Apptainer and Docker with images of the stand-in for 3DI; skipped where there are none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from debian import UnavailableError, script
from setups import found

setup = script(Path(__file__).with_name("setup.py"))


LONGEST_FIRST = ("test_workflow.py", "test_stacks.py", "test_runtimes.py", "test_server.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files of this folder so that two workers, a file at a time, end at one time."""
    here = [i for i, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    rank = {name: number for number, name in enumerate(LONGEST_FIRST)}
    ordered = sorted((items[i] for i in here), key=lambda item: rank.get(item.path.name, len(rank)))
    for i, item in zip(here, ordered, strict=True):
        items[i] = item


def _state(name: str) -> dict[str, str]:
    """What setup.py left of `name`; skips the test where that is nothing."""
    return found(setup.SETUP, name, "test-containers")


@pytest.fixture(scope="session")
def apptainer() -> Iterator[str]:
    """The command; its folder is on PATH."""
    folder = _state("apptainer")["bin"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", folder, prepend=os.pathsep)
        yield str(Path(folder) / "apptainer")


@pytest.fixture(scope="session")
def sif(apptainer: str) -> Path:
    """The image file."""
    return Path(_state("apptainer")["sif"])


@pytest.fixture(scope="session")
def sandbox(apptainer: str) -> Path:
    """The same as a folder, the name of which ends in `sandbox`."""
    return Path(_state("apptainer")["sandbox"])


@pytest.fixture(scope="session")
def stacks(apptainer: str) -> dict[str, str]:
    """Stack -> image file, of the default workflow."""
    return {stack: _state("apptainer")[stack] for stack in setup.STACKS}


@pytest.fixture(scope="session")
def workflow_image(docker_image: str) -> tuple[str, str]:
    """Docker's command, and the image of the whole workflow."""
    command = setup.SETUP.folder / "tools" / "usr" / "bin" / "docker"
    return str(command), _state("docker")["workflow"]


@pytest.fixture(scope="session")
def docker_image() -> Iterator[str]:
    """The name of the Docker image; DOCKER_HOST is set, and the engine answers."""
    left = _state("docker")
    try:
        host = setup.start_docker(setup.SETUP.folder)
    except UnavailableError as reason:
        pytest.skip(f"no docker on this machine: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", host)
        patch.delenv("DOCKER_TLS_VERIFY", raising=False)
        yield left["image"]
