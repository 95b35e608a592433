"""Real Apptainer and Docker with images of the stand-in for 3DI; skipped where there are none."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest


@cache
def _setup() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location(
        "containers_setup", Path(__file__).with_name("setup.py")
    )
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _state(name: str) -> dict[str, str]:
    """What setup.py left of `name`; skips the test where that is nothing."""
    found: dict[str, str] = _setup().state().get(name, {})
    if not found:
        pytest.skip("containers are not set up: `make test-containers` does that")
    if "missing" in found:
        pytest.skip(f"no {name} on this machine: {found['missing']}")
    return found


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
    return {stack: _state("apptainer")[stack] for stack in _setup().STACKS}


@pytest.fixture(scope="session")
def workflow_image(docker_image: str) -> tuple[str, str]:
    """Docker's command, and the image of the whole workflow."""
    command = _setup().cache_folder() / "tools" / "usr" / "bin" / "docker"
    return str(command), _state("docker")["workflow"]


@pytest.fixture(scope="session")
def docker_image() -> Iterator[str]:
    """The name of the Docker image; DOCKER_HOST is set, and the engine answers."""
    found, setup = _state("docker"), _setup()
    try:
        host = setup.start_docker(setup.cache_folder())
    except setup.UnavailableError as reason:
        pytest.skip(f"no docker on this machine: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", host)
        patch.delenv("DOCKER_TLS_VERIFY", raising=False)
        yield found["image"]
