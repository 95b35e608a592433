"""Files a sample in the results, exported or 3DI's own: kept whole, and rid of what nobody plans.

No rule declares such a file: a shard's job declares the list of its files (`.shards/{shard}.json`),
so that there are as many jobs as shards. What a format's files are made of lies packed in
`.packs/{shard}.zip`, which is what the cache keeps.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from facemake.rawkinds import EXPORTED

FOLDERS = (
    *("export/3di", "export/openface", "export/pyfeat", "export/csv", "export/parquet"),
    "3di",
)
"""In the results folder."""
RECEIPTS = ".shards"
PACKS = ".packs"

PACKED: Mapping[str, tuple[str, ...]] = {
    "openface": ("landmarks", "fit", "identity", "aus"),
    "pyfeat": ("detections", "landmarks", "fit", "aus"),
    "csv": (),
    "parquet": (),
}
"""Format -> the tables that it is made from, besides `probe`; of none, those that one asks for."""

MODULES = {
    "openface": "export_openface",
    "pyfeat": "export_pyfeat",
    "csv": "export_tables",
    "parquet": "export_tables",
}
"""Packed format -> the module of `facemake.stages` whose function `export_{format}` writes it."""

TABLES: Mapping[str, str] = {
    "probe": "probe",
    "detections": "detect",
    "landmarks": "landmarks",
    "fit": "fit",
    "identity": "fit",
    "smooth": "smooth",
    "expressions": "expressions",
    "aus": "aus",
    "embeddings": "embed",
}
"""Folder of tables with rows of samples -> the stage that writes it."""

WHOLE = ("bids", "rocrate")
"""Formats of a whole run, a folder each."""

FRAME_TABLES = ("detections", "landmarks", "fit", "smooth", "expressions", "aus")
"""Those of TABLES in which each frame has a row of track 0."""

BIDS_TABLES = ("fit", "smooth", "expressions", "aus")
"""Tables that go into the layout of BIDS: a row a frame and face."""


def bids_tables(enabled: Container[str]) -> list[str]:
    """Those of BIDS_TABLES whose stage is among the enabled ones."""
    return [table for table in BIDS_TABLES if TABLES[table] in enabled]


def tables_of(form: str, config: Mapping[str, Any]) -> list[str]:
    """The tables that a packed format is made from under a config, `probe` first."""
    wanted = PACKED[form] or config["export"]["tables"]
    return list(dict.fromkeys(("probe", *wanted)))


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
            files = listed(path)
            if files is None or not all(
                (results / folder / name).is_file() for names in files.values() for name in names
            ):
                path.unlink()
                removed.append(path)
        for path in sorted((results / folder / PACKS).glob("*.zip")):
            if path.is_symlink() and not path.exists():
                path.unlink()
                removed.append(path)
    return removed


def listed(path: Path) -> dict[str, dict[str, str]] | None:
    """Sample -> file -> SHA-256, of a list; None where it cannot be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {sample: dict(files) for sample, files in document.items()}
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
            gone = _listed_aside(path, results, folder, samples)
            moved += gone
            if gone or path.stem not in shards:
                path.unlink()
                # it has what they were, too
                (results / folder / PACKS / f"{path.stem}.zip").unlink(missing_ok=True)
        for path in (results / folder / PACKS).glob("*.zip"):
            if path.stem not in shards:
                path.unlink()
    return moved


def _listed_aside(path: Path, results: Path, folder: str, samples: Container[str]) -> list[Path]:
    """The files of a list that are of samples that went."""
    if folder == "3di":  # whose folders are set aside whole
        return []
    return [
        _moved(results / folder / name, (results / ".orphans" / folder / name).parent)
        for sample, names in (listed(path) or {}).items()
        if sample not in samples
        for name in names
        if (results / folder / name).is_file()
    ]


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
