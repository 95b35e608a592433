"""Action units of every frame, from localized expressions or from aligned crops.

By expressions they are relative to each track's own neutral; a picture that stands alone is a track
of its own here, since other pictures are other people. By crops each frame counts for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake.backends.aus import (
    AU_COLUMNS,
    AU_ESTIMATORS,
    AuEstimator,
    AuModule,
    CropEstimator,
)
from facemake.errors import FacemakeError
from facemake.models import planned
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.shards import ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import TableReader, TableWriter, coefficient_schema


def aus(
    plan: Path,
    probe: Path,
    expressions: Path,
    output: Path,
    recipe: Recipe,
    faces: Path | None = None,
) -> None:
    """Write the action units of a shard: the rows of the expressions, null where those are.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        expressions: its expressions table.
        output: `aus/{shard}.parquet`.
        recipe: of the stage `aus`.
        faces: its aligned crops, of a backend that goes by them.
    """
    row = AU_ESTIMATORS[str(recipe.backend)]
    if row.crops:
        if faces is None:
            raise ValueError(f"the backend {recipe.backend} goes by crops: give faces")
        device = recipe.settings.get("device", "cpu")
        with closing(row.estimator(planned(recipe).name, device)) as estimator:
            _by_crops(plan, probe, expressions, output, recipe, faces, estimator)
    else:
        _by_expressions(plan, probe, expressions, output, recipe)


def _by_expressions(
    plan: Path, probe: Path, expressions: Path, output: Path, recipe: Recipe
) -> None:
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
                _write(writer, sample.sample, table, out)
                run.progress.rows(track)


def _by_crops(
    plan: Path,
    probe: Path,
    expressions: Path,
    output: Path,
    recipe: Recipe,
    faces: Path,
    estimator: CropEstimator,
) -> None:
    schema = coefficient_schema(AU_COLUMNS, AU_ESTIMATORS[str(recipe.backend)].load().UNITS)
    with (
        ShardRun(recipe, plan, [probe, expressions], {"aus": output}) as run,
        TableReader(expressions) as reader,
        h5py.File(faces, "r") as file,
    ):
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            writer = part.table("aus", schema)
            if sample.sample not in known:
                continue
            group = file.get(sample.sample)
            at = _Places(group)
            for table in reader.groups(sample.sample, ["frame", "track", "status"]):
                track = table.column("track").to_numpy()
                out = np.full((len(track), len(AU_COLUMNS)), np.nan)
                fitted = np.flatnonzero(
                    np.array(table.column("status").to_pylist()) == FrameStatus.OK
                )
                places = at.of(table.column("frame").to_numpy()[fitted], track[fitted])
                if (places < 0).any():
                    raise FacemakeError(
                        f"{faces} lacks crops of {sample.sample} that the landmarks had: it is "
                        "damaged; remove it, and it is made again"
                    )
                size = estimator.batch_size
                for start in range(0, len(fitted), size):
                    some = places[start : start + size]
                    crops = [group["crops"][int(place)] for place in some]
                    out[fitted[start : start + size]] = estimator(crops)
                _write(writer, sample.sample, table, out)
                run.progress.rows(track)


class _Places:
    """Where the crops of a sample are, by frame and track."""

    def __init__(self, group: h5py.Group | None) -> None:
        keys = (
            np.zeros(0, np.int64) if group is None else _key(group["frame"][:], group["track"][:])
        )
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def of(self, frame: NDArray[np.int32], track: NDArray[np.int16]) -> NDArray[np.intp]:
        """Index of each crop; -1 where there is none."""
        keys = _key(frame, track)
        found = np.searchsorted(self._keys, keys)
        there = found < len(self._keys)
        there[there] = self._keys[found[there]] == keys[there]
        out = np.full(len(keys), -1, np.intp)
        out[there] = self._order[found[there]]
        return out


def _key(frame: NDArray[np.int32], track: NDArray[np.int16]) -> NDArray[np.int64]:
    return (frame.astype(np.int64) << 16) | track.astype(np.int64)


def _write(writer: TableWriter, sample: str, table: pa.Table, values: NDArray[np.float64]) -> None:
    rounded, missing = values.astype(np.float32), np.isnan(values)
    writer.append_columns(
        sample,
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


def _chunks(
    reader: TableReader, sample: str, names: list[str]
) -> Iterator[tuple[pa.Table, NDArray[np.int16], NDArray[np.float64]]]:
    """The table, (n,) tracks and (n, K) coefficients of a sample's rows, a row group at a time."""
    for table in reader.groups(sample, ["frame", "track", *names, "status"]):
        values = [table.column(name).to_numpy().astype(np.float64, copy=False) for name in names]
        yield table, table.column("track").to_numpy(), np.stack(values, axis=1)
