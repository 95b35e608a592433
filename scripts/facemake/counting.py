"""Numbers of things in messages."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, one: str, many: str = "", form: str = "") -> str:
    """A number and what it is of: `1 sample`, `2 samples`.

    Args:
        count: how many.
        one: of which, a single one.
        many: of which, none or several; "": `one` with an s.
        form: of the number, as `format` has it.
    """
    return f"{count:{form}} {plural(count, one, many)}"


def plural(count: int, one: str, many: str = "") -> str:
    """The word alone; see `counted`."""
    return one if count == 1 else many or f"{one}s"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
