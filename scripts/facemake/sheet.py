"""The sample sheet, or a folder in its place: read and checked, all faults at once."""

from __future__ import annotations

import csv
import difflib
import logging
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from facemake.counting import counted
from facemake.errors import ConfigError
from facemake.hashes import FileState, HashMemo
from facemake.media import MediaError, content_files
from facemake.media.suffixes import is_media
from facemake.names import are_plain, name_fault, safe_names
from facemake.provenance import digest
from facemake.samples import PlanRow

logger = logging.getLogger(__name__)

MISSING = frozenset({"NA", "<NA>", "N/A", "n/a", "NaN", "nan", "NULL", "None"})
"""What R, pandas and BIDS write where there is nothing: all of them would be one person."""

COLUMNS = ("sample", "path", "subject", "start", "end", "split", "exclude", "reason")
_YES = frozenset({"1", "yes", "true", "x"})
_NO = frozenset({"", "0", "no", "false"})


@dataclass(frozen=True)
class _Table:
    """The cells of a sheet, or of what stands for one.

    Attributes:
        lines: where each row stands in the file.
        columns: name -> the cells of each row; a column that is not there is in no row.
    """

    lines: Sequence[int]
    columns: dict[str, list[str]]

    def column(self, name: str) -> list[str]:
        """The cells of a column, empty where it is not there."""
        return self.columns.get(name) or [""] * len(self.lines)


@dataclass(frozen=True)
class Rows:
    """Checked samples whose files are not hashed yet.

    Attributes:
        rows: in the sheet's order, `sha256` None.
        states: of each row's file; None for an image folder and for what cannot be looked at.
        folders: the positions of the rows that are image folders.
    """

    rows: list[PlanRow]
    states: list[FileState | None]
    folders: list[int]

    def hashed(self, memo: HashMemo) -> list[PlanRow]:
        """The rows with their hashes; None stays where a file cannot be read."""
        hashes = memo.sha256([row.path for row in self.rows], self.states)
        for i in self.folders:
            files = _content(self.rows[i].path)
            paths = [str(file) for file in files]
            states = [FileState.at(path) for path in paths]
            names = [file.name for file in files]
            hashes[i] = digest(list(zip(names, memo.sha256(paths, states), strict=True)))
        columns = list(zip(*self.rows, strict=True))
        columns[PlanRow._fields.index("sha256")] = tuple(hashes)
        return list(map(PlanRow._make, zip(*columns, strict=True)))

    def sizes(self) -> list[int]:
        """Bytes of each row's file; 0 for a folder and for what is not looked at."""
        return [state.size if state else 0 for state in self.states]


def _content(folder: str) -> list[Path]:
    try:
        return content_files(Path(folder))
    except (OSError, MediaError):
        return []  # the probe says why


def read_samples(config: Mapping[str, Any]) -> Rows:
    """The samples of `input_dir`, else of the sheet `samples`.

    Raises:
        ConfigError: all lines that are wrong, each with its cure.
    """
    if config["input_dir"]:
        origin, base = Path(config["input_dir"]), Path.cwd()
        table, problems = _from_folder(origin), _Problems(origin)
    elif config["samples"]:
        origin = Path(config["samples"])
        problems, base = _Problems(origin), origin.resolve().parent
        table = _from_sheet(origin, problems)
    else:
        raise ConfigError("config: set `samples` (a sheet) or `input_dir` (a folder)")
    if not table.lines:
        problems.refuse()
        raise ConfigError(f"  {origin}: has no samples; add a line a video or image folder")
    return _checked(table, base, config, problems)


def _from_sheet(path: Path, problems: _Problems) -> _Table:
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            # a quote is a letter like any other: no cell spans lines
            header, *rows = [*csv.reader(handle, "excel-tab", quoting=csv.QUOTE_NONE)] or [[]]
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such sample sheet; `facemake init FOLDER_OF_VIDEOS -d my_study` "
            "makes one in a new folder. Or write it (columns sample and path, tabs between them), "
            "or set `input_dir`"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path}: is not in UTF-8; save it as tab-separated text in UTF-8"
        ) from None
    except (OSError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as a tab-separated table ({error})") from None
    for place, column in enumerate(header):
        if column in header[:place]:
            problems.add(1, f"the column {column} stands there twice; delete one")
        elif not column:
            problems.add(1, f"column {place + 1} has no name; there are {', '.join(COLUMNS)}")
        elif column not in COLUMNS:
            near = difflib.get_close_matches(column, COLUMNS, 1)
            cure = f"did you mean {near[0]}?" if near else f"there are {', '.join(COLUMNS)}"
            if column.strip('"') in COLUMNS:
                cure = "cells have no quotation marks (R: quote = FALSE)"
            problems.add(1, f"{column} is no column; {cure}")
    for column in ("sample", "path"):
        if column not in header:
            problems.add(1, f"the column {column} is missing (are the columns parted by tabs?)")
    problems.refuse()
    lines: list[int] = []
    kept: list[list[str]] = []
    width = len(header)
    for line, row in enumerate(rows, 2):
        if any(row):
            if len(row) != width:
                if any(row[width:]):
                    problems.add(line, f"has {len(row)} cells for {width} columns; is a tab wrong?")
                row = (row + [""] * width)[:width]
            lines.append(line)
            kept.append(row)
    cells = map(list, zip(*kept, strict=True)) if kept else ([] for _ in header)
    return _Table(lines, dict(zip(header, cells, strict=True)))


def listed(path: Path) -> tuple[list[str], list[str], list[str]]:
    """What a sheet lists, whether the recordings are there or not.

    Returns:
        Its columns in order, the names of its samples and their paths, made whole.

    Raises:
        ConfigError: it is no sheet; the message lists what is wrong.
    """
    problems = _Problems(path)
    table = _from_sheet(path, problems)
    problems.refuse()
    base = path.resolve().parent
    return (
        [*table.columns],
        table.column("sample"),
        [os.path.abspath(base / text) for text in table.column("path")],  # noqa: PTH100
    )


def _from_folder(folder: Path) -> _Table:
    """A row for each video, image and folder of images directly in `folder`."""
    inside = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
    names: list[str] = []
    folders: set[str] = set()
    others: set[str] = set()
    try:
        with os.scandir(inside) as scan:
            for entry in scan:
                name = entry.name
                if not name.startswith("."):
                    names.append(name)
                    if entry.is_dir():
                        folders.add(name)
                    elif not entry.is_file():
                        others.add(name)
    except OSError as error:
        raise ConfigError(
            f"config: input_dir {folder} cannot be read ({error.strerror}); give a folder with "
            "videos, images or folders of images"
        ) from None
    names.sort()
    parted = list(map(os.path.splitext, names))
    known = {suffix: is_media(suffix.lower()) for suffix in {suffix for _, suffix in parted}}
    stems: list[str] = []
    paths: list[str] = []
    passed_over: list[str] = []
    for name, (stem, suffix) in zip(names, parted, strict=True):
        is_folder = name in folders
        if is_folder or (known[suffix] and name not in others):
            stems.append(name if is_folder else stem)
            paths.append(inside + name)
        else:
            passed_over.append(name)
    if passed_over:
        logger.warning(
            "input_dir: passed over %d files that are no video or image: %s",
            len(passed_over),
            ", ".join(passed_over[:5]) + (", ..." if len(passed_over) > 5 else ""),
        )
    if not paths:
        raise ConfigError(f"config: input_dir {folder} has no video, image or folder in it")
    return _Table(range(1, len(paths) + 1), {"sample": safe_names(stems), "path": paths})


class _Problems:
    """What is wrong, by line; several things may be wrong with one."""

    def __init__(self, origin: Path) -> None:
        self._origin = origin
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        self._found.append((line, f"  {self._origin}:{line}: {text}"))

    def refuse(self) -> None:
        """Raise what was found, in the order of the lines."""
        if self._found:
            lines = [text for _, text in sorted(self._found, key=lambda found: found[0])]
            raise ConfigError("the sample sheet is refused:\n" + "\n".join(lines))


def _checked(table: _Table, base: Path, config: Mapping[str, Any], problems: _Problems) -> Rows:
    lines = table.lines
    column = {name: table.column(name) for name in COLUMNS}
    _check_names(lines, column["sample"], problems)
    excluded = _yes(lines, column["exclude"], problems)
    paths, states, folders = _located(lines, column["path"], excluded, str(base), problems)
    starts = _seconds(lines, column["start"], "start", problems)
    ends = _seconds(lines, column["end"], "end", problems)
    for line, start, end in zip(lines, starts, ends, strict=True):
        if start is not None and end is not None and end <= start:
            problems.add(line, f"end {end:g} is not after start {start:g}")
    for i in folders:
        if column["start"][i] or column["end"][i]:
            problems.add(lines[i], "an image folder has no time range; leave start and end empty")
    for line, subject in zip(lines, column["subject"], strict=True):
        if subject in MISSING:
            problems.add(
                line,
                f"subject is {subject!r}, as other programs write what is missing: leave it empty "
                '(R: na = ""), or give who is called so another name',
            )
    subjects = [s or n for s, n in zip(column["subject"], column["sample"], strict=True)]
    _check_splits(lines, subjects, column["split"], config, problems)
    problems.refuse()
    reasons = [
        (reason or "excluded by the sample sheet") if out else ""
        for out, reason in zip(excluded, column["reason"], strict=True)
    ]
    cells = {
        "sample": column["sample"],
        "path": paths,
        "subject": subjects,
        "start": starts,
        "end": ends,
        "split": [split or None for split in column["split"]],
        "sha256": [None] * len(lines),
        "excluded": excluded,
        "reason": reasons,
    }
    ordered = (cells[name] for name in PlanRow._fields)
    return Rows(list(map(PlanRow._make, zip(*ordered, strict=True))), states, folders)


def _check_names(lines: Sequence[int], names: list[str], problems: _Problems) -> None:
    if are_plain(names):
        return
    first: dict[str, int] = {}
    for line, name in zip(lines, names, strict=True):
        fault = name_fault(name)
        if fault:
            problems.add(line, f"sample name {name!r} {fault}")
        folded = (name if name.isascii() else unicodedata.normalize("NFC", name)).casefold()
        if first.setdefault(folded, line) != line:
            problems.add(
                line,
                f"sample {name!r} stands in line {first[folded]} already; give each its own name",
            )


def _located(
    lines: Sequence[int], given: list[str], excluded: list[bool], base: str, problems: _Problems
) -> tuple[list[str], list[FileState | None], list[int]]:
    paths: list[str] = []
    states: list[FileState | None] = []
    folders: list[int] = []
    missing: list[tuple[int, str]] = []
    inside = os.path.join(base, "")  # noqa: PTH118
    for i, (line, text) in enumerate(zip(lines, given, strict=True)):
        # what need not be made straight, which is slow
        if "/." in text or "//" in text or text[:1] in ("", ".") or text[-1:] == "/":
            path = os.path.normpath(os.path.join(base, text))  # noqa: PTH118
        else:
            path = text if text[0] == "/" else inside + text
        state: FileState | None = None
        try:
            if excluded[i]:  # not looked at: its file may have been deleted for good reason
                raise PermissionError
            stat = os.stat(path)  # noqa: PTH116
            if S_ISDIR(stat.st_mode):
                folders.append(i)
            elif S_ISREG(stat.st_mode):
                state = FileState.of(stat)
            else:
                problems.add(line, f"{path} is neither a file nor a folder (a pipe, a device?)")
        except PermissionError:
            pass  # it may be there: the probe says no_permission
        except (OSError, ValueError):
            missing.append((line, path))
        if not text:
            problems.add(line, "path is empty; give a video, an image or an image folder")
        paths.append(path)
        states.append(state)
    _say_missing(missing, problems)
    return paths, states, folders


def _say_missing(missing: Sequence[tuple[int, str]], problems: _Problems) -> None:
    """A line each, or one for all that a folder would have which is gone: a disk, a renamed one."""
    lost: dict[str, list[int]] = {}
    for line, path in missing:
        cure = "paths are relative to the sheet; mend it or delete the line"
        if "resources/bundled" in path:
            cure = "`make demo` makes the bundled sample"
        elif folder := _lost_folder(path):
            lost.setdefault(folder, []).append(line)
            continue
        problems.add(line, f"there is no file {path}; {cure}")
    for folder, lines in lost.items():
        more = f" and {counted(len(lines) - 1, 'more row')}" if len(lines) > 1 else ""
        problems.add(
            lines[0],
            f"there is no folder {folder}, where the recording of this row{more} should be; is its "
            "disk there? Paths are relative to the sheet; if it was moved, replace it in them",
        )


def _lost_folder(path: str) -> str:
    """The highest folder on the way to a path that is not there; "" where only the file is not."""
    folder = os.path.dirname(path)  # noqa: PTH120
    lost = ""
    while not os.path.lexists(folder):
        folder, lost = os.path.dirname(folder), folder  # noqa: PTH120
    return lost


def _seconds(
    lines: Sequence[int], texts: list[str], column: str, problems: _Problems
) -> list[float | None]:
    values: list[float | None] = []
    if not any(texts):
        return [None] * len(texts)
    for line, text in zip(lines, texts, strict=True):
        value: float | None = None
        if text:
            try:
                value = float(text)
            except ValueError:
                value = -1.0
            if not 0 <= value < float("inf"):
                problems.add(line, f"{column} is {text!r}; give seconds, such as 12.5, or nothing")
                value = None
        values.append(value)
    return values


def _yes(lines: Sequence[int], texts: list[str], problems: _Problems) -> list[bool]:
    if not any(texts):
        return [False] * len(texts)
    for line, text in zip(lines, texts, strict=True):
        if text and text.strip().lower() not in _YES | _NO:
            problems.add(line, f"exclude is {text!r}; write yes or leave it empty")
    return [bool(text) and text.strip().lower() in _YES for text in texts]


def _check_splits(
    lines: Sequence[int],
    subjects: list[str],
    splits: list[str],
    config: Mapping[str, Any],
    problems: _Problems,
) -> None:
    dataset = config.get("dataset")
    known = dataset.get("splits", {}) if isinstance(dataset, Mapping) else {}
    seen: dict[str, tuple[str, int]] = {}
    for line, subject, split in zip(lines, subjects, splits, strict=True):
        if not split:
            continue
        if split not in known:
            problems.add(line, f"split {split!r} is none of the config's: {', '.join(known)}")
        other, where = seen.setdefault(subject, (split, line))
        if other != split:
            problems.add(
                line,
                f"subject {subject!r} is in split {split} here and in {other} in line {where}; a "
                "subject belongs to one split",
            )
