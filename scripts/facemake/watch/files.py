"""Which files are there and how old they are: a folder is listed, not each file asked for."""

from __future__ import annotations

import os
from pathlib import Path


class Files:
    """What is in the folders of the results, each listed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._listed: dict[str, dict[str, tuple[int, bool]]] = {}

    def nanoseconds(self, path: str) -> int | None:
        """When a file was last written or linked; None where it is not there."""
        entry = self._entry(path)
        return None if entry is None else entry[0]

    def time(self, path: str) -> float | None:
        """The same in seconds since the epoch."""
        changed = self.nanoseconds(path)
        return None if changed is None else changed / 1e9

    def is_link(self, path: str) -> bool:
        """Whether it is a link, as results from the artifact cache are."""
        entry = self._entry(path)
        return entry is not None and entry[1]

    def _entry(self, path: str) -> tuple[int, bool] | None:
        parent, _, name = path.rpartition("/")
        if parent not in self._listed:
            self._listed[parent] = self._list(parent)
        return self._listed[parent].get(name)

    def _list(self, parent: str) -> dict[str, tuple[int, bool]]:
        found = {}
        try:
            with os.scandir(self._folder / parent) as entries:
                for entry in entries:
                    try:
                        changed = entry.stat(follow_symlinks=False).st_mtime_ns
                        found[entry.name] = changed, entry.is_symlink()
                    except OSError:
                        continue
        except OSError:
            pass
        return found
