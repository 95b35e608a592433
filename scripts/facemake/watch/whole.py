"""Which results were found whole, remembered between looks: opening each takes most of a look.

In `.facemake/whole.json`, with what tells that a file is still the same. Only what was found while
this machine has been running counts: a power cut may leave a file with its time and without its
content.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from facemake.hashes import FileState
from facemake.runtime.atomic import write_text
from facemake.runtime.heartbeat import space
from facemake.samples import WORK


class Whole:
    """Files that were found whole.

    Args:
        folder: the working directory of a run; what cannot be read or written there is not
            remembered.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / WORK / "whole.json"
        self._space = space()
        self._files: dict[str, FileState] = {}
        self._new = False
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            said = json.loads(self._path.read_text(encoding="utf-8"))
            if self._space and said["space"] == self._space:
                self._files = {name: FileState(*state) for name, state in said["files"].items()}

    def has(self, name: str) -> bool:
        """Whether a file of the folder, or what it links to, was found whole and is still that."""
        return name in self._files and self._files[name] == FileState.at(self._folder / name)

    def add(self, name: str) -> None:
        """Take a file that is whole."""
        if state := FileState.at(self._folder / name):
            self._files[name] = state
            self._new = True

    def keep(self) -> None:
        """Remember what was added."""
        if self._new and self._space:
            document = {"space": self._space, "files": self._files}
            with contextlib.suppress(OSError):
                write_text(self._path, json.dumps(document, separators=(",", ":")))
            self._new = False
