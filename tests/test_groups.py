"""Tests of one group share a worker, and so what is made for all of them."""

from __future__ import annotations

import pytest


def group_of(request: pytest.FixtureRequest) -> str:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("one process has all tests (--dist loadgroup has several)")
    return request.node.nodeid.partition("@")[2]


@pytest.fixture(scope="module")
def made_once() -> object:
    return object()


@pytest.mark.xdist_group("a group")
def test_a_group_stands_behind_the_name_of_a_test(request: pytest.FixtureRequest):
    assert group_of(request) == "a group"


def test_what_a_module_makes_for_its_tests_makes_a_group(
    made_once: object, request: pytest.FixtureRequest
):
    assert group_of(request) == "tests/test_groups.py"


def test_any_other_test_is_in_none(request: pytest.FixtureRequest):
    assert group_of(request) == ""
