"""The entities of a crate, and how things are named in it."""

from __future__ import annotations

import base64
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

Entity = dict[str, Any]


class Graph:
    """Entities by their id, in order."""

    def __init__(self) -> None:
        self._known: dict[str, Entity] = {}

    def add(self, identifier: str, kind: str | list[str], /, **properties: Any) -> Entity:
        """Add one, or what is new of one that is there; gives the reference to it."""
        given = {
            k: v[0] if isinstance(v, list) and len(v) == 1 else v
            for k, v in properties.items()
            if v not in (None, "", [])
        }
        self._known.setdefault(identifier, {"@id": identifier, "@type": kind}).update(given)
        return {"@id": identifier}

    def entities(self) -> list[Entity]:
        """All of them, in the order in which they came."""
        return list(self._known.values())


def ni(sha256: str) -> str:
    """The name of a content by its SHA-256 (RFC 6920)."""
    text = base64.urlsafe_b64encode(bytes.fromhex(sha256)).decode().rstrip("=")
    return f"ni:///sha-256;{text}"


def iso_time(seconds: float) -> str:
    """A moment in seconds since 1970, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


_FORMATS = {
    ".parquet": "application/vnd.apache.parquet",
    ".h5": "application/x-hdf5",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".cff": "application/yaml",
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".jpg": "image/jpeg",
    ".png": "image/png",
}


def media_type(path: Path) -> str:
    """Of a file, by its name."""
    return _FORMATS.get(path.suffix, "text/plain")


def address(path: str) -> str:
    """A path in the crate as the part of an address."""
    return quote(path, safe="/-._~+=@,")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file into the crate, with the folders that it needs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)  # what a link into the cache leads to
