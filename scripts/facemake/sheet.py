"""The sample sheet, or a folder in its place: read and checked, all faults at once."""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from facemake.errors import ConfigError
from facemake.hashes import HashMemo
from facemake.media import content_files
from facemake.provenance import digest
from facemake.samples import Sample

COLUMNS = ("sample", "path", "subject", "start", "end", "split", "exclude", "reason")
RESERVED = frozenset({"training_data", "manifest", "index"})
LONGEST_NAME = 120

# Letters and digits of any script, then what no shell, URL or file system trips over.
SAFE_NAME = re.compile(r"[^\W_][\w .+=@,-]*", re.UNICODE)
_YES = frozenset({"1", "yes", "true", "x"})
_NO = frozenset({"", "0", "no", "false"})


@dataclass(frozen=True)
class Rows:
    """Checked samples whose files are not hashed yet.

    Attributes:
        samples: in the sheet's order, `sha256` None.
        folders: the samples that are image folders.
    """

    samples: list[Sample]
    folders: frozenset[str]

    def hashed(self, memo: HashMemo) -> list[Sample]:
        """The samples with their hashes; None stays where a file cannot be read."""
        files: list[Path] = []
        spans: list[tuple[int, int]] = []
        for sample in self.samples:
            mine = _content(sample) if sample.sample in self.folders else [sample.path]
            spans.append((len(files), len(files) + len(mine)))
            files.extend(mine)
        hashes = memo.sha256(files)
        done = []
        for sample, (start, end) in zip(self.samples, spans, strict=True):
            sha = hashes[start] if start < end else None
            if sample.sample in self.folders:
                names = [path.name for path in files[start:end]]
                sha = digest(list(zip(names, hashes[start:end], strict=True)))
            done.append(replace(sample, sha256=sha))
        return done


def _content(sample: Sample) -> list[Path]:
    try:
        return content_files(sample.path)
    except OSError:
        return []  # the probe says no_permission


def read_samples(config: Mapping[str, Any]) -> Rows:
    """The samples of `input_dir`, else of the sheet `samples`.

    Raises:
        ConfigError: all lines that are wrong, each with its cure.
    """
    if config["input_dir"]:
        frame, origin = _from_folder(Path(config["input_dir"])), Path(config["input_dir"])
        base = Path.cwd()
    elif config["samples"]:
        origin = Path(config["samples"])
        frame, base = _from_sheet(origin), origin.resolve().parent
    else:
        raise ConfigError("config: set `samples` (a sheet) or `input_dir` (a folder)")
    return _checked(frame, origin, base, config)


def _from_sheet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(
            path,
            sep="\t",
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
        )
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such sample sheet; write one (columns sample and path, tabs "
            "between them) or set `input_dir`"
        ) from None
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ConfigError(f"{path}: cannot be read as a tab-separated table ({error})") from None
    frame.index = pd.RangeIndex(2, len(frame) + 2)  # the line in the file
    problems = []
    for column in frame.columns:
        if column not in COLUMNS:
            near = difflib.get_close_matches(str(column), COLUMNS, 1)
            cure = f"did you mean {near[0]}?" if near else f"there are {', '.join(COLUMNS)}"
            problems.append(f"  {path}:1: {column} is no column; {cure}")
    for column in ("sample", "path"):
        if column not in frame.columns:
            problems.append(
                f"  {path}:1: the column {column} is missing (are the columns parted by tabs?)"
            )
    if problems:
        raise ConfigError("the sample sheet is refused:\n" + "\n".join(problems))
    blank = (frame == "").all(axis=1)
    return frame[~blank]


def _from_folder(folder: Path) -> pd.DataFrame:
    """A row for each video, image and folder of images directly in `folder`."""
    try:
        entries = sorted(e for e in folder.iterdir() if not e.name.startswith("."))
    except OSError as error:
        raise ConfigError(
            f"config: input_dir {folder} cannot be read ({error.strerror}); give a folder with "
            "videos, images or folders of images"
        ) from None
    if not entries:
        raise ConfigError(f"config: input_dir {folder} is empty")
    names = _safe_names([entry.name if entry.is_dir() else entry.stem for entry in entries])
    return pd.DataFrame(
        {"sample": names, "path": [str(entry.absolute()) for entry in entries]},
        index=pd.RangeIndex(1, len(entries) + 1),
        dtype=str,
    )


def _safe_names(stems: list[str]) -> list[str]:
    """Sample names from file names: unsafe characters become `_`, equal ones get a number."""
    taken: set[str] = set()
    names = []
    for stem in stems:
        text = unicodedata.normalize("NFC", stem.encode("utf-8", "replace").decode())
        text = re.sub(r"[^\w .+=@,-]", "_", text)[: LONGEST_NAME - 8].strip()
        text = re.sub(r"^[\W_]+", "", text) or "sample"
        name, number = text, 1
        while name.casefold() in taken or name in RESERVED:
            number += 1
            name = f"{text}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _checked(frame: pd.DataFrame, origin: Path, base: Path, config: Mapping[str, Any]) -> Rows:
    problems: list[tuple[int, str]] = []
    frame = frame.reindex(columns=list(COLUMNS), fill_value="")
    splits = config["dataset"]["splits"] if isinstance(config.get("dataset"), Mapping) else {}
    samples: list[Sample] = []
    folders: set[str] = set()
    first: dict[str, int] = {}
    split_of: dict[str, tuple[str, int]] = {}
    for row in frame.itertuples():
        line, name = int(row.Index), row.sample

        def wrong(text: str, line: int = line) -> None:
            problems.append((line, f"  {origin}:{line}: {text}"))

        fault = _name_fault(name)
        if fault:
            wrong(f"sample name {name!r} {fault}")
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in first:
            wrong(f"sample {name!r} stands in line {first[folded]} already; give each its own name")
        first.setdefault(folded, line)

        path = base / row.path if row.path else None
        folder = False
        if path is None:
            wrong("path is empty; give a video, an image or an image folder")
        else:
            path = Path(os.path.normpath(path))
            try:
                folder = path.is_dir()
                there = folder or path.exists()
            except PermissionError:
                there = True  # it may be there: the probe says no_permission
            if not there:
                bundled = "resources/bundled" in path.as_posix()
                cure = (
                    "`make demo` makes the bundled sample"
                    if bundled
                    else "paths are relative to the sheet; mend it or delete the line"
                )
                wrong(f"there is no file {path}; {cure}")

        times: list[float | None] = []
        for column in ("start", "end"):
            text = getattr(row, column)
            try:
                times.append(float(text) if text else None)
                if text and not 0 <= float(text) < float("inf"):
                    raise ValueError
            except ValueError:
                times.append(None)
                wrong(f"{column} is {text!r}; give seconds, such as 12.5")
        start, end = times[-2:]
        if start is not None and end is not None and end <= start:
            wrong(f"end {end:g} is not after start {start:g}")
        if folder and (start is not None or end is not None):
            wrong("an image folder has no time range; leave start and end empty")

        exclude = row.exclude.strip().lower()
        if exclude not in _YES | _NO:
            wrong(f"exclude is {row.exclude!r}; write yes or leave it empty")
        subject = row.subject or name
        if row.split:
            if row.split not in splits:
                wrong(f"split {row.split!r} is none of the config's: {', '.join(splits)}")
            other = split_of.setdefault(subject, (row.split, line))
            if other[0] != row.split:
                wrong(
                    f"subject {subject!r} is in split {row.split} here and in {other[0]} in line "
                    f"{other[1]}; a subject belongs to one split"
                )
        if path is not None:
            excluded = exclude in _YES
            samples.append(
                Sample(
                    sample=name,
                    path=path,
                    subject=subject,
                    start=start,
                    end=end,
                    split=row.split or None,
                    excluded=excluded,
                    reason=(row.reason or "excluded by the sample sheet") if excluded else "",
                )
            )
            if folder:
                folders.add(name)
    if not len(frame):
        raise ConfigError(f"  {origin}: has no samples; add a line a video or image folder")
    if problems:
        problems.sort(key=lambda problem: problem[0])
        raise ConfigError(
            "the sample sheet is refused:\n" + "\n".join(text for _, text in problems)
        )
    # a subject's split holds for all of its samples, those without a word of their own included
    samples = [
        replace(s, split=split_of[s.subject][0]) if s.subject in split_of else s for s in samples
    ]
    return Rows(samples, frozenset(folders))


def _name_fault(name: str) -> str | None:
    if not name:
        return "is empty"
    if name in RESERVED:
        return f"is reserved; these are: {', '.join(sorted(RESERVED))}"
    if len(name.encode()) > LONGEST_NAME * 2 or len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    if not SAFE_NAME.fullmatch(name) or name.endswith((" ", ".")) or ".." in name:
        return (
            "is not safe as a file name; use letters, digits, space and . _ - + = @ , and start "
            "with a letter or digit"
        )
    if unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode's composed form (NFC); type it again"
    return None
