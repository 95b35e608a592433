"""Where the tests find what is not in the project."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runworkflow import Run

ROOT = Path(__file__).resolve().parent.parent
LEVEL = logging.getLogger("facemake").level
MASK = os.umask(0o022)
os.umask(MASK)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as a shell starts what is to run in the background; tests interrupt themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)


def shared_folder() -> Path | None:
    """The folder of real recordings for tests: FACEMAKE_SHARED, or `shared` beside the checkout."""
    for path in (os.environ.get("FACEMAKE_SHARED"), ROOT.parent / "shared"):
        if path and (Path(path) / "data").is_dir():
            return Path(path)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Keep groups (`xdist_group`) on one worker, so that what they share is made once.

    Tests with a fixture of their module are one, too. Groups come first, then what is long by
    itself, so that in the end there are short tests for every worker.

    pytest-xdist 3.8.0 writes a group behind a test's name, into a field that pytest 9.2 does not
    read any more: tests/test_groups.py fails where this is neither done here nor needed.
    """
    for item in items:
        if isinstance(item, pytest.Function) and not item.get_closest_marker("xdist_group"):
            known = item._fixtureinfo.name2fixturedefs.values()
            if any(one.scope == "module" for fixtures in known for one in fixtures):
                item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=_is_short)
    yield
    for item in items:
        grouped = vars(item).get("_nodeid")
        if grouped and grouped != item.nodeid:
            item._id = type(item._id).parse(grouped)


def _is_short(item: pytest.Item) -> bool:
    grouped = item.get_closest_marker("xdist_group") is not None
    return grouped or item.get_closest_marker("workflow") is None


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


@pytest.fixture(scope="session")
def finished(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run on the bundled sample with two cores and the artifact cache.

    Who asks for it belongs into the group "run", so that it is made once.
    """
    from runworkflow import bundled_samples, run, study

    folder = tmp_path_factory.mktemp("two cores")  # a space in the path, as people have them
    cache = tmp_path_factory.mktemp("cache") / "store"
    study(folder, bundled_samples(bundled), cache_dir=str(cache))
    done = run(folder)
    assert done.code == 0, done.output
    return done


def _ours() -> dict[str, str]:
    return {name: text for name, text in os.environ.items() if name.startswith("FACEMAKE_")}


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What a test, or a command in its process, sets for the whole process ends with the test.

    Also what a fixture of a module set before it.
    """
    logger = logging.getLogger("facemake")
    logger.setLevel(LEVEL)
    os.umask(MASK)
    handlers = list(logger.handlers)
    safe_path = os.environ.pop("PYTHONSAFEPATH", None)  # what a run sets for its own jobs
    ours = _ours()
    yield
    for name in _ours().keys() - ours.keys():  # as a stage in a test's process sets it
        del os.environ[name]
    os.environ.update(ours)
    os.environ.pop("PYTHONSAFEPATH", None)
    if safe_path is not None:
        os.environ["PYTHONSAFEPATH"] = safe_path
    os.umask(MASK)
    logger.setLevel(LEVEL)
    logger.handlers[:] = handlers
