"""Where the tests find what is not in the project."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path | None:
    """The folder of real recordings for tests: FACEMAKE_SHARED, or `shared` beside the checkout."""
    for path in (os.environ.get("FACEMAKE_SHARED"), ROOT.parent / "shared"):
        if path and (Path(path) / "data").is_dir():
            return Path(path)
    return None


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if folder is None:
        pytest.skip("no folder of real recordings (set FACEMAKE_SHARED to one)")
    return folder


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The bundled sample, made by `make test`."""
    folder = ROOT / "resources" / "bundled"
    if not (folder / "moving_portrait.mp4").is_file():
        pytest.fail("the bundled sample is missing: `make test` makes it")
    return folder


@pytest.fixture(autouse=True)
def quiet_logger() -> Iterator[None]:
    """What a test makes the library's logger say, and to whom, ends with the test."""
    logger = logging.getLogger("facemake")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
