"""Disks without room: which one it is, for who has to say why something could not be written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from facemake.runtime.causes import causes, disk_is_full

_NO_ROOM = 1_000_000
"""Bytes: with less left, hardly any table fits."""

_BLAMED = "facemake_full_disk"


def blame(error: BaseException, place: Path) -> None:
    """Where an error is of a full disk, have it say which: before what was written goes.

    Args:
        error: on its way up.
        place: where was written.
    """
    if disk_is_full(error) and not blamed(error):
        with contextlib.suppress(OSError, AttributeError):
            setattr(error, _BLAMED, _in_words(_disk_of(place), [place]))


def blamed(error: BaseException) -> str:
    """The disk that `blame` found, with what is on it, in words; "" where nobody said."""
    found = (getattr(one, _BLAMED, "") for one in causes(error))
    return next(filter(None, found), "")


def full(places: Iterable[Path]) -> str:
    """Which of the disks that some places are on have no room left, in words; "" where none is.

    Args:
        places: files and folders; of one that is not there, what it would lie in counts.
    """
    found: dict[Path, list[Path]] = {}
    for place in places:
        with contextlib.suppress(OSError):
            disk = _disk_of(place)
            said = os.statvfs(disk)
            no_file = said.f_files and not said.f_favail
            if said.f_bavail * said.f_frsize < _NO_ROOM or no_file:
                found.setdefault(disk, []).append(place)
    return " and ".join(_in_words(disk, there) for disk, there in found.items())


def _in_words(disk: Path, places: Iterable[Path]) -> str:
    return f"{disk} (with {', '.join(dict.fromkeys(map(str, places)))})"


def _disk_of(place: Path) -> Path:
    """Where the disk of a place is mounted."""
    path = place.resolve()
    while not path.exists():
        path = path.parent
    device = path.stat().st_dev
    while path.parent != path and path.parent.stat().st_dev == device:
        path = path.parent
    return path
