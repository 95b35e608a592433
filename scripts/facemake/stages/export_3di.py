"""What the native engine measured, in the file formats of 3DI, where the quantity is the same.

| file | from | a row, of track 0 in a frame |
|---|---|---|
| `_rects` | detections | x y w h, px; zeros without a face |
| `_landmarks` | landmarks | iBUG-51, x0 y0 …, px; zeros without a face |
| `_pose`, `_pose_smooth` | fit, smooth | Tx Ty Tz (mm), rotation vector, yaw pitch roll (rad) |
| `_landmarks_canonicalized` | smooth | iBUG-51, x0 y0 z0 …, mm, y up |
| `_expression`, `_expression_smooth` | fit, smooth | GE0 … GE78, with the model `bfm2009` alone |

Zeros are what 3DI itself writes there; where nothing was fitted, a row is NaN. What 3DI has and the
native engine does not measure in the same way has no file. Where nothing was smoothed there is no
`_smooth`, and the canonical landmarks are of the fit. The word beside each file (`FILE.json`) names
facemake as what made it, so that nobody takes it for 3DI's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake import geometry, schemes
from facemake.backends.threedi import FACTS, Engine, rawfiles, sidecar, turns
from facemake.errors import FacemakeError
from facemake.provenance import Recipe, file_sha256
from facemake.rows import lists, numbers
from facemake.runtime.atomic import replacing, write_text
from facemake.runtime.contexts import Closing
from facemake.samples import read_shard, samples_digest
from facemake.shards import decodable_samples, metadata, read_metadata
from facemake.tables import TableReader
from facemake.version import __version__

Array = NDArray[np.float64]

BACKEND = "facemake"
"""What sidecars name as what made a file."""

BFM = "bfm2009"
"""The face model whose expression coefficients are those of 3DI."""

_CANONICAL = 3 * rawfiles.N_LANDMARKS


@dataclass(frozen=True)
class Kind:
    """One kind of exported file.

    Attributes:
        table: name of the table that it is made from.
        columns: of that table, that are needed.
        decimals: in the file.
        make: rows of the table to (n, K) numbers, NaN where there is nothing.
        zeros: whether a row without numbers is zeros, as 3DI writes it, else NaN.
    """

    table: str
    columns: tuple[str, ...]
    decimals: int
    make: Callable[[pa.Table], Array]
    zeros: bool = False


def _rects(rows: pa.Table) -> Array:
    return np.array([numbers(rows, name) for name in "xywh"], np.float64).T


def _landmarks(rows: pa.Table) -> Array:
    """(n, 102) of landmarks in any scheme that holds iBUG-51."""
    width = 2 * rawfiles.N_LANDMARKS
    out = np.full((rows.num_rows, width), np.nan)
    for scheme in {name for name in rows["scheme"].to_pylist() if name}:
        n = schemes.N_POINTS[scheme]
        points = lists(rows, "points", 2 * n).astype(np.float64).reshape(-1, n, 2)
        there = ~np.isnan(points[:, 0, 0])
        out[there] = schemes.convert(points, scheme, schemes.IBUG51).reshape(-1, width)[there]
    return out


def _pose(rows: pa.Table) -> Array:
    """(n, 9): position, rotation vector, and the angles in 3DI's order, yaw pitch roll."""
    names = ("tx", "ty", "tz", "rx", "ry", "rz")
    pose = np.array([numbers(rows, name) for name in names], np.float64).T
    vector = turns.vector_from_rotation(geometry.rotation_from_euler(pose[:, 3:]))
    return np.concatenate([pose[:, :3], vector, pose[:, [4, 3, 5]]], axis=1)


def _canonical(rows: pa.Table) -> Array:
    return lists(rows, "canonical", _CANONICAL).astype(np.float64)


def coefficients(rows: pa.Table) -> Array:
    """(n, K) of the column `expression`; K is that of the rows that have any, else 79."""
    first = next((v for v in rows["expression"].to_pylist() if v is not None), None)
    width = rawfiles.N_EXPRESSIONS if first is None else len(first)
    return lists(rows, "expression", width).astype(np.float64)


_POSE = ("tx", "ty", "tz", "rx", "ry", "rz")


def kinds(smoothed: bool, model: str) -> dict[str, Kind]:
    """The kinds of files that there are, in order.

    Args:
        smoothed: whether there is a table `smooth`.
        model: name of the face model of the fit.
    """
    best = "smooth" if smoothed else "fit"
    found = {
        "rects": Kind("detections", (*"xywh",), 2, _rects, zeros=True),
        "landmarks": Kind("landmarks", ("scheme", "points"), 4, _landmarks, zeros=True),
        "pose": Kind("fit", _POSE, 6, _pose),
    }
    if smoothed:
        found["pose_smooth"] = Kind("smooth", _POSE, 6, _pose)
    found["landmarks_canonicalized"] = Kind(best, ("canonical",), 4, _canonical)
    if model == BFM:
        found["expression"] = Kind("fit", ("expression",), 6, coefficients)
        if smoothed:
            found["expression_smooth"] = Kind("smooth", ("expression",), 6, coefficients)
    return found


def write_rows(path: Path, kind: Kind, reader: TableReader, sample: str) -> int:
    """Write the rows of track 0 of a sample, a line a frame; memory does not grow with them.

    Args:
        path: the file; written beside and renamed.
        kind: what to write.
        reader: of the table that it is made from.
        sample: the sample.

    Returns:
        How many there are.

    Raises:
        FacemakeError: a frame has no row, or two.
    """
    count = 0
    with replacing(path) as beside, beside.open("w", encoding="ascii") as handle:
        for values in _values(kind, reader, sample):
            if kind.zeros:
                values[np.isnan(values).any(axis=1)] = 0.0
            line = " ".join([f"%.{kind.decimals}f"] * values.shape[1]) + "\n"
            handle.writelines(line % tuple(row) for row in values.tolist())
            count += len(values)
    return count


def _values(kind: Kind, reader: TableReader, sample: str) -> Iterator[Array]:
    expected = 0
    for table in reader.groups(sample, ["frame", "track", *kind.columns]):
        rows = table.filter(pa.compute.equal(table["track"], 0))
        frames = rows["frame"].to_numpy()
        if not np.array_equal(frames, np.arange(expected, expected + len(frames))):
            raise FacemakeError(
                f"{reader.path} has not one row of track 0 for each frame of {sample}: it was not "
                "written whole; delete it and run again"
            )
        expected += len(frames)
        if len(frames):
            yield kind.make(rows)


def export_3di(
    plan: Path, tables: Mapping[str, Path], folder: Path, output: Path, recipe: Recipe
) -> None:
    """Write the files of a shard's samples, and a list of them.

    Args:
        plan: the shard's plan file.
        tables: its `probe`, `detections`, `landmarks`, `fit` and, where it was smoothed, `smooth`.
        folder: where the files go: `{sample}_rects.3DI` and so on, each with its sidecar.
        output: the list: JSON, sample -> file -> SHA-256.
        recipe: of the stage `export_3di`.

    Raises:
        FacemakeError: the tables are of 3DI itself, whose own files are there already; or of
            another run.
    """
    samples = read_shard(plan)
    documents = [read_metadata(path) for path in tables.values()]
    digest = samples_digest(samples)
    for path, document in zip(tables.values(), documents, strict=True):
        if document.get("samples", digest) != digest:
            raise FacemakeError(
                f"{path} was made of other recordings than {plan} lists: the sample sheet was "
                "changed while the run was going on; start it again"
            )
    lineage = recipe.lineage([document["lineage"] for document in documents], digest)
    listed: dict[str, dict[str, str]] = {}
    with _Run(tables) as run:
        for sample in samples:
            made = run.write(sample.sample, folder)
            listed[sample.sample] = {path.name: file_sha256(path) for path in made}
    document = {"files": listed, **metadata(recipe, lineage, documents)}
    write_text(output, json.dumps(document, indent=1, sort_keys=True) + "\n")


def export_sample(sample: str, tables: Mapping[str, Path], folder: Path) -> list[Path]:
    """Write the files of one sample.

    Args:
        sample: its name.
        tables: of its shard, as of `export_3di`.
        folder: where the files go.

    Returns:
        The files; none where the sample could not be decoded.

    Raises:
        FacemakeError: the tables are of 3DI itself, or were not written whole.
    """
    with _Run(tables) as run:
        return run.write(sample, folder)


class _Run(Closing):
    """The tables of a shard, open.

    Args:
        tables: as of `export_3di`.
    """

    def __init__(self, tables: Mapping[str, Path]) -> None:
        self._known = decodable_samples(tables["probe"])
        self._readers = {
            name: TableReader(path) for name, path in tables.items() if name != "probe"
        }

    def close(self) -> None:
        """Close the tables."""
        for reader in self._readers.values():
            reader.close()

    def write(self, sample: str, folder: Path) -> list[Path]:
        """Write the files of a sample; none where it has no frames."""
        recipes = self._recipes()
        row = self._known.get(sample)
        if row is None:
            return []
        word = self._word(recipes, row)
        model = str(recipes["fit"]["settings"]["model"])
        wanted = kinds("smooth" in self._readers, model)
        places = {
            name: folder / rawfiles.file_name(sample, name, Engine.FULL)
            for name in kinds(smoothed=True, model=BFM)
        }
        for path in places.values():
            _check_ours(path)
        for name in places.keys() - wanted.keys():  # of an earlier export, with smoothing, say
            places[name].unlink(missing_ok=True)
            sidecar.sidecar_of(places[name]).unlink(missing_ok=True)
        paths = []
        for name, kind in wanted.items():
            path = places[name]
            # the word first: a file that a killed export left is still known as ours
            write_text(sidecar.sidecar_of(path), json.dumps(word, indent=4) + "\n")
            write_rows(path, kind, self._readers[kind.table], sample)
            paths.append(path)
        return paths

    def _recipes(self) -> dict[str, Any]:
        """Stage -> recipe, of all that made the fit."""
        reader = self._readers["fit"]
        recipe = reader.metadata["recipe"]
        recipes = {**reader.metadata["upstream"], recipe["stage"]: recipe}
        if "fit" not in recipes:
            raise FacemakeError(
                f"{reader.path} was made by 3DI: its own files are in the folder 3di of the "
                "results; what is exported is what facemake's own engine measured"
            )
        return recipes

    def _word(self, recipes: Mapping[str, Any], probe: Mapping[str, Any]) -> dict[str, Any]:
        """What the sidecars of a sample say: 3DI's keys and some more; no path, host or time."""
        settings = recipes["fit"]["settings"]
        best = self._readers.get("smooth", self._readers["fit"])
        return {
            "backend": BACKEND,
            "morphable_model": settings["model"],
            "camera": settings.get("fov", "calibrated"),
            "landmark": recipes["landmarks"]["backend"],
            "fast": False,
            "local_bases": None,
            "input_hash": probe["sha256"] or "",
            sidecar.IDENTITY: best.metadata["lineage"],
            "cmd": "facemake export 3di",
            "track": 0,
            "version": __version__,
            "note": f"measured by facemake, not by {FACTS[Engine.FULL].name}: the format is",
        }


def _check_ours(path: Path) -> None:
    """Refuse to write over what 3DI made.

    Raises:
        FacemakeError: a file is there, and the word beside it does not name facemake.
    """
    if path.exists() and (sidecar.read(path) or {}).get("backend") != BACKEND:
        raise FacemakeError(
            f"{path} is there and was not exported by facemake: export into another folder, or "
            "move it away"
        )
