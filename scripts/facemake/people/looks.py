"""Tables of embeddings read as faces to compare: a vector a track, or each face by itself.

A track is one person through time, so its vectors become one, their mean by quality. Faces of
pictures that stand alone are one person each: track 0 of two pictures need not be the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemake.backends.embed import EMBEDDERS
from facemake.backends.embed.vectors import weighted_mean
from facemake.errors import FacemakeError, TableError
from facemake.pictures import stand_alone
from facemake.rows import equals, lists, numbers
from facemake.shards import read_metadata
from facemake.status import FrameStatus
from facemake.tables import TableReader

logger = logging.getLogger(__name__)

_COLUMNS = ("sample", "frame", "track", "embedding", "quality")
_SECONDS_BETWEEN_LINES = 10.0
_EACH = ("track", "frame", "count", "quality")
_ROWS_AT_ONCE = 16_384
"""That there is room made for: 8 MB of 128 numbers each."""
_GROUPS_AT_ONCE = 256
"""Row groups, of which a sample has one in most tables: about a megabyte."""


@dataclass(frozen=True)
class Maker:
    """What made the vectors: those of two makers mean nothing to each other.

    Attributes:
        embedder: of `facemake.backends.embed.EMBEDDERS`.
        models: name, sha256 and licence of each.
        chip: what the network was shown, in words.
        flip: each vector is the mean of a face and its mirror image.
        recipe: of the stage `embed`, as the table has it.
        detect: of the stage `detect`.
    """

    embedder: str
    models: list[dict[str, str]]
    chip: str
    flip: bool
    recipe: dict[str, Any]
    detect: dict[str, Any]

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> Maker:
        """From what a table says of its making (`facemake.shards.metadata`)."""
        recipe = metadata["recipe"]
        settings = recipe["settings"]
        return cls(
            embedder=recipe["backend"],
            models=recipe["models"],
            chip=settings.get("chip", ""),
            flip=settings.get("flip", False),
            recipe=recipe,
            detect=metadata["upstream"]["detect"],
        )

    @property
    def same_person(self) -> float | None:
        """Cosine similarity from which two faces are one person; None where none is published."""
        row = EMBEDDERS.get(self.embedder)
        registered = row is not None and self.models[0]["name"] == row.models[0]
        return row.same_person if row and registered else None

    @property
    def what(self) -> dict[str, Any]:
        """What has to be the same for vectors to be compared, by its name."""
        return {
            "embedder": self.embedder,
            "model": [model["sha256"] for model in self.models],
            "chip": self.chip,
            "flip": self.flip,
        }


def same_person(results: Path, maker: Maker) -> float | None:
    """Cosine similarity from which two faces of a run are one person; None where nobody says.

    As the config of the run has it (`dataset.same_person`): its table of people says so of its
    making. Where there is none, or it is of another embedder, it is the embedder's own.

    Raises:
        TableError: the table of people is damaged.
    """
    table = results / "dataset" / "people.parquet"
    if table.is_file():
        made = read_metadata(table)
        if made["upstream"].get("embed") == maker.recipe:
            return float(made["recipe"]["settings"]["same_person"])
    return maker.same_person


@dataclass(frozen=True)
class Looks:
    """n faces, by sample, track and frame.

    Attributes:
        maker: what made the vectors; None where there is no table.
        lineages: shard -> lineage of its table (`facemake.provenance.Recipe.lineage`).
        names: of the samples that have faces, rising.
        sample: (n,) which of them.
        track: (n,).
        frame: (n,) the best frame of the track, or that of the face.
        alone: (n,) the face is by itself, of its frame alone: no track.
        count: (n,) how many faces the vector is the mean of.
        quality: (n,) 0-1, of the best of them.
        vectors: (n, D) of L2 norm 1.
        together: (k, 2) pairs of these faces, the first before the second, that one frame shows:
            two people.
    """

    maker: Maker | None
    lineages: dict[str, str]
    names: list[str]
    sample: NDArray[np.int32]
    track: NDArray[np.int16]
    frame: NDArray[np.int32]
    alone: NDArray[np.bool_]
    count: NDArray[np.int32]
    quality: NDArray[np.float32]
    vectors: NDArray[np.float32]
    together: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sample)

    def name(self, row: int) -> str:
        """A face in words: sample, and what of it."""
        name = f"{self.names[self.sample[row]]} track {self.track[row]}"
        return f"{name} frame {self.frame[row]}" if self.alone[row] else name


@dataclass(frozen=True)
class ShardTables:
    """The tables of a shard.

    Attributes:
        embeddings: whose faces are read.
        probe: says which samples are pictures.
        detections: say who was seen together; None: the frames that have embeddings say it.
    """

    embeddings: Path
    probe: Path
    detections: Path | None = None


def tables_of(results: Path) -> list[ShardTables]:
    """The tables of a results folder.

    Raises:
        FacemakeError: it has no embeddings, or their probe tables are not there.
    """
    found = sorted((results / "embeddings").glob("[!.]*.parquet"))
    if not found:
        raise FacemakeError(
            f"there is no table in {results / 'embeddings'}: name the results folder of a finished "
            "run (--results), whose config does not say `embed: off`"
        )
    shards = []
    for path in found:
        probe, detections = (results / n / path.name for n in ("probe", "detections"))
        if not probe.is_file():
            raise FacemakeError(f"{probe}, the probe of {path}, is missing: run the workflow again")
        shards.append(ShardTables(path, probe, detections if detections.is_file() else None))
    return shards


def read_looks(
    shards: Sequence[ShardTables], *, each_face: bool = False, without: Set[str] = frozenset()
) -> Looks:
    """The faces of these tables, sorted: which shard a sample is in makes no difference.

    Memory is that of one vector a track, and of one shard's piece.

    Args:
        shards: of one run.
        each_face: a row a face of a chosen frame, not a row a track.
        without: samples that are passed over.

    Raises:
        TableError: a table is damaged, or two were made by different embedders.
    """
    first: tuple[Path, Maker] | None = None
    lineages: dict[str, str] = {}
    gathered = _Gathered()
    said = time.monotonic()
    for number, shard in enumerate(shards):
        if (now := time.monotonic()) - said >= _SECONDS_BETWEEN_LINES:
            said = now
            logger.info("%d of %d tables read", number, len(shards))
        document = read_metadata(shard.embeddings)
        if document["recipe"]["stage"] != "embed":
            raise TableError(f"{shard.embeddings} is no table of embeddings")
        maker = Maker.of(document)
        first = first or (shard.embeddings, maker)
        _same_maker(*first, shard.embeddings, maker)
        lineages[shard.embeddings.stem] = document["lineage"]
        alone = _alone(shard.probe, document)
        with ExitStack() as stack:
            seen = None
            if shard.detections is not None:
                seen = stack.enter_context(TableReader(shard.detections))
            for rows in _whole_samples(shard.embeddings):
                found = _faces(rows, alone, each_face, shard.embeddings, seen)
                gathered.add([piece for piece in found if piece.name not in without])
    return gathered.sorted(first[1] if first else None, lineages)


def _same_maker(path: Path, maker: Maker, other_path: Path, other: Maker) -> None:
    different = [name for name, what in maker.what.items() if what != other.what[name]]
    if different:
        raise TableError(
            f"{other_path} and {path} cannot be compared: they differ in "
            f"{' and '.join(different)} ({_short(other, different)}; {_short(maker, different)}); "
            "run the workflow again with one config, so that all tables are made alike"
        )


def _short(maker: Maker, names: Iterable[str]) -> str:
    return ", ".join(str(maker.what[name]) for name in names)


def _alone(probe: Path, metadata: dict[str, Any]) -> set[str]:
    """The samples of a shard that are pictures which stand alone."""
    columns = _read(probe, ["sample", "kind"]).to_pydict()
    return {
        name
        for name, kind in zip(columns["sample"], columns["kind"], strict=True)
        if stand_alone({"kind": kind}, metadata)
    }


def _read(path: Path, columns: list[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns, use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise TableError(
            f"{path} cannot be read as a table ({error}); delete it and run the workflow again"
        ) from None


def _whole_samples(path: Path) -> Iterator[pa.Table]:
    """The rows of a table, some samples at a time, each of them whole."""
    held: pa.Table | None = None
    try:
        with pq.ParquetFile(path) as file:
            total = file.num_row_groups
            for start in range(0, total, _GROUPS_AT_ONCE):
                groups = list(range(start, min(start + _GROUPS_AT_ONCE, total)))
                rows = file.read_row_groups(groups, list(_COLUMNS), use_threads=False)
                if held is not None:
                    rows = pa.concat_tables([held, rows])
                if not len(rows):
                    continue
                last = pc.index(rows["sample"], rows["sample"][-1]).as_py()
                if groups[-1] + 1 == total:
                    last = len(rows)
                yield rows.slice(0, last)
                held = rows.slice(last)
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise TableError(
            f"{path} cannot be read as a table ({error}); delete it and run the workflow again"
        ) from None


@dataclass(frozen=True)
class _Piece:
    """Faces of one sample, as `Looks` has them."""

    name: str
    track: NDArray[np.int16]
    frame: NDArray[np.int32]
    alone: bool
    count: NDArray[np.int32]
    quality: NDArray[np.float32]
    vectors: NDArray[np.float32]
    together: NDArray[np.int64]


def _faces(
    rows: pa.Table, alone: set[str], each_face: bool, path: Path, seen: TableReader | None
) -> Iterator[_Piece]:
    if not len(rows):
        return
    width = len(rows["embedding"][0].as_py() or ())
    vectors = lists(rows, "embedding", width)
    if not width or not np.isfinite(vectors).all():
        raise TableError(
            f"{path} has a row without an embedding, or one of another length; delete "
            "it and run the workflow again"
        )
    tracks, frames = numbers(rows, "track"), numbers(rows, "frame")
    quality = numbers(rows, "quality").astype(np.float32)
    codes = rows["sample"].combine_chunks().dictionary_encode()
    samples = codes.indices.to_numpy()
    edges = np.flatnonzero(np.diff(samples, prepend=-1))
    for start, end in zip(edges, [*edges[1:], len(samples)], strict=True):
        name = codes.dictionary[int(samples[start])].as_py()
        single = each_face or name in alone
        part = slice(start, end)
        yield _of_sample(
            name, tracks[part], frames[part], quality[part], vectors[part], single, seen
        )


def _of_sample(
    name: str,
    tracks: NDArray[np.int16],
    frames: NDArray[np.int32],
    quality: NDArray[np.float32],
    vectors: NDArray[np.float32],
    single: bool,
    detections: TableReader | None,
) -> _Piece:
    if single:
        order = np.lexsort((frames, tracks))
        frames = frames[order]
        together = _pairs_of_frames(frames, np.arange(len(frames)))
        count = np.ones(len(frames), np.int32)
        return _Piece(
            name, tracks[order], frames, True, count, quality[order], vectors[order], together
        )
    known, which = np.unique(tracks, return_inverse=True)
    members = [np.flatnonzero(which == k) for k in range(len(known))]
    best = np.array([rows[quality[rows].argmax()] for rows in members])
    means = [weighted_mean(vectors[rows], quality[rows]) for rows in members]
    together = np.zeros((0, 2), np.int64)
    if len(known) > 1:
        together = (
            _pairs_of_frames(frames, which)
            if detections is None
            else _seen_together(detections, name, known)
        )
    return _Piece(
        name,
        known,
        frames[best],
        False,
        np.array([len(rows) for rows in members], np.int32),
        quality[best],
        np.stack(means),
        together,
    )


def _seen_together(
    detections: TableReader, sample: str, known: NDArray[np.int16]
) -> NDArray[np.int64]:
    """(k, 2) pairs of a sample's tracks that one frame shows, by their places in `known`.

    A few rows at a time: a recording may be of any length.
    """
    found = np.zeros((0, 2), np.int64)
    last_frame, in_last = -1, np.zeros(0, np.int64)
    for rows in detections.groups(sample, ["frame", "track", "status"]):
        tracks = numbers(rows, "track")
        place = np.searchsorted(known, tracks)
        wanted = known[np.minimum(place, len(known) - 1)] == tracks
        wanted &= equals(rows, "status", FrameStatus.OK)
        # what the rows before had of the frame that goes on here
        frames = np.concatenate([np.full(len(in_last), last_frame), numbers(rows, "frame")[wanted]])
        which = np.concatenate([in_last, place[wanted]])
        if len(frames):
            pairs = _pairs_of_frames(frames, which)
            found = np.unique(np.concatenate([found, pairs]), axis=0)
            last_frame, in_last = frames[-1], which[frames == frames[-1]]
    return found


def _pairs_of_frames(
    frames: NDArray[np.integer[Any]], which: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(k, 2) pairs of things, the smaller first, that are in one frame; each pair once."""
    order = np.lexsort((which, frames))
    frames, which = frames[order], which[order].astype(np.int64)
    found = np.zeros((0, 2), np.int64)
    # neighbours in the order of frames, then those two apart, until no frame has so many
    for step in range(1, len(frames)):
        same = np.flatnonzero(frames[step:] == frames[:-step])
        if not len(same):
            break
        pairs = np.stack([which[same], which[same + step]], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        found = np.unique(np.concatenate([found, pairs]), axis=0)
    return found


class _Gathered:
    """Faces of many samples, in the order in which they are read."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._counts: list[int] = []
        self._alone: list[bool] = []
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*_EACH, "together")}
        self._total = 0
        self._vectors = np.empty((0, 0), np.float32)

    def add(self, pieces: Sequence[_Piece]) -> None:
        """Take the faces of some samples.

        Raises:
            TableError: their vectors have another length than those before.
        """
        if not pieces:
            return
        widths = {self._vectors.shape[1] or pieces[0].vectors.shape[1]}
        widths |= {piece.vectors.shape[1] for piece in pieces}
        if len(widths) > 1:
            raise TableError(
                f"embeddings of {' and '.join(map(str, sorted(widths)))} numbers cannot be "
                "compared; delete the tables and run the workflow again"
            )
        together = []
        for piece in pieces:
            count, start = len(piece.track), self._total
            self._make_room(start + count, *widths)
            self._vectors[start : start + count] = piece.vectors
            together.append(piece.together + start)
            self._names.append(piece.name)
            self._counts.append(count)
            self._alone.append(piece.alone)
            self._total += count
        # one array for many samples: of each by itself most would be the array's head
        for name in _EACH:
            self._parts[name].append(np.concatenate([getattr(piece, name) for piece in pieces]))
        self._parts["together"].append(np.concatenate(together))

    def _make_room(self, count: int, width: int) -> None:
        """Where they lie or by moving pages, so that they are not there twice."""
        if count > len(self._vectors):
            rows = max(count, len(self._vectors) + _ROWS_AT_ONCE)
            if self._vectors.size:
                self._vectors.resize((rows, width), refcheck=False)
            else:
                self._vectors = np.empty((rows, width), np.float32)

    def sorted(self, maker: Maker | None, lineages: dict[str, str]) -> Looks:
        """All of them, by sample, track and frame; the last that is asked of this."""
        by_name = sorted(range(len(self._names)), key=self._names.__getitem__)
        counts = np.array(self._counts, np.int64)
        starts = np.cumsum(counts) - counts
        rows = [np.arange(starts[k], starts[k] + counts[k]) for k in by_name]
        order = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))

        def joined(name: str, kind: type[np.generic], *shape: int) -> NDArray[Any]:
            arrays = self._parts[name]
            return np.concatenate(arrays).astype(kind) if arrays else np.zeros((0, *shape), kind)

        self._vectors.resize((self._total, self._vectors.shape[1]), refcheck=False)
        _reorder(self._vectors, order)
        together = place[joined("together", np.int64, 2)]
        sample = np.repeat(np.arange(len(by_name), dtype=np.int32), counts[by_name])
        return Looks(
            maker=maker,
            lineages=lineages,
            names=[self._names[k] for k in by_name],
            sample=sample,
            track=joined("track", np.int16)[order],
            frame=joined("frame", np.int32)[order],
            alone=np.repeat(np.array(self._alone, bool)[by_name], counts[by_name]),
            count=joined("count", np.int32)[order],
            quality=joined("quality", np.float32)[order],
            vectors=self._vectors,
            together=together[np.lexsort(together.T[::-1])],
        )


def _reorder(rows: NDArray[np.float32], order: NDArray[np.int64]) -> None:
    """Have row `order[i]` at i, in place: ring by ring of rows that take each other's places."""
    ahead = order.tolist()
    for start, source in enumerate(ahead):
        if source in (start, -1):
            continue
        held, at = rows[start].copy(), start
        while source != start:
            rows[at] = rows[source]
            ahead[at], at = -1, source
            source = ahead[at]
        rows[at] = held
        ahead[at] = -1
