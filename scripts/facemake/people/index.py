"""A dataset's embeddings in a FAISS index, with the table of whose they are.

The index lies in a private folder (mode 0700, files 0600): `index.json` says what it is of and
names its two files by their SHA-256, so that a new one takes the place of an old one at once, and
an interrupted try leaves the old one. FAISS reads a file without much doubt, so none is read that
others could have written, or that is not the one that `index.json` was written for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from facemake.errors import FacemakeError
from facemake.hashes import private_folder
from facemake.people.looks import Looks, Maker, ShardTables
from facemake.people.sheet import Who, subjects
from facemake.provenance import file_sha256
from facemake.runtime.atomic import replacing
from facemake.shards import read_metadata
from facemake.version import __version__

EXACT_UP_TO = 512_000_000
"""Numbers in all vectors: 4 million of 128. Up to there an exact search takes a tenth of a second
on one core (20 ms a million vectors of 128 were measured), and nothing is ever missed; the index,
as an approximate one, takes 4 bytes a number in memory."""

EXACT = "exact"
APPROXIMATE = "approximate"

_LISTS_A_ROOT = 4
"""Cells of an approximate index over the root of the number of its vectors."""
_LOOKED_AT = 8
"""An eighth of the cells is searched: of a million vectors of 128, ten a person, 98.7 % of the ten
nearest were found, the nearest always, in 5 ms instead of 20; made in 35 s."""
_POINTS_A_CELL = 64
_SEED = 1234

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("sample", pa.string(), nullable=False),
        pa.field("track", pa.int16(), nullable=False),
        pa.field("frame", pa.int32(), nullable=False),  # the best of the track, or that of the face
        pa.field("faces", pa.int32(), nullable=False),
        pa.field("quality", pa.float32(), nullable=False),
        pa.field("subject", pa.string()),
        pa.field("split", pa.string()),
    ]
)

_AGAIN = "make it again by `facemake identities index`"


@dataclass(frozen=True)
class Index:
    """An index that can be searched.

    Attributes:
        document: of `index.json`.
        rows: of `SCHEMA`, a row a vector.
    """

    document: dict[str, Any]
    rows: pa.Table
    _vectors: Any

    @property
    def maker(self) -> Maker:
        """What made its vectors."""
        return Maker.of(self.document["made"])

    def search(self, query: NDArray[np.float32], most: int) -> list[dict[str, Any]]:
        """The rows that are most like a vector, by falling similarity.

        Args:
            query: (D,) of L2 norm 1.
            most: so many of them.

        Returns:
            Of each its `similarity` (cosine) and its columns.

        Raises:
            FacemakeError: the vector is of another length than those of the index.
        """
        if query.shape != (self.document["dim"],):
            raise FacemakeError(
                f"a vector of {len(query)} numbers cannot be compared with those of the index, "
                f"which have {self.document['dim']}"
            )
        most = min(most, len(self.rows))
        if not most:
            return []
        with _one_thread():
            similarity, row = self._vectors.search(query[None].astype(np.float32), most)
        found = row[0][row[0] >= 0]
        table = self.rows.take(found).to_pylist()
        return [
            {"similarity": float(value), **columns}
            for value, columns in zip(similarity[0].tolist(), table, strict=False)
        ]

    def changed(self, shards: Sequence[ShardTables]) -> list[str]:
        """The tables of a results folder that are not those of the index, by their shard."""
        now = {one.embeddings.stem: read_metadata(one.embeddings)["lineage"] for one in shards}
        then = self.document["tables"]
        return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))


def build(looks: Looks, who: Who, folder: Path, kind: str | None, of: str) -> dict[str, Any]:
    """Write the index of faces.

    Args:
        looks: the faces.
        who: subjects and splits of the samples.
        folder: made, of mode 0700.
        kind: `EXACT` or `APPROXIMATE`; None: exact up to `EXACT_UP_TO`.
        of: what a vector is of, in words.

    Returns:
        What `index.json` says.

    Raises:
        FacemakeError: there is no face, or the folder cannot be written to.
    """
    if not len(looks) or looks.maker is None:
        raise FacemakeError(
            "no face has an embedding in these results: there is nothing to make an index of"
        )
    count, dim = looks.vectors.shape
    chosen, why = _chosen(count, dim, kind)
    index, method = _flat(dim), "IndexFlatIP"
    with _one_thread():
        if chosen == APPROXIMATE:
            index, method = _cells(looks.vectors)
        index.add(looks.vectors)
    names, splits = subjects(looks, who)
    columns: dict[str, Any] = {
        "row": np.arange(count),
        "sample": [looks.names[one] for one in looks.sample.tolist()],
        "track": looks.track,
        "frame": looks.frame,
        "faces": looks.count,
        "quality": looks.quality,
        "subject": names,
        "split": splits,
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    try:
        private_folder(folder)
        with replacing(folder / "vectors", private=True) as beside:
            faiss.write_index(index, str(beside))
        with replacing(folder / "rows", private=True) as beside:
            pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), beside, compression="zstd")
        files = {name: file_sha256(folder / name) for name in ("vectors", "rows")}
        for name, sha256 in files.items():
            (folder / name).replace(_named(folder, name, sha256))
        document = {
            "facemake": __version__,
            "of": of,
            "rows": count,
            "dim": dim,
            "search": chosen,
            "why": why,
            "method": method,
            "metric": "inner product of vectors of L2 norm 1: the cosine",
            "embedder": looks.maker.what,
            "made": {
                "recipe": looks.maker.recipe,
                "upstream": {"detect": looks.maker.detect},
            },
            "tables": dict(sorted(looks.lineages.items())),
            "files": files,
        }
        with replacing(folder / "index.json", private=True) as beside:
            text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
            beside.write_text(text + "\n", encoding="utf-8", errors="surrogateescape")
        for name, suffix in _SUFFIXES.items():
            # no other file that somebody may have in a folder of theirs
            for old in folder.glob(f"{name}-{'[0-9a-f]' * _DIGITS}.{suffix}"):
                if old != _named(folder, name, files[name]):
                    old.unlink()
    except OSError as error:
        raise FacemakeError(f"the index cannot be written to {folder}: {error}") from None
    return document


def open_index(folder: Path) -> Index:
    """Read an index.

    Raises:
        FacemakeError: there is none, it is damaged, or others than its user could have written it.
    """
    path = folder / "index.json"
    if not path.is_file():
        raise FacemakeError(f"there is no index in {folder}: {_AGAIN.replace(' again', '')}")
    _check_private(folder)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        files = {name: _named(folder, name, document["files"][name]) for name in _SUFFIXES}
        maker = Maker.of(document["made"])
        known = isinstance(document["tables"], dict) and maker.what == document["embedder"]
        known = known and {"search", "method"} <= document.keys()
        said = (document["rows"], document["dim"], document["rows"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FacemakeError(f"{path} is damaged ({error!r}): {_AGAIN}") from None
    for name, file in files.items():
        _check_private(file)
        if not file.is_file() or file_sha256(file) != document["files"][name]:
            raise FacemakeError(
                f"{file} is not the file that {path.name} was written for: {_AGAIN}"
            )
    try:
        rows = pq.read_table(files["rows"], use_threads=False)
        vectors = faiss.read_index(str(files["vectors"]))
    except (pa.ArrowInvalid, OSError, RuntimeError) as error:
        raise FacemakeError(f"the index in {folder} cannot be read ({error}): {_AGAIN}") from None
    if not known or said != (vectors.ntotal, vectors.d, len(rows)):
        raise FacemakeError(f"the parts of the index in {folder} do not fit each other: {_AGAIN}")
    if not rows.schema.equals(SCHEMA):
        raise FacemakeError(f"the index in {folder} is of another version of facemake: {_AGAIN}")
    return Index(document, rows, vectors)


_SUFFIXES = {"vectors": "faiss", "rows": "parquet"}
_DIGITS = 16
"""Of the SHA-256, in the files' names."""


def _named(folder: Path, name: str, sha256: str) -> Path:
    """A file of the index, by its content."""
    if len(sha256) != 64 or not sha256.isalnum():
        raise ValueError(f"{sha256!r} is no SHA-256")
    return folder / f"{name}-{sha256[:_DIGITS]}.{_SUFFIXES[name]}"


def _check_private(path: Path) -> None:
    try:
        stat = path.stat()
    except OSError:
        return  # who opens it says why
    if stat.st_uid not in (0, os.getuid()) or stat.st_mode & 0o022:
        raise FacemakeError(
            f"{path} is another user's, or others may write to it, so it is not read as an index: "
            f"{_AGAIN} (with --index: in a folder of your own)"
        )


def _chosen(count: int, dim: int, kind: str | None) -> tuple[str, str]:
    """How it is searched, and why, in words."""
    limit = EXACT_UP_TO // dim
    if kind is not None:
        return kind, "asked for"
    if count <= limit:
        return EXACT, f"{count} vectors of {dim} are no more than {limit}"
    return APPROXIMATE, f"{count} vectors of {dim} are more than {limit}"


def _flat(dim: int) -> Any:
    return faiss.IndexFlatIP(dim)


def _cells(vectors: NDArray[np.float32]) -> tuple[Any, str]:
    """An index that looks at the nearest cells alone; the same for the same vectors."""
    count, dim = vectors.shape
    cells = max(1, min(int(_LISTS_A_ROOT * count**0.5), count // 39))
    index = faiss.IndexIVFFlat(_flat(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = _SEED
    index.cp.max_points_per_centroid = _POINTS_A_CELL
    index.nprobe = -(-cells // _LOOKED_AT)
    index.train(vectors)
    return index, f"IndexIVFFlat, {cells} cells, {index.nprobe} of them searched"


@contextmanager
def _one_thread() -> Iterator[None]:
    """The same sums in the same order, whatever the machine."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
