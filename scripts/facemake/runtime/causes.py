"""What an error came of, and whether that is a disk without room."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, then what it came of."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


def errno_of(error: BaseException) -> int | None:
    """The system's number of an error; HDF5 has it in its message only."""
    number = getattr(error, "errno", None)
    if number is None and (said := re.search(r"\berrno = (\d+)", str(error))):
        return int(said[1])
    return number


def disk_is_full(error: BaseException) -> bool:
    """Whether the disk is what stopped it; Arrow says so in its message only."""
    return any(
        errno_of(one) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(one)
        for one in causes(error)
    )
