"""Contexts: what happens to what they hold when the block ends."""

from __future__ import annotations

import contextlib

import pytest

from facemake.runtime.contexts import Closing, Committing


class Held(Committing):
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def close(self) -> None:
        self.asked.append("close")

    def discard(self) -> None:
        self.asked.append("discard")


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_what_an_error_interrupts_is_discarded_and_the_error_goes_on(
    error: type[BaseException] | None,
):
    with pytest.raises(error) if error else contextlib.nullcontext(), Held() as held:
        if error:
            raise error
    assert held.asked == ["discard" if error else "close"]


@pytest.mark.parametrize("base", [Closing, Committing])
def test_a_context_without_an_end_cannot_be_made(base: type[Closing]):
    with pytest.raises(TypeError, match="close"):
        type("Endless", (base,), {})()
