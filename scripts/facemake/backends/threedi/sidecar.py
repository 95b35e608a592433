"""The word beside each raw file: `FILE.json`, which says what it was made by, from what, and when.

Its keys are bitbox's (FileCache), so that a folder that bitbox filled is used, and it reads ours;
`runtime_identity` and `camera_sha256` are ours beside them: the SHA-256 of what made the file, and
of the calibration file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from facemake.backends.threedi import FACTS, Options
from facemake.errors import FacemakeError
from facemake.runtime.atomic import write_text

TIME = "%Y-%m-%d %H:%M:%S"
"""Local time, as bitbox writes it."""

IDENTITY = "runtime_identity"
CAMERA_FILE = "camera_sha256"
"""Key: SHA-256 of the calibration file, whose path alone bitbox has."""
DEFAULT_RETENTION = "6 months"

_UNITS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}
_MONTHS = {"month": 1, "year": 12}


def sidecar_of(path: Path) -> Path:
    """Where the word about a file is."""
    return path.with_name(f"{path.name}.json")


def base_metadata(options: Options, input_hash: str, identity: str = "") -> dict[str, Any]:
    """What must be the same for a file to be the same.

    Args:
        options: how the engine is run.
        input_hash: SHA-256 of the video.
        identity: of the install (`runtimes.Runtime.identity`); "" where it is not known.
    """
    document: dict[str, Any] = {
        "backend": FACTS[options.engine].name,
        "morphable_model": options.morphable_model,
        "camera": options.camera,
        "landmark": options.landmark_model,
        "fast": options.fast,
        "local_bases": options.basis,
        "input_hash": input_hash,
    }
    return {**document, IDENTITY: identity} if identity else document


def write(
    path: Path,
    metadata: Mapping[str, Any],
    *,
    command: Sequence[str] | str,
    video: str,
    output: str,
    now: datetime | None = None,
) -> None:
    """Write the word beside a file that was just made.

    Args:
        path: of the file.
        metadata: `base_metadata`.
        command: what made it.
        video: its input.
        output: the folder that it was made in.
        now: the time; None: this moment.
    """
    import shlex

    document = {
        **metadata,
        "cmd": command if isinstance(command, str) else shlex.join(command),
        "input": video,
        "output": output,
        "time": (now or datetime.now()).strftime(TIME),  # bitbox reads it as local time
    }
    write_text(sidecar_of(path), json.dumps(document, indent=4))


def read(path: Path) -> dict[str, Any] | None:
    """The word beside a file; None where there is none, or it cannot be read."""
    try:
        document = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def is_current(
    path: Path,
    metadata: Mapping[str, Any],
    retention: str = DEFAULT_RETENTION,
    now: datetime | None = None,
) -> bool:
    """Whether a file is there and was made by the same, from the same, and not too long ago.

    A key that only one of the two has is not compared: bitbox knows no `runtime_identity`.

    Args:
        path: of the file.
        metadata: `base_metadata` as it would be now.
        retention: how long a file is good, in words: "6 months", "1 year 2 weeks".
        now: the time; None: this moment.
    """
    if not path.is_file():
        return False
    document = read(path)
    if document is None:
        return False
    if any(document[key] != value for key, value in metadata.items() if key in document):
        return False
    try:
        made = datetime.strptime(str(document["time"]), TIME)
    except (KeyError, ValueError):
        return False
    return made >= before(now or datetime.now(), retention)


def before(moment: datetime, period: str) -> datetime:
    """The moment so long before another one; months and years are the calendar's.

    Args:
        moment: to count back from.
        period: numbers and units: "6 months", "1 year", "90 minutes", "1 year 2 weeks".

    Raises:
        FacemakeError: for words that are no period.
    """
    words = re.findall(r"(\d+)\s*([a-z]+)", period.lower())
    rest = re.sub(r"(\d+)\s*([a-z]+)", "", period.lower()).strip(" ,")
    units = [(number, unit.removesuffix("s")) for number, unit in words]
    known = (*_UNITS, *_MONTHS)
    if not units or rest or any(unit not in known for _, unit in units):
        raise FacemakeError(
            f"{period!r} is no period; write numbers with {', '.join(f'{u}s' for u in known)}, "
            "such as '6 months' or '1 year'"
        )
    try:
        months = sum(int(n) * _MONTHS[unit] for n, unit in units if unit in _MONTHS)
        rest_of_it = [int(n) * _UNITS[unit] for n, unit in units if unit in _UNITS]
        return _months_before(moment, months) - sum(rest_of_it, timedelta())
    except (OverflowError, ValueError):
        return datetime.min  # for ever


def _months_before(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 - months, 12)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    last = [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))
