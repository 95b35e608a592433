"""Localized expressions of every fitted frame: coefficients that each move one region.

The table has the built-in model's movements always, whatever model was fitted and whatever else is
asked for: they are in full movements, their units say how many mm that is, and action units are
made from them. After them come, where the config asks for it, the same ones in units of their noise
(`NAME_z`, `expressions.normalize`) and the coefficients of 3DI's localized basis (`lb0` ...,
`expressions.basis`). With 3DI as the engine those are 3DI's own, of its own files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake.archives import Archive
from facemake.backends.fit import load, load_as_planned
from facemake.backends.fit.dictionary import load_basis
from facemake.backends.fit.localize import Localizer
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.normalize import normalize, shipped_noise
from facemake.backends.threedi import FACTS, Engine, rawfiles
from facemake.backends.threedi.model import load as load_install_model
from facemake.backends.threedi.streams import Stream
from facemake.errors import ModelError
from facemake.provenance import Recipe
from facemake.runtime.contexts import Closing
from facemake.shards import ShardRun
from facemake.tables import TableReader, coefficient_schema

Array = NDArray[np.float64]

COLUMN = "expression"
"""Column of the fit that the coefficients are made from."""

BASIS = "builtin"
"""The model whose localized basis names the columns."""

NORMALIZED = (
    "0 within {k:g} half-widths of the noise of a face at rest, else the distance to that band in "
    "standard deviations of the noise; unsigned"
)
"""Unit of the normalised coefficients."""


@dataclass(frozen=True)
class _Columns:
    """What one set of columns is made of, and how."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    of: Callable[[Array, Array], Array]
    """(n, E) coefficients of the face model and their localized ones to (n, K) values."""


@dataclass(frozen=True)
class OfEngine:
    """What 3DI has of its own.

    Attributes:
        model: what its install says of its face model.
        localized: archive of the raw files of its localized expressions.
    """

    model: Path
    localized: Path


def expressions(
    plan: Path,
    fit: Path,
    output: Path,
    recipe: Recipe,
    basis: Path | None = None,
    engine: OfEngine | None = None,
) -> None:
    """Write the expressions table of a shard: the rows of the fit, null where it is not `ok`.

    Args:
        plan: the shard's plan file.
        fit: its fit table, raw or smoothed.
        output: `expressions/{shard}.parquet`.
        recipe: of the stage `expressions`.
        basis: 3DI's localized basis as plain arrays (`facemake.backends.fit.dictionary`), where
            the recipe names one.
        engine: where 3DI made the fit: what it has of its own.

    Raises:
        ModelError: a model file is not the one that the recipe names.
    """
    if engine is None:
        model = load_as_planned(recipe.settings["model"], recipe.models)
    else:
        model = load_install_model(engine.model).as_face_model(recipe.models[0]["name"])
    builtin = load(BASIS)
    localizer = Localizer(model, builtin)
    sets = [
        _Columns(localizer.names, localizer.units, lambda expression, localized: localized),
        *_wanted(recipe, localizer, model, basis),
    ]
    inputs = [fit] if engine is None else [fit, engine.localized]
    with (
        ShardRun(recipe, plan, inputs, {"expressions": output}) as run,
        TableReader(fit) as reader,
        _Theirs(engine, recipe) as theirs,
    ):
        names = [*(name for columns in sets for name in columns.names), *theirs.names]
        units = [*(unit for columns in sets for unit in columns.units), *theirs.units]
        schema = coefficient_schema(names, units)
        for sample, part in run.pending():
            own = theirs.of(sample.sample)
            writer = part.table("expressions", schema)
            for table in reader.groups(sample.sample, ["frame", "track", COLUMN, "status"]):
                column = table.column(COLUMN).combine_chunks()
                there = ~column.is_null().to_numpy(zero_copy_only=False)
                values = np.full((table.num_rows, len(names)), np.nan, np.float32)
                given = own.take(table.num_rows) if own is not None else np.empty((len(there), 0))
                if there.any():
                    flat = column.flatten().to_numpy(zero_copy_only=False)
                    found = flat.reshape(int(there.sum()), -1).astype(np.float64)
                    localized = localizer(found)
                    values[there] = np.concatenate(
                        [*(s.of(found, localized) for s in sets), given[there]], axis=1
                    )
                writer.append_columns(
                    sample.sample,
                    {
                        "frame": table.column("frame"),
                        "track": table.column("track"),
                        **{
                            name: pa.array(values[:, k], mask=~there)
                            for k, name in enumerate(names)
                        },
                        "status": table.column("status"),
                    },
                )
                run.progress.rows(table.column("track").to_numpy())


class _Theirs(Closing):
    """3DI's own localized coefficients of a shard; none without 3DI."""

    def __init__(self, engine: OfEngine | None, recipe: Recipe) -> None:
        self._archive = None if engine is None else Archive(engine.localized)
        self.names: tuple[str, ...] = ()
        self.units: tuple[str, ...] = ()
        if self._archive is None:
            return
        self._engine = Engine(str(recipe.backend))
        settings = self._archive.metadata["recipe"]["settings"]
        self.names = rawfiles.local_names(self._engine, self._count())
        unit = f"3DI's localized basis {settings.get('basis', '')}".rstrip()
        if settings["normalize"]:
            unit += ": distance from its median over a robust deviation, both the basis' own"
        self.units = (unit,) * len(self.names)

    def _count(self) -> int:
        """Coefficients in a row; where no sample has any, those of the basis all the same."""
        assert self._archive is not None
        ending = rawfiles.file_name("", "expression_localized", self._engine)
        for name in self._archive.names:
            if name.endswith(ending):
                sample = name.removesuffix(ending)
                return Stream(self._archive, sample, "expression_localized", self._engine).columns
        for name in self._archive.names:
            if name.endswith(rawfiles.COLUMNS):
                return int(self._archive.read(name))
        return FACTS[self._engine].n_local

    def of(self, sample: str) -> Stream | None:
        """Those of a sample, in the order of its frames."""
        if self._archive is None:
            return None
        found = Stream(self._archive, sample, "expression_localized", self._engine)
        found.columns = len(self.names)
        return found

    def close(self) -> None:
        """Close the archive."""
        if self._archive is not None:
            self._archive.close()


def _wanted(
    recipe: Recipe, localizer: Localizer, model: LinearFaceModel, basis: Path | None
) -> Iterator[_Columns]:
    """The columns that the recipe asks for beside those that are always there, in order."""
    if recipe.settings.get("normalize"):
        noise, k = shipped_noise().of(localizer.names), float(recipe.settings["k"])
        yield _Columns(
            names=tuple(f"{name}_z" for name in localizer.names),
            units=(NORMALIZED.format(k=k),) * len(localizer.names),
            of=lambda expression, localized: normalize(localized, noise, k),
        )
    if basis is not None:
        theirs = load_basis(basis)
        _check(theirs.sha256, basis, recipe)
        yield _Columns(
            names=theirs.names,
            units=(theirs.unit,) * len(theirs.names),
            of=lambda expression, localized: theirs.localize(expression, model),
        )


def _check(sha256: str, basis: Path, recipe: Recipe) -> None:
    """Refuse a file that is not the one that the recipe, and so every table, will name."""
    if sha256 not in [row["sha256"] for row in recipe.models]:
        raise ModelError(
            f"{basis} has SHA-256 {sha256[:12]}…, and the plan of this run names another file: run "
            "again, so that the plan sees it as it is now"
        )
