"""The templates, style and scripts of the report as files."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent
_TEXT_FILES = (".html", ".css", ".js")


def fingerprint() -> str:
    """SHA-256 of the templates, style and scripts: with the code, they decide how a page looks.

    A parameter of the report's rules, which every job of a cluster parses: it imports no Jinja2.
    """
    found = hashlib.sha256()
    for path in sorted(p for p in FOLDER.iterdir() if p.suffix in _TEXT_FILES):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
