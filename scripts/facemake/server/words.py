"""What a server says to the outside of what happened inside: the end of it, and no paths."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_LONGEST = 2000
_LOG_END = 16_384  # bytes
_PART = r"[^\s:'\"()\[\]{},;<>|/]"
_PATH = re.compile(
    r"(?P<url>https?://\S+)"
    # a slash between words is none of a path, unless a folder of the system follows
    r"|(?:(?<![\w.~/])/|/(?=(?:data|etc|home|media|mnt|opt|root|srv|tmp|usr|var)/))"
    rf"(?:{_PART}+/)*(?P<name>{_PART}*)"
)
_DONE = re.compile(r"\b(\d+) ?/ ?(\d+) frames\b|\bframe #?(\d+) ?/ ?(\d+)\b")


def without_paths(text: str, folders: Iterable[Path | str] = ()) -> str:
    """The end of a text, with the names of files instead of their paths.

    Args:
        text: a message, or lines of a log.
        folders: the server's own: taken out as they stand, with blanks in them too.
    """
    known = {str(folder) for folder in folders} - {"", "/", "."}
    for folder in sorted(known, key=len, reverse=True):
        text = text.replace(f"{folder}/", "/").replace(folder, Path(folder).name)
    text = _PATH.sub(lambda found: found["url"] or found["name"], text)
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text).strip()
    return text if len(text) <= _LONGEST else f"… {text[-_LONGEST:]}"


def log_end(path: Path) -> str:
    """The last of a log; "" where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _LOG_END))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def last_line(text: str) -> str:
    """The last line that says anything, of those that were written over too."""
    return next((said for line in reversed(text.splitlines()) if (said := line.strip())), "")


def fraction(line: str) -> float | None:
    """How much is done, 0 to 1, where a line says `120/300 frames` or `frame #120/300`."""
    if found := _DONE.search(line):
        done, of = (int(number) for number in found.groups() if number is not None)
        return min(1.0, done / of) if of else None
    return None
