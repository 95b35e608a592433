"""Files a sample in the results, exported or 3DI's own: kept whole, and rid of what nobody plans.

No rule declares such a file: a shard's job declares the list of its files (`.shards/{shard}.json`),
so that there are as many jobs as shards.
"""

from __future__ import annotations

import json
from collections.abc import Container
from pathlib import Path

from facemake.rawkinds import EXPORTED

FOLDERS = ("export/3di", "3di")
"""In the results folder."""
RECEIPTS = ".shards"


def receipt(results: Path, shard: str, folder: str = FOLDERS[0]) -> Path:
    """Where the list of a shard's exported files is."""
    return results / folder / RECEIPTS / f"{shard}.json"


def drop_broken(results: Path) -> list[Path]:
    """Remove lists of which a file is no longer there, so that the next run exports again.

    Returns:
        What was removed.
    """
    removed = []
    for folder in FOLDERS:
        for path in sorted((results / folder / RECEIPTS).glob("*.json")):
            names = _listed(path)
            if names is None or not all((results / folder / name).is_file() for name in names):
                path.unlink()
                removed.append(path)
    return removed


def _listed(path: Path) -> list[str] | None:
    """The files of a list; None where it cannot be read."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["files"]
        return [name for files in listed.values() for name in files]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def set_aside(results: Path, shards: Container[str], samples: Container[str]) -> list[Path]:
    """Move exports of samples that are no longer in the plan to `.orphans`.

    Args:
        results: the run's folder.
        shards: of the plan.
        samples: of the plan.

    Returns:
        Where each of them is now.
    """
    moved = []
    for folder in FOLDERS:
        for path in sorted((results / folder).glob("*")):
            if path.is_file() and not path.name.startswith("."):
                sample = _sample(path.name)
                if sample is not None and sample not in samples:
                    moved.append(_moved(path, results / ".orphans" / folder))
        for path in (results / folder / RECEIPTS).glob("*.json"):
            if path.stem not in shards:
                path.unlink()
    return moved


def _sample(name: str) -> str | None:
    """Whose file it is, by its name; None for a file that no export writes."""
    base = name.removesuffix(".json")
    for kind in sorted(EXPORTED, key=len, reverse=True):
        if base.endswith(f"_{kind}.3DI"):
            return base.removesuffix(f"_{kind}.3DI")
    return None


def _moved(path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return path.replace(folder / path.name)
