"""Names of samples: what is safe as one, and such names of files."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from facemake.samples import RESERVED

_LONGEST = 150
"""Bytes: with what stages and temporary files add, a file name stays below 255."""

# Letters and digits of any script, then what no shell, URL or file system trips over.
_SAFE = re.compile(r"[^\W_][\w .+=@,-]*", re.UNICODE)
# What is certainly safe, but for its length: nearly all names, in one look.
_PLAIN = re.compile(r"[A-Za-z0-9](?:[\w +=@,-]|\.(?!\.))*(?<![ .])", re.ASCII)
_PERIODS = 20


def safe_names(stems: list[str]) -> list[str]:
    """Sample names from file names: unsafe characters become `_`, equal ones get a number."""
    if are_plain(stems):
        return stems
    taken: set[str] = set()
    names = []
    for stem in stems:
        folded = stem.casefold()
        if folded not in taken and stem.isascii() and name_fault(stem) is None:
            taken.add(folded)
            names.append(stem)
            continue
        text = unicodedata.normalize("NFC", stem.encode("utf-8", "replace").decode())
        text = re.sub(r"[^\w .+=@,-]", "_", text)
        text = text.encode()[: _LONGEST - 8].decode(errors="ignore")
        text = re.sub(r"\.{2,}", ".", re.sub(r"^[\W_]+", "", text)).rstrip(" .") or "sample"
        if _is_periodic(text):
            text += "-"
        name, number = text, 1
        while name.casefold() in taken or name in RESERVED:
            number += 1
            name = f"{text}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def are_plain(names: Sequence[str]) -> bool:
    """Whether all names are safe and each is another, in any case; False where that is not sure."""
    return (
        all(map(_PLAIN.fullmatch, names))
        and len(set(map(str.casefold, names))) == len(names)
        and RESERVED.isdisjoint(names)
        and all(
            len(name) <= _LONGEST and not _is_periodic(name)
            for name in names
            if len(name) >= _PERIODS
        )
    )


def name_fault(name: str) -> str | None:
    """What is wrong with a name, in words that follow it; None of one that is safe."""
    if not name:
        return "is empty"
    if name in RESERVED:
        return f"is reserved; these are: {', '.join(sorted(RESERVED))}"
    if len(name.encode()) > _LONGEST:
        return f"is longer than {_LONGEST} bytes"
    if _is_periodic(name):
        return "ends in one thing said twenty times, which Snakemake takes for an endless loop"
    if not _SAFE.fullmatch(name) or name.endswith((" ", ".")) or ".." in name:
        return (
            "is not safe as a file name; use letters, digits, space and . _ - + = @ , and start "
            "with a letter or digit"
        )
    if not name.isascii() and unicodedata.normalize("NFC", name) != name:
        return "is not in Unicode's composed form (NFC); type it again"
    return None


def _is_periodic(name: str) -> bool:
    """Whether the name ends in one thing said twenty times."""
    longest = len(name) // _PERIODS
    return any(name.endswith(name[-n:] * _PERIODS) for n in range(1, longest + 1))
