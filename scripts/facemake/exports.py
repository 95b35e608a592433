"""Files a sample in the results, exported or 3DI's own: kept whole, and rid of what nobody plans.

No rule declares such a file: a shard's job declares the list of its files (`.shards/{shard}.json`),
so that there are as many jobs as shards. What a format's files are made of lies packed in
`.packs/{shard}.zip`, which is what the cache keeps.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Container, Iterator, Mapping
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
_TABLEWISE = ("csv", "parquet")
"""Formats with a folder a table."""

LAYOUT = "dataset_description.json"
"""In a layout of BIDS: says what made it."""
NAMES = "code/names.tsv"
"""In a layout of BIDS: which sample became what."""
CRATE = "ro-crate-metadata.json"
ORCHESTRATION = "#facemake-orchestration"
RECORDINGS = "#recordings"
"""In a crate: two of its entities; the second has all samples."""

PACKED: Mapping[str, tuple[str, ...]] = {
    "openface": ("landmarks", "fit", "identity", "aus"),
    "pyfeat": ("detections", "landmarks", "fit", "aus"),
    "csv": (),
    "parquet": (),
}
"""Format -> the tables that it is made from, besides `probe`; of none, those that one asks for."""

WRITERS = {
    "openface": ("export_openface", "OpenFaceWriter"),
    "pyfeat": ("export_pyfeat", "PyFeatWriter"),
    "csv": ("export_tables", "CsvWriter"),
    "parquet": ("export_tables", "ParquetWriter"),
}
"""Packed format -> module of `facemake.stages`, and its class that writes it."""

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


def set_aside(results: Path, shards: Container[str], samples: Mapping[str, str]) -> list[Path]:
    """Move exports of samples that are no longer in the plan to `.orphans`.

    The folder of a whole run (`WHOLE`) goes whole where it tells of such a sample, or of one under
    another subject: its own tables name them. The target `export` makes it anew.

    Args:
        results: the run's folder.
        shards: of the plan.
        samples: of the plan: sample -> who is in it.

    Returns:
        Where each of them is now.
    """
    moved = []
    for folder in FOLDERS:
        # 3DI's own folders are set aside whole, and by who plans
        exported = folder != "3di"
        for path, sample in _files(results / folder) if exported else ():
            if sample not in samples and path.is_file() and is_ours(path, sample):
                moved.append(move_aside(path, results))
        for path, sample in _halves(results / folder) if exported else ():
            if sample not in samples:
                moved.append(move_aside(path, results))
        for path in (results / folder / RECEIPTS).glob("*.json"):
            gone = (listed(path) or {}).keys() - samples.keys()
            if path.stem not in shards or (gone and exported):
                path.unlink()
                # it has what they were, too
                (results / folder / PACKS / f"{path.stem}.zip").unlink(missing_ok=True)
        for path in (results / folder / PACKS).glob("*.zip"):
            if path.stem not in shards:
                path.unlink()
    for form, is_stale in (("bids", _layout_is_stale), ("rocrate", _crate_is_stale)):
        path = results / "export" / form
        # what a killed export left is of no use to anybody
        left = [path.with_name(f".{form}.{word}") for word in ("part", "earlier")]
        stale = [path] if is_stale(path, samples) else []
        moved += [move_aside(one, results) for one in (*left, *stale) if one.is_dir()]
    return moved


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """What an export may have written, and the sample of each, by their names."""
    for path in sorted(folder.glob("[!.]*/[!.]*" if folder.name in _TABLEWISE else "[!.]*")):
        sample = _sample_of(folder, path.name)
        if sample is not None:
            yield path, sample


def _halves(folder: Path) -> Iterator[tuple[Path, str]]:
    """What a killed export left, `.NAME.part`, and the sample of each."""
    for path in sorted((*folder.glob(".*.part"), *folder.glob("[!.]*/.*.part"))):
        name = path.name[1:].removesuffix(".part")
        sample = name if path.is_dir() else _sample_of(folder, name)
        if sample is not None:
            yield path, sample


def _sample_of(folder: Path, name: str) -> str | None:
    name = name.removesuffix(".json")
    return _sample_of_3di(name) if folder.name == "3di" else _sample_of_table(name)


def _sample_of_3di(name: str) -> str | None:
    for kind in sorted(EXPORTED, key=len, reverse=True):
        if name.endswith(f"_{kind}.3DI"):
            return name.removesuffix(f"_{kind}.3DI")
    return None


def _sample_of_table(name: str) -> str | None:
    sample, _, suffix = name.rpartition(".")
    return sample if suffix in ("csv", "parquet") else None


def is_ours(path: Path, sample: str) -> bool:
    """Whether a file of a sample, or the JSON beside one, was exported by facemake."""
    if path.suffix == ".parquet":
        from facemake.errors import TableError
        from facemake.tables import TableReader  # heavy, and for files that are left over alone

        try:
            with TableReader(path):
                return True
        except TableError:
            return False
    beside = path if path.suffix == ".json" else path.with_name(f"{path.name}.json")
    try:
        word = json.loads(beside.read_text(encoding="utf-8"))
        if path.name.removesuffix(".json").endswith(".3DI"):
            return bool(word["backend"] == "facemake")
        return bool(word["sample"] == sample and word["made_by"].startswith("facemake "))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def wrote_layout(folder: Path) -> bool:
    """Whether a folder is a layout of BIDS that facemake wrote."""
    try:
        document = json.loads((folder / LAYOUT).read_text(encoding="utf-8"))
        return bool(document["GeneratedBy"][0]["Name"] == "facemake")
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False


def is_crate(text: str) -> bool:
    """Whether the metadata of a crate are of one that facemake wrote."""
    return f'"{ORCHESTRATION}"' in text


def _layout_is_stale(folder: Path, samples: Mapping[str, str]) -> bool:
    """Whether a layout of BIDS tells of others than these samples, or does not say of which."""
    if not wrote_layout(folder):
        return False
    known = {(sample, one_line(subject)) for sample, subject in samples.items()}
    try:
        with (folder / NAMES).open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file, dialect="excel-tab")
            return any((row["sample"], row["subject"]) not in known for row in rows)
    except (OSError, KeyError, csv.Error):
        return True


def _crate_is_stale(folder: Path, samples: Mapping[str, str]) -> bool:
    """Whether a crate tells of others than these samples, or does not say of which."""
    try:
        text = (folder / CRATE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    if not is_crate(text):
        return False
    try:
        graph = {one["@id"]: one for one in json.loads(text)["@graph"]}
        recordings = as_list(graph[RECORDINGS].get("hasPart"))
        named = [name for one in recordings for name in as_list(graph[one["@id"]]["identifier"])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return True
    return not samples.keys() >= set(named)


def as_list(value: Any) -> list[Any]:
    """A value of JSON-LD, where a list of one stands without brackets."""
    return value if isinstance(value, list) else [] if value is None else [value]


def one_line(text: str) -> str:
    """A cell of a table of tabs."""
    return re.sub(r"[\t\r\n]+", " ", text)


def move_aside(path: Path, results: Path) -> Path:
    """Move a file or folder of the results to `.orphans`; what is there by its name goes.

    Returns:
        Where it is now.
    """
    target = results / ".orphans" / path.relative_to(results)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)
    shutil.move(path, target)  # a folder of results may be a link to another disk
    return target
