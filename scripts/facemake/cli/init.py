"""facemake init: a new analysis folder, from a folder of recordings."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from facemake.counting import counted
from facemake.discovery import SUBJECT_RULES, Found, find
from facemake.errors import FacemakeError
from facemake.plan import suggested_shards
from facemake.provenance import LIBRARY

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
        "empty.",
        epilog="example: facemake init ~/videos -d my_study",
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
    parser.set_defaults(function=_init)


def _init(options: argparse.Namespace, rest: list[str]) -> int:
    study: Path = options.directory
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


def _refuse_what_is_there(study: Path, *files: Path) -> None:
    there = [str(path) for path in files if os.path.lexists(path)]
    if there:
        raise FacemakeError(
            f"{' and '.join(there)} {'are' if len(there) > 1 else 'is'} there already, and nothing "
            "is overwritten: name another folder for the analysis (-d my_study), or move them away"
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
    lines = ["sample\tpath\tsubject"]
    if found:
        inside, study = folder.resolve(), folder.resolve().parent
        for name, path, subject in zip(found.names, found.paths, found.subjects, strict=True):
            near = study in path.parents
            lines.append(f"{name}\t{os.path.relpath(path, inside) if near else path}\t{subject}")
    return "\n".join(lines) + "\n"


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
