"""What waits for a model: enough to look at, and no more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from facemake.stages.batches import batches


def lists(items: Sequence[int], size: int) -> list[list[int]]:
    return [list(batch) for batch in batches(items, size, lambda pixels: pixels)]


def test_a_list_ends_where_the_model_has_enough():
    assert lists([5, 5, 5, 5, 5], 2) == [[5, 5], [5, 5], [5]]
    assert lists([5, 0, 0, 5, 0, 5], 2) == [[5, 0, 0, 5], [0], [5]]
    assert lists([0, 0, 5, 0, 5], 1) == [[0], [0], [5], [0], [5]]
    assert lists([], 4) == []


@pytest.mark.parametrize("size", [1, 4, 16])
def test_nothing_grows_with_what_has_no_pixels(size: int):
    """A face, and then a recording of hours in which there is none."""
    items = [7] + [0] * 50_000 + [7]
    found = lists(items, size)
    assert [one for batch in found for one in batch] == items
    assert max(map(len, found)) < 5_000


def test_nothing_grows_with_the_size_of_pictures():
    large = 288_000_000  # 12,000 x 8,000 px
    assert lists([large] * 3, 16) == [[large]] * 3
    small = 25_000_000  # 3840 x 2160 px
    assert max(sum(batch) for batch in lists([small] * 40, 16)) < 300_000_000
