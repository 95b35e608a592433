from __future__ import annotations

from facemake.counting import counted, listed


def test_numbers_of_things_are_words():
    assert [counted(n, "sample") for n in (0, 1, 2)] == ["0 samples", "1 sample", "2 samples"]
    assert counted(1, "entry", "entries") == "1 entry" and counted(3, "entry", "entries") == (
        "3 entries"
    )
    assert counted(12345, "frame", form=",") == "12,345 frames"


def test_lists_are_words():
    assert [listed(list(words)) for words in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
