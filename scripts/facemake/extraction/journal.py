"""What a run has done so far, beside the crops: a killed one goes on from it.

One process writes, in short transactions; what a kill takes from it is done again, to the same
bytes. It is no result: it has the files' times.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from facemake.errors import FacemakeError

NAME = ".faces.sqlite"
_FORMAT = "1"

Row = dict[str, Any]


class Journal:
    """The file `.faces.sqlite` of an output folder.

    Raises:
        FacemakeError: it is damaged, or the disk refuses it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None)
            self._db.execute("CREATE TABLE IF NOT EXISTS told (name TEXT PRIMARY KEY, value TEXT)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS done (input BLOB PRIMARY KEY, state TEXT, n INTEGER)"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS rows (input BLOB, n INTEGER, row TEXT, "
                "PRIMARY KEY (input, n)) WITHOUT ROWID"
            )
            self._db.execute("CREATE TABLE IF NOT EXISTS begun (input BLOB PRIMARY KEY, said TEXT)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS at_work (input BLOB PRIMARY KEY, state TEXT)"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS files (file BLOB PRIMARY KEY, input BLOB, "
                "bytes INTEGER) WITHOUT ROWID"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS of_input ON files (input)")
            if self._told("format") not in (None, _FORMAT):
                raise FacemakeError(
                    f"{folder} has crops of another version of facemake: give another folder"
                )
            self._tell("format", _FORMAT)
        except sqlite3.Error as error:
            raise FacemakeError(
                f"{self.path}, which says what is done, cannot be used ({error}); if it is "
                f"damaged, delete the folder {folder} and run again"
            ) from None
        self._begun = False

    def _told(self, name: str) -> str | None:
        row = self._run("SELECT value FROM told WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _tell(self, name: str, value: str) -> None:
        self._run("INSERT OR REPLACE INTO told VALUES (?, ?)", (name, value))

    def _begin(self) -> None:
        if not self._begun:
            self._run("BEGIN IMMEDIATE")
            self._begun = True

    def add(self, name: str, first: int, rows: Sequence[Row]) -> None:
        """Rows of an input that is at work, from its row `first` on."""
        self._begin()
        self._run_many(
            "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)",
            [
                (os.fsencode(name), first + n, json.dumps(row, separators=(",", ":")))
                for n, row in enumerate(rows)
            ],
        )
        self._run_many(
            "INSERT OR REPLACE INTO files VALUES (?, ?, ?)",
            [
                (os.fsencode(row["output"]), os.fsencode(name), row["bytes"])
                for row in rows
                if row["output"]
            ],
        )

    def begin(self, name: str, output: str, video: bool, state: str) -> None:
        """An input is about to be worked on; to be committed before that."""
        self._begin()
        self._run("INSERT OR REPLACE INTO at_work VALUES (?, ?)", (os.fsencode(name), state))
        self._run(
            "INSERT OR REPLACE INTO begun VALUES (?, ?)",
            (os.fsencode(name), json.dumps([output, video])),
        )

    def begun(self) -> dict[str, tuple[str, bool]]:
        """Inputs that were worked on and not finished -> where their crops go, and if a video."""
        found = self._run("SELECT input, said FROM begun")
        return {os.fsdecode(name): tuple(json.loads(said)) for name, said in found}

    def stopped(self, name: str, state: str) -> tuple[int, int] | None:
        """Of an input that was begun under this state: how many rows it has, and the last frame.

        None: it has none, or was begun under another one.
        """
        key = (os.fsencode(name),)
        said = self._run("SELECT state FROM at_work WHERE input = ?", key).fetchone()
        if said is None or said[0] != state:
            return None
        last = "SELECT n, row FROM rows WHERE input = ? ORDER BY n DESC LIMIT 1"
        found = self._run(last, key).fetchone()
        return None if found is None else (found[0] + 1, json.loads(found[1])["frame"])

    def finish(self, name: str, state: str, count: int) -> None:
        """An input is done: all its rows and files are there."""
        self._begin()
        for table in ("begun", "at_work"):
            self._run(f"DELETE FROM {table} WHERE input = ?", (os.fsencode(name),))  # noqa: S608
        self._run("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", (os.fsencode(name), state, count))

    def commit(self) -> None:
        """What was said so far outlives a kill."""
        if self._begun:
            self._run("COMMIT")
            self._begun = False

    def forget(self, name: str) -> None:
        """An input is to be done again, or is gone."""
        self._begin()
        for table in ("done", "rows", "files", "begun", "at_work"):
            self._run(f"DELETE FROM {table} WHERE input = ?", (os.fsencode(name),))  # noqa: S608

    def states(self) -> dict[str, tuple[str, int]]:
        """Input -> what it was done of and under (`finish`), and how many rows it has."""
        return {
            os.fsdecode(name): (state, n)
            for name, state, n in self._run("SELECT input, state, n FROM done")
        }

    def files(self, name: str) -> list[tuple[str, int]]:
        """The crops of an input and their bytes."""
        found = self._run(
            "SELECT file, bytes FROM files WHERE input = ? ORDER BY file", (os.fsencode(name),)
        )
        return [(os.fsdecode(file), size) for file, size in found]

    def owner(self, file: str) -> str | None:
        """The input that a crop is of; None where no input says so."""
        found = self._run("SELECT input FROM files WHERE file = ?", (os.fsencode(file),)).fetchone()
        return None if found is None else os.fsdecode(found[0])

    def known(self) -> set[str]:
        """All inputs that it knows anything of."""
        found = self._run("SELECT input FROM done UNION SELECT input FROM begun")
        return {os.fsdecode(row[0]) for row in found}

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of an input in order."""
        for (row,) in self._run(
            "SELECT row FROM rows WHERE input = ? ORDER BY n", (os.fsencode(name),)
        ):
            yield json.loads(row)

    def close(self) -> None:
        """Keep what was said, and close the file."""
        try:
            self.commit()
        finally:
            self._db.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # what ended the run says why, also where the same keeps this from being kept
        with suppress(FacemakeError) if kind else nullcontext():
            self.close()

    def _run(self, command: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        with self._in_words():
            return self._db.execute(command, values)

    def _run_many(self, command: str, rows: Sequence[Sequence[object]]) -> None:
        with self._in_words():
            self._db.executemany(command, rows)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise FacemakeError(
                f"{self.path}, which says what is done, cannot be read or written ({error}): is "
                "the disk full? make room and run again, which goes on"
            ) from None


def state(path: Path, settings: str, output: str, taken: Sequence[int]) -> str:
    """What an input is done of and under, as text: another one is done again.

    Args:
        path: of the input; its size and time of change tell whether it is another file.
        settings: digest of what is asked for.
        output: where its crops go.
        taken: numbers that its crops leave out.
    """
    try:
        seen = path.stat()
        file: Mapping[str, int] | None = {"bytes": seen.st_size, "changed": seen.st_mtime_ns}
    except OSError:
        file = None
    return json.dumps([file, settings, output, list(taken)])
