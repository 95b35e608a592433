"""What actions of `facemake identities` share: a run's embeddings, and tables of who is who."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facemake.cli.tables import aligned, as_csv
from facemake.errors import FacemakeError
from facemake.hashes import private_folder
from facemake.runtime.atomic import replacing

if TYPE_CHECKING:
    from facemake.people.looks import Looks, Maker, ShardTables

FOLDER = "identities"
"""In the results: where these commands write unless they are told."""


def embedded_shards(results: Path) -> list[ShardTables]:
    """The tables of each shard of a run that has embeddings.

    Raises:
        FacemakeError: there is no such folder, or it has none.
    """
    from facemake.people.looks import tables_of

    _say_how_far()
    if not results.is_dir():
        raise FacemakeError(
            f"there is no folder {results}: --results names the results folder of a finished run"
        )
    return tables_of(results)


def _say_how_far() -> None:
    """Lines now and then, of what takes more than ten seconds."""
    logger = logging.getLogger("facemake.people")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)


def own_folder(results: Path) -> Path:
    """Where these commands write unless they are told, readable by its user alone.

    Raises:
        FacemakeError: it cannot be made.
    """
    try:
        return private_folder(results / FOLDER)
    except OSError as error:
        raise FacemakeError(
            f"the folder {results / FOLDER} cannot be made ({error.strerror}): name another place "
            "by --out"
        ) from None


def maker_of(looks: Looks, results: Path) -> Maker:
    """What made the embeddings.

    Raises:
        FacemakeError: there are none.
    """
    if looks.maker is None or not len(looks):
        raise FacemakeError(f"no face of {results} has an embedding")
    return looks.maker


def check_suffix(path: Path | None) -> None:
    """Look at the name of a table that is to be written, before hours of work.

    Raises:
        FacemakeError: its suffix is neither .csv nor .parquet.
    """
    if path is not None and path.suffix not in (".csv", ".parquet"):
        raise FacemakeError(f"{path} is to be a table: let its name end in .csv or .parquet")


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a table of rows, readable by its user alone: it says who is where.

    Args:
        path: .parquet, else CSV.
        rows: with the same columns.

    Raises:
        FacemakeError: it cannot be written.
    """
    try:
        with replacing(path, private=True) as beside:
            if path.suffix == ".parquet":
                import pyarrow as pa
                import pyarrow.parquet as pq

                pq.write_table(pa.Table.from_pylist(rows), beside, compression="zstd")
            else:
                beside.write_text(as_csv(rows), encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise FacemakeError(f"{path} cannot be written: {error.strerror or error}") from None


def aligned_text(rows: list[dict[str, Any]]) -> str:
    """Rows as a table of text."""
    if not rows:
        return "nothing is found"
    return aligned([list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
