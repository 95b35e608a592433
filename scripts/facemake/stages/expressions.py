"""Localized expressions of every fitted frame: coefficients that each move one region."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from facemake.backends.fit import load
from facemake.backends.fit.localize import Localizer
from facemake.provenance import Recipe
from facemake.shards import ShardRun
from facemake.tables import TableReader, coefficient_schema

UNIT = "1 is a full movement; image sides"
BASIS = "builtin"
"""The model whose localized basis names the columns."""


def expressions(plan: Path, fit: Path, output: Path, recipe: Recipe) -> None:
    """Write the expressions table of a shard: the rows of the fit, null where it is not `ok`.

    Args:
        plan: the shard's plan file.
        fit: its fit table.
        output: `expressions/{shard}.parquet`.
        recipe: of the stage `expressions`.
    """
    localizer = Localizer(load(recipe.settings["model"]), load(BASIS))
    schema = coefficient_schema(localizer.names, UNIT)
    with ShardRun(recipe, plan, [fit], {"expressions": output}) as run, TableReader(fit) as reader:
        for sample, part in run.pending():
            writer = part.table("expressions", schema)
            for table in reader.groups(sample.sample, ["frame", "track", "expression", "status"]):
                column = table.column("expression").combine_chunks()
                there = ~column.is_null().to_numpy(zero_copy_only=False)
                values = np.full((table.num_rows, len(localizer.names)), np.nan, np.float32)
                if there.any():
                    flat = column.flatten().to_numpy(zero_copy_only=False)
                    values[there] = localizer(flat.reshape(int(there.sum()), -1))
                writer.append_columns(
                    sample.sample,
                    {
                        "frame": table.column("frame"),
                        "track": table.column("track"),
                        **{
                            name: pa.array(values[:, k], mask=~there)
                            for k, name in enumerate(localizer.names)
                        },
                        "status": table.column("status"),
                    },
                )
