"""Which files of an output folder are good enough not to be made again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from facemake.backends.threedi import sidecar

NORMALIZED = "normalized"
"""Key of the word beside localized expressions: whether 3DI normalised them. bitbox has no such."""


class Cache:
    """How long files of an output folder are used again.

    A file is used where the word beside it (`FILE.json`) says that it was made from the same
    recording, by the same, in the same way, and not longer ago than the retention period; also one
    that bitbox made.
    """

    def __init__(self, retention_period: str = sidecar.DEFAULT_RETENTION) -> None:
        self.change_retention_period(retention_period)

    @property
    def retention_period(self) -> str:
        """In words."""
        return self._retention

    def change_retention_period(self, retention_period: str) -> None:
        """Set how long a file is good.

        Args:
            retention_period: in words: "6 months", "1 year", "1 year 2 weeks", "30 minutes".

        Raises:
            FacemakeError: for words that are no period.
        """
        from datetime import datetime

        sidecar.before(datetime.now(), retention_period)
        self._retention = retention_period

    def is_current(
        self, path: Path, metadata: Mapping[str, Any], identity: Callable[[], str] | None
    ) -> bool:
        """Whether a file need not be made again, by the word beside it.

        Args:
            path: the file.
            metadata: what must be the same (`sidecar.base_metadata` without the identity).
            identity: of what would make it; asked for only where the word beside it names one.
                None: not known (a server), so not compared.
        """
        word = sidecar.read(path)
        if word is None:
            return False
        wanted = dict(metadata)
        if NORMALIZED in wanted and NORMALIZED not in word:
            normalized = wanted.pop(NORMALIZED)
            if normalized != _normalized_by_command(str(word.get("cmd", ""))):
                return False
        if _same_camera(word, wanted):
            wanted["camera"] = word["camera"]
        if not sidecar.is_current(path, wanted, self._retention):
            return False
        if sidecar.IDENTITY not in word or identity is None:
            return True
        return bool(word[sidecar.IDENTITY] == identity())


def _same_camera(word: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether both name one calibration file: by its content, else by a path as bitbox keeps it."""
    theirs, ours = word.get("camera"), wanted.get("camera")
    if not isinstance(theirs, str) or not isinstance(ours, str):
        return False
    if sidecar.CAMERA_FILE in word:
        return bool(word[sidecar.CAMERA_FILE] == wanted.get(sidecar.CAMERA_FILE))
    return str(Path(theirs).expanduser().absolute()) == ours


def _normalized_by_command(command: str) -> bool:
    """Whether localized expressions are normalised, by the command that bitbox kept.

    Its last argument is 0 or 1. A server of bitbox's is always asked for the default, 1.
    """
    found = re.search(r"\s([01])['\"]?\s*(?:>|$)", command)
    return found is None or found[1] == "1"
