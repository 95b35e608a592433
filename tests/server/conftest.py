"""A server for the tests that do not change its limits, and a video to send."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import VIDEO, Served, serving, settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings(tmp_path_factory.mktemp("server") / "with blank", running=2)) as served:
        yield served


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "-an 'odd' näme;$x.mp4"
    path.write_bytes(VIDEO)
    return path
