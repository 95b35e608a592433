"""Action units of every fitted frame, relative to each track's own neutral.

A picture that stands alone is a track of its own here: other pictures are other people.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake.backends.aus import AU_COLUMNS, AU_ESTIMATORS, AuEstimator, AuModule
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.shards import ShardRun, decodable_samples
from facemake.tables import TableReader, coefficient_schema


def aus(plan: Path, probe: Path, expressions: Path, output: Path, recipe: Recipe) -> None:
    """Write the action units of a shard: the rows of the expressions, null where those are.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        expressions: its expressions table.
        output: `aus/{shard}.parquet`.
        recipe: of the stage `aus`.
    """
    backend: AuModule = AU_ESTIMATORS[str(recipe.backend)].load()
    schema = coefficient_schema(AU_COLUMNS, backend.UNITS)
    with (
        ShardRun(recipe, plan, [probe, expressions], {"aus": output}) as run,
        TableReader(expressions) as reader,
    ):
        names = list(backend.NEEDED)
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            writer = part.table("aus", schema)
            if sample.sample not in known:
                continue
            alone = stand_alone(known[sample.sample], run.metadata)
            estimators: dict[int, AuEstimator] = {}
            if not alone:
                for _, track, values in _chunks(reader, sample.sample, names):
                    for number in np.unique(track).tolist():
                        one = estimators.setdefault(number, backend.create(names))
                        one.look(values[track == number])
            for table, track, values in _chunks(reader, sample.sample, names):
                out = np.full((len(track), len(AU_COLUMNS)), np.nan)
                if alone:
                    for row in range(len(track)):
                        one = backend.create(names)
                        one.look(values[row : row + 1])
                        out[row] = one.estimate(values[row : row + 1])[0]
                for number, one in estimators.items():
                    out[track == number] = one.estimate(values[track == number])
                rounded, missing = out.astype(np.float32), np.isnan(out)
                writer.append_columns(
                    sample.sample,
                    {
                        "frame": table.column("frame"),
                        "track": table.column("track"),
                        **{
                            name: pa.array(rounded[:, k], mask=missing[:, k])
                            for k, name in enumerate(AU_COLUMNS)
                        },
                        "status": table.column("status"),
                    },
                )
                run.progress.rows(track)


def _chunks(
    reader: TableReader, sample: str, names: list[str]
) -> Iterator[tuple[pa.Table, NDArray[np.int16], NDArray[np.float64]]]:
    """The table, (n,) tracks and (n, K) coefficients of a sample's rows, a row group at a time."""
    for table in reader.groups(sample, ["frame", "track", *names, "status"]):
        values = [table.column(name).to_numpy().astype(np.float64, copy=False) for name in names]
        yield table, table.column("track").to_numpy(), np.stack(values, axis=1)
