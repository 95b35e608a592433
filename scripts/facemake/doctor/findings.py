"""A line of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: a fault stops runs, a warning may."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """What was looked at, and what was seen.

    Attributes:
        level: how bad it is.
        what: the thing.
        said: what was seen of it.
        cure: what to do, "" where there is nothing to be done.
    """

    level: Level
    what: str
    said: str
    cure: str = ""


def ok(what: str, said: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, what, said)


def warning(what: str, said: str, cure: str = "") -> Finding:
    """Something that some runs miss."""
    return Finding(Level.WARNING, what, said, cure)


def fault(what: str, said: str, cure: str) -> Finding:
    """Something that stops runs."""
    return Finding(Level.FAULT, what, said, cure)
