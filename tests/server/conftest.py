"""A server for the tests that do not change its limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serving import Served, serving, settings


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(settings(tmp_path_factory.mktemp("server") / "with blank", running=2)) as served:
        yield served
