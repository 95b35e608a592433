"""facemake cache: what the artifact cache holds, who uses it, what may go; and damage in it."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from facemake.cli.tables import aligned
from facemake.counting import counted
from facemake.errors import FacemakeError
from facemake.settings import filled
from facemake.store import lock, survey
from facemake.store.place import cache_folder
from facemake.store.survey import Entry, Survey
from facemake.store.users import State
from facemake.store.words import size_text

_SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.25}
_MOST_NAMED = 20


def add_to(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "cache",
        help="show, prune and check the artifact cache",
        description="Show, prune and check the artifact cache, into which results are links.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    info = actions.add_parser(
        "info",
        help="show its size, by stage and by working directory",
        epilog="example: facemake cache info --json",
    )
    info.add_argument("--json", action="store_true", help="print JSON, with each entry's key")
    info.set_defaults(function=_info)
    prune = actions.add_parser(
        "prune",
        help="remove entries",
        description="Remove entries, starting with those unused for longest. Entries that results "
        "link to are kept. An entry is removed only if it meets all the options given.",
        epilog="example: facemake cache prune --older-than 90d --keep 50GB --dry-run",
    )
    prune.add_argument(
        "--unused", action="store_true", help="entries that no working directory links to"
    )
    prune.add_argument(
        "--older-than",
        type=_seconds,
        metavar="TIME",
        help="entries unused for this long: 12h, 90d, 8w, 1y",
    )
    prune.add_argument(
        "--keep", type=_bytes, metavar="SIZE", help="stop once no more than this is left: 50GB"
    )
    prune.add_argument(
        "--stage", action="append", metavar="STAGE", help="entries of this stage, as info names it"
    )
    prune.add_argument(
        "--force",
        action="store_true",
        help="also entries that results link to: the next run in their folder makes them again",
    )
    prune.add_argument(
        "--forget",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="a working directory that is out of reach and not coming back",
    )
    prune.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    prune.set_defaults(function=_prune)
    check = actions.add_parser(
        "check",
        help="read every file to its end and list damaged ones",
        epilog="example: facemake cache check --remove",
    )
    check.add_argument(
        "--remove",
        action="store_true",
        help="remove damaged entries; the next run makes them again",
    )
    check.set_defaults(function=_check)
    for action in (info, prune, check):
        action.add_argument(
            "--cache-dir",
            type=Path,
            metavar="DIR",
            help="the cache's folder (default: SNAKEMAKE_OUTPUT_CACHE, else cache_dir of this "
            "folder's config, else ~/.cache/facemake)",
        )


def store_of(cache_dir: Path | None) -> Path:
    """The store that runs in this folder use, or that of a cache folder.

    Raises:
        FacemakeError: the config there turns the cache off, or cannot be read.
    """
    if cache_dir is not None:
        return cache_dir.expanduser().absolute() / "store"
    named = os.environ.get("SNAKEMAKE_OUTPUT_CACHE")
    if named:
        if "://" in named:
            raise FacemakeError(f"SNAKEMAKE_OUTPUT_CACHE is {named}, which is no folder")
        return Path(named).absolute()
    file = Path("config/config.yaml")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
        folder = cache_folder(filled(config or {}))
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise FacemakeError(f"{file} cannot be read ({error}); or name the --cache-dir") from None
    if folder is None:
        raise FacemakeError(
            f"{file} turns the cache off (cache_dir: null); or name the --cache-dir"
        )
    return folder / "store"


def _info(options: argparse.Namespace, rest: list[str]) -> int:
    found = survey.survey(store_of(options.cache_dir))
    if options.json:
        print(json.dumps(_document(found), indent=1))
        return 0
    entries = list(found.entries.values())
    print(f"{found.store}: {_sum(entries)}")
    if entries:
        used = [entry.used for entry in entries]
        print(f"last used: the oldest {_day(min(used))}, the newest {_day(max(used))}")
        linked = found.linked
        rows = [("stage", "entries", "size", "unused", "size")]
        for stage in sorted({str(entry.stage) for entry in entries}):
            these = [entry for entry in entries if str(entry.stage) == stage]
            idle = [entry for entry in these if entry.key not in linked]
            rows.append((stage, *_counted(these), *_counted(idle)))
        rows.append(("all", *_counted(entries), *_counted(found.unused)))
        print(aligned(rows, right=True))
    if found.directories:
        rows = [("working directory", "links to", "size", "last run", "")]
        for one in found.directories:
            where = str(one.directory)
            if one.results != one.directory / "results":
                where += f" ({one.results.name})"
            state = "" if one.state is State.HERE else str(one.state)
            count = len(one.links & found.entries.keys())
            rows.append((where, str(count), size_text(one.bytes), _day(one.last), state))
        print()
        print(aligned(rows, right=True))
    _say_rest(found)
    return 0


def _prune(options: argparse.Namespace, rest: list[str]) -> int:
    store = store_of(options.cache_dir)
    if not _criteria(options) and not options.forget:
        raise FacemakeError(
            "say what may go: --unused, --older-than 90d, --keep 50GB, --stage embed"
        )
    survey.survey(store)  # a folder that is not there is said before one is locked
    if options.dry_run:
        return _prune_now(store, options)
    with lock.alone(store, trust=options.force):
        return _prune_now(store, options)


def _criteria(options: argparse.Namespace) -> bool:
    """Whether the options say what may go."""
    values = options.older_than, options.keep, options.stage
    return options.unused or any(value is not None for value in values)


def _prune_now(store: Path, options: argparse.Namespace) -> int:
    found = survey.survey(store)
    if options.forget:
        found = survey.without(found, options.forget)
    chosen: list[Entry] = []
    if _criteria(options):
        chosen = survey.choose(
            found,
            unused=options.unused,
            older_than=options.older_than,
            keep=options.keep,
            stages=options.stage,
            force=options.force,
        )
    gone = {entry.key for entry in chosen}
    left = [entry for key, entry in found.entries.items() if key not in gone]
    if options.dry_run:
        print(f"would remove {_sum(chosen)}; {_sum(left)} would stay")
    else:
        survey.remove(found, chosen)
        for directory in options.forget:
            survey.forget(store, directory)
        print(f"removed {_sum(chosen)}; {_sum(left)} stay")
    for one in found.directories:
        count = len(one.links & gone)
        if count:
            print(f"  {one.directory} links to {count} of them: its next run makes them again")
    if options.keep is not None and sum(entry.bytes for entry in left) > options.keep:
        print(
            f"more than {size_text(options.keep)} stays: the rest is linked to, or used too lately"
        )
    _say_rest(found)
    return 0


def _check(options: argparse.Namespace, rest: list[str]) -> int:
    store = store_of(options.cache_dir)
    found = survey.survey(store, thorough=True)
    damaged = [entry for entry in found.entries.values() if entry.fault]
    for entry in damaged:
        print(f"{found.store}/{entry.fault}")
    if not damaged:
        print(f"{found.store}: {_sum(found.entries.values())}, every file can be read")
        return 0
    if not options.remove:
        print("facemake cache check --remove removes them; the next run makes them again")
        return 1
    with lock.alone(store):
        # runs may have stored entries, and links to them, while all was read
        found = survey.survey(store)
        damaged = survey.still_damaged(found, damaged)
        survey.remove(found, damaged)
    print(f"removed {_sum(damaged)}")
    return 0


def _say_rest(found: Survey) -> None:
    """What else a person should know of the store."""
    damaged = [entry for entry in found.entries.values() if entry.fault]
    for entry in damaged[:_MOST_NAMED]:
        print(entry.fault)
    if damaged:
        print(f"{_sum(damaged)} damaged: facemake cache check --remove")
    if found.unfinished:
        folders = counted(len(found.unfinished), "folder")
        print(f"{folders} of runs that were killed while they stored a file")
    if found.foreign:
        print(f"{counted(found.foreign, 'file')} of other workflows: left alone")
    for one in found.directories:
        if one.state is State.ELSEWHERE:
            print(
                f"{one.directory} is out of reach: what it linked to stays; if it is not coming "
                f"back, facemake cache prune --forget {one.directory}"
            )


def _document(found: Survey) -> dict[str, Any]:
    linked = found.linked
    return {
        "store": str(found.store),
        "bytes": sum(entry.bytes for entry in found.entries.values()),
        "entries": [
            {
                "key": entry.key,
                "stage": entry.stage,
                "bytes": entry.bytes,
                "used": entry.used,
                "linked": entry.key in linked,
                "fault": entry.fault,
            }
            for entry in found.entries.values()
        ],
        "directories": [
            {
                "directory": str(one.directory),
                "results": str(one.results),
                "state": str(one.state),
                "links": len(one.links & found.entries.keys()),
                "bytes": one.bytes,
                "last": one.last,
            }
            for one in found.directories
        ],
        "unfinished": len(found.unfinished),
        "foreign": found.foreign,
    }


def _counted(entries: Sequence[Entry]) -> tuple[str, str]:
    return str(len(entries)), size_text(sum(entry.bytes for entry in entries))


def _sum(entries: Iterable[Entry]) -> str:
    entries = list(entries)
    several = counted(len(entries), "entry", "entries")
    return f"{several} of {size_text(sum(entry.bytes for entry in entries))}"


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(when))


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hdwy])", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text} is no time: 12h, 90d, 8w, 1y")
    return float(match[1]) * _DAYS[match[2]] * 86400


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text} is no size: 500MB, 50GB, 1.5TB")
    unit = _SIZES[match[2]]
    if match[3]:
        unit = 1 << (10 * "kMGT".index(match[2]) + 10) if match[2] else 1
    return round(float(match[1]) * unit)
