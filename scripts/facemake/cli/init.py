"""facemake init: a new analysis folder, from a folder of recordings; --add: more of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facemake.counting import counted
from facemake.discovery import SUBJECT_RULES, Found, find
from facemake.errors import FacemakeError
from facemake.plan import suggested_shards
from facemake.provenance import LIBRARY
from facemake.runtime.atomic import replacing
from facemake.settings import filled, read
from facemake.sheet import listed

_SHOWN = 10
_CONFIG = """\
# The settings in which this study differs from facemake's defaults. All keys, their defaults and
# what they mean: {full}
# Paths are relative to the folder above this one, from which the study is run.

samples: config/samples.tsv
{shards}
# Settings that are often changed (to use one, delete its #):
# detect: {{backend: mediapipe}}        # `facemake compare-detectors FOLDER` shows which suits
# track: {{image_folders: sequence}}    # a folder's pictures are the frames of one video
# embed: off                          # no identity vectors, which are biometric data
# dataset: {{keep_crops: false}}        # delete the crops once the training set is made
"""
_EXAMPLE = "anna_01<tab>/data/anna_01.mp4<tab>anna"


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "init",
        help="make a new analysis folder: config and sample sheet, found from a folder",
        description="Write config/config.yaml and config/samples.tsv in an analysis folder. Each "
        "of these is a sample, at any depth of FOLDER_OF_VIDEOS: a video, a folder that contains "
        "pictures but no video, and any other picture. Hidden files are ignored, links are "
        "followed once, and no existing file is overwritten. Without FOLDER_OF_VIDEOS the sheet is "
        "empty. With --add, what an existing sheet does not list yet is added at its end.",
        epilog="examples: facemake init ~/videos -d my_study; "
        "facemake init ~/videos -d my_study --add",
    )
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER_OF_VIDEOS",
        help="the recordings: videos, pictures and folders of pictures, at any depth",
    )
    parser.add_argument(
        "-d",
        "--directory",
        type=Path,
        default=Path(),
        metavar="ANALYSIS",
        help="the analysis folder, created if missing (default: the current folder)",
    )
    parser.add_argument(
        "--subjects",
        choices=list(SUBJECT_RULES),
        default="none",
        metavar="RULE",
        help="how to tell who is in a sample, for the splits of the training set (default: none). "
        + "; ".join(f"{name}: {words}" for name, (_, words) in SUBJECT_RULES.items()),
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="add to the sheet of an existing analysis folder what it does not list yet; the rest "
        "of the sheet and the configuration stay as they are",
    )
    parser.set_defaults(function=_init)


def _init(options: argparse.Namespace, rest: list[str]) -> int:
    study: Path = options.directory
    if options.add:
        return _add(options, study)
    config, sheet = study / "config" / "config.yaml", study / "config" / "samples.tsv"
    _refuse_what_is_there(study, config, sheet)
    found = None if options.folder is None else find(options.folder, options.subjects, study)
    made: list[Path] = []
    try:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        for path, text in ((sheet, _sheet(found, sheet.parent)), (config, _config(found))):
            with path.open("x", encoding="utf-8", newline="") as handle:
                made.append(path)
                handle.write(text)
    except OSError as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.unlink()
        raise FacemakeError(
            f"{error.filename or sheet.parent} cannot be written: {error.strerror}"
        ) from None
    print(f"made {config}\nmade {sheet}" + (f": {_in_words(found)}" if found else ""))
    if found:
        _say_subjects(found, options.subjects)
        _say_passed_over(found)
    else:
        print(f"list your recordings in it, one per line ({_EXAMPLE})")
    _say_next(study)
    return 0


def _add(options: argparse.Namespace, study: Path) -> int:
    """Add rows to the study's sheet; the others stay as they are, byte for byte."""
    if options.folder is None:
        raise FacemakeError("--add: name the folder with the recordings that are to be added")
    path = _sheet_of(study)
    columns, names, paths = listed(path)
    found = find(options.folder, options.subjects, study, dict(zip(names, paths, strict=True)))
    if any(found.subjects) and "subject" not in columns:
        raise FacemakeError(
            f"{path} has no column subject for --subjects {options.subjects}: add the word to its "
            "first line, or leave --subjects out"
        )
    if not found.names:
        print(f"{path} lists all {found.known} samples of {options.folder}: nothing is added")
        _say_passed_over(found)
        return 0
    try:
        before = path.read_bytes()
        end = "\r\n" if before.partition(b"\n")[0].endswith(b"\r") else "\n"
        gap = "" if before.endswith(b"\n") else end
        more = "".join(
            "\t".join(cells.get(column, "") for column in columns) + end
            for cells in _cells(found, path.parent, study)
        )
        with replacing(path) as beside:
            beside.write_bytes(before + (gap + more).encode())
            shutil.copymode(path, beside)
    except OSError as error:
        raise FacemakeError(f"{path} cannot be written: {error.strerror}") from None
    print(f"added to {path}: {_in_words(found)}" + _already(found))
    print("  " + ", ".join(found.names[:_SHOWN]) + (", ..." if len(found.names) > _SHOWN else ""))
    _say_subjects(found, options.subjects)
    _say_passed_over(found)
    _say_next(study)
    return 0


def _already(found: Found) -> str:
    return f"; {found.known} were listed already" if found.known else ""


def _sheet_of(study: Path) -> Path:
    """The sheet that a study's configuration names; links are followed."""
    path = study / "config" / "config.yaml"
    config = filled(read(path)) if path.is_file() else filled({})
    if config["input_dir"]:
        raise FacemakeError(
            f"{path} takes all recordings of the folder input_dir ({config['input_dir']}), and has "
            "no sheet to add to: put them there"
        )
    sheet = study / str(config["samples"])
    if not sheet.is_file():
        raise FacemakeError(
            f"there is no {sheet} to add to: -d names the folder of an analysis; without --add a "
            "new one is made"
        )
    return sheet.resolve()


def _refuse_what_is_there(study: Path, *files: Path) -> None:
    there = [str(path) for path in files if os.path.lexists(path)]
    if there:
        raise FacemakeError(
            f"{' and '.join(there)} {'are' if len(there) > 1 else 'is'} there already, and nothing "
            "is overwritten: name another folder for the analysis (-d my_study); --add adds new "
            "recordings to the sheet that is there"
        )
    if study.exists() and not study.is_dir():
        raise FacemakeError(f"{study} is a file: name a folder for the analysis (-d my_study)")


def _config(found: Found | None) -> str:
    shards = suggested_shards(len(found.names)) if found else None
    return _CONFIG.format(
        full=LIBRARY.parent.parent / "config" / "config.yaml",
        shards=f"shards: {shards}   # packs of samples; one job per pack and stage\n"
        if shards
        else "",
    )


def _sheet(found: Found | None, folder: Path) -> str:
    """The sheet; paths inside the analysis folder are relative, so that it can be moved."""
    lines: list[tuple[str, ...]] = [("sample", "path", "subject")]
    if found:
        lines += (tuple(cells.values()) for cells in _cells(found, folder, folder.parent))
    return "".join("\t".join(line) + "\n" for line in lines)


def _cells(found: Found, folder: Path, study: Path) -> Iterator[dict[str, str]]:
    """Sample, path and subject of each row of a sheet in `folder`."""
    inside, study = folder.resolve(), study.resolve()
    for name, path, subject in zip(found.names, found.paths, found.subjects, strict=True):
        near = os.path.relpath(path, inside) if study in path.parents else str(path)
        yield {"sample": name, "path": near, "subject": subject}


def _in_words(found: Found) -> str:
    samples = len(found.names)
    counts = (
        (samples - found.folders - found.pictures, "video"),
        (found.folders, "folder of pictures"),
        (found.pictures, "picture"),
    )
    kinds = ", ".join(
        counted(n, what, what.replace("folder", "folders") if " " in what else "")
        for n, what in counts
        if n
    )
    text = f"{counted(samples, 'sample')} ({kinds})"
    if not found.renamed:
        return text
    return f"{text}; {counted(found.renamed, 'name')} changed so that each is a unique file name"


def _say_subjects(found: Found, rule: str) -> None:
    print(f"subjects, by the rule {rule}: {SUBJECT_RULES[rule][1]}")
    if rule == "none":
        print(
            "  if somebody appears in several samples, say so in the column subject (or with "
            "--subjects): the training set is split by subject"
        )
        return
    known = {subject for subject in found.subjects if subject}
    lacking = found.subjects.count("")
    named = ", ".join(sorted(known)[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    print(
        f"  {counted(len(known), 'subject')}: {named}" if known else "  no subject is found by it"
    )
    if lacking:
        says = "counts" if lacking == 1 else "each count"
        print(
            f"  {counted(lacking, 'sample')} without a subject by this rule {says} as a separate "
            "person"
        )


def _say_passed_over(found: Found) -> None:
    rows = list(found.passed_over.items())
    if rows:
        print(f"skipped {len(rows)}:")
        for path, why in rows[:_SHOWN]:
            print(f"  {path}: {why}")
        if len(rows) > _SHOWN:
            print(f"  ... and {len(rows) - _SHOWN} more")


def _say_next(study: Path) -> None:
    there = [] if study.resolve() == Path.cwd() else ["-d", str(study)]
    report = study / "results" / "report" / "index.html"
    opener = "open" if sys.platform == "darwin" else "xdg-open"
    open_it = shlex.join([opener, str(report)])
    if not shutil.which(opener):
        open_it = f"(open {report} in a browser)"
    print(f"next:\n  {shlex.join([_ourselves(), 'run', *there])}\n  {open_it}")


def _ourselves() -> str:
    """The command as this user can type it: not everybody has it on PATH."""
    typed = sys.argv[0]
    found = shutil.which("facemake")
    if Path(typed).name == "facemake" and not (found and Path(found).samefile(typed)):
        return typed
    return "facemake"
