"""Results that are links into a store, turned into files of their own."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from facemake.errors import FacemakeError
from facemake.runtime.atomic import replacing
from facemake.store.users import Link
from facemake.store.words import size_text

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 10.0
_SPARE = 64 * 1024 * 1024
"""Bytes that stay free."""
_MOST_NAMED = 10


def check(found: Sequence[Link]) -> int:
    """How many bytes the files will take.

    Raises:
        FacemakeError: links lead to nothing, or the disk has no room.
    """
    dead = [link.path for link in found if not link.path.exists()]
    if dead:
        named = "".join(f"\n  {path}" for path in dead[:_MOST_NAMED])
        more = f"\n  and {len(dead) - _MOST_NAMED} more" if len(dead) > _MOST_NAMED else ""
        raise FacemakeError(
            f"{len(dead)} results link to files that are no longer in the cache; run the workflow "
            f"again, which makes them again:{named}{more}"
        )
    needed: dict[int, int] = {}
    rooms: dict[int, tuple[int, Path]] = {}
    for link in found:
        device = link.path.parent.stat().st_dev
        needed[device] = needed.get(device, 0) + link.path.stat().st_size
        if device not in rooms:
            rooms[device] = shutil.disk_usage(link.path.parent).free, link.path.parent
    for device, size in needed.items():
        free, folder = rooms[device]
        if size + _SPARE > free:
            raise FacemakeError(
                f"the files need {size_text(size)}, and the disk of {folder} has "
                f"{size_text(free)} free: make room first"
            )
    return sum(needed.values())


def materialize(found: Sequence[Link]) -> None:
    """Put a copy of each link's file in its place, one by one; whoever is stopped goes on later.

    A file gets the time of its link: as an output it is as old as before, and as an input never
    newer, so that Snakemake makes nothing again.
    """
    total, done = check(found), 0
    started = said = time.monotonic()
    # a new file's mode, as the user's umask has it
    umask = os.umask(0)
    os.umask(umask)
    for count, link in enumerate(found):
        with replacing(link.path) as beside:
            shutil.copyfile(link.path, beside)
            beside.chmod(0o666 & ~umask)
            os.utime(beside, ns=(link.mtime_ns, link.mtime_ns))
            done += beside.stat().st_size
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES:
            said = now
            rate = done / (now - started)
            logger.info(
                "%d of %d files, %s of %s, %.0f s left",
                count + 1,
                len(found),
                size_text(done),
                size_text(total),
                (total - done) / rate if rate else 0.0,
            )
