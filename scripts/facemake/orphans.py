"""What earlier runs left in the results that is no result of this one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from facemake.errors import ConfigError
from facemake.exports import drop_broken, move_aside
from facemake.exports import set_aside as set_exports_aside
from facemake.runtime import runs

if TYPE_CHECKING:
    from facemake.plan import Plan

STAGE_FOLDERS = (
    "probe",
    "detections",
    "detections/.tracklets",
    "landmarks",
    "faces",
    "fit",
    "identity",
    "smooth",
    "expressions",
    "aus",
    "embeddings",
    "extract",
    "crops",
    "dataset",
    "counts",
    "overlay",
    "report/samples",
)
"""Folders of the results with a file (or folder) a shard."""

SEGMENT_FOLDERS = tuple(f"{folder}/.segments" for folder in ("detections", "landmarks", "faces"))
"""Those with a file a segment of a long recording, while its shard is made."""

PEOPLE_TABLE = ("dataset", "people.parquet")
"""Of all shards, beside theirs; a sample may have its name, since no shard has such a file."""

RAW_FILES = "3di"
"""Folder of 3DI's raw files: a folder a sample, and hidden ones with a file a shard."""

_OPTIONAL = {"embeddings": "embed", "smooth": "smooth", "detections/.tracklets": "identify"}
"""Folder -> the stage that the config may leave out."""


def set_aside(plan: Plan, somebody_left: bool = False) -> list[Path]:
    """Move what a stage made of shards that are no longer in the plan to `results/.orphans/`.

    A stage's folder is read as one table, so what is left of a removed sample must not stay in it,
    nor what a killed job had begun of it. Logs of its jobs go too, by the way.

    Args:
        plan: of the run.
        somebody_left: see `facemake.plan.write`; what earlier runs said names samples, so it goes.

    Returns:
        Where each such file or folder is now, but for logs.
    """
    out = Path(plan.config["outdir"])
    for path in sorted((out / "logs").glob("*/[!.]*.log")):
        if not plan.is_planned(path.stem):
            move_aside(path, out)
    if somebody_left and (out / runs.LOG).is_file():
        move_aside(out / runs.LOG, out)
    samples = {row.sample: row.subject for rows in plan.packs.values() for row in rows}
    moved = []
    for path in sorted((out / RAW_FILES).glob("[!.]*")):
        if path.name not in samples or plan.config["engine"] == "native":
            moved.append(move_aside(path, out))
    moved += set_exports_aside(out, plan.names, samples)
    for folder in (*STAGE_FOLDERS, *_of_3di(out)):
        whole, begun = ((out / folder).glob(names) for names in ("[!.]*", ".*.part"))
        for path in sorted((*whole, *begun)):
            name = _made_of(path)
            if (folder, path.name) == PEOPLE_TABLE:
                kept = plan.enabled("people")
            else:
                kept = name in plan.names and _wanted(folder, plan)
            if not kept:
                moved.append(move_aside(path, out))
    # a pack that somebody left is not drawn again until one asks for it
    for folder in SEGMENT_FOLDERS:
        moved += [
            move_aside(path, out)
            for path in sorted((out / folder).glob("*"))
            if not plan.is_planned(_made_of(path))
        ]
    for path in sorted((out / "overlay").glob("*/*")):
        if path.name != ".snakemake_timestamp" and _made_of(path) not in samples:
            moved.append(move_aside(path, out))
    return moved


def drop_dangling_links(out: Path) -> None:
    """Remove results that are links to nothing, and lists of files that are gone: for a new try.

    Results from the artifact cache are links into its store; Snakemake stops at one whose file was
    deleted there, and pandas reads a folder of such links as an empty table.

    Raises:
        ConfigError: the folder may not be looked into or changed.
    """
    try:
        for folder in (*STAGE_FOLDERS, *SEGMENT_FOLDERS, f"{RAW_FILES}/.steps", *_of_3di(out)):
            for path in (out / folder).glob("[!.]*"):
                if path.is_symlink() and not path.exists():
                    path.unlink()
        drop_broken(out)
    except PermissionError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}: the results of earlier runs must be yours to "
            f"read and write; ask their owner, run `chmod -R u+rwX {out}`, or set another outdir"
        ) from None


def _made_of(path: Path) -> str:
    """The shard or sample that a file or folder, whole or only begun, is named after."""
    name = path.name[1:].removesuffix(".part") if path.name[0] == "." else path.name
    return name if path.is_dir() else Path(name).stem


def _of_3di(out: Path) -> list[str]:
    """3DI's folders with a file a shard, those that are there."""
    steps = sorted((out / RAW_FILES / ".steps").glob("*/"))
    return [f"{RAW_FILES}/.shards", *(f"{RAW_FILES}/.steps/{step.name}" for step in steps)]


def _wanted(folder: str, plan: Plan) -> bool:
    if folder.startswith(f"{RAW_FILES}/"):
        return bool(plan.config["engine"] != "native")
    return folder not in _OPTIONAL or plan.enabled(_OPTIONAL[folder])
