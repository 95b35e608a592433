"""Tests of one group share a worker, and so what is made for all of them."""

from __future__ import annotations

import pytest


@pytest.mark.xdist_group("a group")
def test_a_group_stands_behind_the_name_of_a_test(request: pytest.FixtureRequest):
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("one process has all tests (--dist loadgroup has several)")
    assert request.node.nodeid.endswith("@a group")
