"""Smooth the fitted pose and expression of every track through time.

The fit's own table stays as it is, frame by frame; the smoothed values are a table of their own, so
that whoever reads either knows which it is. Expressions and action units are made from the smoothed
one, the labels of the training set from the raw one, since a label is of its picture alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from facemake.backends.fit import linalg, load_as_planned
from facemake.backends.fit.model import LinearFaceModel
from facemake.backends.fit.smooth import SmoothSettings, TrackSmoother
from facemake.backends.fit.tracknoise import Noise, NoiseMeter
from facemake.backends.fit.trackrows import TrackRows
from facemake.errors import TableError
from facemake.pictures import stand_alone
from facemake.provenance import Recipe
from facemake.shards import ShardRun, decodable_samples
from facemake.status import FrameStatus
from facemake.tables import TableReader, TableWriter, list_array

Array = NDArray[np.float64]

_POSE = ("tx", "ty", "tz", "rx", "ry", "rz")


def smooth(
    plan: Path, probe: Path, landmarks: Path, fit: Path, output: Path, recipe: Recipe
) -> None:
    """Write the smoothed fit of a shard: the rows of the fit, null where it is not `ok`.

    Nothing is smoothed across frames that are missing or across a cut. Pictures that stand alone
    keep the values of the fit.

    Args:
        plan: the shard's plan file.
        probe: its probe table.
        landmarks: its landmarks table, which has the times.
        fit: its fit table.
        output: `smooth/{shard}.parquet`.
        recipe: of the stage `smooth`; its setting `smoothing` is the strength.
    """
    model = load_as_planned(recipe.settings["model"], recipe.models)
    settings = SmoothSettings(strength=float(recipe.settings["smoothing"]))
    with (
        ShardRun(recipe, plan, [fit], {"smooth": output}) as run,
        TableReader(landmarks) as times,
        TableReader(fit) as fits,
    ):
        known = decodable_samples(probe)
        run.progress.expect(sum(row["n_frames"] for row in known.values()))
        for sample, part in run.pending():
            table = part.table("smooth")
            row = known.get(sample.sample)
            if row is None:
                continue
            alone = stand_alone(row, run.metadata)
            pieces = _Pieces(times, fits, sample.sample, model)
            writer = _Writer(table, sample.sample, model)
            if alone:
                for piece in pieces:
                    writer.write(piece, piece.rows)
                    run.progress.rows(piece.track)
                continue
            lengths = pieces.lengths()
            smoothers = {
                track: TrackSmoother(
                    noise, settings, model.expression_lower, model.expression_upper
                )
                for track, noise in _noise(pieces, lengths, model).items()
            }
            merger = _Merger(smoothers, lengths, writer)
            for piece in pieces:
                merger.push(piece)
                run.progress.rows(piece.track)
            assert merger.empty


def _noise(pieces: _Pieces, lengths: Mapping[int, int], model: LinearFaceModel) -> dict[int, Noise]:
    """The noise of each track. A meter is large, so it goes with the last row of its track."""
    left = dict(lengths)
    meters: dict[int, NoiseMeter] = {}
    found: dict[int, Noise] = {}
    for piece in pieces:
        for track, rows in piece.by_track():
            if track not in meters:
                bounds = (model.expression_lower, model.expression_upper)
                meters[track] = NoiseMeter(len(model.expression), *bounds)
            meters[track].push(rows)
            left[track] -= len(rows.frame)
            if not left[track]:
                found[track] = meters.pop(track).noise()
    return found


@dataclass(frozen=True)
class _Piece:
    """Some consecutive rows of a sample's fit, of all its tracks."""

    track: NDArray[np.int16]
    status: list[str]
    rows: TrackRows
    """Of these rows, whatever their track."""
    canonical: Array
    """(n, 153) mm, of the fit; NaN where it is not `ok`."""

    def by_track(self) -> Iterator[tuple[int, TrackRows]]:
        """The rows of each track that is here."""
        for track in np.unique(self.track).tolist():
            yield track, _taken(self.rows, np.flatnonzero(self.track == track))


class _Pieces:
    """The pieces of a sample, in order; as often as wanted."""

    def __init__(
        self, times: TableReader, fits: TableReader, sample: str, model: LinearFaceModel
    ) -> None:
        self._times, self._fits = times, fits
        self._sample, self._model = sample, model

    def lengths(self) -> Counter[int]:
        """Track -> how many rows it has."""
        found: Counter[int] = Counter()
        for table in self._fits.groups(self._sample, ["track"]):
            found.update(table.column("track").to_pylist())
        return found

    def __iter__(self) -> Iterator[_Piece]:
        columns = ["frame", "track", *_POSE, "expression", "canonical", "status"]
        stamps = self._times.groups(self._sample, ["frame", "track", "time"])
        for table, stamp in zip_longest(self._fits.groups(self._sample, columns), stamps):
            if (
                table is None
                or stamp is None
                or not (table["frame"] == stamp["frame"] and table["track"] == stamp["track"])
            ):
                raise TableError(
                    f"{self._fits.path} and {self._times.path} do not have the same rows of "
                    f"{self._sample}: delete the first and run again"
                )
            status = table.column("status").to_pylist()
            ok = np.array([word == FrameStatus.OK for word in status], dtype=bool)
            pose = np.stack([table.column(n).to_numpy() for n in _POSE], axis=1).astype(np.float64)
            yield _Piece(
                table.column("track").to_numpy(),
                status,
                TrackRows(
                    frame=table.column("frame").to_numpy().astype(np.int64),
                    time=stamp.column("time").to_numpy().astype(np.float64),
                    ok=ok,
                    translation=np.ascontiguousarray(pose[:, :3]),
                    euler=np.ascontiguousarray(pose[:, 3:]),
                    expression=_lists(table, "expression", ok, len(self._model.expression)),
                ),
                _lists(table, "canonical", ok, 3 * len(self._model.inner)),
            )


class _Merger:
    """Puts what the smoothers of the tracks give back into the order of the table."""

    def __init__(
        self, smoothers: dict[int, TrackSmoother], lengths: Mapping[int, int], writer: _Writer
    ) -> None:
        self._smoothers = smoothers
        self._left = dict(lengths)
        self._writer = writer
        self._waiting: list[_Piece] = []
        self._done: dict[int, TrackRows] = {}

    def push(self, piece: _Piece) -> None:
        """Take the next rows, and write those that are ready."""
        self._waiting.append(piece)
        for track, rows in piece.by_track():
            self._take(track, self._smoothers[track].push(rows))
            self._left[track] -= len(rows.frame)
            if not self._left[track]:
                # At once: the rows of the other tracks beside its last ones wait for these.
                self._take(track, self._smoothers.pop(track).finish())
        self._write()

    @property
    def empty(self) -> bool:
        """Whether all that came was written."""
        return not self._waiting

    def _take(self, track: int, rows: TrackRows) -> None:
        before = self._done.get(track)
        self._done[track] = rows if before is None else _joined([before, rows])

    def _write(self) -> None:
        while self._waiting:
            piece = self._waiting[0]
            wanted = {t: np.flatnonzero(piece.track == t) for t in np.unique(piece.track).tolist()}
            if any(len(self._done[t].frame) < len(where) for t, where in wanted.items()):
                return
            order = np.argsort(np.concatenate(list(wanted.values())), kind="stable")
            parts = []
            for track, where in wanted.items():
                done = self._done[track]
                parts.append(_taken(done, np.arange(len(where))))
                self._done[track] = _taken(done, np.arange(len(where), len(done.frame)))
            self._writer.write(piece, _taken(_joined(parts), order))
            self._waiting.pop(0)


class _Writer:
    """Writes smoothed rows, with the canonical landmarks that go with them."""

    def __init__(self, table: TableWriter, sample: str, model: LinearFaceModel) -> None:
        self._table, self._sample, self._model = table, sample, model

    def write(self, piece: _Piece, rows: TrackRows) -> None:
        """Write the rows of a piece with these values, or its own where there are none."""
        ok, raw = piece.rows.ok, piece.rows
        model = self._model
        there = rows.ok[:, None]
        translation = np.where(there, rows.translation, raw.translation)
        euler = np.where(there, rows.euler, raw.euler)
        expression = np.where(there, rows.expression, raw.expression)
        # Two rows at least: see `linalg` on arrays of length 1.
        padded = np.zeros((len(ok) + 2, expression.shape[1]))
        padded[:-2][ok] = expression[ok]
        shape = model.mean + linalg.combine(padded, model.expression)[: len(ok)]
        canonical = (shape[:, model.inner] * [1.0, -1.0, 1.0]).reshape(len(ok), -1)
        # The fit made its own from coefficients that were not rounded for a table.
        same = (expression == raw.expression).all(axis=1)
        canonical[same] = piece.canonical[same]
        pose = np.concatenate([translation, euler], axis=1).astype(np.float32)
        self._table.append_columns(
            self._sample,
            {
                "frame": piece.rows.frame.astype(np.int32),
                "track": piece.track,
                **{name: pa.array(pose[:, k], mask=~ok) for k, name in enumerate(_POSE)},
                "expression": list_array(expression, ok),
                "canonical": list_array(canonical, ok),
                "status": piece.status,
            },
        )


def _lists(table: pa.Table, name: str, there: NDArray[np.bool_], width: int) -> Array:
    """(n, width) values of a column of lists; NaN where `there` is False."""
    values = np.full((len(there), width), np.nan)
    flat = table.column(name).combine_chunks().flatten().to_numpy()
    values[there] = flat.reshape(int(there.sum()), width)
    return values


def _names() -> tuple[str, ...]:
    return tuple(f.name for f in fields(TrackRows) if f.name != "cut")


def _taken(rows: TrackRows, index: NDArray[np.intp]) -> TrackRows:
    return TrackRows(**{name: getattr(rows, name)[index] for name in _names()})


def _joined(parts: list[TrackRows]) -> TrackRows:
    return TrackRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _names()}
    )
